"""What an extension found, as tables: for a terminal, and for the run's `extension.md`.

Every figure stands beside the one before it, on the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch

from wordorder.evaluation.intervals import Estimate, mean_of, with_half_width
from wordorder.evaluation.loss import Loss
from wordorder.evaluation.retrieval import Retrieved, interval_of
from wordorder.extension.extend import Extended
from wordorder.extension.methods import METHODS
from wordorder.extension.reach import Reach, between, gain, verdict
from wordorder.extension.trial import Streamed, Tried
from wordorder.numerals import counted, signed
from wordorder.table import Table

NONE = "-"
NOWHERE: frozenset[int] = frozenset()
CHOSEN_ON = {
    "development": " of the development text, which chooses the method and is not read below",
    "validation": " of the held-out text, which chooses the method and is read again below",
}


def of_methods(
    tried: Sequence[Tried],
    streamed: Sequence[Streamed],
    old: int,
    new: int,
    chosen_on: str | None = None,
) -> Table:
    """Return what each method does, nothing trained.

    Args:
        chosen_on: the text that the losses are of; None: not recorded.
    """
    rows = []
    for each in tried:
        does = METHODS[each.method].does
        if each.context is None or each.loss is None:
            rows.append((each.method, NONE, NONE, NONE, each.cannot or does))
            continue
        change = gain(each.context)
        rows.append((each.method, _loss(each.loss), _loss(each.short_loss), _change(change), does))
    for contrast in streamed:
        keeps = (
            f"no method: a cache of {old:,} tokens, {contrast.sinks or 'none'} of them the first"
        )
        name = f"{contrast.sinks} sinks" if contrast.sinks else "window"
        does = contrast.cannot or keeps
        rows.append((name, _loss(contrast.loss), NONE, _change(contrast.change), does))
    return Table(
        ("method", f"at {new:,}", f"at {old:,}", "difference", "what it does"),
        rows,
        "The methods that fit, nothing trained",
        f"Loss in nats of the same tokens{CHOSEN_ON.get(chosen_on or '', '')}, with all {new:,} "
        f"tokens before them and with {old:,}.",
        left=frozenset({0, 4}),
        wrap=frozenset({4}),
    )


def of_context(found: Extended) -> Table:
    """Return the loss of the same targets with growing context, before and after."""
    before, after = found.before.context, found.after.context
    blocks = ", intervals over blocks of them" if before.in_blocks else ""
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
        "The same tokens, with more and more before them",
        f"{counted(before.targets, 'token')} of {counted(before.documents, 'document')}{blocks}. "
        f"{verdict(before, after)}",
        wrap=NOWHERE,
    )


def of_short(found: Extended, old: int) -> Table:
    """Return the loss at the old length, before and after."""
    one, two = found.before.short, found.after.short
    difference = signed(two.loss_nats - one.loss_nats)
    return Table(
        ("", "before", "after", "difference"),
        [("loss", _with_error(one), _with_error(two), difference)],
        f"At the old length of {old:,}",
        f"{one.tokens:,} held-out tokens in whole windows: what short texts lost.",
        wrap=NOWHERE,
    )


def of_retrieval(found: Extended, kind: str) -> Table:
    """Return what is found again, by length and depth."""
    one, two = (cells_of(reach, kind) for reach in (found.before, found.after))
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
    shown = bool(by_text) and interval_of(by_text)[0] > chance
    return Table(
        ("length", *(f"{depth:g}" for depth in depths), "all", "difference"),
        rows,
        f"{kind.capitalize()}: found again, by how deep it stands",
        f"Percent of right choices among those there are, before → after; guessing gives "
        f"{100 * chance:.0f}{'' if shown else ', and no more is shown here'}. "
        "Depth 0 is the beginning of the text.",
        wrap=NOWHERE,
    )


def tables(found: Extended) -> list[Table]:
    """Return everything that was measured before and after."""
    old = found.before.context.lengths[0].context_length
    kinds = dict.fromkeys(each.kind for each in found.before.retrieved)
    return [of_context(found), of_short(found, old), *(of_retrieval(found, k) for k in kinds)]


def cells_of(reach: Reach, kind: str) -> dict[tuple[int, float], Retrieved]:
    """Return what was found of one kind, by length and depth."""
    return {(each.length, each.depth): each for each in reach.retrieved if each.kind == kind}


def _share(cell: Retrieved) -> str:
    return NONE if cell.chosen is None else f"{100 * cell.chosen:.0f}"


def _mean(cells: Sequence[Retrieved]) -> str:
    known = [cell.chosen for cell in cells if cell.chosen is not None]
    return f"{100 * fmean(known):.0f}" if known else NONE


def _by_text(cells: Sequence[Retrieved]) -> list[float]:
    return [share for cell in cells for share in cell.by_text]


def _more(before: Sequence[Retrieved], after: Sequence[Retrieved]) -> str:
    """What more is found, with its 95% interval over the same texts."""
    one, two = _by_text(before), _by_text(after)
    if not one or len(one) != len(two):
        return NONE
    return _change(mean_of(100 * (torch.tensor(two) - torch.tensor(one))), 0)


def _loss(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _with_error(loss: Loss) -> str:
    return with_half_width(_loss(loss.loss_nats), loss, 3)


def _change(change: Estimate | None, digits: int = 3) -> str:
    """A difference with its 95% interval."""
    if change is None:
        return NONE
    return with_half_width(signed(change.mean, digits), change, digits)
