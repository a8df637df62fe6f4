"""The verdict of a comparison in plain sentences, and no sentence that its numbers do not allow.

"Better", "worse", "uses it", "breaks" and "rises" are said only of differences that are shown
(`summary.py`); of the others their interval is given and that nothing is shown. With one seed
there are numbers and no claims. Embeddings are compared with the baseline, not with one another:
nothing here says "best". The last sentence says what all of it holds for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wordorder.experiments.judgement import SMALLEST_NATS, Change
from wordorder.experiments.summary import AtLength, Disturbed, Result, Summary
from wordorder.training.plan import MiB

MOST_LISTED = 6  # of more embeddings a sentence gives the range
WORDS = ("uses it", "survives", "undecided", "breaks", "cannot", "")


@dataclass(frozen=True)
class Findings:
    """What was found of one thing: a heading and sentences."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What may be said, the most important first.

    Args:
        headline: which embeddings did better or worse than the baseline.
        findings: on failed runs, loss, longer context, order and costs, where there are any.
        scope: the model, text and budget that all of it holds for.
    """

    headline: str
    findings: tuple[Findings, ...]
    scope: str


def verdict(summary: Summary) -> Verdict:
    """Return the verdict of a comparison."""
    found = {
        "Runs": _runs(summary),
        "Validation loss": _learning(summary),
        _length_heading(summary): _lengths(summary),
        "Loss where the order of the context is disturbed": _order(summary),
        "Costs": _costs(summary),
    }
    findings = tuple(Findings(heading, tuple(lines)) for heading, lines in found.items())
    return Verdict(_headline(summary), tuple(f for f in findings if f.lines), _scope(summary))


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign, none where it rounds to zero."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if not float(shown) else shown


def with_interval(change: Change) -> str:
    """Return a difference with its 95% interval: `-0.004 (-0.015 to +0.007)`."""
    if change.low is None or change.high is None:
        return signed(change.mean)
    return f"{signed(change.mean)} ({signed(change.low)} to {signed(change.high)})"


def with_reach(change: Change) -> str:
    """Return a difference with half its 95% interval, which reaches as far both ways."""
    if change.low is None or change.high is None:
        return signed(change.mean)
    return f"{signed(change.mean)} ±{(change.high - change.low) / 2:.3f}"


def times(factor: float) -> str:
    """Return a factor as people read it: `16x`."""
    return f"{factor:g}x"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _compared(summary: Summary) -> list[tuple[Result, Change]]:
    return [(r, r.against_baseline) for r in summary.ranked if r.against_baseline]


def _headline(summary: Summary) -> str:
    base, compared = summary.baseline, _compared(summary)
    if not any(r.losses for r in summary.results):
        return "Nothing was trained: there are no losses to compare."
    if not compared:
        return f"No embedding shares a finished seed with the baseline, {base}: none is compared."
    if all(change.low is None for _, change in compared):
        return "One seed: no interval, so no difference is claimed."
    better = [r.position for r, change in compared if change.shown and change.mean < 0]
    worse = [r.position for r, change in compared if change.shown and change.mean > 0]
    rest = [r.position for r, change in compared if not change.shown]
    if not better and not worse:
        return f"No embedding is shown to do better or worse than {base}."
    parts = []
    if better:
        parts.append(f"Better than {base}: {listed(better)}.")
    if worse:
        parts.append(f"Worse than {base}: {listed(worse)}.")
    if rest:
        parts.append(f"No difference to {base} is shown for {listed(rest)}.")
    return " ".join(parts)


def _learning(summary: Summary) -> Iterable[str]:
    base = summary.baseline
    for result, change in _compared(summary):
        name, difference = result.position, change.difference
        if change.low is None or change.high is None:
            yield f"{name} against {base}: {signed(change.mean)} nats (one seed: no interval)."
        elif change.shown:
            better = change.mean < 0
            low, high = sorted((abs(change.low), abs(change.high)))
            yield (
                f"{name} does {'better' if better else 'worse'} than {base}: its loss is "
                f"{abs(change.mean):.3f} nats {'lower' if better else 'higher'} "
                f"(95% interval {low:.3f} to {high:.3f}, {difference.seeds} seeds)."
            )
        else:
            excludes = not change.low <= 0 <= change.high
            holm = f"; after Holm's correction p = {change.adjusted_p:.2f}" if excludes else ""
            yield (
                f"Between {name} and {base} no difference is shown: {signed(change.mean)} "
                f"({signed(change.low)} to {signed(change.high)}{holm})."
            )


def _furthest(summary: Summary) -> AtLength | None:
    """Return any embedding's loss on the same targets at the longest context."""
    lengths = [at for r in summary.results for at in r.same_targets]
    return max(lengths, key=lambda at: at.factor, default=None)


def _length_heading(summary: Summary) -> str:
    furthest = _furthest(summary)
    if furthest is None:
        return "Longer context"
    targets, documents = summary.targets or 0, summary.target_documents or 0
    return (
        f"Context {times(furthest.factor)} as long as trained, {furthest.length:,} tokens, against "
        f"{times(1)}: loss of the same {targets:,} tokens in {documents:,} documents"
    )


def _lengths(summary: Summary) -> Iterable[str]:
    furthest = _furthest(summary)
    if furthest is None or furthest.factor == 1:
        return
    by_word: dict[str, list[str]] = {word: [] for word in WORDS}
    for result in summary.results:
        for at in result.same_targets:
            if at.factor == furthest.factor:
                by_word[at.word].append(f"{result.position}{_since(result, at)}")
    for word, found in by_word.items():
        if found:
            yield _sentence(f"{word or 'one seed, no interval'}: {'; '.join(found)}.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _since(result: Result, at: AtLength) -> str:
    """Return from which length on a model does what it does at this one, and the change."""
    first = at
    for shorter in reversed([a for a in result.same_targets if a.factor < at.factor]):
        if shorter.word != at.word:
            break
        first = shorter
    since = f" from {times(first.factor)} on" if at.word in ("breaks", "cannot") else ""
    change = f" {with_interval(at.change)}" if at.change else ""
    return f"{since}{change}"


def _order(summary: Summary) -> Iterable[str]:
    for how in dict.fromkeys(d.how for r in summary.results for d in r.order):
        found = [(r.position, d) for r in summary.results for d in r.order if d.how == how]
        yield _sentence(f"{how}: {_probed(found)}.")


def _probed(found: list[tuple[str, Disturbed]]) -> str:
    """Return what a probe did to the losses: the range where a change is shown, then the rest."""
    rises = [(p, d.rise) for p, d in found if d.rise is not None]
    shown = sorted((rise.mean, p) for p, rise in rises if rise.shown)
    alone = [f"{signed(rise.mean)} {p}" for p, rise in rises if rise.low is None]
    still = [p for p, rise in rises if _still(rise)]
    rest = [
        f"{p} {with_interval(rise)}"
        for p, rise in rises
        if not rise.shown and rise.low is not None and p not in still
    ]
    parts = []
    if shown:
        ends = [f"{signed(mean)} ({p})" for mean, p in (shown[0], shown[-1])]
        names = "all" if len(shown) == len(found) else listed(p for _, p in shown)
        names = f" for {names}" if len(shown) > 1 else ""
        parts.append(f"{' to '.join(dict.fromkeys(ends))}, shown{names}")
    if rest:
        parts.append(f"no change is shown for {listed(rest)}")
    if still:
        parts.append(f"the same for {listed(still)}")
    if alone:
        parts.append(f"{', '.join(alone)} (one seed: no interval)")
    if cannot := [p for p, d in found if d.rise is None]:
        parts.append(f"{listed(cannot)} cannot")
    return "; ".join(parts)


def _still(rise: Change) -> bool:
    """Whether a loss changed by nothing that three digits show."""
    ends = (rise.low, rise.high)
    return all(end is not None and abs(end) < SMALLEST_NATS for end in ends)


def _each(costs: list[tuple[float, str]], shown: Callable[[float], str]) -> str:
    """Return every embedding's cost, or of many the least and the most."""
    if len(costs) <= MOST_LISTED:
        return ", ".join(f"{position} {shown(cost)}" for cost, position in costs)
    (least, cheap), (most, dear) = min(costs), max(costs)
    return f"{shown(least)} ({cheap}) to {shown(most)} ({dear})"


def _costs(summary: Summary) -> Iterable[str]:
    base = summary.baseline
    own = next(r for r in summary.results if r.position == base).cost
    others = [r for r in summary.results if r.position != base]
    ratios = [(r.cost.step_ratio, r.position) for r in others if r.cost.step_ratio is not None]
    if ratios and own.step_seconds:
        yield (
            f"A training step takes, measured once, against {base}'s "
            f"{own.step_seconds * 1000:.0f} ms: {_each(ratios, lambda x: f'{x:.2f}x')}."
        )
    more = [(r.cost.more_bytes, r.position) for r in others if r.cost.more_bytes is not None]
    if more and own.peak_bytes:
        yield (
            f"Most memory of a run, against {base}'s {own.peak_bytes / MiB:.0f} MiB: "
            f"{_each(more, lambda x: f'{signed(x / MiB, 0)} MiB')}."
        )
    added = [(r.position, r.cost.added) for r in summary.results if r.cost.added is not None]
    if adding := [f"{p} {n:,}" for p, n in added if n]:
        others = "" if len(adding) == len(added) else "; the others none"
        yield f"Parameters added: {', '.join(adding)}{others}."
    elif added:
        yield "None of them adds parameters."


def _runs(summary: Summary) -> Iterable[str]:
    for result in summary.results:
        for seed, why in result.failed:
            yield f"{result.position} with seed {seed} failed: {why.rstrip('.')}."
    missing = [f"{r.missing} of {r.position}" for r in summary.results if r.missing]
    if missing:
        yield f"Runs not made yet: {listed(missing)}. The same command goes on with them."


def _scope(summary: Summary) -> str:
    c = summary.comparison
    model, data = c["model"], c["data"]
    own = next(r for r in summary.results if r.position == summary.baseline).cost
    size = f"{own.parameters / 1e6:.2f} M parameters, " if own.parameters else ""
    rates = "tuned for each embedding" if c.get("tuned") else "the same for all"
    seeds = f"{summary.seeds} seed{'s' if summary.seeds != 1 else ''}"
    return (
        f"This holds for this model ({size}{model['layers']} layers of width {model['width']}, "
        f"trained on {c['trained_length']:,} tokens at a time), this text ({data['name']}, "
        f"{data['training_tokens']:,} tokens to train on), this budget ({c['tokens']:,} tokens a "
        f"run, {seeds}) and learning rates {rates}."
    )
