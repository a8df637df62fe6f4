"""What docs/evidence.md says first: the answers in sentences, from what has been measured."""

from __future__ import annotations

import math

from ten_million_evidence import (
    BASELINE,
    LENGTH,
    Evidence,
    against_rotary,
    change_of_context,
    losses_by_rate,
)
from ten_million_table import blimp, contrast_text, extension, ranked
from ten_million_table import order as shuffled

FARTHEST = 8  # times the trained length


def summary(evidence: Evidence) -> str:
    """Return a list in Markdown; a question that nothing answers yet is left out."""
    answers = {
        "Loss": loss(evidence),
        "Before the end": short_runs(evidence),
        "Past the trained length": reach(evidence),
        "Made longer by `wordorder extend`": extended(evidence),
        "Grammar": grammar(evidence),
        "Order": order(evidence),
    }
    return "\n".join(f"- **{name}.** {text}" for name, text in answers.items() if text)


def loss(evidence: Evidence) -> str:
    """Return the contrasts to rotary, in the order of the loss."""
    base, contrasts = evidence.runs.get(BASELINE, {}), against_rotary(evidence)
    shown = [
        f"`{position}` {contrast_text(*contrasts[position], len(lines.keys() & base.keys()))}"
        for position, lines in ranked(evidence)
        if position in contrasts
    ]
    return f"In nats per token against `{BASELINE}`: {'; '.join(shown)}." if shown else ""


def short_runs(evidence: Evidence) -> str:
    """Return the development losses of the short runs at the best rate, lowest first."""
    best = {}
    for position in dict.fromkeys(line["position"] for line in evidence.rates):
        tried = losses_by_rate(evidence.rates, position)
        best[position] = min(math.fsum(each) / len(each) for each in tried.values())
    shown = ", ".join(f"`{p}` {best[p]:.3f}" for p in sorted(best, key=best.__getitem__))
    return (
        f"After a quarter of the tokens, two seeds, nats on other books: {shown}." if best else ""
    )


def reach(evidence: Evidence) -> str:
    """Return what the loss of the same words changes by at the longest context."""
    shown = []
    for position, lines in ranked(evidence):
        change = change_of_context(lines, LENGTH, FARTHEST * LENGTH)
        shown.append(f"`{position}` " + ("cannot" if change is None else f"{change.mean:+.3f}"))
    what = f"With {FARTHEST * LENGTH:,} tokens of context instead of {LENGTH} the loss of the same"
    return f"{what} words changes by: {', '.join(shown)}." if shown else ""


def extended(evidence: Evidence) -> str:
    """Return the losses before and after the extension."""
    shown = [f"`{p}` {text}" for p, lines in ranked(evidence) if (text := extension(lines))]
    what = f"Nats at {4 * LENGTH:,} tokens before and after, without training (by which method)"
    return f"{what}: {'; '.join(shown)}." if shown else ""


def grammar(evidence: Evidence) -> str:
    """Return the scores of BLiMP, beside those of counts."""
    shown = [f"`{p}` {blimp([*lines.values()])}" for p, lines in ranked(evidence)]
    if evidence.n_gram:
        shown.append(f"counts of five tokens {blimp([evidence.n_gram])}")
    return f"Percent of BLiMP, in parentheses the official way: {', '.join(shown)}."


def order(evidence: Evidence) -> str:
    """Return what is lost when the context is shuffled."""
    shown = [f"`{p}` {text}" for p, lines in ranked(evidence) if (text := shuffled(lines))]
    what = "Shuffling the context before the last quarter of a window costs, in nats"
    return f"{what}: {', '.join(shown)}." if shown else ""
