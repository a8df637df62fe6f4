"""Prints the measurements of `wordorder eval` for 80 columns, or returns them for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from wordorder.cli.printed import percent, screen
from wordorder.evaluation.context import ContextLosses, Measurable
from wordorder.evaluation.intervals import (
    FEWEST_CLUSTERS,
    Uncertain,
    interval_around,
    wilson,
    with_half_width,
)
from wordorder.evaluation.loss import Loss
from wordorder.evaluation.retrieval import Retrieved, interval_of
from wordorder.evaluation.sliding import SlidingLoss
from wordorder.extension.reach import between
from wordorder.numerals import counted, perplexity, perplexity_in_words, signed
from wordorder.table import Table


@dataclass(frozen=True)
class Measured:
    """The measurements of a model; None or empty if not requested.

    Args:
        loss: over adjacent windows.
        sliding: over sliding windows.
        context: of the same tokens with growing context.
        measurable: the lengths of `context` for which the text is long enough.
        retrieved: retrieval by kind, length and depth.
    """

    loss: Loss
    sliding: SlidingLoss | None = None
    context: ContextLosses | None = None
    measurable: Measurable = field(default_factory=lambda: Measurable((), ()))
    retrieved: tuple[Retrieved, ...] = ()


def show(name: str, trained_length: int, measured: Measured) -> None:
    """Print all measurements.

    Args:
        name: the name of the text.
        trained_length: positions past it are marked.
    """
    console = screen()
    console.print(name, style="bold", markup=False)
    _show_whole(console, measured.loss, trained_length)
    for part in _parts(measured):
        console.print()
        console.print(part)


def plain(measured: Measured) -> dict[str, Any]:
    """Return all measurements as JSON, with perplexities and intervals."""
    values = asdict(measured)
    sliding, context = values["sliding"], values["context"]
    for record, loss in ((values["loss"], measured.loss), (sliding, measured.sliding)):
        if loss is not None:
            record["perplexity"] = perplexity(loss.loss_nats)
            record["interval"] = interval_around(loss.loss_nats, loss)
    for record, part in zip(values["loss"]["by_position"], measured.loss.by_position, strict=True):
        record["interval"] = interval_around(part.loss_nats, part)
    # One number for each of possibly many thousand documents.
    del values["loss"]["cluster_sums"], values["loss"]["cluster_tokens"]
    if not measured.loss.answers_only:
        del values["loss"]["answers_only"]
    if measured.context is not None:
        first = measured.context.lengths[0].context_length
        for each, at in zip(context["lengths"], measured.context.lengths, strict=True):
            mean = at.loss_nats
            each["interval"] = None if mean is None else interval_around(mean, at)
            change = None
            if at.context_length != first:
                change = between(measured.context, measured.context, first, at.context_length)
            each["difference"] = None if change is None else change.mean
            each["difference_interval"] = None if change is None else change.interval
        context["left_out"] = measured.measurable.left_out
        context["note"] = _note(measured)
    for cell in values["retrieved"]:
        count, by_text = cell["examples"], cell["by_text"]
        cell["exact_interval"] = wilson(cell["exact"], count) if count else None
        cell["chosen_interval"] = interval_of(by_text) if by_text else None
    return {
        **values["loss"],
        "sliding": sliding,
        "context": context,
        "retrieval": values["retrieved"] or None,
    }


def _show_whole(console: Console, loss: Loss, trained_length: int) -> None:
    console.print(
        f"{counted(loss.tokens, 'token')} {'of the answers in' if loss.answers_only else 'of'} "
        f"{counted(loss.documents, 'conversation' if loss.answers_only else 'document')} in "
        f"{counted(loss.windows, 'window')} of {loss.context_length:,}\n{_loss_in_words(loss)}"
    )
    console.print(Text(_interval_in_words(loss), style="dim"))
    rows = []
    for part in loss.by_position:
        beyond = "past the trained length" if part.first >= trained_length else ""
        mean = _with_error(part.loss_nats, part)
        rows.append([f"{part.first:,}-{part.last:,}", mean, f"{part.tokens:,}", beyond])
    console.print()
    console.print(Table(["position", "loss", "tokens", ""], rows, left=frozenset({3})).terminal())


def _parts(measured: Measured) -> Iterator[RenderableType]:
    if measured.sliding is not None:
        yield _sliding(measured.sliding)
    if measured.context is not None:
        yield _context(measured.context, _note(measured))
    yield from map(Text, measured.measurable.left_out)
    for kind in dict.fromkeys(each.kind for each in measured.retrieved):
        yield _retrieval([each for each in measured.retrieved if each.kind == kind])


def _sliding(loss: SlidingLoss) -> Group:
    below = (
        f"{counted(loss.tokens, 'token')} in {counted(loss.windows, 'window')}, each with "
        f"{loss.fewest_before:,} to "
        f"{loss.context_length:,} before it\n{loss.left_out:,} with fewer are left out"
    )
    title = f"Windows of {loss.context_length:,} that move by {loss.stride:,}"
    parts = Text(title, style="bold"), Text(below, style="dim"), Text(_loss_in_words(loss))
    return Group(*parts)


def _note(measured: Measured) -> str | None:
    """Return that intervals are over blocks, where they are."""
    if measured.measurable.note or measured.context is None or not measured.context.in_blocks:
        return measured.measurable.note
    return (
        f"most of these tokens are of fewer than {FEWEST_CLUSTERS} documents: intervals are over "
        "blocks of this text and do not cover other texts"
    )


def _context(context: ContextLosses, note: str | None) -> Group:
    rows: list[list[str]] = []
    reasons = []
    first = context.lengths[0].context_length
    for each in context.lengths:
        length = each.context_length
        if each.loss_nats is None:
            rows.append([f"{length:,}", "cannot", ""])
            reasons.append(Text(f"{length:,} cannot: {each.cannot}"))
            continue
        change = between(context, context, first, length)
        difference = ""
        if length != first and change is not None:
            difference = with_half_width(signed(change.mean, 4), change, 4)
        rows.append([f"{length:,}", _with_error(each.loss_nats, each), difference])
    documents = counted(context.documents, "document")
    below = f"{counted(context.targets, 'token')} of {documents}; differences are to the first row"
    if note:
        below += f"\n{note}"
    title = "Loss of the same tokens by length of context"
    return Group(_table(["context", "loss", "difference"], rows, title, below), *reasons)


def _retrieval(cells: Sequence[Retrieved]) -> Group:
    depths = dict.fromkeys(cell.depth for cell in cells)
    rows: list[list[str]] = []
    reasons = []
    for length in dict.fromkeys(cell.length for cell in cells):
        own = [cell for cell in cells if cell.length == length]
        if cannot := [cell.cannot for cell in own if cell.cannot]:
            rows.append([f"{length:,}", "cannot", *[""] * (len(own) + 1)])
            reasons.append(Text(f"{length:,} cannot: {cannot[0]}"))
            continue
        chosen = [cell.chosen for cell in own if cell.chosen is not None]
        exact = [cell.exact for cell in own if cell.exact is not None]
        by_text = [share for cell in own for share in cell.by_text]
        rows.append([f"{length:,}", "chosen", *_shares(chosen, interval_of(by_text))])
        rows.append(["", "exact", *_shares(exact, wilson(fmean(exact), len(by_text)))])
    texts, chance = max(cell.examples for cell in cells), 100 * cells[0].chance
    below = (
        f"percent, by depth in the text, of {counted(texts, 'text')} each\n"
        f"chosen: tokens that were the likeliest of the ten candidates; guessing: {chance:.0f}\n"
        "exact: whole answers, each token the likeliest of all"
    )
    header = ["length", "", *(f"{depth:g}" for depth in depths), "all"]
    return Group(_table(header, rows, f"Retrieval: {cells[0].kind}", below), *reasons)


def _shares(shares: Sequence[float], interval: tuple[float, float]) -> list[str]:
    """Return the cells of shares over equally many texts, and their mean with its 95% interval."""
    low, high = map(percent, interval)
    return [*map(percent, shares), f"{percent(fmean(shares))} [{low}, {high}]"]


def _table(columns: list[str], rows: list[list[str]], title: str, below: str) -> RenderableType:
    """Return a table of right-aligned numbers that are not folded."""
    no_columns: frozenset[int] = frozenset()
    return Table(columns, rows, title, below, left=no_columns, wrap=no_columns).terminal()


def _loss_in_words(loss: Loss | SlidingLoss) -> str:
    line = (
        f"loss {_with_error(loss.loss_nats, loss)} nats per token, "
        f"{perplexity_in_words(loss.loss_nats, 2)}"
    )
    if loss.bits_per_byte is not None:
        line += f"\n{loss.bits_per_byte:.4f} bits per byte"
    return line


def _with_error(value: float, measured: Uncertain) -> str:
    """Return a value with its 95% interval."""
    return with_half_width(f"{value:.4f}", measured, 4)


def _interval_in_words(loss: Loss) -> str:
    """Return what the intervals of a loss are computed over."""
    if loss.standard_error is None:
        return "no interval: the text is too short"
    if loss.blocks:
        return (
            f"± is the 95% interval over {loss.blocks} blocks of the text, which has "
            f"{counted(loss.documents, 'document')}: it does not extend to other texts"
        )
    return f"± is the 95% interval over {counted(loss.documents, 'document')}"
