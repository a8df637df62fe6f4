"""Averaged weights: what they are, that a run resumes with them to the bit, and which are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.training import checkpoints, final_notes
from wordorder.training.average import EMA_EXPONENT, AveragedWeights, holding
from wordorder.training.config import TrainConfig
from wordorder.training.training import Training

from .conftest import Clock, Killed, TinyRun, same

STEPS = 60


def clock() -> Clock:
    return Clock(lambda now: 1.0)


def weights_after_each_step(run: TinyRun) -> list[dict[str, Tensor]]:
    seen: list[dict[str, Tensor]] = []

    def copy(training: Training) -> None:
        seen.append({n: t.clone().double() for n, t in training.model.state_dict().items()})

    last = run.go(clock(), steps=STEPS, before_step=copy)
    copy(last)
    return seen[1:]


def test_tail_is_the_mean_of_the_last_tenth_of_the_steps(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r", average="tail")
    weights = weights_after_each_step(run)
    saved = load_file(run.folder / "training" / f"step-{STEPS:08d}" / "state.safetensors")
    for name in weights[0]:
        mean = torch.stack([each[name] for each in weights[-6:]]).mean(0)
        torch.testing.assert_close(saved[f"average.{name}"].double(), mean, atol=1e-6, rtol=1e-5)


def test_ema_weights_steps_by_a_power_of_their_number(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r", average="ema")
    weights = weights_after_each_step(run)
    saved = load_file(run.folder / "training" / f"step-{STEPS:08d}" / "state.safetensors")
    # The weight of step t in the mean after n steps is (t/n)^(g+1) - ((t-1)/n)^(g+1).
    edges = (torch.arange(STEPS + 1, dtype=torch.float64) / STEPS) ** (EMA_EXPONENT + 1)
    shares = edges.diff()
    for name in weights[0]:
        mean = torch.tensordot(shares, torch.stack([each[name] for each in weights]), dims=1)
        torch.testing.assert_close(saved[f"average.{name}"].double(), mean, atol=1e-6, rtol=1e-5)


def test_averaging_changes_no_weight_and_no_loss(tiny: Callable[..., TinyRun]) -> None:
    plain, averaged = tiny("plain"), tiny("averaged", average="ema")
    one, other = plain.go(clock(), steps=20), averaged.go(clock(), steps=20)
    assert same(one.model.state_dict(), other.model.state_dict())
    losses = [[r["loss"] for r in run.records() if "loss" in r] for run in (plain, averaged)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("kind", "kill"),
    [
        ("ema", 25),
        ("tail", 57),
        pytest.param("ema", 57, marks=pytest.mark.slow),
        pytest.param("tail", 25, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_bit(
    tiny: Callable[..., TinyRun], kind: str, kill: int
) -> None:
    straight, killed = (tiny(n, average=kind, checkpoint_every=2) for n in ("one", "other"))
    straight.go(clock(), steps=STEPS)
    with pytest.raises(Killed):
        killed.go(clock(), steps=STEPS, kill_before=kill)
    killed.go(clock(), steps=STEPS, resume=True)
    one, other = (checkpoints.load(run.folder / "training") for run in (straight, killed))
    assert same(one.tensors, other.tensors) and one.extra == other.extra
    assert any(name.startswith("average.") for name in one.tensors)
    assert straight.records() == killed.records()


def test_a_timed_run_begins_its_tail_once_its_end_is_known(tiny: Callable[..., TinyRun]) -> None:
    straight, killed = tiny("one", average="tail"), tiny("other", average="tail")
    last = straight.go(clock(), budget=40.0)
    assert last.average is not None and last.average.count == 4
    with pytest.raises(Killed):
        killed.go(clock(), budget=40.0, kill_before=39)
    again = killed.go(clock(), budget=40.0, resume=True)
    assert again.average is not None
    assert same(again.average.tensors(), last.average.tensors())


@pytest.fixture
def average_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the averaged weights have the lowest development loss."""
    original = Training.validate

    def validate(self: Training, most_tokens: int, *, final: bool = False) -> dict:
        record = original(self, most_tokens, final=final)
        averaged = self.averaged()
        is_average = bool(averaged) and same(averaged, self.model.state_dict())
        return record if final else {**record, "validation_loss": 1.0 if is_average else 2.0}

    monkeypatch.setattr(Training, "validate", validate)


def test_the_average_is_kept_where_it_is_better(
    tiny: Callable[..., TinyRun], average_is_better: None
) -> None:
    run = tiny("r", average="ema")
    last = run.go(clock(), steps=STEPS)
    assert last.average is not None
    assert same(load_file(run.folder / "model.safetensors"), last.average.tensors())
    assert same(load_file(run.folder / "last.safetensors"), last.model.state_dict())
    final = run.records()[-1]
    assert final["best_averaged"] and final["average_loss"] == final["best_loss"]
    assert final["last_loss"] != final["average_loss"]
    assert final_notes.best_and_last(final).startswith(
        "model.safetensors has the averaged weights of step 60, the best on the development text"
    )
    again = run.go(clock(), steps=STEPS, resume=True)  # is over, and ends the same
    assert again.best is not None and again.best.averaged
    assert run.records()[-1] == final


def test_the_weights_themselves_are_kept_where_they_are_better(
    tiny: Callable[..., TinyRun],
) -> None:
    run = tiny("r", average="ema", learning_rate=0.0, matrix_learning_rate=0.0)
    run.go(clock(), steps=20)  # every loss is the same
    assert run.records()[-1]["best_averaged"] is False
    assert not (run.folder / "last.safetensors").exists()


def test_a_model_has_its_weights_again_after_an_error() -> None:
    model = torch.nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(KeyError), holding(model, {n: t + 1 for n, t in before.items()}):
        raise KeyError
    assert same(before, model.state_dict())


def test_before_its_first_update_there_is_no_average() -> None:
    average = AveragedWeights("tail", {"w": torch.ones(2)})
    average.update(1, None)
    average.update(1, 100)
    assert not average.tensors()


@pytest.mark.parametrize("without", [{"keep": "last"}, {"development_fraction": 0.0}])
def test_an_average_needs_a_text_that_chooses(without: dict) -> None:
    with pytest.raises(BadInput) as caught:
        TrainConfig(average="ema", **without)
    assert caught.value.code == "training.average-without-choice"
