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
    GATE_NATS,
    LENGTH,
    N_GRAM,
    SEEDS,
    Evidence,
    Line,
    accuracy,
    against_rotary,
    change_of_context,
    context_loss,
    gate,
    losses_by_rate,
    paradigms,
    verdict,
)

from wordorder.experiments.results import word_for
from wordorder.experiments.statistics import interval
from wordorder.interop.harness.blimp import phenomena
from wordorder.numerals import signed

Rows = list[list[str]]
SHUFFLED = "shuffled"  # of the order probes: the whole context, in a random order


def losses(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of losses, best first."""
    contrasts = contrast_cells(evidence)
    rows = [
        [
            *(f"`{p}`", str(len(lines)), with_interval(lines, "bits_per_byte")),
            *(f"{mean(lines, lambda line: line['loss']):.3f}", *contrasts[p]),
        ]
        for p, lines in ranked(evidence)
    ]
    if own := evidence.n_gram:
        rows.append([N_GRAM, "", f"{own['bits_per_byte']:.4f}", f"{own['loss']:.3f}", "", "", ""])
        rows.sort(key=lambda row: float(row[3]))
    head = [
        *("position", "seeds", "bits per byte", "nats per token", "nats against rotary", "pairs"),
        "verdict",
    ]
    return head, rows


def contrast_cells(evidence: Evidence) -> dict[str, tuple[str, str, str]]:
    """Return each position's contrast to rotary, the number of its pairs, and its verdict.

    They are empty where there is no contrast; there is none of rotary itself.
    """
    cells = dict.fromkeys(evidence.runs, ("", "", "")) | {BASELINE: ("baseline", "", "")}
    for position, (change, primary) in against_rotary(evidence).items():
        pairs = len(evidence.runs[position].keys() & evidence.runs[BASELINE].keys())
        said = verdict(change) + (" so far" if pairs < len(SEEDS) else "")
        cells[position] = with_ends(change), str(pairs), said if primary else "exploratory"
    return cells


def lengths(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of longer contexts."""
    reads_far = (gate(evidence) or 0.0) >= GATE_NATS
    rows = [
        [
            f"`{position}`",
            f"{mean(lines, lambda line: context_loss(line, LENGTH)):.3f}",
            *(longer(lines, factor, reads_far) for factor in (2, 4, 8)),
            extension(lines),
        ]
        for position, lines in ranked(evidence)
    ]
    tokens = [f"{factor * LENGTH:,}" for factor in (2, 4, 8)]
    return ["position", f"nats with {LENGTH} tokens", *tokens, "extended"], rows


def others(evidence: Evidence) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of grammar, another text, and order."""
    rows = [
        [
            f"`{position}`",
            blimp([*lines.values()]),
            blimp_against_rotary(evidence, lines),
            plus_minus([line["wikitext2_bits_per_byte"] for line in lines.values()], 3),
            order(lines),
        ]
        for position, lines in ranked(evidence)
    ]
    if evidence.n_gram:
        other_text = f"{evidence.n_gram['wikitext2_bits_per_byte']:.3f}"
        rows.append([N_GRAM, blimp([evidence.n_gram]), "", other_text, ""])
    return ["position", "BLiMP", "against rotary", "wikitext-2", "context shuffled"], rows


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


def with_ends(change: Any) -> str:
    """Return a change with the ends of its interval, which a single seed does not have."""
    ends = "" if change.low is None else f" ({signed(change.low)} to {signed(change.high)})"
    return f"{signed(change.mean)}{ends}"


def longer(lines: dict[int, Line], factor: int, reads_far: bool) -> str:
    """Return the change of the same targets' loss, and its word where the gate allows one."""
    change = change_of_context(lines, LENGTH, factor * LENGTH)
    if change is None:
        return "cannot"
    return f"{with_ends(change)} {word_for(change) if reads_far else ''}".strip()


def blimp(lines: list[Line]) -> str:
    """Return the mean over paradigms with its interval over seeds."""
    return plus_minus([accuracy(line, paradigms()) for line in lines], 1)


def blimp_against_rotary(evidence: Evidence, lines: dict[int, Line]) -> str:
    """Return the difference to rotary with the same seeds, with its interval over seeds."""
    base = evidence.runs.get(BASELINE, {})
    if lines is base:
        return "baseline"
    differences = [
        accuracy(lines[seed], paradigms()) - accuracy(base[seed], paradigms())
        for seed in sorted(lines.keys() & base.keys())
    ]
    return plus_minus(differences, 1, sign="+") if differences else ""


def plus_minus(values: list[float], digits: int, sign: str = "") -> str:
    """Return a mean with half of its 95% interval over seeds, where there are two or more."""
    over = interval(values)
    shown = f"{over.mean:{sign}.{digits}f}"
    return shown if over.high is None else f"{shown} ±{over.high - over.mean:.{digits}f}"


def score(lines: list[Line], names: list[str], way: str = "accuracy") -> float:
    return math.fsum(accuracy(line, names, way) for line in lines) / len(lines)


def order(lines: dict[int, Line]) -> str:
    rises = [line["order"][SHUFFLED] for line in lines.values()]
    if any(isinstance(rise, str) for rise in rises):
        return "cannot"
    return signed(math.fsum(rises) / len(rises))


def extension(lines: dict[int, Line]) -> str:
    """Return the loss at four times the trained length after `extend`, by method."""
    length, methods = str(4 * LENGTH), []
    for method in dict.fromkeys(line["extended"]["method"] for line in extended_lines(lines)):
        after = [
            line["extended"]["after"].get(length)
            for line in extended_lines(lines)
            if line["extended"]["method"] == method
        ]
        shown = "cannot" if None in after else f"{math.fsum(after) / len(after):.3f}"
        methods.append(f"{shown} ({method})")
    return "; ".join(methods)


def extended_lines(lines: dict[int, Line]) -> list[Line]:
    """Return the lines of the runs that were extended."""
    return [line for line in lines.values() if "extended" in line]
