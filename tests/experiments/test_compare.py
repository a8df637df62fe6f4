"""A comparison: what is paired, what is reused, what fails alone, and what is refused.

Jobs run in this process here; `test_runner` and the journeys run them in their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wordorder.errors import BadInput, Failed
from wordorder.experiments import compare as comparison
from wordorder.experiments import grid
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.jobs import Job
from wordorder.experiments.runner import Progress
from wordorder.model import ModelConfig, make_model
from wordorder.positions import PositionError
from wordorder.training.compute import Compute
from wordorder.training.metrics import TIMING_FIELDS, read
from wordorder.training.run import Run
from wordorder.training.training import Training

MODEL = ModelConfig(width=32, layers=2, heads=2, trained_length=8, dropout=0.1, position="none")
POSITIONS = ("none", "learned", "alibi")


@pytest.fixture(autouse=True)
def ran(jobs_here: list[str]) -> list[str]:
    return jobs_here


def results(config: CompareConfig) -> list[dict[str, Any]]:
    path = Path(config.out) / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record(config: CompareConfig) -> dict[str, Any]:
    return json.loads((Path(config.out) / "comparison.json").read_text(encoding="utf-8"))


def test_every_run_has_its_line(finished: CompareConfig) -> None:
    config = finished
    lines = results(config)
    assert [(line["position"], line["seed"]) for line in lines] == [
        (position, seed) for seed in (0, 1) for position in POSITIONS
    ]
    assert not any("failed" in line for line in lines), lines
    documents = [line["by_document"]["weights"] for line in lines]
    assert len(documents[0]) > 2 and documents == [documents[0]] * 6
    for line in lines:
        losses, weights = (np.array(line["by_document"][n]) for n in ("losses", "weights"))
        assert losses @ weights / weights.sum() == pytest.approx(line["validation_loss"], abs=1e-5)
        assert line["curve"][-1][0] == record(config)["tokens"] and line["training_loss"] > 0
        lengths = {at["factor"]: at for at in line["same_targets"]["lengths"]}
        assert set(lengths) == {1, 2, 4}
        past = "cannot" if line["position"] == "learned" else "loss"
        assert all(past in lengths[factor] for factor in (2, 4))
        assert [past in at for at in line["whole_windows"]][1:] == [True, True]
        assert line["peak_bytes"] > 1 << 20
        assert Run.load(Path(config.out) / line["run"]).config["steps"] == 4
    assert {line["same_targets"]["targets"] for line in lines} == {
        lines[0]["same_targets"]["targets"]
    }


@pytest.mark.slow
def test_runs_of_a_seed_see_the_same_batches(config: CompareConfig) -> None:
    """Every batch and every dropout mask of one seed, whatever the embedding."""
    seen: dict[tuple[str, int], list[Any]] = {}
    original = grid.train_and_measure

    def watched(job: Any, tell: Any) -> Any:
        key = job["model"]["position"], job["training"]["seed"]
        from wordorder.training.loop import Training

        step = Training.gradient

        def gradient(self: Training, index: int) -> Any:
            if self.steps == 4:
                batch = self.batches.at(index)
                seen.setdefault(key, []).append((batch.tokens, batch.targets))
            found = step(self, index)
            if self.steps == 4:  # what is drawn after the step tells what was drawn in it
                seen[key].append((torch.get_rng_state(),))
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Training, "gradient", gradient)
            return original(job, tell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "train_and_measure", watched)
        compare(config)
    assert len(seen) == 6
    for (_, seed), parts in seen.items():
        assert len(parts) == 8
        for mine, first in zip(parts, seen[POSITIONS[0], seed], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, first, strict=True))
    assert not torch.equal(seen["none", 0][0][0], seen["none", 1][0][0])


@pytest.mark.parametrize("position", ["learned", "alibi", "shaw", "path", "rotary/none"])
def test_runs_of_a_seed_share_initial_weights(position: str) -> None:
    one, other = (make_model(replace(MODEL, position=p)) for p in ("none", position))
    one.initialise(3)
    other.initialise(3)
    mine, theirs = one.state_dict(), other.state_dict()
    assert set(mine) == {name for name in theirs if not name.startswith("position.")}
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


def test_a_run_is_what_it_would_be_alone(finished: CompareConfig, tmp_path: Path) -> None:
    """The same weights and metrics as `train` leaves with the same machine."""
    from wordorder.training.start import train

    config = finished
    folder = Path(config.out) / "runs" / "alibi-seed1"
    alone = train(
        replace(
            config.train,
            model=replace(config.train.model, position="alibi"),
            seed=1,
            keep="last",
            out=str(tmp_path / "a"),
        ),
        compute=Compute(**record(config)["machine"]),
    )
    ours, theirs = Run.load(folder).model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def said(path: Path) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in line.items() if k not in TIMING_FIELDS}
            for line in read(path / "metrics.jsonl")
        ]

    assert said(folder) == said(alone.folder)


def test_what_is_there_is_used_again(done: CompareConfig, ran: list[str]) -> None:
    config = done
    before = results(config)
    compare(config)
    assert not ran and results(config) == before
    more = replace(config, positions=(*POSITIONS, "sinusoidal"), seeds=3)
    compare(more)
    assert ran.count("time_positions") == 1
    assert ran.count("train_and_measure") == 4 * 3 - 6
    assert [line for line in results(more) if line in before] == before
    ran.clear()
    weights = Path(config.out) / "runs/none-seed0/model.safetensors"
    written = weights.stat().st_mtime_ns
    compare(replace(more, lengths=(1, 2)))
    assert ran.count("train_and_measure") == 12  # measured again,
    assert weights.stat().st_mtime_ns == written  # not trained again
    assert results(more)[0]["peak_bytes"] == before[0]["peak_bytes"]


def test_measures_of_an_earlier_version_are_read(done: CompareConfig, ran: list[str]) -> None:
    """A run's measures lay beside what was asked of it."""
    config = done
    before = results(config)
    for path in Path(config.out).glob("runs/*/measures.json"):
        stored = json.loads(path.read_text())
        record = {"asked": stored["job"]["measure"], "measures": stored["result"]}
        path.write_text(json.dumps(record))
    compare(config)
    assert not ran and results(config) == before
    compare(replace(config, lengths=(1, 2)))
    assert ran.count("train_and_measure") == 6
    assert results(config)[0]["peak_bytes"] == before[0]["peak_bytes"]


def test_a_run_that_was_stopped_goes_on(
    done: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = done
    before, folder = results(config), Path(config.out)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(folder / "runs" / "none-seed0", patch)
        compare(replace(config, overwrite=True))
    assert (folder / "comparison.json").exists()
    compare(config)
    for mine, theirs in zip(results(config), before, strict=True):
        assert {**mine, "peak_bytes": 0} == {**theirs, "peak_bytes": 0}


def stop_in(run: Path, patch: pytest.MonkeyPatch) -> None:
    """Stop the runs of a comparison after two of their four steps; this one is saved."""
    original = Training.step

    def stopping(self: Training) -> Any:
        if self.steps == 4 and self.done == 2:
            self.save(run)
            raise KeyboardInterrupt
        return original(self)

    patch.setattr(Training, "step", stopping)


@pytest.mark.slow
def test_one_that_was_moved_with_its_text_goes_on(
    config: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are compared by their contents. A stopped run and one to measure go on in it too."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (tmp_path / "texts").rename(here / "texts")

    def placed(root: Path, seeds: int) -> CompareConfig:
        train = replace(config.train, data=(str(root / "texts"),))
        return replace(config, train=train, out=str(root / "out"), seeds=seeds)

    compare(placed(here, 1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in(here / "out/runs/none-seed1", patch)
        compare(placed(here, 2))
    before = results(placed(here, 2))
    here.rename(there)
    trained = [there / f"out/runs/{name}-seed0/model.safetensors" for name in POSITIONS]
    written = [path.stat().st_mtime_ns for path in trained]
    steps = len(read(there / "out/runs/none-seed1/metrics.jsonl"))
    checked: list[Compute] = []
    monkeypatch.setattr(
        "wordorder.experiments.compare.warn_of_slow_dtype", lambda how, say: checked.append(how)
    )
    compare(placed(there, 2))
    assert len(checked) == 1
    assert [path.stat().st_mtime_ns for path in trained] == written
    assert results(placed(there, 2))[: len(before)] == before
    assert [line["run"] for line in results(placed(there, 2))[-3:]] == [
        f"runs/{name}-seed1" for name in POSITIONS
    ]
    losses = [r["step"] for r in read(there / "out/runs/none-seed1/metrics.jsonl") if "loss" in r]
    assert steps and losses == [1, 2, 3, 4]
    for path in there.glob("out/runs/*/config.json"):
        assert json.loads(path.read_text())["training"]["data"] == [str(there / "texts")]


def test_a_failed_run_is_named_and_the_rest_goes_on(
    config: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, seeds=1)
    original = grid.train_and_measure

    def failing(job: Any, tell: Any) -> Any:
        if (job["model"]["position"], job["training"]["seed"]) == ("alibi", 0):
            raise Failed("loss nan at step 2")
        return original(job, tell)

    with monkeypatch.context() as patch:
        patch.setattr(grid, "train_and_measure", failing)
        compare(config)
    lines = results(config)
    assert len(lines) == 3 and lines[2]["failed"] == "loss nan at step 2"
    compare(config)
    assert not any("failed" in line for line in results(config))


def test_the_embeddings_run_with_their_own_rates(
    config: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"none": 0.5, "learned": 1.0, "alibi": 4.0}
    tuning = {"chosen": chosen, "losses": {}, "text": "development", "seeds": [1, 2], "steps": 2}
    monkeypatch.setattr(comparison, "tune", lambda *_: tuning)
    compare(replace(config, tune=True, seeds=1))
    assert record(config)["tuned"] == chosen and record(config)["tuning"] == tuning
    for line in results(config):
        used = Run.load(Path(config.out) / line["run"]).config["training"]["learning_rate"]
        assert used == pytest.approx(chosen[line["position"]] * config.train.learning_rate)
    said = " ".join(record(config)["not_equal"])
    assert "chosen for each embedding by the development loss of 2 seeds after 2 steps" in said


def test_no_seed_trains_nothing(config: CompareConfig, ran: list[str]) -> None:
    compare(replace(config, seeds=0))
    assert "train_and_measure" not in ran
    assert results(config) == []
    assert record(config)["costs"]["learned"]["added"] == 8 * 32


def test_what_was_equal_and_what_was_not_is_said(config: CompareConfig) -> None:
    windowed = replace(config.train, model=replace(MODEL, windows=(4, 0)))
    compare(replace(config, train=windowed, positions=("none", "learned", "path"), seeds=1))
    said = record(config)
    assert any("learned adds 256" in line for line in said["not_equal"])
    assert any("128 tokens in 4 steps" in line for line in said["held_equal"])
    leaks = " ".join(said["leaks"])
    assert "second layer" in leaks
    assert "Sliding windows (4, none)" in leaks
    assert "path: its convolution" in leaks


def test_lengths_that_the_text_is_too_short_for_are_left_out(config: CompareConfig) -> None:
    compare(replace(config, seeds=1, lengths=(1, 4, 128, 4096)))
    notes = record(config)["notes"]
    assert any("1,024 tokens is left out" in note for note in notes), notes
    assert any("windows of 32,768 tokens are left out" in note for note in notes)
    assert [at["factor"] for at in results(config)[0]["same_targets"]["lengths"]] == [1, 4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": ("none",)}, "at least two"),
        ({"positions": ("none", "none")}, "has none twice"),
        ({"seeds": -1}, "seeds is -1: it must be at least 0"),
        ({"processes": -1}, "processes is -1: it must be at least 0"),
        ({"lengths": (0, 1)}, "it must be a list, each at least 1"),
        ({"baseline": "t5"}, "--baseline t5 is not among"),
    ],
)
def test_values_that_cannot_be(config: CompareConfig, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        replace(config, **changes)


def test_the_trained_length_is_always_measured(config: CompareConfig) -> None:
    """Without it there is nothing to take the changes to."""
    assert replace(config, lengths=(4, 2)).lengths == (1, 2, 4)


def test_names_are_the_catalogues(config: CompareConfig) -> None:
    named = replace(config, positions=("Transformer_XL", "NoPE"), baseline="nope")
    assert (named.positions, named.baseline) == (("transformer-xl", "none"), "none")


def test_a_wrong_spec_is_known_before_anything_is_done(config: CompareConfig) -> None:
    with pytest.raises(PositionError, match="did you mean rotary"):
        compare(replace(config, positions=("none", "rotery")))
    assert not Path(config.out).exists()


@pytest.mark.slow
def test_a_folder_made_otherwise_is_kept(config: CompareConfig, tmp_path: Path) -> None:
    compare(replace(config, seeds=1))
    before = results(config)
    other = replace(config.train, learning_rate=0.02)
    with pytest.raises(BadInput, match=r"with learning_rate 0\.01, not 0\.02: choose another"):
        compare(replace(config, train=other))
    (tmp_path / "texts/new.txt").write_text("one more " * 60, encoding="utf-8")
    with pytest.raises(BadInput, match="restore the old text"):
        compare(replace(config, seeds=1))
    assert results(config) == before
    nowhere = replace(config.train, data=("not there",))
    with pytest.raises(BadInput, match="not there"):
        compare(replace(config, train=nowhere, overwrite=True))
    assert results(config) == before
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").touch()
    with pytest.raises(BadInput, match="was not created by wordorder"):
        compare(replace(config, out=str(tmp_path / "home"), overwrite=True))
    assert (tmp_path / "home/letter").exists()


def test_a_folder_is_replaced_where_asked(done: CompareConfig, ran: list[str]) -> None:
    other = replace(done.train, learning_rate=0.02)
    compare(replace(done, seeds=1, train=other, overwrite=True))
    assert ran.count("train_and_measure") == 3


def test_a_time_too_short_to_learn_in_is_refused(config: CompareConfig) -> None:
    hurried = replace(config.train, steps=None, time="0.01s")
    with pytest.raises(BadInput, match=r"--time 0\.01s is enough for 1 step.*--steps 20 or more"):
        compare(replace(config, train=hurried))
    assert not Path(config.out).exists()


def test_the_plan_is_told_before_the_runs(config: CompareConfig) -> None:
    class Noted(Progress):
        def plan(self, jobs: Sequence[Job], heading: str, seconds: float) -> None:
            self.jobs, self.heading, self.seconds = jobs, heading, seconds
            assert not (Path(config.out) / "runs").exists()
            raise KeyboardInterrupt

    show = Noted()
    with pytest.raises(KeyboardInterrupt):
        compare(config, show=show)
    assert len(show.jobs) == 6 and show.seconds > 0
    assert show.jobs[1].name == "learned seed 0"
    assert show.heading.startswith("6 runs of 4 steps, ") and ", float32: about " in show.heading
