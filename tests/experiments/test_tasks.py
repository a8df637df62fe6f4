"""A grid of tasks: resumed, reused, refused, told and reported, its runs made in this process."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_this_process import InThisProcess

from wordorder.errors import BadInput, Failed
from wordorder.experiments import tasks
from wordorder.experiments.jobs import Job, Outcome
from wordorder.experiments.runner import Progress
from wordorder.experiments.task_report import COLUMNS, read_grid, write_report
from wordorder.experiments.tasks import TasksConfig, expected_seconds, run_tasks
from wordorder.positions import PositionError


class Recorder(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.planned: Sequence[Job] = []
        self.heading = ""
        self.done: list[tuple[Job, Outcome]] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def plan(self, jobs: Sequence[Job], heading: str, seconds: float) -> None:
        self.planned, self.heading = jobs, heading
        assert seconds > 0

    def ended(self, number: int, outcome: Outcome) -> None:
        self.done.append((self.planned[number], outcome))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that train in a moment."""
    torch.set_num_threads(1)
    real = tasks.protocol_of

    def small(name: str, steps: int | None = None, length: int | None = None) -> Any:
        shape = {"width": 16, "layers": 1, "heads": 2, "batch_size": 4, "examples": 5, "tests": 2}
        return replace(real(name, steps or 3, length or 3), **shape)

    monkeypatch.setattr(tasks, "protocol_of", small)


@pytest.fixture
def config(tmp_path: Path) -> TasksConfig:
    return TasksConfig(("repeat",), ("none", "learned"), seeds=2, out=str(tmp_path / "t"))


def run(config: TasksConfig, **options: Any) -> tuple[Path, Recorder]:
    show = Recorder()
    return run_tasks(config, show=show, launcher=InThisProcess(), **options), show


def files(folder: Path) -> dict[str, str]:
    runs = sorted((folder / "runs").rglob("*.json"))
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in runs}


def test_a_grid_leaves_a_file_and_a_line_for_every_run(config: TasksConfig) -> None:
    folder, show = run(config, command="wordorder tasks")
    assert len(show.planned) == len(show.done) == 4
    assert show.heading.startswith("4 runs, ") and "with 1 thread each: about " in show.heading
    names = [f"runs/repeat/{p}-seed{s}.json" for p in ("learned", "none") for s in (0, 1)]
    assert sorted(files(folder)) == sorted(names)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [(line["position"], line["seed"]) for line in lines] == [
        ("none", 0),
        ("learned", 0),
        ("none", 1),
        ("learned", 1),
    ]
    assert [record["step"] for record in lines[0]["curve"]] == [2, 3]
    record = json.loads((folder / "tasks.json").read_text())
    assert record["command"] == "wordorder tasks" and record["seeds"] == 2


def test_what_is_done_is_reused_and_the_rest_goes_on(config: TasksConfig) -> None:
    folder, _ = run(config)
    before = files(folder)
    (folder / "runs/repeat/none-seed1.json").unlink()
    damaged = folder / "runs/repeat/learned-seed0.json"
    damaged.write_text(damaged.read_text()[:50])
    _, show = run(config)
    assert len(show.planned) == 2 and "2 of 4 runs are already finished" in show.said
    after = files(folder)
    assert without_seconds(after) == without_seconds(before)
    _, show = run(config)
    assert not show.planned and not show.said


def test_a_folder_of_an_earlier_version_goes_on(config: TasksConfig) -> None:
    """A run's file was its result alone."""
    folder, _ = run(config)
    before = (folder / "results.jsonl").read_text()
    for path in (folder / "runs").rglob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text())["result"]))
    _, show = run(config)
    assert not show.planned and (folder / "results.jsonl").read_text() == before
    with pytest.raises(BadInput, match="holds repeat with steps 3, not 4"):
        run(replace(config, steps=4))
    run(replace(config, steps=4, seeds=1, overwrite=True))
    assert len(files(folder)) == 2


def test_seeds_embeddings_and_tasks_are_added(config: TasksConfig) -> None:
    run(config)
    _, show = run(replace(config, seeds=3, positions=("none", "alibi")))
    assert [job.name for job, _ in show.done] == [
        "repeat alibi seed 0",
        "repeat alibi seed 1",
        "repeat none seed 2",
        "repeat alibi seed 2",
    ]
    folder, show = run(replace(config, tasks=("count",)))
    assert len(show.planned) == 4
    assert len(read_grid(folder).lines) == 4


def without_seconds(found: dict[str, str]) -> dict[str, dict]:
    records = {name: json.loads(text) for name, text in found.items()}
    results = {name: {**record["result"], "seconds": 0} for name, record in records.items()}
    return {name: {**records[name], "seconds": 0, "result": results[name]} for name in records}


def test_names_are_the_catalogues() -> None:
    config = TasksConfig(positions=("RoPE", "transformer_xl"))
    assert config.positions == ("rotary", "transformer-xl")


@pytest.mark.parametrize("field", ["steps", "length"])
def test_another_configuration_is_refused_and_named(config: TasksConfig, field: str) -> None:
    folder, _ = run(config)
    before = files(folder)
    with pytest.raises(BadInput, match=f"holds repeat with {field} 3, not 4: .*--overwrite"):
        run(replace(config, **{field: 4}))
    assert files(folder) == before
    run(replace(config, **{field: 4}, seeds=1, overwrite=True))
    assert len(files(folder)) == 2


def test_a_folder_of_other_things_is_left_alone(config: TasksConfig) -> None:
    folder = Path(config.out)
    folder.mkdir()
    (folder / "letter").write_text("dear")
    with pytest.raises(BadInput, match="was not created by wordorder"):
        run(replace(config, overwrite=True))
    assert [path.name for path in folder.iterdir()] == ["letter"]
    with pytest.raises(BadInput, match="is a file"):
        run(replace(config, out=str(folder / "letter")))


def test_overwriting_keeps_what_is_not_ours(config: TasksConfig) -> None:
    folder, _ = run(config)
    (folder / "notes").write_text("mine")
    run(replace(config, seeds=1, overwrite=True))
    assert (folder / "notes").read_text() == "mine" and len(files(folder)) == 2


def test_a_wrong_embedding_is_known_before_anything_is_written(config: TasksConfig) -> None:
    with pytest.raises(PositionError, match="did you mean rotary"):
        run(replace(config, positions=("none", "rotery")))
    assert not Path(config.out).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": ("copi",)}, "did you mean copy"),
        ({"tasks": ()}, "--tasks is empty"),
        ({"positions": ()}, "--positions is empty"),
        ({"seeds": 0}, "seeds is 0: it must be at least 1"),
        ({"steps": 0}, "steps is 0: it must be at least 1"),
        ({"length": -1}, "length is -1: it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        TasksConfig(**changes)


def test_a_run_that_fails_is_named_and_tried_again(
    config: TasksConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tasks.train_on_task

    def failing(protocol: Any, position: str, seed: int, tell: Any) -> dict[str, Any]:
        if (position, seed) == ("none", 1):
            raise Failed("loss nan at step 3: try --learning-rate 3e-05")
        return real(protocol, position, seed, tell)

    monkeypatch.setattr(tasks, "train_on_task", failing)
    folder, show = run(config)
    assert [o.error for _, o in show.done if o.error] == ["loss nan at step 3"]
    found = write_report(folder)
    assert found.failed == ("repeat none seed 1: loss nan at step 3",)
    assert [row.seeds for row in found.of("repeat")] == [(0,), (0, 1)]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "1 run failed: repeat none seed 1: loss nan at step 3" in page
    monkeypatch.setattr(tasks, "train_on_task", real)
    folder, show = run(config)
    assert len(show.planned) == 1 and not write_report(folder).failed


def test_a_grid_where_every_run_fails_has_a_report(
    config: TasksConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise Failed("loss nan")

    monkeypatch.setattr(tasks, "train_on_task", failing)
    folder, _ = run(config)
    assert len(write_report(folder).failed) == 4
    assert (folder / "table.csv").read_text().count("\n") == 1


def test_the_table_has_every_number_and_cannot_where_there_is_none(config: TasksConfig) -> None:
    folder, _ = run(config)
    found = write_report(folder)
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text())))
    assert list(rows[0]) == [name for names in COLUMNS for name in names.split(", ")]
    assert len(rows) == len(found.rows) * 4 == 16
    learned = [row for row in rows if row["position"] == "learned"]
    assert {row["score"] for row in learned if row["trial"] != "1x"} == {"cannot"}
    assert all(row["score_by_seed"] == "" for row in learned if row["score"] == "cannot")
    assert [row["length"] for row in learned[:4]] == ["3", "5", "6", "9"]
    assert rows[0]["score_by_seed"].startswith("0:")
    for name in ("lengths-repeat", "curve-repeat"):
        assert (folder / f"figures/{name}.png").stat().st_size > 5000
        assert (folder / f"figures/{name}.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_the_report_is_made_again_from_its_two_files(config: TasksConfig) -> None:
    folder, _ = run(config)
    write_report(folder)
    kept = ("tasks.json", "results.jsonl")
    before = {n: (folder / n).read_bytes() for n in ("table.csv", "report.html")}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in kept:
            path.unlink()
    write_report(folder)
    assert {n: (folder / n).read_bytes() for n in before} == before


def test_a_folder_without_a_grid_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no tasks\.json"):
        write_report(tmp_path)
    (tmp_path / "tasks.json").write_text("{")
    with pytest.raises(BadInput, match="is damaged"):
        write_report(tmp_path)


def test_expected_seconds_count_every_run_that_is_left(
    config: TasksConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = replace(config, seeds=8).jobs()
    calls = []

    def timed(job: Any, tell: Any) -> dict[str, Any]:
        calls.append(len(job["runs"]))
        return {"seconds": [5.0] * len(job["runs"]), "took": 100.0}

    monkeypatch.setattr(tasks, "time_some", timed)
    assert expected_seconds(many, 2, InThisProcess()) == pytest.approx(8 * 5.0)
    assert sum(calls) == 2  # none and learned, once each


def test_every_run_takes_the_start_of_its_process(
    config: TasksConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes timed for 5 of 7 seconds: each needs the other two to start."""
    clock = iter([0.0, 7.0])
    monkeypatch.setattr(tasks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(tasks, "time_some", lambda job, tell: {"seconds": [5.0], "took": 5.0})
    found = expected_seconds(replace(config, seeds=8).jobs(), 2, InThisProcess())
    assert found == pytest.approx(8 * (2 + 5.0))


def test_what_cannot_be_timed_does_not_stop_the_grid() -> None:
    job = {"runs": [{"protocol": {"task": "copy", "length": 3, "steps": 2}, "position": "nothing"}]}
    assert tasks.time_some(job, lambda share, line: None)["seconds"] == [0.0]
