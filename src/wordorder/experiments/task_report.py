"""Writes the results of a grid of tasks: table.csv, figures and report.html.

The only inputs are `tasks.json` (the settings) and `results.jsonl` (a line for each run).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.random import default_rng
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text as Line

from wordorder.errors import BadInput
from wordorder.experiments.algorithms import Task, find
from wordorder.experiments.page import (
    Code,
    Emphasis,
    Figure,
    Items,
    Paragraph,
    Part,
    Section,
    page,
    write_files,
)
from wordorder.experiments.tables import explained
from wordorder.experiments.task_results import (
    LEARNED,
    TaskResults,
    TaskScore,
    TrialScore,
    headline,
    task_results,
    verdict,
)
from wordorder.experiments.task_training import Protocol
from wordorder.experiments.task_views import FIGURES, curves, lengths
from wordorder.experiments.wording import listed
from wordorder.names import file_name
from wordorder.numerals import counted
from wordorder.panels import Panel
from wordorder.table import Table
from wordorder.training.metrics import read

# What the header of table.csv means.
COLUMNS = {
    "task, position": "the task, and the positional embedding",
    "checkpoint": (
        "last: after the last step; best: the tested checkpoint with the highest score beyond "
        "training, selected by the reported scores (an oracle)"
    ),
    "learned": f"yes: a score of {LEARNED} or more as trained; only then the rest is evaluated",
    "trial, length": "the test: a multiple of the trained length, or another mixture",
    "score": "accuracy of answers (of reads for flip-flop), mean over seeds, or cannot",
    "score_low, score_high": (
        "the 95% interval of the mean over seeds and examples (beta-binomial); not for best"
    ),
    "examples": "the number of distinct test examples",
    "score_by_seed": "seed:score of each run",
    "parts": "accuracy of answer tokens without the end, mean over seeds, or cannot",
    "parts_by_seed": "seed:accuracy of each run",
    "step_by_seed": "seed:step of the checkpoint",
}
MEANING = (
    "Exact-match accuracy: the mean over seeds, every seed, and the 95% interval of the mean over "
    "seeds and examples (beta-binomial, between 0 and 1). Last: after the last step. Best: the "
    "tested checkpoint with the highest accuracy beyond training, selected by these scores, so an "
    "oracle, and without an interval. An embedding is evaluated beyond training only with an "
    f"accuracy of {LEARNED} within. Cannot: it has no such position."
)
CURVE = "Thick: mean over seeds; thin: single seeds. Tested on the same examples every time."
HELD_EQUAL = (
    "The same examples in the same order for all embeddings with one seed, and the same examples "
    "tested; every initial weight of the same name and shape; steps, batch size, model, optimizer "
    "and learning rates, which are not tuned for any embedding.",
    "Causal models: the mask alone conveys order from the second layer on, with every embedding.",
    "Within the trained length a test example may occur in training, if there are few; beyond it "
    "none does.",
)


@dataclass(frozen=True)
class Grid:
    """The contents of a grid's folder: its settings, a line for each run, and the results."""

    record: dict[str, Any]
    lines: list[dict[str, Any]]
    results: TaskResults


def write_report(folder: Path) -> TaskResults:
    """Write table.csv, figures/ and report.html of a grid's folder; return the results.

    Raises:
        BadInput: no grid is there, it is damaged, or a package is missing.
    """
    grid = read_grid(folder)
    groups: list[list[Panel]] = []
    for protocol in grid.results.protocols:
        if grid.results.of(protocol.task):
            groups += [
                [lengths(protocol, grid.results)],
                curves(protocol, grid.results, grid.lines),
            ]
    table, drawn = table_csv(grid.results), list(filter(None, groups))
    write_files(folder, table, drawn, report_page(grid), FIGURES)
    return grid.results


def read_grid(folder: Path) -> Grid:
    """Return what a grid's folder holds.

    Raises:
        BadInput: no grid is there, or it is damaged.
    """
    path = folder / "tasks.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        protocols = [Protocol(**protocol) for protocol in record["protocols"]]
        positions, seeds = record["positions"], record["seeds"]
    except FileNotFoundError:
        raise BadInput(
            f"{folder} has no tasks.json: give a folder created by wordorder tasks",
            code="experiments.not-a-grid-of-tasks",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is damaged ({error!r}): choose another --out", code="experiments.damaged-tasks"
        ) from None
    lines = read(folder / "results.jsonl", of_steps=False)
    done = [line for line in lines if "failed" not in line]
    failed = [
        f"{line['protocol']['task']} {line['position']} seed {line['seed']}: {line['failed']}"
        for line in lines
        if "failed" in line
    ]
    results = task_results(protocols, positions, seeds, done, failed, _left_out(folder, record))
    return Grid(record, done, results)


def _left_out(folder: Path, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the tasks and embeddings, by file name, with results that a grid does not ask for."""
    tasks = {protocol["task"] for protocol in record["protocols"]}
    names = {file_name(position) for position in record["positions"]}
    found = {
        (path.parent.name, path.stem.rpartition("-seed")[0])
        for path in folder.glob("runs/*/*-seed*.json")
    }
    return sorted(each for each in found if each[0] not in tasks or each[1] not in names)


def table_csv(results: TaskResults) -> str:
    """Return table.csv: a row for each task, embedding, checkpoint and trial (see `COLUMNS`)."""
    header = [name for names in COLUMNS for name in names.split(", ")]
    records = [_record(row, cell) for row in results.rows for cell in row.cells]
    return Table(header, [[str(each[name]) for name in header] for each in records]).csv()


def _record(row: TaskScore, cell: TrialScore) -> dict[str, Any]:
    low, high = (row.checkpoint == "last" and cell.interval) or ("", "")
    return {
        "task": row.task,
        "position": row.position,
        "checkpoint": row.checkpoint,
        "learned": "yes" if row.learned else "no",
        "trial": cell.trial,
        "length": cell.length,
        "score": _number(cell.scores),
        "score_low": low if low == "" else f"{low:.6g}",
        "score_high": high if high == "" else f"{high:.6g}",
        "examples": cell.examples,
        "score_by_seed": _by_seed(row.seeds, cell.scores),
        "parts": _number(cell.parts),
        "parts_by_seed": _by_seed(row.seeds, cell.parts),
        "step_by_seed": _by_seed(row.seeds, row.steps),
    }


def _number(values: Sequence[float] | None) -> str:
    return "cannot" if values is None else f"{sum(values) / len(values):.6g}"


def _by_seed(seeds: Sequence[int], values: Sequence[float] | None) -> str:
    pairs = zip(seeds, values or (), strict=values is not None)
    return " ".join(f"{seed}:{value:.6g}" for seed, value in pairs)


def task_table(task_name: str, results: TaskResults) -> Table:
    """Return the table of one task: each embedding at its last and its best checkpoint."""
    task = find(task_name)
    header = ["embedding", "checkpoint", *(trial.name for trial in task.trials)]
    rows = []
    scores = results.of(task_name)
    for last, best in zip(scores, results.of(task_name, "best"), strict=True):
        rows.append([last.position, "last", *_cells(last)])
        if task.by_part or (task.part and last.learned):
            rows.append(["", _part_title(task), *_parts(last, task)])
        rows.append(["", "best", *_cells(best)])
    distinct = [str(cell.examples) for cell in scores[0].cells] if scores else []
    note = f"Distinct test examples: {listed(distinct)}." if distinct else ""
    return Table(header, rows, note=note, left=frozenset({0, 1}))


def _cells(row: TaskScore) -> list[str]:
    return [_cell(row, cell, judged=row.learned or cell is row.cells[0]) for cell in row.cells]


def _cell(row: TaskScore, cell: TrialScore, judged: bool) -> str:
    if cell.scores is None:
        return "cannot"
    if not judged:
        return "not learned"
    if len(row.seeds) < 2:
        return f"{cell.mean:.2f}"
    seeds = " ".join(map(_short, cell.scores))
    interval = cell.interval if row.checkpoint == "last" else None
    ends = f"\n{_short(interval[0])} to {_short(interval[1])}" if interval else ""
    return f"{cell.mean:.2f}\n{seeds}{ends}"


def _short(share: float) -> str:
    """Return a share in three characters: `.53`, `1.0`."""
    return f"{share:.2f}".removeprefix("0")[:3]


def _part_title(task: Task) -> str:
    return f"{task.part}s wrong" if task.by_part else f"{task.part}s right"


def _parts(row: TaskScore, task: Task) -> list[str]:
    """Return the share of right parts, or of wrong ones where right parts are the score."""
    means = [None if c.parts is None else sum(c.parts) / len(c.parts) for c in row.cells]
    if task.by_part:
        return ["cannot" if mean is None else f"{100 * (1 - mean):.2g}%" for mean in means]
    return ["cannot" if mean is None else f"{mean:.2f}" for mean in means]


def for_terminal(results: TaskResults) -> RenderableType:
    """Return the verdict and a table for each task, for a rich console."""
    lines: list[RenderableType] = [Line(headline(results), style="bold")]
    lines += [Padding(Line(line), (0, 0, 0, 2)) for line in verdict(results)]
    for protocol in results.protocols:
        lines += [Line(), Line(_title(protocol), style="bold")]
        lines.append(task_table(protocol.task, results).terminal())
    seeds = "the mean, every seed, and its 95% interval" if results.seeds > 1 else "one seed"
    how = f"\nAccuracy: {seeds}. Best is an oracle, selected by these scores."
    return Group(*lines, Line(how, style="dim"))


def _title(protocol: Protocol) -> str:
    task = find(protocol.task)
    trained = f"1 to {protocol.length}" if task.varied else str(protocol.length)
    return f"{protocol.task}: {task.asks} (trained on {trained} {task.counts})"


def report_page(grid: Grid) -> str:
    """Return the page of a grid."""
    results = grid.results
    runs = (
        f"{counted(len(results.protocols), 'task')}, {counted(len(results.positions), 'embedding')}"
    )
    lead = f"{runs}, {counted(results.seeds, 'seed')} of each."
    sections = [
        Section("", [Emphasis(headline(results), [Items(verdict(results))]), Paragraph(MEANING)]),
        *(Section(p.task, list(_task_parts(p, grid))) for p in results.protocols),
        Section("Held equal, and not equal", list(_conditions(grid))),
        Section("Reproduce", list(_again(grid))),
    ]
    return page("Algorithmic tasks beyond the trained length", lead, sections)


def _task_parts(protocol: Protocol, grid: Grid) -> Iterable[Part]:
    task = find(protocol.task)
    yield Paragraph(f"{_title(protocol)}. Source: {task.source}.")
    symbols = task.symbols(protocol.length)
    example = task.draw(default_rng(1), min(4, protocol.length), symbols)
    yield Code(task.written(example))
    if grid.results.of(protocol.task):
        yield Figure(
            lengths(protocol, grid.results), "Large: mean over seeds; small: single seeds."
        )
        yield task_table(protocol.task, grid.results)
        for panel in curves(protocol, grid.results, grid.lines):
            yield Figure(panel, CURVE)


def _conditions(grid: Grid) -> Iterable[Part]:
    yield Items(HELD_EQUAL)
    header = ["embedding", "adds parameters", "seconds a run"]
    rows = []
    for position in grid.results.positions:
        own = [line for line in grid.lines if line["position"] == position]
        if own:
            added = sorted({line["parameters"]["position"] for line in own})
            parameters = " to ".join(f"{n:,}" for n in sorted({added[0], added[-1]}))
            took = sum(line["seconds"] for line in own) / len(own)
            rows.append([position, parameters, f"{took:.0f}"])
    note = "Seconds with as many runs side by side as cores."
    yield Table(header, rows, note=note)


def _again(grid: Grid) -> Iterable[Part]:
    if grid.record["command"]:
        yield Code(grid.record["command"])
    header = ["task", *(name for name in vars(grid.results.protocols[0]) if name != "task")]
    rows = [[str(vars(p)[name]) for name in header] for p in grid.results.protocols]
    yield Table([name.replace("_", " ") for name in header], rows)
    yield Paragraph(
        f"wordorder {grid.record['wordorder']}, torch {grid.record['torch']}, one thread a run, "
        "float32. This page is generated from tasks.json and results.jsonl; table.csv has all "
        "numbers:"
    )
    yield explained(COLUMNS)
