"""Settings of a comparison that is there: what asks for another folder, and what is said."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.experiments import grid
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.paired_run import CHOOSING
from wordorder.experiments.report import read_summary
from wordorder.experiments.runner import Progress


@pytest.fixture(autouse=True)
def ran(jobs_here: list[str]) -> list[str]:
    return jobs_here


def record(config: CompareConfig) -> dict[str, Any]:
    return json.loads((Path(config.out) / "comparison.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 1), ("batch_size", 8), ("vocabulary_size", 300)],
)
def test_settings_that_change_runs_ask_for_another_folder(
    config: CompareConfig, ran: list[str], name: str, value: Any
) -> None:
    compare(replace(config, seeds=0))
    ran.clear()
    with pytest.raises(BadInput, match=r"choose another --out, or replace it with --overwrite"):
        compare(replace(config, seeds=0, train=changed(config, name, value)))
    assert not ran


def test_a_setting_that_is_newer_than_the_comparison_has_the_value_it_was_trained_with(
    config: CompareConfig,
) -> None:
    config = replace(config, seeds=0)
    compare(config)
    older(config, "auto_size")
    compare(config)
    with pytest.raises(BadInput, match="with recompute False, not True: choose another"):
        compare(replace(config, train=changed(config, "recompute", True)))
    older(config, "development_fraction")  # there was no development text
    with pytest.raises(BadInput, match=r"with development_fraction 0\.0, not 0\.04: choose"):
        compare(config)


def older(config: CompareConfig, setting: str) -> None:
    """Remove a setting from a comparison's record."""
    written = record(config)
    del written["asked"][setting]
    (Path(config.out) / "comparison.json").write_text(json.dumps(written), encoding="utf-8")


def test_settings_that_change_the_report_say_what_happens(config: CompareConfig) -> None:
    """One line each: measured again, another baseline, fewer seeds, embeddings left out."""

    class Heard(Progress):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    def lines_of(**changes: Any) -> list[str]:
        show = Heard()
        compare(replace(config, seeds=0, **changes), show=show)
        return show.lines

    first = lines_of()
    assert any(line.startswith("each run makes 0.") for line in first)
    assert not any("again" in line or "instead" in line for line in first + lines_of())
    again = "existing runs are measured again, not trained again"
    assert f"lengths 1 2 instead of 1 2 4: {again}" in lines_of(lengths=(1, 2))
    assert f"lengths 1 2 4 instead of 1 2 and pack true instead of false: {again}" in lines_of(
        pack=True
    )
    said = lines_of(pack=True, baseline="learned", positions=("learned", "alibi"), processes=5)
    assert "differences are now relative to learned: nothing is measured again" in said
    assert "the report leaves out none; their runs stay" in said
    assert any("1 run at once" in line for line in said)


def test_looks_at_the_results_are_counted(config: CompareConfig) -> None:
    few = replace(config, positions=("none", "alibi"), lengths=(1,))
    for seeds, looks in ((1, []), (3, [3]), (3, [3]), (2, [3, 2]), (3, [3, 2]), (4, [3, 2, 4])):
        compare(replace(few, seeds=seeds))
        assert record(config)["looks"] == looks
        assert Comparison.read(Path(config.out)).looks_so_far == (
            looks[: looks.index(seeds) + 1] if looks else [seeds]
        )


def test_the_plan_counts_what_is_trained_as_measured_only(done: CompareConfig) -> None:
    class Planned(Progress):
        def plan(self, jobs: Any, heading: str, seconds: float) -> None:
            self.heading, self.seconds = heading, seconds
            raise KeyboardInterrupt

    def plan(**changes: Any) -> Planned:
        show = Planned()
        with pytest.raises(KeyboardInterrupt):
            compare(replace(done, lengths=(1, 2), **changes), show=show)
        return show

    show = plan()
    assert show.heading.startswith("6 trained runs to measure, ")
    other_baseline = plan(baseline="alibi")  # the machine is not slower for it
    assert other_baseline.seconds == show.seconds
    more = plan(seeds=3)
    assert more.heading.startswith("3 runs of 4 steps and 6 trained runs to measure, ")
    steps = 4 * sum(cost["step_seconds"] for cost in record(done)["costs"].values())
    slower = record(done)["settled"]["slower_at_once"]
    reading = (show.seconds - 6 * grid.SECONDS_TO_START) / 2  # of three runs
    expected = show.seconds + reading + slower * steps + 3 * grid.SECONDS_TO_START
    assert more.seconds == pytest.approx(expected)


def test_runs_that_choose_a_rate_read_no_contexts(done: CompareConfig) -> None:
    comparison = Comparison.read(Path(done.out))
    (cell, *_) = grid.cells_of(Path(done.out) / "elsewhere", comparison)
    step = grid.slower_at_once(comparison) * comparison.costs[cell.position]["step_seconds"]
    seconds = grid.seconds_of(comparison, [cell], 1, CHOOSING)
    assert seconds == pytest.approx(grid.SECONDS_TO_START + cell.steps * step)


def test_embeddings_left_out_of_the_report_are_counted_by_the_correction(
    done: CompareConfig,
) -> None:
    """Their lines stay in results.jsonl, however often the report is written without them."""
    fewer = replace(done, positions=("none", "learned"))
    for _ in range(2):
        compare(fewer)
        summary = read_summary(Path(fewer.out))
        change = summary.results[1].against_baseline
        assert change is not None and change.compared == 2
        assert summary.left_out == ("alibi",)
    compare(done)
    lines = (Path(done.out) / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6 and read_summary(Path(done.out)).left_out == ()


@pytest.mark.parametrize("damage", ["removed", "cut", "a line of another kind"])
def test_lines_that_were_lost_are_written_again(done: CompareConfig, damage: str) -> None:
    """Those of embeddings that the report leaves out too, which its correction counts."""
    path = Path(done.out) / "results.jsonl"
    before = sorted(path.read_bytes().splitlines())
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        path.write_bytes(b"{}\n[1]\nnothing\n" + path.read_bytes())
    compare(replace(done, positions=("none", "learned")))
    assert read_summary(Path(done.out)).left_out == ("alibi",)
    compare(done)
    assert sorted(path.read_bytes().splitlines()) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [('"validation_loss": ', '"validation_loss": "x", "was": '), ('"seconds":', '"sec":')],
)
def test_a_damaged_result_is_measured_again(
    done: CompareConfig, ran: list[str], old: str, new: str
) -> None:
    path = next((Path(done.out) / "runs").glob("alibi-seed0/measures.json"))
    whole = json.loads(path.read_text())["result"]
    path.write_text(path.read_text().replace(old, new, 1))
    compare(done)
    assert ran == ["train_and_measure"]
    again = json.loads(path.read_text())["result"]
    assert again["validation_loss"] == whole["validation_loss"]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_damaged_weights_are_restored_or_trained_again(
    done: CompareConfig, checkpoint: bool
) -> None:
    folder = Path(done.out) / "runs" / "alibi-seed0"
    before = (folder / "model.safetensors").read_bytes()
    results = (Path(done.out) / "results.jsonl").read_text()
    (folder / "measures.json").unlink()
    (folder / "model.safetensors").write_bytes(before[:100])
    if not checkpoint:
        shutil.rmtree(folder / "training")
    compare(done)
    assert (folder / "model.safetensors").read_bytes() == before
    lines = (Path(done.out) / "results.jsonl").read_text()
    assert losses_of(lines) == losses_of(results)


def losses_of(lines: str) -> list[float]:
    return [json.loads(line)["validation_loss"] for line in lines.splitlines()]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seeds", "three", "seeds is of another type"),
        ("looks", ["2"], "looks is of another type"),
        ("costs", {"none": {}}, "its times are not whole"),
        ("settled", {}, "its times are not whole"),
    ],
)
def test_a_damaged_record_is_refused(done: CompareConfig, name: str, value: Any, said: str) -> None:
    path = Path(done.out) / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(BadInput, match=f"is damaged .{said}.: choose another --out"):
        compare(done)


MINE = """
from wordorder.positions import Alibi

class Mine(Alibi):
    \"\"\"ALiBi.\"\"\"
    def distance_bias(self, distance):
        return 1.0 * super().distance_bias(distance)
"""


def test_an_embedding_whose_code_has_changed_is_not_mixed_with_its_old_runs(
    config: CompareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "changing_mine.py"
    path.write_text(MINE)
    both = replace(config, positions=("none", "changing_mine.Mine"), lengths=(1,))
    few = replace(both, seeds=1)
    compare(few)
    path.write_text(f"# a comment\n{MINE}\n")
    compare(few)
    path.write_text(MINE.replace("1.0", "9.0"))
    with pytest.raises(BadInput, match=r"the code of changing_mine\.Mine has changed") as refused:
        compare(replace(both, seeds=2))
    compare(replace(few, positions=("none", "alibi")))  # the others go on
    (command,) = re.findall(r"rm -r (.*)$", str(refused.value))
    for folder in glob(command):
        shutil.rmtree(folder)
    ran.clear()
    compare(few)
    assert ran.count("train_and_measure") == 1


def test_many_passes_are_said_before_anything_runs(config: CompareConfig) -> None:
    show = Progress()
    lines: list[str] = []
    show.say = lines.append  # type: ignore[method-assign]
    compare(replace(config, seeds=0, train=replace(config.train, steps=4000)), show=show)
    assert any("passes over the training text" in line for line in lines)
    assert any(line.startswith("warning: beyond about 4 passes") for line in lines)
    assert record(config)["passes"] > 4


def changed(config: CompareConfig, name: str, value: Any) -> Any:
    """The training of a comparison with another setting, of the model where it is the model's."""
    if name == "vocabulary_size":
        return replace(config.train, model=replace(config.train.model, vocabulary_size=value))
    return replace(config.train, **{name: value})
