"""The views of a grid of tasks: what was right at each length, and while training went on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wordorder.experiments.algorithms import TASKS, Task, find
from wordorder.experiments.task_results import TaskResults, TaskScore, beyond_of, measure
from wordorder.experiments.task_training import Protocol
from wordorder.panels import Level, Line, Lines, Panel, looks

FRAME = (-0.04, 1.04)
# The figures of each task; the report of a grid has those of the tasks that it tests.
FIGURES = tuple(
    name for task in TASKS for name in (f"lengths-{task}", f"curve-{task}", f"curve-{task}-trained")
)


def lengths(protocol: Protocol, results: TaskResults) -> Lines:
    """Return the scores of each trial at the last checkpoint, one line for each embedding.

    If an embedding has not learned the task, only its score as trained is drawn.
    """
    task, look = find(protocol.task), looks(results.positions)
    lines = []
    for row in results.of(protocol.task):
        cells = row.cells if row.learned else row.cells[:1]
        points = [
            (x, cell)
            for x, cell in zip(_places(task), cells, strict=False)
            if cell.scores is not None
        ]
        lines.append(
            Line(
                row.position,
                look[row.position],
                tuple((x, cell.mean or 0.0) for x, cell in points),
                seeds=tuple(
                    tuple((x, cell.scores[i]) for x, cell in points if cell.scores)
                    for i in range(len(row.seeds))
                ),
                note=_note(row),
            )
        )
    return Lines(
        name=f"lengths-{protocol.task}",
        title=f"{protocol.task}: {task.asks}",
        x_label=_tested(task, protocol),
        y_label=_scored(task),
        lines=tuple(lines),
        ticks=tuple(zip(_places(task), _labels(task, protocol), strict=True)),
        y_range=FRAME,
        level=_guessing(task),
    )


def curves(
    protocol: Protocol, results: TaskResults, lines: Iterable[Mapping[str, Any]]
) -> list[Panel]:
    """Return the score beyond and the score as trained, by step, each with every seed."""
    task = find(protocol.task)
    own = [line for line in lines if line["protocol"]["task"] == protocol.task]
    trained = task.trials[0].name

    def within(record: Mapping[str, Any]) -> float | None:
        found_here = record["trials"][trained]
        return None if found_here is None else found_here[measure(task)]

    titles = (
        (f"curve-{protocol.task}", f"{protocol.task}, while training: {task.beyond}"),
        (f"curve-{protocol.task}-trained", f"{protocol.task}, while training: as trained"),
    )
    values = (lambda record: beyond_of(task, record)), within
    panels = [
        Lines(
            name=name,
            title=title,
            x_label="step",
            y_label=_scored(task),
            lines=tuple(_curve_lines(results, own, value)),
            y_range=FRAME,
            level=_guessing(task),
        )
        for (name, title), value in zip(titles, values, strict=True)
    ]
    return [panel for panel in panels if panel.lines]


def _curve_lines(
    results: TaskResults, own: Sequence[Mapping[str, Any]], value: Any
) -> Iterable[Line]:
    look = looks(results.positions)
    for position in results.positions:
        seeds = [line["curve"] for line in own if line["position"] == position]
        drawn = [[(record["step"], value(record)) for record in curve] for curve in seeds]
        if not drawn or any(y is None for curve in drawn for _, y in curve):
            continue  # there is nothing, or it cannot
        means = [
            (float(same[0][0]), sum(y for _, y in same) / len(same))
            for same in zip(*drawn, strict=True)
        ]
        yield Line(
            position,
            look[position],
            tuple(means),
            seeds=tuple(tuple(curve) for curve in drawn) if len(drawn) > 1 else (),
            seeds_joined=True,
        )


def _guessing(task: Task) -> Level | None:
    return Level(task.chance, f"guessing: {task.chance:g}") if task.chance else None


def _places(task: Task) -> list[float]:
    """Return where trials stand on the axis: their factors, or side by side."""
    factors = [trial.factor for trial in task.trials]
    by_length = len(set(factors)) == len(factors)
    return factors if by_length else [2.0**number for number in range(len(factors))]


def _labels(task: Task, protocol: Protocol) -> list[str]:
    lengths_differ = len({trial.factor for trial in task.trials}) > 1
    return [
        f"{trial.name} ({trial.length(protocol.length)})" if lengths_differ else trial.name
        for trial in task.trials
    ]


def _tested(task: Task, protocol: Protocol) -> str:
    if len({trial.factor for trial in task.trials}) == 1:
        return "share of ignores: as trained, more, less"
    return f"length: {task.counts}, trained up to {protocol.length}"


def _scored(task: Task) -> str:
    return f"share of {task.part}s right" if task.by_part else "share of answers right"


def _note(row: TaskScore) -> str:
    if not row.learned:
        return "(not learned)"
    return "(cannot read every length)" if row.beyond is None else ""
