"""What a comparison found: means, paired differences and what may be said of them.

Everything that people read (the verdict, the table, the figures, the page) is made from
this one summary, so that no two of them can disagree.

Three families of differences are judged (`judgement.py`), each corrected on its own: losses
against the baseline; at each length the embeddings' changes against their own loss at the
trained length; for each disturbance of the order their losses against the undisturbed text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wordorder.experiments.judgement import BySeed, Change, judge

# What a loss may change by and still be called the same, in nats. ALiBi, the embedding known for
# surviving, rises by .018 at six times its trained length (Press et al. 2022, table 13: perplexity
# 17.98 to 18.30 on sliding windows); rotary rises by more than .06 at twice its own.
TOLERANCE_NATS = 0.03

NOT_FINITE = "the loss is not a finite number"


@dataclass(frozen=True)
class AtLength:
    """The loss with a context of one length.

    Args:
        factor: the length over the trained one.
        length: tokens of context.
        losses: nats per token, a value for each seed; empty where there is a `cannot`.
        change: against the same model's loss at the trained length; None there, and where
            there is nothing to compare.
        word: on the same targets, what more context does: "uses it" (the loss falls, shown, and
            the interval reaches past the tolerance), "breaks" (it rises so), "survives" (else,
            the interval ends within the tolerance above), "undecided" (it may rise or not);
            "cannot"; "" where nothing may be said: one seed, the trained length, whole windows.
        cannot: why the embedding has no such position; "" where it has.
    """

    factor: float
    length: int
    losses: tuple[float, ...]
    change: Change | None = None
    word: str = ""
    cannot: str = ""

    @property
    def loss_nats(self) -> float | None:
        return _mean(self.losses)


@dataclass(frozen=True)
class Disturbed:
    """The rise of the loss where the order of the text is disturbed in one way.

    Args:
        how, meaning: the probe's name, and what it does in a few words.
        rise: None where there is a `cannot`.
        cannot: why it could not be measured; "" where it could.
    """

    how: str
    meaning: str
    rise: Change | None
    cannot: str = ""


@dataclass(frozen=True)
class Cost:
    """What an embedding costs beside the baseline; None: not measured.

    Args:
        parameters, added: of the model, and those of the embedding alone.
        step_seconds, step_ratio: of one training step, and over the baseline's.
        peak_bytes, more_bytes: the most memory of the whole process, mean over seeds, and how
            much more than the baseline's.
    """

    parameters: int | None
    added: int | None
    step_seconds: float | None
    step_ratio: float | None
    peak_bytes: float | None
    more_bytes: float | None


@dataclass(frozen=True)
class Result:
    """What one embedding scored.

    Args:
        rank: by the paired difference to the baseline, 1 the lowest loss; None without runs.
            Neighbours in rank need not differ.
        seeds, losses, bits_per_byte: a value for each run; losses in nats per token.
        against_baseline: None for the baseline itself, and where no seed is in both.
        curves: for each seed, (tokens, validation loss) while training.
        failed: (seed, why) of runs that did not end well.
        missing: how many runs have not been made yet.
    """

    position: str
    rank: int | None
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    bits_per_byte: tuple[float, ...]
    against_baseline: Change | None
    same_targets: tuple[AtLength, ...]
    whole_windows: tuple[AtLength, ...]
    order: tuple[Disturbed, ...]
    cost: Cost
    curves: tuple[tuple[tuple[float, float], ...], ...]
    failed: tuple[tuple[int, str], ...]
    missing: int

    @property
    def loss_nats(self) -> float | None:
        return _mean(self.losses)

    @property
    def mean_bits_per_byte(self) -> float | None:
        return _mean(self.bits_per_byte)


@dataclass(frozen=True)
class Summary:
    """What a comparison found.

    Args:
        comparison: what was compared and how, as `comparison.json` has it.
        results: one for each embedding, in the order asked for.
        targets, target_documents: of the loss with growing context on the same targets.
    """

    comparison: Mapping[str, Any]
    results: tuple[Result, ...]
    targets: int | None
    target_documents: int | None

    @property
    def baseline(self) -> str:
        return str(self.comparison["baseline"])

    @property
    def seeds(self) -> int:
        """How many seeds were asked for."""
        return int(self.comparison["seeds"])

    @property
    def ranked(self) -> tuple[Result, ...]:
        """The results by rank, those without one last."""
        return tuple(sorted(self.results, key=lambda r: math.inf if r.rank is None else r.rank))

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON holds it."""
        return asdict(self)


def summarise(comparison: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Summary:
    """Return what a comparison found.

    Args:
        comparison: as `comparison.json` has it.
        records: the lines of `results.jsonl`; of several for one run the last counts.
    """
    positions, baseline = comparison["positions"], comparison["baseline"]
    runs, failed = _runs(positions, records)
    losses = {p: {s: float(r["validation_loss"]) for s, r in runs[p].items()} for p in positions}
    against = judge({p: (losses[p], losses[baseline]) for p in positions if p != baseline})
    same = {
        p: {s: (r.get("same_targets") or {}).get("lengths", []) for s, r in runs[p].items()}
        for p in positions
    }
    whole = {p: {s: r.get("whole_windows") or [] for s, r in runs[p].items()} for p in positions}
    same_targets, whole_windows = _lengths(same, worded=True), _lengths(whole, worded=False)
    order, ranks = _order(runs), _ranks(losses, against, baseline)
    costs = _costs(comparison, runs)
    results = tuple(
        Result(
            position=p,
            rank=ranks.get(p),
            seeds=tuple(runs[p]),
            losses=tuple(losses[p].values()),
            bits_per_byte=tuple(
                float(r["bits_per_byte"])
                for r in runs[p].values()
                if r.get("bits_per_byte") is not None
            ),
            against_baseline=against.get(p),
            same_targets=same_targets[p],
            whole_windows=whole_windows[p],
            order=order[p],
            cost=costs[p],
            curves=tuple(_curve(r) for r in runs[p].values()),
            failed=tuple(sorted(failed[p].items())),
            missing=max(0, int(comparison["seeds"]) - len(runs[p]) - len(failed[p])),
        )
        for p in positions
    )
    on = [r["same_targets"] for p in positions for r in runs[p].values() if r.get("same_targets")]
    return Summary(
        comparison=comparison,
        results=results,
        targets=on[0]["targets"] if on else None,
        target_documents=on[0]["documents"] if on else None,
    )


def _runs(
    positions: Iterable[str], records: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, dict[int, Mapping[str, Any]]], dict[str, dict[int, str]]]:
    """Return by position and seed the runs that ended well, and why the others did not."""
    last = {(r["position"], int(r["seed"])): r for r in records}
    runs: dict[str, dict[int, Mapping[str, Any]]] = {p: {} for p in positions}
    failed: dict[str, dict[int, str]] = {p: {} for p in runs}
    for (position, seed), record in sorted(last.items()):
        if position not in runs:
            continue
        if "failed" in record:
            failed[position][seed] = str(record["failed"])
        elif not _finite(record["validation_loss"]):
            failed[position][seed] = "its validation loss is not a finite number"
        else:
            runs[position][seed] = record
    return runs, failed


def _lengths(
    entries: Mapping[str, Mapping[int, list[Mapping[str, Any]]]], *, worded: bool
) -> dict[str, tuple[AtLength, ...]]:
    """Return for each position what its runs scored at each length."""
    losses: dict[str, dict[float, BySeed]] = {p: {} for p in entries}
    cannot: dict[tuple[str, float], str] = {}
    tokens: dict[float, int] = {}
    for position, seeds in entries.items():
        for seed, lengths in seeds.items():
            for entry in lengths:
                factor = float(entry["factor"])
                tokens[factor] = int(entry["length"])
                at = losses[position].setdefault(factor, {})
                if "cannot" in entry:
                    cannot[position, factor] = str(entry["cannot"])
                elif not _finite(entry["loss"]):
                    cannot[position, factor] = NOT_FINITE
                else:
                    at[seed] = float(entry["loss"])
    changes: dict[tuple[str, float], Change] = {}
    for factor in tokens:
        if factor != 1:
            family = {
                (p, factor): (at.get(factor, {}), at.get(1.0, {}))
                for p, at in losses.items()
                if (p, factor) not in cannot
            }
            changes.update(judge(family))

    def at_length(position: str, factor: float) -> AtLength:
        why, change = cannot.get((position, factor), ""), changes.get((position, factor))
        word = "cannot" if why else word_for(change) if worded and change else ""
        values = () if why else tuple(losses[position][factor].values())
        return AtLength(factor, tokens[factor], values, change, word, why)

    return {p: tuple(at_length(p, f) for f in sorted(at)) for p, at in losses.items()}


def word_for(change: Change) -> str:
    """Return what more context does, in a word; "" with one seed."""
    if change.low is None or change.high is None:
        return ""
    matters = change.low < -TOLERANCE_NATS or change.high > TOLERANCE_NATS
    if change.shown and matters:
        return "uses it" if change.mean < 0 else "breaks"
    return "survives" if change.high <= TOLERANCE_NATS else "undecided"


def _order(
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]],
) -> dict[str, tuple[Disturbed, ...]]:
    """Return for each position how much its loss rises where the order is disturbed."""
    losses: dict[str, dict[str, tuple[BySeed, BySeed]]] = {}
    meanings: dict[str, str] = {}
    cannot: dict[tuple[str, str], str] = {}
    for position, seeds in runs.items():
        for seed, record in seeds.items():
            for probe in record.get("order") or []:
                how = str(probe["change"])
                meanings[how] = str(probe.get("meaning", ""))
                values, plain = losses.setdefault(how, {}).setdefault(position, ({}, {}))
                if "cannot" in probe:
                    cannot[position, how] = str(probe["cannot"])
                elif not _finite(probe["loss"]) or not _finite(probe["plain"]):
                    cannot[position, how] = NOT_FINITE
                else:
                    values[seed], plain[seed] = float(probe["loss"]), float(probe["plain"])
    found: dict[str, list[Disturbed]] = {p: [] for p in runs}
    for how, family in losses.items():
        rises = judge({p: pair for p, pair in family.items() if (p, how) not in cannot})
        for p in family:
            why = cannot.get((p, how), "")
            found[p].append(Disturbed(how, meanings[how], rises.get(p), why))
    return {p: tuple(disturbed) for p, disturbed in found.items()}


def _ranks(
    losses: Mapping[str, BySeed], against: Mapping[str, Change], baseline: str
) -> dict[str, int]:
    """Return ranks by the paired difference, or by the mean where the baseline has no run."""
    if losses[baseline]:
        scores = {p: change.mean for p, change in against.items()} | {baseline: 0.0}
    else:
        scores = {p: math.fsum(at.values()) / len(at) for p, at in losses.items() if at}
    return {p: rank for rank, p in enumerate(sorted(scores, key=scores.__getitem__), start=1)}


def _costs(
    comparison: Mapping[str, Any], runs: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> dict[str, Cost]:
    measured = comparison.get("costs") or {}
    peaks = {
        p: _mean([float(r["peak_bytes"]) for r in seeds.values() if r.get("peak_bytes")])
        for p, seeds in runs.items()
    }
    base = measured.get(comparison["baseline"], {}).get("step_seconds")
    base_peak = peaks[comparison["baseline"]]
    costs = {}
    for position, peak in peaks.items():
        known = measured.get(position, {})
        seconds = known.get("step_seconds")
        costs[position] = Cost(
            parameters=known.get("parameters"),
            added=known.get("added"),
            step_seconds=seconds,
            step_ratio=seconds / base if seconds and base else None,
            peak_bytes=peak,
            more_bytes=None if peak is None or base_peak is None else peak - base_peak,
        )
    return costs


def _curve(record: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    return tuple((float(t), float(loss)) for t, loss in record.get("curve") or [])


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _mean(values: Iterable[float]) -> float | None:
    values = tuple(values)
    return math.fsum(values) / len(values) if values else None
