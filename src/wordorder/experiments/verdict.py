"""The verdict of a comparison in sentences that its numbers support.

Every difference is given with its size, interval and p-value: "better" or "worse" if it is
significant, "likely" if it would be without correction, else "not significant", with the number of
seeds that would show it. With one seed there are numbers and no claims. Embeddings are compared
with the baseline, not with each other, so none is called best. Every number in a sentence is in a
table too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wordorder.evaluation.effect import SMALLEST_NATS, TOLERANCE_NATS
from wordorder.experiments import overfitting
from wordorder.experiments.certainty import certainty, seeds_needed, settled, side
from wordorder.experiments.results import AtLength, Disturbed, Result, Summary
from wordorder.experiments.significance import Change
from wordorder.experiments.wording import listed, number_of_seeds, p_value, times, with_interval
from wordorder.numerals import counted, signed
from wordorder.training.plan import MiB

MOST_LISTED = 6  # of more embeddings a sentence gives the range
WORDS = ("uses it", "survives", "undecided", "breaks", "cannot", "")


@dataclass(frozen=True)
class VerdictSection:
    """One section of a verdict: a heading and sentences."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonVerdict:
    """The results of a comparison in sentences, the most important first.

    Args:
        headline: which embeddings are better or worse than the baseline, after a warning if the
            comparison ranks overfitting.
        certainty: power and false positives.
        findings: sections on failed runs, loss, longer context, order and costs.
        scope: the model, text and budget that the results hold for.
    """

    headline: str
    certainty: tuple[str, ...]
    findings: tuple[VerdictSection, ...]
    scope: str


def verdict(summary: Summary) -> ComparisonVerdict:
    """Return the verdict of a comparison."""
    sections = {
        "Runs": _runs(summary),
        "Validation loss at the last step": _learning(summary),
        "How training ended": overfitting.lines(summary),
        _length_heading(summary): _lengths(summary),
        "Loss with the order of the context disturbed": _order(summary),
        "Costs": _costs(summary),
    }
    findings = tuple(VerdictSection(heading, tuple(lines)) for heading, lines in sections.items())
    first = " ".join(part for part in (overfitting.headline(summary), _headline(summary)) if part)
    found_any = tuple(f for f in findings if f.lines)
    return ComparisonVerdict(first, tuple(certainty(summary)), found_any, _scope(summary))


def _compared(summary: Summary) -> list[tuple[Result, Change]]:
    return [(r, r.against_baseline) for r in summary.ranked if r.against_baseline]


def _headline(summary: Summary) -> str:
    base, compared = summary.baseline, _compared(summary)
    if not any(r.losses for r in summary.results):
        return "Nothing was trained: there are no losses to compare."
    if not compared:
        return (
            f"No embedding shares a finished seed with the baseline, {base}: there is no "
            "comparison."
        )
    if all(change.low is None for _, change in compared):
        return "One seed: no intervals, so no difference is claimed."
    better = [r.position for r, change in compared if change.shown and change.mean < 0]
    worse = [r.position for r, change in compared if change.shown and change.mean > 0]
    rest = [(r.position, change) for r, change in compared if not change.shown]
    parts = []
    if better:
        parts.append(f"Better than {base}: {listed(better)}.")
    if worse:
        parts.append(f"Worse than {base}: {listed(worse)}.")
    if rest:
        each = [
            f"{position} {with_interval(change)}{_leaning(change)}" for position, change in rest
        ]
        parts.append(f"No significant difference from {base}: {'; '.join(each)}.")
    return " ".join(parts)


def _leaning(change: Change) -> str:
    """Return `, likely better` or `, likely worse`, or "" if neither."""
    return f", likely {side(change)}" if change.likely else ""


def _learning(summary: Summary) -> Iterable[str]:
    for result, change in _compared(summary):
        spread = change.difference.spread
        if change.low is None or change.high is None or spread is None:
            yield f"{result.position}: {signed(change.mean)} nats (one seed: no interval)."
            continue
        holm = f" after Holm over {change.compared}" if change.compared > 1 else ""
        holm += f", times {change.looks**2} for {change.looks} looks" if change.looks > 1 else ""
        seeds = counted(spread.seeds, "seed")
        yield (
            f"{result.position}: {signed(change.mean)} nats (95% interval {signed(change.low)} to "
            f"{signed(change.high)}; p {_equals(change.adjusted_p or 0.0)}{holm}; {seeds}): "
            f"{settled(change)}."
        )


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _furthest(summary: Summary) -> AtLength | None:
    """Return a loss on the same targets at the longest context, of any embedding."""
    lengths = [at for r in summary.results for at in r.same_targets]
    return max(lengths, key=lambda at: at.factor, default=None)


def _length_heading(summary: Summary) -> str:
    furthest = _furthest(summary)
    if furthest is None:
        return "Longer context"
    targets, documents = summary.targets or 0, summary.target_documents or 0
    return (
        f"Context up to {times(furthest.factor)} the trained length ({furthest.length:,} tokens), "
        f"against {times(1)}: loss of the same {counted(targets, 'token')} in "
        f"{counted(documents, 'document')} (exploratory)"
    )


def _lengths(summary: Summary) -> Iterable[str]:
    furthest = _furthest(summary)
    if furthest is None or furthest.factor == 1:
        return
    by_word: dict[str, list[str]] = {word: [] for word in WORDS}
    for result in summary.results:
        longer = [at for at in result.same_targets if at.factor > 1]
        if longer:
            by_word[longer[-1].word].append(f"{result.position} {_since(longer)}")
    for word, embeddings in by_word.items():
        if embeddings:
            yield _sentence(f"{word or 'one seed, no interval'}: {'; '.join(embeddings)}.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _since(longer: list[AtLength]) -> str:
    """Describe one embedding beyond its trained length, each number with its length.

    Args:
        longer: its losses beyond the trained length, shortest first; the embedding is listed under
            the word of the last one.
    """
    last = longer[-1]
    first = next(at for at in longer if at.word == last.word)
    after = longer[longer.index(first) :]
    end = f"{_change(last)} at {times(last.factor)}"
    if last.word == "cannot":
        end = f"from {times(first.factor)} on"
    elif last.word == "breaks" and first is not last:
        lasting = all(at.word == last.word for at in after)
        begin = f"from {times(first.factor)} on" if lasting else f"first at {times(first.factor)}"
        end = f"{begin}, {_change(first)} there and {end}"
    others = _at_other_lengths([at for at in longer if at.word != last.word])
    return f"{end}{others}{_would_settle(last)}"


def _at_other_lengths(others: list[AtLength]) -> str:
    """Describe lengths at which the word differs from that at the longest."""
    words = [
        f"{word} at {listed(_mean_at(at) for at in others if at.word == word)}"
        for word in dict.fromkeys(at.word for at in others)
    ]
    return f" ({'; '.join(words)})" if words else ""


def _mean_at(at: AtLength) -> str:
    return f"{times(at.factor)} {signed(at.change.mean)}" if at.change else times(at.factor)


def _change(at: AtLength) -> str:
    return with_interval(at.change) if at.change else ""


def _would_settle(at: AtLength) -> str:
    """Describe how many seeds would show whether a loss exceeds the tolerance."""
    if at.word != "undecided" or at.change is None or at.change.difference.spread is None:
        return ""
    distance = abs(at.change.mean - TOLERANCE_NATS)
    side_of = f"on which side of {signed(TOLERANCE_NATS, 2)} it is"
    return f"; {seeds_needed(distance, at.change.difference.spread, shown=side_of)}"


def _order(summary: Summary) -> Iterable[str]:
    for how in dict.fromkeys(d.how for r in summary.results for d in r.order):
        effects = [(r.position, d) for r in summary.results for d in r.order if d.how == how]
        yield _sentence(f"{how}: {_probed(effects)}.")


def _probed(effects: list[tuple[str, Disturbed]]) -> str:
    """Describe the effect of a probe: the range of significant rises, then the others."""
    rises = [(p, d.rise) for p, d in effects if d.rise is not None]
    significant = sorted((rise.mean, p) for p, rise in rises if rise.shown)
    alone = [f"{signed(rise.mean)} {p}" for p, rise in rises if rise.low is None]
    still = [p for p, rise in rises if _still(rise)]
    others = [(p, rise) for p, rise in rises if not rise.shown and rise.low is not None]
    others = [(p, rise) for p, rise in others if p not in still]
    tiny = [p for p, r in others if r.negligible and r.low and r.high and r.low * r.high > 0]
    told = {p: f"{p} {with_interval(rise)}" for p, rise in others}
    rest = [told[p] for p, _ in others if p not in tiny]
    parts = []
    if significant:
        ends = [f"{signed(mean)} ({p})" for mean, p in (significant[0], significant[-1])]
        names = "all" if len(significant) == len(effects) else listed(p for _, p in significant)
        names = f" for {names}" if len(significant) > 1 else ""
        parts.append(f"{' to '.join(dict.fromkeys(ends))}{names}")
    if rest:
        parts.append(f"not significant for {listed(rest)}")
    if tiny:
        parts.append(f"too small to matter for {listed(told[p] for p in tiny)}")
    if still:
        parts.append(f"unchanged for {listed(still)}")
    if alone:
        parts.append(f"{', '.join(alone)} (one seed: no interval)")
    if cannot := [p for p, d in effects if d.rise is None]:
        parts.append(f"{listed(cannot)} cannot")
    return "; ".join(parts)


def _still(rise: Change) -> bool:
    """Return whether a change prints as 0.000."""
    ends = (rise.low, rise.high)
    return all(end is not None and abs(end) < SMALLEST_NATS for end in ends)


def _each(costs: list[tuple[float, str]], written: Callable[[float], str]) -> str:
    """Return every embedding's cost, or the range if there are many."""
    if len(costs) <= MOST_LISTED:
        return ", ".join(f"{position} {written(cost)}" for cost, position in costs)
    (least, cheap), (most, dear) = min(costs), max(costs)
    return f"{written(least)} ({cheap}) to {written(most)} ({dear})"


def _costs(summary: Summary) -> Iterable[str]:
    base = summary.baseline
    own = next(r for r in summary.results if r.position == base).cost
    others = [r for r in summary.results if r.position != base]
    ratios = [(r.cost.step_ratio, r.position) for r in others if r.cost.step_ratio is not None]
    if ratios and own.step_seconds:
        yield (
            f"Time of a training step, measured once, relative to {base} "
            f"({own.step_seconds * 1000:.0f} ms): {_each(ratios, lambda x: f'{x:.2f}x')}."
        )
    more = [(r.cost.more_bytes, r.position) for r in others if r.cost.more_bytes is not None]
    if more and own.peak_bytes:
        yield (
            f"Peak memory of a run, relative to {base} ({own.peak_bytes / MiB:.0f} MiB): "
            f"{_each(more, lambda x: f'{signed(x / MiB, 0)} MiB')}."
        )
    added = [(r.position, r.cost.added) for r in summary.results if r.cost.added is not None]
    if adding := [f"{p} {n:,}" for p, n in added if n]:
        rest = "" if len(adding) == len(added) else "; the others none"
        yield f"Parameters added: {', '.join(adding)}{rest}."
    elif added:
        yield "No embedding adds parameters."


def _runs(summary: Summary) -> Iterable[str]:
    for result in summary.results:
        for seed, why in result.failed:
            yield f"{result.position} with seed {seed} failed: {why.rstrip('.')}."
    missing = [f"{r.missing} of {r.position}" for r in summary.results if r.missing]
    if missing:
        yield f"Runs not finished yet: {listed(missing)}. The same command resumes them."


def _scope(summary: Summary) -> str:
    c = summary.comparison
    model, data = c.model, c.data
    own = next(r for r in summary.results if r.position == summary.baseline).cost
    size = f"{own.parameters / 1e6:.2f} M parameters, " if own.parameters else ""
    rates = "tuned for each embedding" if c.tuned else "the same for all"
    ended = [len(r.losses) for r in summary.results if r.losses]
    seeds = number_of_seeds(ended or [summary.seeds])
    return (
        f"These results hold for this model ({size}{counted(model['layers'], 'layer')} of width "
        f"{model['width']}, trained length {c.trained_length:,} tokens), this text "
        f"({data['name']}, {data['training_tokens']:,} training tokens), this budget "
        f"({c.tokens:,} tokens per run, {seeds}) and learning rates {rates}."
    )
