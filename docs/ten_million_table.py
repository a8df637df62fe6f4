"""The tables of docs/evidence.md; `write_tables.py` puts them into the page.

They are of what has been measured so far: a cell is empty where nothing has, and a position without
runs has no row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ten_million_evidence import (
    BASELINE,
    FIRST,
    GATE_NATS,
    GRU,
    LATER,
    LENGTH,
    N_GRAM,
    SEEDS,
    Evidence,
    Line,
    accuracy,
    against_rotary,
    change_of_context,
    gate,
    losses_by_rate,
    paradigms,
    verdict,
)

from wordorder.experiments.power import detectable
from wordorder.experiments.results import word_for
from wordorder.experiments.statistics import interval
from wordorder.experiments.tuning import FACTORS
from wordorder.interop.harness.blimp import phenomena

Rows = list[list[str]]
SHUFFLED = "shuffled"  # of the order probes: the whole context, in a random order


def results(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the main table, best first."""
    contrasts, base = against_rotary(evidence), evidence.runs.get(BASELINE, {})
    reads_far = (gate(evidence) or 0.0) >= GATE_NATS
    rows = []
    for position, lines in ranked(evidence):
        contrast = contrasts.get(position)
        rows.append(
            [
                f"`{position}`",
                f"{next(iter(lines.values()))['rate']:g}",
                str(len(lines)),
                with_interval(lines, "bits_per_byte"),
                "baseline"
                if position == BASELINE
                else ""
                if contrast is None
                else contrast_text(*contrast, len(lines.keys() & base.keys())),
                *(longer(lines, factor, reads_far) for factor in (2, 4, 8)),
                blimp([*lines.values()]),
                f"{mean(lines, lambda line: line['wikitext2_bits_per_byte']):.3f}",
                order(lines),
                extension(lines),
            ]
        )
    if evidence.n_gram:
        n_gram = evidence.n_gram
        figures = (f"{n_gram['bits_per_byte']:.3f}", f"{n_gram['wikitext2_bits_per_byte']:.3f}")
        cells = [N_GRAM, "", "", figures[0], "", "", "", "", blimp([n_gram]), figures[1], "", ""]
        rows.append(cells)
    head = [
        *("position", "rate", "seeds", "bits per byte", "nats against rotary", "at 2x", "at 4x"),
        *("at 8x", "BLiMP (official)", "wikitext-2", "context shuffled", "extended to 4x"),
    ]
    return head, rows


def by_phenomenon(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of BLiMP, in percent."""
    columns = {position: list(lines.values()) for position, lines in ranked(evidence)}
    if evidence.n_gram:
        columns[N_GRAM] = [evidence.n_gram]
    parts = {**phenomena(), "mean of the 67 paradigms": paradigms()}
    rows = [
        [name.replace("_", " "), *(f"{score(lines, names):.1f}" for lines in columns.values())]
        for name, names in parts.items()
    ]
    return ["phenomenon", *columns], rows


def trials(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of short runs, the lowest loss of each row bold."""
    positions = dict.fromkeys(line["position"] for line in evidence.rates)
    losses = {position: losses_by_rate(evidence.rates, position) for position in positions}
    factors = sorted({factor for of_position in losses.values() for factor in of_position})
    rows = []
    for position, of_position in losses.items():
        means = {factor: math.fsum(each) / len(each) for factor, each in of_position.items()}
        cells = [
            ""
            if factor not in means
            else f"**{means[factor]:.3f}**"
            if means[factor] == min(means.values())
            else f"{means[factor]:.3f}"
            for factor in factors
        ]
        rows.append([f"`{position}`", *cells, str(max(map(len, of_position.values())))])
    return ["position", *(f"rate x {factor:g}" for factor in factors), "seeds"], rows


def rates_and_embeddings(evidence: Evidence) -> str:
    """Return what the short runs say: does the embedding decide more, or the learning rate?"""
    means: dict[str, dict[float, float]] = {}
    for position in dict.fromkeys(line["position"] for line in evidence.rates):
        tried = losses_by_rate(evidence.rates, position)
        means[position] = {f: math.fsum(tried[f]) / len(tried[f]) for f in FACTORS if f in tried}
    whole = {p: of for p, of in means.items() if len(of) == len(FACTORS) and p != GRU}
    if len(whole) < 2:
        return "Too few rates are measured yet to say more."
    by_rate = {p: max(of.values()) - min(of.values()) for p, of in whole.items()}
    most = max(by_rate, key=by_rate.__getitem__)
    median = sorted(by_rate.values())[len(by_rate) // 2]
    best = {p: min(of.values()) for p, of in whole.items()}
    placed = [loss for p, loss in best.items() if p != "none"]
    return (
        f"From half to twice the rate, the loss of one embedding differs by {median:.3f} nats in "
        f"the median, and by {by_rate[most]:.3f} at most ({most}). Each at its best rate, the "
        f"embeddings differ by {max(placed) - min(placed):.3f}, and by "
        f"{max(best.values()) - min(best.values()):.3f} with the model without positions."
    )


def status(evidence: Evidence) -> str:
    """Return what is measured so far, what it cost, and what it could have found."""
    later = sum(len(evidence.runs.get(position, ())) for position in LATER)
    lines = [*evidence.rates, *(line for each in evidence.runs.values() for line in each.values())]
    cost = [
        f"{hours:.1f} hours of {what}"
        for device, what in (("cpu", "one thread"), ("cuda", "a fifteenth of a GPU"))
        if (hours := _hours(lines, device))
    ]
    text = (
        f"Done so far: {evidence.done} of the {len(FIRST) * len(SEEDS)} runs of the first five "
        f"embeddings, {later} of the {len(LATER) * len(SEEDS)} of T5, KERPLE, FIRE and the GRU, "
        f"and {len(evidence.rates)} shorter runs that chose learning rates: {' and '.join(cost)}."
    )
    contrasts = against_rotary(evidence)
    smallest = [
        (detectable(change.difference.spread, change.compared), position)
        for position, (change, primary) in contrasts.items()
        if primary and change.difference.spread
    ]
    if smallest:
        (least, _), (most, dear) = min(smallest), max(smallest)
        text += (
            f" A true difference of {least:.3f} to {most:.3f} nats (most for {dear}) would be "
            "shown with a probability of 80%, at the first step of Holm's correction."
        )
    gained = gate(evidence)
    if gained is None:
        return (
            f"{text} No rotary model is measured yet, so nothing is claimed about longer context."
        )
    enough = "enough for claims" if gained >= GATE_NATS else "too little for any claim"
    return (
        f"{text} The last doubling of context, from 128 to 256 tokens, gains rotary {gained:.3f} "
        f"nats: {enough} about more context."
    )


def _hours(lines: list[Line], device: str) -> float:
    here = [line for line in lines if line["machine"]["device"] == device]
    return sum(line["training_seconds"] + line["measuring_seconds"] for line in here) / 3600


def ranked(evidence: Evidence) -> list[tuple[str, dict[int, Line]]]:
    """Return the positions and their lines, the fewest bits per byte first."""
    return sorted(
        evidence.runs.items(), key=lambda item: mean(item[1], lambda line: line["bits_per_byte"])
    )


def mean(lines: dict[int, Line], value: Callable[[Line], float]) -> float:
    return math.fsum(value(line) for line in lines.values()) / len(lines)


def with_interval(lines: dict[int, Line], name: str) -> str:
    """Return a mean over seeds with its 95% interval."""
    over = interval([line[name] for line in lines.values()])
    return f"{over.mean:.4f}" + (
        "" if over.low is None else f" ({over.low:.4f} to {over.high:.4f})"
    )


def contrast_text(change: Any, primary: bool, seeds: int) -> str:
    """Return a contrast with its interval; one outside the protocol's four has no verdict.

    Args:
        seeds: the pairs of runs that it is of.
    """
    text = f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    if not primary:
        return f"{text}, exploratory"
    return f"{text} {verdict(change)}{' so far' if seeds < len(SEEDS) else ''}"


def longer(lines: dict[int, Line], factor: int, reads_far: bool) -> str:
    """Return the change of the same targets' loss, and its word where the gate allows one."""
    change = change_of_context(lines, LENGTH, factor * LENGTH)
    if change is None:
        return "cannot"
    return f"{change.mean:+.3f} {word_for(change) if reads_far else ''}".strip()


def blimp(lines: list[Line]) -> str:
    """Return the mean over paradigms with its interval over seeds, and the official one."""
    over = interval([accuracy(line, paradigms()) for line in lines])
    reach = "" if over.high is None else f" ±{over.high - over.mean:.1f}"
    return f"{over.mean:.1f}{reach} ({score(lines, paradigms(), 'official'):.1f})"


def score(lines: list[Line], names: list[str], way: str = "accuracy") -> float:
    return math.fsum(accuracy(line, names, way) for line in lines) / len(lines)


def order(lines: dict[int, Line]) -> str:
    rises = [line["order"][SHUFFLED] for line in lines.values()]
    if any(isinstance(rise, str) for rise in rises):
        return "cannot"
    return f"{math.fsum(rises) / len(rises):+.3f}"


def extension(lines: dict[int, Line]) -> str:
    """Return the loss at four times the trained length before and after `extend`, by method."""
    length, methods = str(4 * LENGTH), []
    for method in dict.fromkeys(line["extended"]["method"] for line in _extended(lines)):
        of = [line["extended"] for line in _extended(lines) if line["extended"]["method"] == method]
        before, after = (
            None if any(each[when].get(length) is None for each in of)
            else math.fsum(each[when][length] for each in of) / len(of)
            for when in ("before", "after")
        )  # fmt: skip
        shown = [f"{loss:.3f}" if loss is not None else "cannot" for loss in (before, after)]
        methods.append(f"{shown[0]} to {shown[1]} ({method})")
    return "; ".join(methods)


def _extended(lines: dict[int, Line]) -> list[Line]:
    return [line for line in lines.values() if "extended" in line]
