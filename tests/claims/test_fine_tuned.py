"""Claims about models trained on under another embedding: planted results, and what is trained."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wordorder.claims import fine_tuned, text_models
from wordorder.claims.catalogue import CLAIMS
from wordorder.claims.claim import (
    DIRECTION,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    ClaimPlan,
    judge,
)
from wordorder.claims.fine_tuned import dropped, train_dropped, train_tuned, tuned
from wordorder.claims.text_models import FACTORS, LENGTH
from wordorder.experiments.calibration import as_job
from wordorder.model import LanguageModel
from wordorder.training.config import TrainConfig

PLAN = ClaimPlan(seeds=3)
SPREAD = (0.0, 0.002, -0.002)  # of seeds
MACHINE = {"device": "cpu", "threads": 1}
LOSSES = {
    "not tuned": (4.0, 4.3, 5.0),
    "as long at L": (3.98, 4.2, 4.9),
    "PI": (4.0, 3.98, 4.9),
    "NTK": (4.0, 4.05, 4.4),
    "YaRN": (3.99, 3.97, 4.3),
}


def gain(by: float, seed: int) -> dict[str, float]:
    """What the last doubling of the context is worth, with its interval over documents."""
    mean = by + SPREAD[seed]
    return {"mean": mean, "low": mean - 0.005, "high": mean + 0.005}


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
        losses_of = {
            # Methods move apart with the seed, so that a difference has an interval.
            name: {f: at + n * SPREAD[seed] for f, at in zip("124", losses, strict=True)}
            for n, (name, losses) in enumerate({**LOSSES, **changes}.items())
        }
        losses_of["PI"]["2"] += SPREAD[seed]
        results[work.name] = {"losses": losses_of, "last-doubling": gain(0.05, seed)}
    found = judge(claim, claim.read(PLAN, results))
    assert found.by_criterion == words
    # A loss that is no number is of no seed.
    some = copy.deepcopy(results)
    next(iter(some.values()))["losses"]["PI"].pop("4")
    seeds = claim.read(PLAN, some).quantities["PI minus YaRN at 4L"]
    assert list(seeds) == [1, 2]
    for result in results.values():
        result["last-doubling"] = gain(0.0, 0)
    assert judge(claim, claim.read(PLAN, results)).word == NOT_TESTABLE
    assert any(
        line.startswith("as long at L: 3.980 at 1L, 4.2") for line in found.measurements.notes
    )


def planted_drop(late: float, never: float, far: float, anew: float) -> dict[str, Any]:
    """What models score, over rotary's 4: dropped late, never rotary, kept under a new schedule."""
    results = {}
    for work in CLAIMS["dropped-rotary"].works(PLAN):
        seed = int(work.name[-1])

        def scored(above: float, at_two: float) -> dict[str, Any]:
            lengths = [{"factor": float(f), "loss": 4 + above} for f in FACTORS]
            lengths[FACTORS.index(2)]["loss"] = at_two
            return {
                "validation_loss": 4 + above,
                "whole_windows": lengths,
                "same_targets": {"lengths": lengths},
                "last-doubling": gain(0.05, seed),  # noqa: B023
            }

        if work.name.startswith("dropped"):
            results[work.name] = {
                "dropped": scored(anew + late + SPREAD[seed], 4.3 + anew + far + SPREAD[seed]),
                "kept": scored(anew, 4.3 + anew),
            }
        else:
            of_none = work.name.partition("/")[2].startswith("none")
            results[work.name] = scored((never + 2 * SPREAD[seed]) * of_none, 4.3)
    return results


@pytest.mark.parametrize(
    ("late", "never", "far", "words"),
    [
        (0.0, 0.1, -0.1, (HOLDS, HOLDS, HOLDS)),
        (0.1, 0.1, -0.1, (FAILS, HOLDS, HOLDS)),
        (0.02, 0.1, -0.1, (UNDECIDED, HOLDS, HOLDS)),
        (0.0, 0.02, -0.1, (NOT_TESTABLE, DIRECTION, HOLDS)),
        (0.0, -0.1, -0.1, (NOT_TESTABLE, FAILS, HOLDS)),
        (0.0, 0.1, 0.1, (HOLDS, HOLDS, FAILS)),
    ],
)
def test_dropping_holds_and_fails(
    late: float, never: float, far: float, words: tuple[str, ...]
) -> None:
    claim = CLAIMS["dropped-rotary"]
    found = judge(claim, claim.read(PLAN, planted_drop(late, never, far, anew=0.28)))
    # What beginning a schedule anew costs falls on the control too.
    assert found.by_criterion == words
    assert found.intervals["kept minus rotary"].mean == pytest.approx(0.28)
    assert f"dropped {4.28 + late:.3f}, kept 4.280" in found.measurements.notes[0]
    assert f"rotary 4.300, dropped {4.58 + far:.3f}, kept 4.580" in found.measurements.notes[1]


def test_a_loss_that_is_no_number_is_of_no_seed() -> None:
    planted = planted_drop(0.0, 0.1, -0.1, anew=0.28)
    first = next(part for name, part in planted.items() if name.startswith("dropped"))
    at_two = first["kept"]["same_targets"]["lengths"][FACTORS.index(2)]
    at_two["cannot"] = at_two.pop("loss") and "not a number"
    found = CLAIMS["dropped-rotary"].read(PLAN, planted)
    assert len(found.quantities[fine_tuned.FARTHER]) == 2


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
            tokenizer=None,
            config={"machine": {"dtype": "float32"}, **as_job(config)},
        )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    found = Trained()
    monkeypatch.setattr(fine_tuned, "train", found.train)
    monkeypatch.setattr(fine_tuned, "_same_targets", lambda run: {"1": 4.0})
    monkeypatch.setattr(fine_tuned, "read_training_data", lambda config, tokenizer: None)
    monkeypatch.setattr(fine_tuned, "last_doubling", lambda run, material: gain(0.05, 0))
    monkeypatch.setattr(fine_tuned, "measures_of", lambda run, asked, tell: {"asked": asked})
    return found


def test_every_method_goes_on_from_the_same_weights(trained: Trained) -> None:
    work = tuned(PLAN, 2)
    found = train_tuned({**work.job, "folder": "runs/x", "machine": MACHINE}, nothing)
    assert list(found["losses"]) == ["not tuned", "as long at L", "PI", "NTK", "YaRN"]
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
    (first, fresh), *others = trained
    assert fresh is None
    assert [config.model.position for config, _ in others] == ["none", "rotary"]
    for last, weights in others:
        assert weights is not None
        assert (first.steps, last.steps) == (262, 38)
        assert first.learning_rate == last.learning_rate and first.schedule == last.schedule
        assert last.batch_size == first.batch_size and last.model.trained_length == LENGTH
    # The control differs from the treatment in nothing but the embedding.
    (treated, _), (control, _) = others
    assert replace(treated, model=control.model, out=control.out) == control
    assert replace(treated.model, position="rotary") == control.model
    assert set(found) == {"dropped", "kept"}
    assert found["kept"]["asked"]["contexts"] == [factor * LENGTH for factor in FACTORS]


@pytest.mark.slow
def test_both_are_trained_to_the_end(tmp_path: Path) -> None:
    plan = ClaimPlan(seeds=1, steps=8)
    work = tuned(plan, 0)
    job = {**work.job, "steps": 2, "folder": str(tmp_path / "tuned"), "machine": MACHINE}
    found = train_tuned(job, nothing)
    assert {tuple(losses) for losses in found["losses"].values()} == {("1", "2", "4")}
    assert found["last-doubling"]["low"] < found["last-doubling"]["high"]
    work = dropped(plan, 0)
    job = {**work.job, "folder": str(tmp_path / "dropped"), "machine": MACHINE}
    both = train_dropped(job, nothing)
    assert all(text_models.loss_at(both[name], 2) > 0 for name in ("dropped", "kept"))
