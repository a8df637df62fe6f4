"""Tables of an extension's results, for a terminal and for the run's `extension.md`.

Results of the parent and of the new run stand side by side, on the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch

from wordorder.evaluation.intervals import FEWEST_CLUSTERS, Estimate, mean_of, with_half_width
from wordorder.evaluation.loss import Loss, change_of
from wordorder.evaluation.retrieval import Retrieved, interval_of
from wordorder.extension.extend import Extended
from wordorder.extension.method_search import MethodResult, StreamingResult
from wordorder.extension.methods import METHODS
from wordorder.extension.reach import RunMeasurements, between, gain, verdict
from wordorder.numerals import counted, signed
from wordorder.table import Table

NONE = "-"
NO_COLUMNS: frozenset[int] = frozenset()
CHOSEN_ON = {
    "development": " of the development text, which selects the method and is not used below",
    "validation": " of the held-out text, which selects the method and is used again below",
}


def of_methods(
    tried: Sequence[MethodResult],
    streamed: Sequence[StreamingResult],
    old: int,
    new: int,
    chosen_on: str | None = None,
) -> Table:
    """Return the loss of each method without training.

    Args:
        chosen_on: the part of the text measured; None: not recorded.
    """
    rows = []
    for one in tried:
        does = METHODS[one.method].does
        if one.context is None or one.loss is None:
            rows.append((one.method, NONE, NONE, NONE, one.cannot or does))
            continue
        change = gain(one.context)
        rows.append((one.method, _loss(one.loss), _loss(one.short_loss), _change(change), does))
    for stream in streamed:
        first = f"the first {stream.sinks} and " if stream.sinks else ""
        cache = f"not extended: a cache of {old:,} tokens, {first}the newest"
        name = f"{stream.sinks} sinks" if stream.sinks else "window"
        does = stream.cannot or cache
        rows.append((name, _loss(stream.loss), NONE, _change(stream.change), does))
    return Table(
        ("method", f"at {new:,}", f"at {old:,}", "difference", "what it does"),
        rows,
        "Applicable methods, without training",
        f"Loss in nats of the same tokens{CHOSEN_ON.get(chosen_on or '', '')}, with {new:,} tokens "
        f"of context and with {old:,}.",
        left=frozenset({0, 4}),
        wrap=frozenset({4}),
    )


def of_context(extended: Extended) -> Table:
    """Return the loss of the same targets with growing context, before and after."""
    before, after = extended.before.context, extended.after.context
    few = f", fewer than {FEWEST_CLUSTERS} effective" if before.documents > 1 else ""
    blocks = f"{few}: intervals are over blocks" if before.in_blocks else ""
    rows = []
    for one, two in zip(before.lengths, after.lengths, strict=True):
        length = one.context_length
        rows.append(
            (
                f"{length:,}",
                _loss(one.loss_nats),
                _loss(two.loss_nats),
                _change(between(before, after, length, length)),
            )
        )
    return Table(
        ("context", "before", "after", "difference"),
        rows,
        "Loss of the same tokens with growing context",
        f"{counted(before.targets, 'token')} of {counted(before.documents, 'document')}{blocks}. "
        f"{verdict(before, after)}",
        wrap=NO_COLUMNS,
    )


def of_short(extended: Extended, old: int) -> Table:
    """Return the loss at the old length, before and after."""
    one, two = extended.before.short, extended.after.short
    return Table(
        ("", "before", "after", "difference"),
        [("loss", _with_error(one), _with_error(two), _change(change_of(one, two)))],
        f"At the old length of {old:,}",
        f"{one.tokens:,} held-out tokens in disjoint windows.",
        wrap=NO_COLUMNS,
    )


def of_retrieval(extended: Extended, kind: str) -> Table:
    """Return retrieval accuracy by length and depth."""
    one, two = (cells_of(run, kind) for run in (extended.before, extended.after))
    depths = sorted({depth for _, depth in one})
    rows = []
    for length in sorted({length for length, _ in one}):
        before, after = ([of[length, d] for d in depths] for of in (one, two))
        cells = [f"{_share(b)} → {_share(a)}" for b, a in zip(before, after, strict=True)]
        rows.append(
            (f"{length:,}", *cells, _mean(before) + " → " + _mean(after), _more(before, after))
        )
    chance = next(iter(one.values())).chance
    by_text = _by_text(list(two.values()))
    above_chance = bool(by_text) and interval_of(by_text)[0] > chance
    not_above = "" if above_chance else ", and the new run is not significantly above it"
    return Table(
        ("length", *(f"{depth:g}" for depth in depths), "all", "difference"),
        rows,
        f"{kind.capitalize()}: retrieval by depth",
        f"Percent of answer tokens chosen correctly, before → after. Chance is {100 * chance:.0f}"
        f"{not_above}. Depth 0 is the beginning of the text.",
        wrap=NO_COLUMNS,
    )


def tables(extended: Extended) -> list[Table]:
    """Return all tables that compare the parent with the new run."""
    old = extended.before.context.lengths[0].context_length
    kinds = dict.fromkeys(cell.kind for cell in extended.before.retrieved)
    return [
        of_context(extended),
        of_short(extended, old),
        *(of_retrieval(extended, k) for k in kinds),
    ]


def cells_of(run: RunMeasurements, kind: str) -> dict[tuple[int, float], Retrieved]:
    """Return the results of one retrieval task, by length and depth."""
    return {(cell.length, cell.depth): cell for cell in run.retrieved if cell.kind == kind}


def _share(cell: Retrieved) -> str:
    return NONE if cell.chosen is None else f"{100 * cell.chosen:.0f}"


def _mean(cells: Sequence[Retrieved]) -> str:
    known = [cell.chosen for cell in cells if cell.chosen is not None]
    return f"{100 * fmean(known):.0f}" if known else NONE


def _by_text(cells: Sequence[Retrieved]) -> list[float]:
    return [share for cell in cells for share in cell.by_text]


def _more(before: Sequence[Retrieved], after: Sequence[Retrieved]) -> str:
    """Format the paired difference in percent, with its 95% interval."""
    one, two = _by_text(before), _by_text(after)
    if not one or len(one) != len(two):
        return NONE
    return _change(mean_of(100 * (torch.tensor(two) - torch.tensor(one))), 0)


def _loss(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _with_error(loss: Loss) -> str:
    return with_half_width(_loss(loss.loss_nats), loss, 3)


def _change(change: Estimate | None, digits: int = 3) -> str:
    """Format a difference with its 95% interval."""
    if change is None:
        return NONE
    return with_half_width(signed(change.mean, digits), change, digits)
