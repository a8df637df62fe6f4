"""What docs/evidence.md says first: the answers in sentences, from what has been measured."""

from __future__ import annotations

import math

from ten_million_evidence import (
    BASELINE,
    FIRST,
    GATE_NATS,
    LATER,
    LENGTH,
    SEEDS,
    Evidence,
    Line,
    against_rotary,
    change_of_context,
    gate,
    losses_by_rate,
)
from ten_million_table import (
    blimp,
    contrast_cells,
    extended_lines,
    extension,
    ranked,
    with_interval,
)

from wordorder.experiments.power import detectable
from wordorder.experiments.tuning import FACTORS
from wordorder.numerals import signed

FARTHEST = 8  # times the trained length


def summary(evidence: Evidence) -> str:
    """Return a list in Markdown; a question that nothing answers yet is left out."""
    answers = {
        "Loss": loss(evidence),
        "Shorter runs": short_runs(evidence),
        "Past the trained length": reach(evidence),
        "Made longer by `wordorder extend`": extended(evidence),
        "Grammar": grammar(evidence),
    }
    return "\n".join(f"- **{name}.** {text}" for name, text in answers.items() if text)


def loss(evidence: Evidence) -> str:
    """Return the contrasts to rotary, in the order of the loss."""
    contrasts = contrast_cells(evidence)
    shown = []
    for position, _ in ranked(evidence):
        figure, pairs, said = contrasts[position]
        if pairs:
            shown.append(f"`{position}` {figure}, {said} ({pairs} seeds)")
    if not shown:
        return ""
    best = with_interval(evidence.runs[BASELINE], "bits_per_byte")
    return f"`{BASELINE}` has {best} bits per byte. Nats per token above it: {'; '.join(shown)}."


def short_runs(evidence: Evidence) -> str:
    """Return the development losses of the short runs at the best rate, lowest first."""
    best = {p: min(of.values()) for p, of in means_by_rate(evidence).items()}
    if not best:
        return ""
    shown = ", ".join(f"`{p}` {best[p]:.3f}" for p in sorted(best, key=best.__getitem__))
    text = f"A quarter of the tokens, two seeds, nats on the development books: {shown}."
    contrasts = against_rotary(evidence)
    far = [p for p in ("learned", "none") if p in contrasts and {p, BASELINE} <= best.keys()]
    if far:
        gaps = " and ".join(
            f"{contrasts[p][0].mean:.3f} instead of "
            f"{round(best[p], 3) - round(best[BASELINE], 3):.3f} (`{p}`)"
            for p in far
        )
        text += (
            f" With all tokens, five seeds and the validation books, gaps to `{BASELINE}` are "
            f"different: {gaps}."
        )
    return text


def reach(evidence: Evidence) -> str:
    """Return what the loss of the same words changes by at the longest context."""
    shown = []
    for position, lines in ranked(evidence):
        change = change_of_context(lines, LENGTH, FARTHEST * LENGTH)
        shown.append(f"`{position}` " + ("cannot" if change is None else signed(change.mean)))
    what = f"With {FARTHEST * LENGTH:,} tokens of context instead of {LENGTH} the loss of the same"
    return f"{what} words changes by: {', '.join(shown)}." if shown else ""


def extended(evidence: Evidence) -> str:
    """Return the loss at the trained length, and four times as far after the extension."""
    runs = {p: lines for p, lines in ranked(evidence) if extension(lines)}
    shown = [f"`{p}` {at_trained_length(of)}, and {extension(of)}" for p, of in runs.items()]
    seeds = max((len(extended_lines(lines)) for lines in runs.values()), default=0)
    what = (
        f"Nats with {LENGTH} tokens of context, and with {4 * LENGTH:,} after extending without "
        f"training (method in brackets; {seeds} seeds)"
    )
    return f"{what}: {'; '.join(shown)}." if shown else ""


def at_trained_length(lines: dict[int, Line]) -> str:
    """Return the loss at the trained length, of the runs that were extended, before it."""
    of = [line["extended"]["before"][str(LENGTH)] for line in extended_lines(lines)]
    return f"{math.fsum(of) / len(of):.3f}"


def grammar(evidence: Evidence) -> str:
    """Return the scores of BLiMP, beside those of counts."""
    shown = [f"`{p}` {blimp([*lines.values()])}" for p, lines in ranked(evidence)]
    if evidence.n_gram:
        shown.append(f"the n-gram model {blimp([evidence.n_gram])}")
    return f"Percent of BLiMP: {', '.join(shown)}." if shown else ""


def means_by_rate(evidence: Evidence) -> dict[str, dict[float, float]]:
    """Return the mean development loss of each position's short runs by the factor of the rates."""
    means = {}
    for position in dict.fromkeys(line["position"] for line in evidence.rates):
        tried = losses_by_rate(evidence.rates, position)
        means[position] = {f: math.fsum(each) / len(each) for f, each in tried.items()}
    return means


def rates_and_embeddings(evidence: Evidence) -> str:
    """Return what the short runs say: does the embedding decide more, or the learning rate?"""
    means = {p: of for p, of in means_by_rate(evidence).items() if {*FACTORS} <= of.keys()}
    if len(means) < 2:
        return "Too few rates are measured yet to say more."
    tried = {p: [of[factor] for factor in FACTORS] for p, of in means.items()}
    by_rate = {p: max(losses) - min(losses) for p, losses in tried.items()}
    best = {p: min(of.values()) for p, of in means.items()}
    order = sorted(best, key=best.__getitem__)
    near, far = ([by_rate[p] for p in part] for part in (order[:5], order[5:]))
    lost = {p: of[1.0] - min(of.values()) for p, of in means.items()}
    others = [f"{p} ({lost[p]:.3f})" for p in lost if lost[p] > 0.005]
    return (
        f"Each at its best rate, the five best ({', '.join(order[:5])}) lie within "
        f"{best[order[:5][-1]] - best[order[0]]:.3f} nats, and all {len(order)} within "
        f"{best[order[-1]] - best[order[0]]:.3f}. From half to twice the rate the loss of one of "
        f"those five differs by {min(near):.3f} to {max(near):.3f}"
        f"{f', of another by up to {max(far):.3f}' if far else ''}. wordorder's own rates "
        "(factor 1) are the best or within .005 of it for "
        f"{'all' if not others else 'all but ' + ' and '.join(others)}."
    )


def status(evidence: Evidence) -> str:
    """Return what is measured so far, what it cost, and what it could have found."""
    runs, whole = evidence.runs, len(SEEDS)
    missing = [
        f"`{p}` {whole - len(runs.get(p, ()))}" for p in FIRST if len(runs.get(p, ())) < whole
    ]
    later = sum(len(runs.get(position, ())) for position in LATER)
    lines = [*evidence.rates, *(line for each in runs.values() for line in each.values())]
    cost = [f"{_hours(lines, 'cpu'):.1f} hours of one thread"]
    if shared := [line for line in lines if line["machine"]["device"] == "cuda"]:
        hours = sum(_hours([line], "cuda") / line.get("processes", 1) for line in shared)
        cost.append(f"{60 * hours:.0f} minutes of a GPU")
    planned, added = len(FIRST) * whole, len(LATER) * whole
    done = (
        f"Done so far: {evidence.done} of the {planned} runs of the first five"
        f"{' (left: ' + ', '.join(missing) + ')' if missing else ''}, {later} of the {added} of "
        "T5, KERPLE, FIRE and the GRU"
    )
    if (evidence.done, later) == (planned, added):
        done = f"All runs are done: {planned} of the first five, {added} of the others"
    text = (
        f"{done}, and {len(evidence.rates)} shorter runs that chose learning rates, in "
        f"{' and '.join(cost)}."
    )
    smallest = [
        f"{detectable(change.difference.spread, change.compared):.3f} (`{position}`)"
        for position, (change, primary) in against_rotary(evidence).items()
        if primary and change.difference.spread
    ]
    if smallest:
        text += (
            " The smallest true difference that these runs would have shown with a probability of "
            f"80%, in nats: {', '.join(smallest)}."
        )
    gained = gate(evidence)
    if gained is None:
        return f"{text} No rotary model is measured yet: nothing is claimed about longer context."
    enough = "enough" if gained >= GATE_NATS else "too little"
    return (
        f"{text} The last doubling of context, from 128 to 256 tokens, gains rotary {gained:.3f} "
        f"nats: {enough} to show on this text whether more context helps."
    )


def _hours(lines: list[Line], device: str) -> float:
    here = [line for line in lines if line["machine"]["device"] == device]
    return sum(line["training_seconds"] + line["measuring_seconds"] for line in here) / 3600
