"""Claims about models trained on under another embedding: planted results, and what is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wordorder.claims import fine_tuned
from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.claim import DIRECTION, FAILS, HOLDS, UNDECIDED, Plan, judge
from wordorder.claims.fine_tuned import dropped, train_dropped, train_tuned, tuned
from wordorder.claims.text_models import FACTORS, LENGTH
from wordorder.model import LanguageModel
from wordorder.training.config import TrainConfig

PLAN = Plan(seeds=3)
SPREAD = (0.0, 0.002, -0.002)  # of seeds
MACHINE = {"device": "cpu", "threads": 1}
LOSSES = {
    "not tuned": (4.0, 4.3, 5.0),
    "as long at L": (3.98, 4.2, 4.9),
    "PI": (4.0, 3.98, 4.9),
    "NTK": (4.0, 4.05, 4.4),
    "YaRN": (3.99, 3.97, 4.3),
}


def nothing(*told: Any) -> None:
    """Tells nobody."""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, (HOLDS, HOLDS, HOLDS, HOLDS)),
        ({"YaRN": (3.99, 3.9, 4.3)}, (FAILS, HOLDS, HOLDS, HOLDS)),
        ({"YaRN": (3.99, 4.1, 4.3)}, (FAILS, HOLDS, HOLDS, HOLDS)),
        ({"YaRN": (3.99, 3.97, 5.0)}, (HOLDS, FAILS, HOLDS, HOLDS)),
        ({"NTK": (4.0, 4.05, 5.0)}, (HOLDS, HOLDS, FAILS, HOLDS)),
        ({"NTK": (4.0, 4.05, 4.9)}, (HOLDS, HOLDS, UNDECIDED, HOLDS)),
        ({"PI": (3.9, 3.98, 4.9)}, (HOLDS, HOLDS, HOLDS, FAILS)),
    ],
)
def test_fine_tunes_hold_and_fail(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    claim, results = CLAIMS["tuned-interpolation"], {}
    for seed, work in enumerate(claim.works(PLAN)):
        results[work.name] = {
            # Methods move apart with the seed, so that a difference has an interval.
            name: {f: at + n * SPREAD[seed] for f, at in zip("124", losses, strict=True)}
            for n, (name, losses) in enumerate({**LOSSES, **changes}.items())
        }
        results[work.name]["PI"]["2"] += SPREAD[seed]
    found = judge(claim, claim.read(PLAN, results))
    assert found.by_criterion == words
    assert any(line.startswith("as long at L: 3.980 at 1L, 4.2") for line in found.reading.said)


@pytest.mark.parametrize(
    ("late", "never", "far", "words"),
    [
        (0.0, 0.1, -0.1, (HOLDS, HOLDS, HOLDS)),
        (0.1, 0.1, -0.1, (FAILS, HOLDS, HOLDS)),
        (0.02, 0.1, -0.1, (UNDECIDED, HOLDS, HOLDS)),
        (0.0, 0.02, -0.1, (HOLDS, DIRECTION, HOLDS)),
        (0.0, -0.1, -0.1, (HOLDS, FAILS, HOLDS)),
        (0.0, 0.1, 0.1, (HOLDS, HOLDS, FAILS)),
    ],
)
def test_dropping_holds_and_fails(
    late: float, never: float, far: float, words: tuple[str, ...]
) -> None:
    claim, results = CLAIMS["dropped-rotary"], {}
    for work in claim.works(PLAN):
        seed, kind = int(work.name[-1]), work.name.partition("/")
        is_late, is_none = kind[0].startswith("dropped"), kind[2].startswith("none")
        loss = 4.0 + (late * is_late + never * is_none) + SPREAD[seed] * (is_late + 2 * is_none)
        at_two = 4.3 + (far + SPREAD[seed]) * is_late
        lengths = [{"factor": float(f), "loss": at_two if f == 2 else loss} for f in FACTORS]
        results[work.name] = {
            "validation_loss": loss,
            "whole_windows": lengths,
            "same_targets": {"lengths": lengths},
        }
    found = judge(claim, claim.read(PLAN, results))
    assert found.by_criterion == words
    assert f"dropped {4 + late:.3f}" in found.reading.said[0]
    assert f"rotary 4.300, dropped {4.3 + far:.3f}" in found.reading.said[1]


@pytest.mark.parametrize("name", ["tuned-interpolation", "dropped-rotary"])
def test_no_model_decides_nothing(name: str) -> None:
    claim = CLAIMS[name]
    assert judge(claim, claim.read(PLAN, {})).word == UNDECIDED


class Trained(list[tuple[TrainConfig, Any]]):
    """What would have been trained: each configuration, and the weights it starts from."""

    def train(self, config: TrainConfig, *, weights: Any = None, **how: Any) -> Any:
        self.append((config, weights))
        model = LanguageModel(config.model)
        model.initialise(len(self))
        return SimpleNamespace(
            model=model,
            model_config=config.model,
            folder=Path(config.out or ""),
            config={"machine": {"dtype": "float32"}},
        )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    found = Trained()
    monkeypatch.setattr(fine_tuned, "train", found.train)
    monkeypatch.setattr(fine_tuned, "_same_targets", lambda run: {"1": 4.0})
    monkeypatch.setattr(fine_tuned, "measures_of", lambda run, asked, tell: {"asked": asked})
    return found


def test_every_method_goes_on_from_the_same_weights(trained: Trained) -> None:
    work = tuned(PLAN, 2)
    found = train_tuned({**work.job, "folder": "runs/x", "machine": MACHINE}, nothing)
    assert list(found) == ["not tuned", "as long at L", "PI", "NTK", "YaRN"]
    (parent, fresh), *others = trained
    assert fresh is None
    assert (parent.steps, parent.seed, parent.model.position) == (PLAN.steps, 2, "rotary")
    assert [config.model.trained_length for config, _ in others] == [LENGTH, *[2 * LENGTH] * 3]
    assert "linear" in others[1][0].model.position and "factor=2" in others[1][0].model.position
    assert len({config.model.position for config, _ in others}) == 4
    assert len({config.out for config, _ in trained}) == 5
    for config, weights in others:
        assert (config.steps, config.seed, config.init) == (100, 1002, "runs/x/parent")
        assert config.batch_size * config.model.trained_length == parent.batch_size * LENGTH
        assert config.learning_rate == pytest.approx(parent.learning_rate / 10)
        assert config.matrix_learning_rate == pytest.approx(parent.matrix_learning_rate / 10)
        for name, tensor in others[0][1].items():
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=0)


def test_rotary_is_dropped_after_seven_eighths(trained: Trained) -> None:
    work = dropped(PLAN, 1)
    found = train_dropped({**work.job, "folder": "runs/x", "machine": MACHINE}, nothing)
    (first, fresh), (last, weights) = trained
    assert fresh is None and weights is not None
    assert (first.steps, last.steps) == (262, 38)
    assert (first.model.position, last.model.position) == ("rotary", "none")
    assert first.learning_rate == last.learning_rate and first.schedule == last.schedule
    assert last.batch_size == first.batch_size and last.model.trained_length == LENGTH
    assert found["asked"]["contexts"] == [factor * LENGTH for factor in FACTORS]


@pytest.mark.slow
def test_both_are_trained_to_the_end(tmp_path: Path) -> None:
    plan = Plan(seeds=1, steps=8)
    work = tuned(plan, 0)
    job = {**work.job, "steps": 2, "folder": str(tmp_path / "tuned"), "machine": MACHINE}
    found = train_tuned(job, nothing)
    assert {tuple(losses) for losses in found.values()} == {("1", "2", "4")}
    work = dropped(plan, 0)
    job = {**work.job, "folder": str(tmp_path / "dropped"), "machine": MACHINE}
    assert fine_tuned.loss_at(train_dropped(job, nothing), 2) > 0
