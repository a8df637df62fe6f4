"""What is left in model.safetensors: the best weights on the development text, or the last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from wordorder.training import final_notes
from wordorder.training.config import TrainConfig
from wordorder.training.training import Training

from .conftest import Clock, Killed, TinyRun, same

STEPS = 60


def clock() -> Clock:
    return Clock(lambda now: 1.0)


@pytest.fixture
def worsens(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The development losses of a run that is best at step 20, by step."""
    losses = {10: 3.0, 20: 2.0, 30: 2.5, 40: 2.2, 50: 3.0, 60: 4.0}
    original = Training.validate

    def validate(self: Training, most_tokens: int, *, final: bool = False) -> dict:
        record = original(self, most_tokens, final=final)
        return record if final else {**record, "validation_loss": losses[self.done]}

    monkeypatch.setattr(Training, "validate", validate)
    return losses


def _stop_at(step: int) -> Callable[[Training], None]:
    def before(training: Training) -> None:
        if training.done == step:
            raise Killed

    return before


def test_the_best_weights_are_left_and_the_last_kept_beside(
    tiny: Callable[..., TinyRun], worsens: dict[int, float]
) -> None:
    run, until = tiny("r"), tiny("until")
    last = run.go(clock(), steps=STEPS)
    with pytest.raises(Killed):
        until.go(clock(), steps=STEPS, before_step=_stop_at(20))
    at_20 = load_file(until.folder / "training" / "step-00000020" / "state.safetensors")
    left = load_file(run.folder / "model.safetensors")
    assert all((left[name] == at_20[f"model.{name}"]).all() for name in left)
    assert same(load_file(run.folder / "last.safetensors"), last.model.state_dict())
    final = run.records()[-1]
    assert (final["last_step"], final["best_step"], final["step"]) == (60, 20, 20)
    assert final["text"] == "validation"
    assert final["validation_loss"] == final["best_loss"] != final["last_loss"]


def test_the_last_sample_is_of_the_weights_that_are_left(
    tiny: Callable[..., TinyRun], worsens: dict[int, float]
) -> None:
    run = tiny("r")
    last = run.go(clock(), steps=STEPS)
    samples = [record for record in run.records() if "sample" in record]
    assert [sample["step"] for sample in samples] == [10, 20, 30, 40, 50, 20]
    assert samples[-1]["final"] and samples[-1]["sample"] == samples[1]["sample"]
    assert last.sample() != {"step": STEPS, "sample": samples[-1]["sample"]}
    last.model.load_state_dict(load_file(run.folder / "model.safetensors"))
    assert last.sample() == {"step": STEPS, "sample": samples[-1]["sample"]}


def test_the_last_weights_are_sampled_where_they_are_left(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r", keep="last")
    last = run.go(clock(), steps=STEPS)
    final = run.records()[-1]
    assert last.sample() == {"step": final["step"], "sample": final["sample"]}
    assert final["step"] == STEPS


@pytest.mark.slow
def test_the_last_sample_changes_no_bit(
    tiny: Callable[..., TinyRun], worsens: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {name: tiny(name) for name in ("with", "without")}
    trainings = {"with": runs["with"].go(clock(), steps=STEPS)}
    monkeypatch.setattr(Training, "sample", lambda training: None)
    trainings["without"] = runs["without"].go(clock(), steps=STEPS)
    assert same(*(training.model.state_dict() for training in trainings.values()))
    for name in (
        "model.safetensors",
        "last.safetensors",
        "training/step-00000060/state.safetensors",
    ):
        assert same(*(load_file(run.folder / name) for run in runs.values()))
    losses = [
        [{k: v for k, v in record.items() if k != "sample"} for record in run.records()]
        for run in runs.values()
    ]
    assert [r for r in losses[0] if len(r) > 1] == losses[1]


def test_the_last_weights_are_left_where_they_are_the_best_or_asked_for(
    tiny: Callable[..., TinyRun], worsens: dict[int, float]
) -> None:
    asked = tiny("asked", keep="last")
    last = asked.go(clock(), steps=STEPS)
    assert same(load_file(asked.folder / "model.safetensors"), last.model.state_dict())
    assert not (asked.folder / "last.safetensors").exists()
    worsens[60] = 1.0
    best = tiny("best")
    last = best.go(clock(), steps=STEPS)
    assert same(load_file(best.folder / "model.safetensors"), last.model.state_dict())
    assert not (best.folder / "last.safetensors").exists()
    assert best.records()[-1]["best_step"] == 60
    assert best.records()[-1]["best_loss"] == best.records()[-1]["last_loss"]


def test_without_development_text_the_last_weights_are_left(
    tiny: Callable[..., TinyRun],
) -> None:
    run = tiny("r", development_fraction=0.0)
    assert run.training_data.development is None
    last = run.go(clock(), steps=20)
    assert same(load_file(run.folder / "model.safetensors"), last.model.state_dict())
    assert "best_step" not in run.records()[-1]


def test_the_last_step_is_validated_too(tiny: Callable[..., TinyRun]) -> None:
    run = tiny("r")
    run.go(clock(), steps=25)
    steps = [r["step"] for r in run.records() if r.get("text") == "development"]
    assert steps == [10, 20, 25]


@pytest.mark.parametrize(
    "kill", [45, *(pytest.param(step, marks=pytest.mark.slow) for step in (25, 59))]
)
def test_the_best_weights_survive_a_kill(
    tiny: Callable[..., TinyRun], worsens: dict[int, float], kill: int
) -> None:
    straight, killed = tiny("straight"), tiny("killed")
    straight.go(clock(), steps=STEPS)
    with pytest.raises(Killed):
        killed.go(clock(), steps=STEPS, kill_before=kill)
    killed.go(clock(), steps=STEPS, resume=True)
    for name in ("model.safetensors", "last.safetensors"):
        assert same(load_file(straight.folder / name), load_file(killed.folder / name))
    assert straight.records() == killed.records()


def test_a_run_that_is_over_ends_the_same_when_resumed(
    tiny: Callable[..., TinyRun], worsens: dict[int, float]
) -> None:
    run = tiny("r")
    run.go(clock(), steps=STEPS)
    before, records = load_file(run.folder / "model.safetensors"), run.records()
    run.go(clock(), steps=STEPS, resume=True)
    assert same(before, load_file(run.folder / "model.safetensors"))
    assert run.records() == records


def test_validations_are_many_where_they_are_cheap() -> None:
    from wordorder.training.validation import steps_between_validations

    cheap = TrainConfig(batch_size=64)
    assert steps_between_validations(cheap, 2000) == 100  # twenty
    assert steps_between_validations(cheap, 300) == 23  # six percent of the time
    assert steps_between_validations(TrainConfig(batch_size=1), 300) == 30  # never below ten
    assert steps_between_validations(cheap, 3) == 1


def record(step: int, loss: float, **more: object) -> dict:
    return {"step": step, "validation_loss": loss, "text": "development", **more}


def test_overfitting_is_said() -> None:
    steps = [{"step": n, "loss": 3.0} for n in range(1, 101)]
    rises = [*steps, record(50, 3.5), record(100, 4.0)]
    assert final_notes.overfitting(rises) == (
        "overfitting: the development loss is 4.000, 33% above the training loss of 3.000, and "
        "has risen since step 50 (3.500): use more text, fewer steps, a smaller model or more "
        "--dropout"
    )
    assert not final_notes.overfitting([*steps, record(50, 4.2), record(100, 4.0)])  # still falls
    assert not final_notes.overfitting([*steps, record(50, 3.3), record(100, 3.5)])  # not far above
    assert not final_notes.overfitting([*steps, record(50, 3.99), record(100, 4.0)])  # no rise
    perfect = [{"step": 1, "loss": 0.0}, record(50, 3.5), record(100, 4.0)]
    assert "is 4.000, above the training loss of 0.000" in final_notes.overfitting(perfect)


def test_best_and_last_are_said() -> None:
    both = record(20, 4.346, best_step=20, best_loss=4.346, last_step=60, last_loss=4.604)
    assert final_notes.best_and_last(both) == (
        "model.safetensors has the weights of step 20, the best on the development text "
        "(validation loss 4.346); last.safetensors has those of step 60 (4.604)"
    )
    assert "are the best" in final_notes.best_and_last({**both, "best_step": 60})
    assert not final_notes.best_and_last(record(60, 4.3))


def test_a_loss_above_that_of_guessing_is_said(tmp_path: Path) -> None:
    model = {"vocabulary_size": 4096}
    said = final_notes.guessing(record(60, 49.9), model)
    assert "49.900 is worse than that of a uniform guess, 8.318" in said
    assert not final_notes.guessing(record(60, 8.3), model)
