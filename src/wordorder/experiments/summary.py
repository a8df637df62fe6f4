"""Computes the summary of a comparison: means, paired differences and their significance.

The verdict, tables, figures and report use only this summary, so that they agree.

The losses against the baseline are the family whose false positive rate is 5% (`significance.py`).
The changes with length, and the losses with disturbed order, are exploratory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from wordorder.experiments.comparison import Comparison
from wordorder.experiments.results import (
    AtLength,
    Cost,
    Disturbed,
    Result,
    Summary,
    mean_of,
    word_for,
)
from wordorder.experiments.significance import BySeed, Change, Documents, judge

NOT_FINITE = "the loss is NaN or infinite"


def summarise(comparison: Comparison, records: Iterable[Mapping[str, Any]]) -> Summary:
    """Return the summary of a comparison.

    Args:
        comparison: its settings.
        records: the lines of `results.jsonl`; of several for one run the last counts.
    """
    positions, baseline, records = comparison.positions, comparison.baseline, [*records]
    runs, failed = _runs(positions, records)
    losses = {p: {s: float(r["validation_loss"]) for s, r in runs[p].items()} for p in positions}
    measured = dict.fromkeys(str(r["position"]) for r in records if "failed" not in r)
    left_out = tuple(p for p in measured if p not in positions)
    against = _against(comparison, losses, runs, len(positions) - 1 + len(left_out))
    same = {
        p: {s: (r.get("same_targets") or {}).get("lengths", []) for s, r in runs[p].items()}
        for p in positions
    }
    whole = {p: {s: r.get("whole_windows") or [] for s, r in runs[p].items()} for p in positions}
    same_targets, whole_windows = _lengths(same, worded=True), _lengths(whole, worded=False)
    order, ranks = _order(runs), _ranks(losses, against, baseline)
    costs, at_best = _costs(comparison, runs), _at_best(runs, baseline)
    results = tuple(
        Result(
            position=p,
            rank=ranks.get(p),
            seeds=tuple(runs[p]),
            losses=tuple(losses[p].values()),
            against_baseline=against.get(p),
            same_targets=same_targets[p],
            whole_windows=whole_windows[p],
            order=order[p],
            cost=costs[p],
            failed=tuple(sorted(failed[p].items())),
            missing=max(0, comparison.seeds - len(runs[p]) - len(failed[p])),
            against_baseline_at_best=at_best.get(p),
            **_of_training(runs[p]),
        )
        for p in positions
    )
    on = [r["same_targets"] for p in positions for r in runs[p].values() if r.get("same_targets")]
    return Summary(
        comparison=comparison,
        results=results,
        targets=on[0]["targets"] if on else None,
        target_documents=on[0]["documents"] if on else None,
        left_out=left_out,
    )


def _of_training(runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the runs of one embedding recorded while they trained, and in bits."""
    bits = [r.get("bits_per_byte") for r in runs.values()]
    training = [r.get("training_loss") for r in runs.values()]
    return {
        "bits_per_byte": tuple(float(value) for value in bits if value is not None),
        "training_losses": tuple(float(value) for value in training if _finite(value)),
        "curves": tuple(_curve(r) for r in runs.values()),
        "curve_text": next((r["curve_text"] for r in runs.values() if r.get("curve_text")), "")
        or "validation",
    }


def _against(
    comparison: Comparison,
    losses: Mapping[str, BySeed],
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]],
    family: int,
) -> dict[str, Change]:
    """Return the differences of the losses from the baseline's: the headline family.

    Args:
        family: the number of embeddings ever compared: leaving some out after a look at the results
            must not make others more significant.
    """
    baseline = comparison.baseline
    others = [p for p in comparison.positions if p != baseline]
    documents = {
        p: _by_document({s: r.get("by_document") for s, r in of_seed.items()})
        for p, of_seed in runs.items()
    }
    return judge(
        {p: (losses[p], losses[baseline]) for p in others},
        {p: (documents[p], documents[baseline]) for p in others},
        looks=len(comparison.looks_so_far),
        planned=family,
    )


def _by_document(entries: Mapping[int, Mapping[str, Any] | None]) -> Documents:
    """Return the losses of documents by seed, and the documents' weights."""
    there = {s: entry for s, entry in entries.items() if entry}
    weights = next((tuple(entry["weights"]) for entry in there.values()), ())
    same = {s: entry for s, entry in there.items() if tuple(entry["weights"]) == weights}
    return {s: tuple(entry["losses"]) for s, entry in same.items()}, weights


def _at_best(
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]], baseline: str
) -> dict[str, float | None]:
    """Return the paired differences of the curves' lowest points."""
    lowest = {
        p: {s: min(y for _, y in _curve(r)) for s, r in of_seed.items() if _curve(r)}
        for p, of_seed in runs.items()
    }
    base = lowest[baseline]
    return {
        p: mean_of([own[s] - base[s] for s in own if s in base])
        for p, own in lowest.items()
        if p != baseline
    }


def _runs(
    positions: Iterable[str], records: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, dict[int, Mapping[str, Any]]], dict[str, dict[int, str]]]:
    """Return successful runs by position and seed, and the reasons of failed ones."""
    last = {(r["position"], int(r["seed"])): r for r in records}
    runs: dict[str, dict[int, Mapping[str, Any]]] = {p: {} for p in positions}
    failed: dict[str, dict[int, str]] = {p: {} for p in runs}
    for (position, seed), record in sorted(last.items()):
        if position not in runs:
            continue
        if "failed" in record:
            failed[position][seed] = str(record["failed"])
        elif not _finite(record["validation_loss"]):
            failed[position][seed] = "its validation loss is NaN or infinite"
        else:
            runs[position][seed] = record
    return runs, failed


def _lengths(
    entries: Mapping[str, Mapping[int, list[Mapping[str, Any]]]], *, worded: bool
) -> dict[str, tuple[AtLength, ...]]:
    """Return for each position what its runs scored at each length."""
    losses: dict[str, dict[float, BySeed]] = {p: {} for p in entries}
    documents: dict[tuple[str, float], dict[int, Any]] = {}
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
                    documents.setdefault((position, factor), {})[seed] = entry.get("by_document")
    by_document = {
        key: _by_document(losses_of_documents) for key, losses_of_documents in documents.items()
    }
    nothing: Documents = ({}, ())
    changes: dict[tuple[str, float], Change] = {}
    for factor in tokens:
        if factor != 1:
            family = {
                (p, factor): (at.get(factor, {}), at.get(1.0, {}))
                for p, at in losses.items()
                if (p, factor) not in cannot
            }
            pairs = {
                (p, f): (by_document.get((p, f), nothing), by_document.get((p, 1.0), nothing))
                for p, f in family
            }
            changes.update(judge(family, pairs, exploratory=True))

    def at_length(position: str, factor: float) -> AtLength:
        why, change = cannot.get((position, factor), ""), changes.get((position, factor))
        word = "cannot" if why else word_for(change) if worded and change else ""
        values = () if why else tuple(losses[position][factor].values())
        return AtLength(factor, tokens[factor], values, change, word, why)

    return {p: tuple(at_length(p, f) for f in sorted(at)) for p, at in losses.items()}


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
    by_position: dict[str, list[Disturbed]] = {p: [] for p in runs}
    for how, family in losses.items():
        pairs = {p: pair for p, pair in family.items() if (p, how) not in cannot}
        rises = judge(pairs, exploratory=True)
        for p in family:
            why = cannot.get((p, how), "")
            by_position[p].append(Disturbed(how, meanings[how], rises.get(p), why))
    return {p: tuple(disturbed) for p, disturbed in by_position.items()}


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
    comparison: Comparison, runs: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> dict[str, Cost]:
    measured = comparison.costs
    peaks = {
        p: mean_of([float(r["peak_bytes"]) for r in seeds.values() if r.get("peak_bytes")])
        for p, seeds in runs.items()
    }
    base = measured.get(comparison.baseline, {}).get("step_seconds")
    base_peak = peaks[comparison.baseline]
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


def _finite(value: Any) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
