"""The views of a comparison: its summary as panels, each ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from wordorder.evaluation.effect import TOLERANCE_NATS
from wordorder.experiments.results import AtLength, Result, Summary
from wordorder.experiments.significance import Change
from wordorder.experiments.wording import times, with_interval
from wordorder.panels import Forest, Level, Line, Lines, Look, Mark, MarkRow, Panel, looks

# The figure of changes with length is a close-up: curves that break leave its frame, and are shown
# in full in the figure of the losses.
CLOSE_UP_NATS = 0.15
CURVE_SHARE = 0.25  # the y-axis fits the curve after this share of training, past its steep start
DODGE = 0.05  # octaves between the intervals of two embeddings at one length


def panels(summary: Summary) -> list[list[Panel]]:
    """Return the views that a comparison has numbers for; those of one list belong together."""
    groups: tuple[list[Panel | None], ...] = (
        [losses(summary)],
        [curves(summary)],
        [same_targets(summary), changes(summary)],
        [whole_windows(summary)],
        [order(summary)],
    )
    drawable = ([panel for panel in group if panel is not None] for group in groups)
    return [group for group in drawable if group]


def losses(summary: Summary) -> Forest | None:
    """Return the paired differences of the validation loss to the baseline's."""
    drawn = _looks(summary)
    rows = []
    for result in summary.ranked:
        look, change = drawn[result.position], result.against_baseline
        if change is not None:
            rows.append(MarkRow(result.position, (_mark(result.position, look, change),)))
        elif result.position == summary.baseline and result.losses:
            mark = Mark(result.position, look, 0.0, None, (), "baseline")
            rows.append(MarkRow(result.position, (mark,)))
    if len(rows) < 2:
        return None
    return Forest(
        name="losses",
        title=f"Validation loss against {summary.baseline}",
        x_label="nats per token (left: better)",
        rows=tuple(rows),
    )


def curves(summary: Summary) -> Lines | None:
    """Return the loss while training, of the text that the runs validated on."""
    lines, late, drawn = [], [], _looks(summary)
    for result in summary.results:
        common = _common_curve(result)
        if common:
            seeds = result.curves if len(result.curves) > 1 else ()
            look = drawn[result.position]
            lines.append(Line(result.position, look, common, seeds=seeds, seeds_joined=True))
            end = common[-1][0]
            late += [y for c in result.curves for t, y in c if t >= CURVE_SHARE * end]
    if not lines:
        return None
    low, high = min(late), max(late)
    margin = 0.06 * (high - low) or 0.1
    return Lines(
        name="curves",
        title=f"{summary.curve_text.capitalize()} loss while training",
        x_label="tokens trained on",
        y_label="nats per token",
        lines=tuple(lines),
        y_range=(low - margin, high + margin),
        level=_guessing(summary),
    )


def same_targets(summary: Summary) -> Lines | None:
    """Return the loss of the same tokens with growing context."""
    return _by_length(
        summary,
        lambda result: result.same_targets,
        name="lengths",
        title="Loss of the same tokens with growing context",
    )


def whole_windows(summary: Summary) -> Lines | None:
    """Return the loss over whole windows of growing length."""
    return _by_length(
        summary,
        lambda result: result.whole_windows,
        name="whole-windows",
        title="Loss over disjoint windows, short and long contexts mixed",
    )


def _by_length(
    summary: Summary, lengths: Callable[[Result], tuple[AtLength, ...]], *, name: str, title: str
) -> Lines | None:
    lines, drawn = [], _looks(summary)
    for result in summary.results:
        measured = [at for at in lengths(result) if not at.cannot]
        if measured:
            points = tuple((float(at.length), at.loss_nats or 0.0) for at in measured)
            seeds = tuple((float(at.length), loss) for at in measured for loss in at.losses)
            lines.append(
                Line(
                    result.position,
                    drawn[result.position],
                    points,
                    seeds=(seeds,) if len(result.losses) > 1 else (),
                    note=_cannot(lengths(result)),
                )
            )
    ticks = _ticks(at for result in summary.results for at in lengths(result))
    if not lines or len(ticks) < 2:
        return None
    y_label, guessing = "nats per token", _guessing(summary)
    return Lines(name, title, "tokens of context", y_label, tuple(lines), ticks, level=guessing)


def _guessing(summary: Summary) -> Level | None:
    """Return the loss of guessing evenly among all tokens; None where they were not counted."""
    size = summary.comparison.model.get("vocabulary_size")
    return Level(math.log(size), "guessing") if size else None


def changes(summary: Summary) -> Lines | None:
    """Return the changes with growing context of the same tokens' loss, close up."""
    lines, drawn = [], _looks(summary)
    base = float(summary.comparison.trained_length)
    changed = [r for r in summary.results if any(at.change for at in r.same_targets)]
    for number, result in enumerate(changed):
        moved = 2 ** (DODGE * (number - (len(changed) - 1) / 2))
        at = [a for a in result.same_targets if a.change]
        points = [(base * moved, 0.0)]
        intervals: list[tuple[float, float] | None] = [None]
        for a in at:
            assert a.change is not None
            points.append((a.length * moved, a.change.mean))
            intervals.append(_interval(a.change))
        lines.append(
            Line(
                result.position,
                drawn[result.position],
                tuple(points),
                tuple(intervals),
                note=_cannot(result.same_targets),
            )
        )
    if not lines:
        return None
    lowest = min(y for line in lines for _, y in line.points)
    ticks = _ticks(a for result in changed for a in result.same_targets)
    return Lines(
        name="length-changes",
        title="Change from the trained length, close up",
        x_label="tokens of context",
        y_label="nats per token",
        lines=tuple(lines),
        ticks=ticks,
        y_range=(min(1.2 * lowest, 0.0) - 0.05, max(CLOSE_UP_NATS, -1.2 * lowest)),
        band=(-TOLERANCE_NATS, TOLERANCE_NATS),
    )


def order(summary: Summary) -> Forest | None:
    """Return how much the loss rises under each disturbance of the order."""
    drawn = _looks(summary)
    marks: dict[str, list[Mark]] = {d.how: [] for r in summary.results for d in r.order}
    for result in summary.results:
        for disturbed in result.order:
            if disturbed.rise is not None:
                look = drawn[result.position]
                marks[disturbed.how].append(_mark(result.position, look, disturbed.rise))
    rows = tuple(
        MarkRow(how, tuple(marks_of_row)) for how, marks_of_row in marks.items() if marks_of_row
    )
    if not rows:
        return None
    return Forest("order", "Rise of the loss with disturbed order", "nats per token", rows)


def _looks(summary: Summary) -> dict[str, Look]:
    return looks(result.position for result in summary.results)


def _mark(name: str, look: Look, change: Change) -> Mark:
    values = change.difference.values
    return Mark(
        name=name,
        look=look,
        mean=change.mean,
        interval=_interval(change),
        values=values if len(values) > 1 else (),
        text=with_interval(change),
    )


def _interval(change: Change) -> tuple[float, float] | None:
    return None if change.low is None or change.high is None else (change.low, change.high)


def _cannot(lengths: tuple[AtLength, ...]) -> str:
    first = next((times(at.factor) for at in lengths if at.cannot), "")
    return f"(cannot at {first})" if first else ""


def _ticks(lengths: Iterable[AtLength]) -> tuple[tuple[float, str], ...]:
    factors = {at.length: at.factor for at in lengths}
    return tuple((float(n), f"{n:,}\n{times(factors[n])}") for n in sorted(factors))


def _common_curve(result: Result) -> tuple[tuple[float, float], ...]:
    """Return the mean over seeds, where all were validated at the same moments."""
    if not result.curves or not all(result.curves):
        return ()
    moments = [t for t, _ in result.curves[0]]
    if any([t for t, _ in curve] != moments for curve in result.curves):
        return ()
    ys = zip(*([y for _, y in curve] for curve in result.curves), strict=True)
    return tuple((t, sum(y) / len(y)) for t, y in zip(moments, ys, strict=True))
