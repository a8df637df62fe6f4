"""What `wordorder eval` measured: on a screen of 80 columns, a part for each question; as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wordorder.cli.printed import percent, titled
from wordorder.evaluation.context import ContextLosses
from wordorder.evaluation.loss import Loss
from wordorder.evaluation.retrieval import Retrieved, interval_of, wilson
from wordorder.evaluation.sliding import SlidingLoss
from wordorder.extension.reach import between


@dataclass(frozen=True)
class Measured:
    """What a model scored; None and nothing where it was not asked.

    Args:
        left_out: a sentence for each length of `context` that the text cannot measure.
    """

    loss: Loss
    sliding: SlidingLoss | None = None
    context: ContextLosses | None = None
    left_out: tuple[str, ...] = ()
    retrieved: tuple[Retrieved, ...] = ()


def show(name: str, trained_length: int, measured: Measured) -> None:
    """Print everything that was measured.

    Args:
        name: of the text.
        trained_length: past it a position is marked.
    """
    console = Console(highlight=False)
    console.print(name, style="bold", markup=False)
    _show_whole(console, measured.loss, trained_length)
    for part in _parts(measured):
        console.print()
        console.print(part)


def plain(measured: Measured) -> dict[str, Any]:
    """Return everything as it goes into JSON, with what follows from it."""
    found = asdict(measured)
    sliding, context = found["sliding"], found["context"]
    for loss in (found["loss"], sliding):
        if loss is not None:
            loss["perplexity"] = math.exp(loss["loss_nats"])
    if context is not None:
        context["left_out"] = measured.left_out
    for cell in found["retrieved"]:
        count, by_text = cell["examples"], cell["by_text"]
        cell["exact_interval"] = wilson(cell["exact"], count) if count else None
        cell["chosen_interval"] = interval_of(by_text) if by_text else None
    return {
        **found["loss"],
        "sliding": sliding,
        "context": context,
        "retrieval": found["retrieved"] or None,
    }


def _show_whole(console: Console, loss: Loss, trained_length: int) -> None:
    console.print(
        f"{loss.tokens:,} tokens in {loss.windows:,} windows of {loss.context_length:,}\n"
        f"{_loss_in_words(loss)}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("position", "loss", "tokens"):
        table.add_column(title, justify="right")
    table.add_column("")
    for part in loss.by_position:
        beyond = "past the trained length" if part.first >= trained_length else ""
        shown = _with_error(part.loss_nats, part.standard_error)
        table.add_row(f"{part.first:,}-{part.last:,}", shown, f"{part.tokens:,}", beyond)
    console.print()
    console.print(table)


def _parts(measured: Measured) -> Iterator[RenderableType]:
    if measured.sliding is not None:
        yield _sliding(measured.sliding)
    if measured.context is not None:
        yield _context(measured.context)
    yield from map(Text, measured.left_out)
    for kind in dict.fromkeys(each.kind for each in measured.retrieved):
        yield _retrieval([each for each in measured.retrieved if each.kind == kind])


def _sliding(loss: SlidingLoss) -> Group:
    below = (
        f"{loss.tokens:,} tokens in {loss.windows:,} windows, each with {loss.fewest_before:,} to "
        f"{loss.context_length:,} before it\n{loss.left_out:,} with fewer are left out"
    )
    title = f"Windows of {loss.context_length:,} that move by {loss.stride:,}"
    return titled(title, below, Text(_loss_in_words(loss)))


def _context(context: ContextLosses) -> Group:
    table, reasons = _table("context", "loss", "difference"), []
    first = context.lengths[0].context_length
    for each in context.lengths:
        length = each.context_length
        if each.loss_nats is None:
            table.add_row(f"{length:,}", "cannot", "")
            reasons.append(Text(f"{length:,} cannot: {each.cannot}"))
            continue
        change = between(context, context, first, length)
        difference = ""
        if length != first and change is not None:
            difference = _with_error(change.mean, change.error, "+.4f")
        table.add_row(f"{length:,}", _with_error(each.loss_nats, each.standard_error), difference)
    documents = f"{context.documents:,} document{'s' if context.documents > 1 else ''}"
    below = f"{context.targets:,} tokens of {documents}; differences are to the first row"
    title = "The same tokens, with more and more before them"
    return titled(title, below, table, *reasons)


def _retrieval(cells: Sequence[Retrieved]) -> Group:
    depths = dict.fromkeys(cell.depth for cell in cells)
    table, reasons = _table("length", "", *(f"{depth:g}" for depth in depths), "all"), []
    for length in dict.fromkeys(cell.length for cell in cells):
        own = [cell for cell in cells if cell.length == length]
        if cannot := [cell.cannot for cell in own if cell.cannot]:
            table.add_row(f"{length:,}", "cannot", *[""] * (len(own) + 1))
            reasons.append(Text(f"{length:,} cannot: {cannot[0]}"))
            continue
        chosen = [cell.chosen for cell in own if cell.chosen is not None]
        exact = [cell.exact for cell in own if cell.exact is not None]
        by_text = [share for cell in own for share in cell.by_text]
        table.add_row(f"{length:,}", "chosen", *_shares(chosen, interval_of(by_text)))
        table.add_row("", "exact", *_shares(exact, wilson(fmean(exact), len(by_text))))
    texts, chance = max(cell.examples for cell in cells), 100 * cells[0].chance
    below = (
        f"percent, by how deep it stands, of {texts} texts each\n"
        f"chosen: tokens that were the likeliest of the ten they could be; guessing: {chance:.0f}\n"
        "exact: whole answers, each token the likeliest of all"
    )
    return titled(f"Found again: {cells[0].kind}", below, table, *reasons)


def _shares(shares: Sequence[float], interval: tuple[float, float]) -> list[str]:
    """Shares of as many texts each, and that of all with its 95% interval."""
    low, high = map(percent, interval)
    return [*map(percent, shares), f"{percent(fmean(shares))} [{low}, {high}]"]


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _loss_in_words(loss: Loss | SlidingLoss) -> str:
    said = (
        f"loss {_with_error(loss.loss_nats, loss.standard_error)} nats per token, "
        f"perplexity {math.exp(loss.loss_nats):.2f}"
    )
    if loss.bits_per_byte is not None:
        said += f"\n{loss.bits_per_byte:.4f} bits per byte"
    return said


def _with_error(value: float, error: float | None, form: str = ".4f") -> str:
    """A value with its 95% interval."""
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {1.96 * error:.4f}"
