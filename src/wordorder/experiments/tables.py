"""The tables of a comparison: table.csv with every number, and short ones for reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wordorder.evaluation.effect import SMALLEST_NATS
from wordorder.experiments.power import detectable
from wordorder.experiments.results import AtLength, Result, Summary, mean_of
from wordorder.experiments.significance import Change
from wordorder.experiments.tuning import ended
from wordorder.experiments.wording import p_value, times, with_interval, with_reach
from wordorder.numerals import counted, signed
from wordorder.table import Table
from wordorder.training.plan import MiB

# The columns of table.csv; F is a multiple of the trained length, HOW a probe of order.
COLUMNS = {
    "position": "the positional embedding",
    "baseline": "yes: the reference of all differences",
    "rank": "1: the lowest loss, by paired differences; adjacent ranks may not differ "
    "significantly",
    "seeds, failed, missing": "numbers of finished, failed, and missing runs",
    "loss_nats, bits_per_byte": "validation loss, mean over seeds",
    "loss_nats_by_seed": "seed:loss of each run",
    "difference, difference_low, difference_high": (
        "paired difference of the loss to the baseline's, and its 95% interval"
    ),
    "over": "what interval and p generalise over: seeds and documents, or seeds only",
    "difference_by_seed": "seed:difference of each pair",
    "p, p_holm, p_permutation": (
        "of the paired t-test; with Holm's correction and that for earlier looks; of the "
        "sign-flip test over seeds, from six seeds on"
    ),
    "shown": (
        f"yes: the interval excludes zero, p_holm is below 0.05, and the mean is at least "
        f"{SMALLEST_NATS} nats from zero"
    ),
    "detectable, detectable_holm": (
        "the smallest true difference detected with a power of 80%: alone, at Holm's first step"
    ),
    "best, last, training_loss": (
        "the lowest loss of the curve, the last one on the same tokens, and the training loss there"
    ),
    "same_targets_Fx": (
        "loss of the same tokens with F times the trained length as context, or cannot"
    ),
    "same_targets_Fx_change, _low, _high, _p": (
        "change from the same model's loss at 1x; exploratory, without correction for multiple "
        "tests"
    ),
    "same_targets_Fx_word": "effect of longer context: uses it, survives, breaks or undecided",
    "whole_windows_Fx, _change, _low, _high, _p": (
        "the same over disjoint windows, which mix short and long contexts"
    ),
    "order_HOW, _low, _high, _p": "rise of the loss with the order disturbed",
    "parameters, parameters_added": "of the model, and of the embedding",
    "step_seconds, step_ratio": "of one training step, and relative to the baseline",
    "peak_bytes, more_bytes": "peak memory of a run's process, and its difference to the baseline",
}

REACH = "± is the 95% interval of the paired difference."


def table_csv(summary: Summary) -> str:
    """Return table.csv: a header and one row for each embedding, as `COLUMNS` describes them."""
    rows = [_record(summary, result) for result in summary.results]
    header = list(dict.fromkeys(name for row in rows for name in row))
    return Table(header, [[row.get(name, "") for name in header] for row in rows]).csv()


def _record(summary: Summary, result: Result) -> dict[str, str]:
    change, cost = result.against_baseline, result.cost
    row = {
        "position": result.position,
        "baseline": "yes" if result.position == summary.baseline else "no",
        "rank": _number(result.rank),
        "seeds": str(len(result.seeds)),
        "failed": str(len(result.failed)),
        "missing": str(result.missing),
        "loss_nats": _number(result.loss_nats),
        "bits_per_byte": _number(result.mean_bits_per_byte),
        "loss_nats_by_seed": _by_seed(result.seeds, result.losses),
        **_change("difference", change, first=""),
        "over": _over(change),
        "difference_by_seed": _by_seed(change.seeds, change.difference.values) if change else "",
        "p": _number(change and change.difference.p),
        "p_holm": _number(change and change.adjusted_p),
        "p_permutation": _number(change and change.difference.p_permutation),
        "shown": ("yes" if change.shown else "no") if change else "",
        "detectable": _number(_detectable(change, 1)),
        "detectable_holm": _number(_detectable(change, change.tests if change else 1)),
        "best": _number(result.best_nats),
        "last": _number(result.last_nats),
        "training_loss": _number(mean_of(result.training_losses)),
    }
    for at in result.same_targets:
        name = f"same_targets_{times(at.factor)}"
        row |= {name: "cannot" if at.cannot else _number(at.loss_nats)}
        if at.factor != 1:
            row |= {
                **_change(name, at.change),
                **_p_alone(name, at.change),
                f"{name}_word": at.word,
            }
    for at in result.whole_windows:
        name = f"whole_windows_{times(at.factor)}"
        row |= {name: "cannot" if at.cannot else _number(at.loss_nats)}
        if at.factor != 1:
            row |= {**_change(name, at.change), **_p_alone(name, at.change)}
    for disturbed in result.order:
        name = "order_" + re.sub(r"\W+", "_", disturbed.how.lower()).strip("_")
        row |= {**_change(name, disturbed.rise, first=""), **_p_alone(name, disturbed.rise)}
        row |= {name: "cannot"} if disturbed.cannot else {}
    return row | {
        "parameters": _number(cost.parameters),
        "parameters_added": _number(cost.added),
        "step_seconds": _number(cost.step_seconds),
        "step_ratio": _number(cost.step_ratio),
        "peak_bytes": _number(cost.peak_bytes, whole=True),
        "more_bytes": _number(cost.more_bytes, whole=True),
    }


def _change(name: str, change: Change | None, first: str = "_change") -> dict[str, str]:
    parts = (change.mean, change.low, change.high) if change else (None, None, None)
    ends = (first, "_low", "_high")
    return {f"{name}{end}": _number(part) for end, part in zip(ends, parts, strict=True)}


def _p_alone(name: str, change: Change | None) -> dict[str, str]:
    return {f"{name}_p": _number(change and change.difference.p)}


def _over(change: Change | None) -> str:
    if change is None or change.low is None:
        return ""
    return "seeds and documents" if change.difference.over_documents else "seeds"


def _detectable(change: Change | None, comparisons: int) -> float | None:
    """Return the smallest difference detected with a power of 80%; None with one seed."""
    spread = change.difference.spread if change else None
    return None if spread is None else detectable(spread, comparisons)


def _number(value: float | None, *, whole: bool = False) -> str:
    if value is None:
        return ""
    return str(round(value)) if whole or isinstance(value, int) else f"{value:.6g}"


def _by_seed(seeds: Iterable[int], values: Iterable[float]) -> str:
    return " ".join(f"{s}:{v:.6g}" for s, v in zip(seeds, values, strict=True))


def overview(summary: Summary) -> Table:
    """Return the main results, one row for each embedding by rank."""
    furthest = max((at.factor for r in summary.results for at in r.same_targets), default=1.0)
    header = ["embedding", "loss", f"against {summary.baseline}"]
    header += [f"at {times(furthest)}"] if furthest > 1 else []
    header += ["step", "adds"]
    rows = []
    for result in summary.ranked:
        loss = _fixed(result.loss_nats, 4)
        if 0 < len(result.seeds) < summary.seeds:  # another mean than the others'
            loss += f" ({counted(len(result.seeds), 'seed')})"
        row = [result.position, loss, _against(summary, result, with_reach)]
        if furthest > 1:
            row.append(next((_word(a) for a in result.same_targets if a.factor == furthest), ""))
        ratio, added = result.cost.step_ratio, result.cost.added
        row.append("" if ratio is None else f"{ratio:.2f}x")
        row.append("" if added is None else f"{added:,}")
        rows.append(row)
    return Table(header, rows, note=REACH)


def _against(summary: Summary, result: Result, written: Callable[[Change], str]) -> str:
    if result.position == summary.baseline:
        return "baseline" if result.losses else "no run"
    if result.against_baseline is None:
        return "no pair" if result.losses else "no run"
    return written(result.against_baseline)


def _word(at: AtLength) -> str:
    if at.cannot or at.change is None:
        return at.word
    return f"{signed(at.change.mean)} {at.word}".rstrip()


def losses(summary: Summary) -> Table:
    """Return the validation losses with every seed and every test."""
    permuted = any(
        r.against_baseline and r.against_baseline.difference.p_permutation is not None
        for r in summary.results
    )
    header = ["embedding", "loss", "each seed", "bits per byte", "difference (95%)", "p, Holm"]
    header += ["detectable"]
    rows = []
    for result in summary.ranked:
        change = result.against_baseline
        row = [
            result.position,
            _fixed(result.loss_nats, 4),
            " ".join(f"{loss:.4f}" for loss in result.losses),
            _fixed(result.mean_bits_per_byte, 4),
            _against(summary, result, with_interval),
            _p(change and change.adjusted_p),
            _fixed(_detectable(change, change.tests if change else 1), 3),
        ]
        rows.append([*row, _p(change and change.difference.p_permutation)] if permuted else row)
    note = (
        "Detectable: the smallest true difference detected with a power of 80% at Holm's first "
        "step."
    )
    return Table([*header, "p, permutation"] if permuted else header, rows, note=note)


def training(summary: Summary) -> Table:
    """Return best and last validation loss of each embedding, and the training loss."""
    header = ["embedding", "best", "at tokens", "last", "last - best", "training loss"]
    rows = []
    for result in summary.results:
        if result.best_nats is None or result.last_nats is None:
            continue
        at = [min(curve, key=lambda point: point[1])[0] for curve in result.curves if curve]
        rows.append(
            [
                result.position,
                _fixed(result.best_nats, 4),
                " to ".join(dict.fromkeys(f"{tokens:,.0f}" for tokens in (min(at), max(at)))),
                _fixed(result.last_nats, 4),
                signed(result.overfitting_nats or 0.0, 4),
                _fixed(mean_of(result.training_losses), 4),
            ]
        )
    note = (
        f"On the beginning of the {summary.curve_text} text, mean over seeds. The comparison "
        f"evaluates the last step; if the last is above the best it ranks overfitting."
    )
    return Table(header, rows, note=note)


def rates(tuning: Mapping[str, Any]) -> Table:
    """Return the losses of the learning rate search: all factors, all embeddings."""
    tried = {p: {float(f): each for f, each in t.items()} for p, t in tuning["losses"].items()}
    factors = sorted({factor for each in tried.values() for factor in each})
    rows = []
    for position, each in tried.items():
        chosen = tuning["chosen"].get(position)
        cells = []
        for factor in factors:
            losses = each.get(factor)
            if losses is not None and not ended(losses):
                cells.append("failed")
                continue
            mean = mean_of(losses or ())
            cells.append(_fixed(mean, 4) + (" *" if factor == chosen and mean is not None else ""))
        rows.append([position, *cells])
    note = (
        f"Mean {tuning['text']} loss of {counted(len(tuning['seeds']), 'seed')} after "
        f"{counted(tuning['steps'], 'step')}, by the factor of both rates; * is selected. "
        f"Differences below about 0.01 are not significant with two seeds."
    )
    return Table(["embedding", *(times(factor) for factor in factors)], rows, note=note)


def by_length(summary: Summary, lengths: Callable[[Result], tuple[AtLength, ...]]) -> Table:
    """Return losses at each length, with the change from the trained length below each."""
    factors = {at.factor: at.length for r in summary.results for at in lengths(r)}
    header = ["embedding", *(f"{times(f)} ({factors[f]:,})" for f in sorted(factors))]
    rows = []
    for result in summary.results:
        at = {a.factor: a for a in lengths(result)}
        if at:
            rows.append([result.position, *(_cell(at.get(f)) for f in sorted(factors))])
    return Table(header, rows, note=f"Below each loss: its change from 1x. {REACH}")


def _cell(at: AtLength | None) -> str:
    if at is None:
        return ""
    if at.cannot:
        return "cannot"
    change = f"\n{with_reach(at.change)}" if at.change else ""
    return f"{at.loss_nats:.3f}{change}" + (f"\n{at.word}" if at.word else "")


def order(summary: Summary) -> Table:
    """Return the rise of the loss with each disturbance of the order."""
    probes = list(dict.fromkeys(d.how for r in summary.results for d in r.order))
    rows = []
    for result in summary.results:
        cells = {d.how: "cannot" if d.rise is None else with_reach(d.rise) for d in result.order}
        if cells:
            rows.append([result.position, *(cells.get(how, "") for how in probes)])
    return Table(["embedding", *probes], rows, note=REACH)


def costs(summary: Summary) -> Table:
    """Return the cost of each embedding in time, memory and parameters."""
    header = ["embedding", "step", "ratio", "peak memory", "difference", "parameters", "added"]
    rows = []
    for result in summary.results:
        cost = result.cost
        seconds, peak, more = cost.step_seconds, cost.peak_bytes, cost.more_bytes
        rows.append(
            [
                result.position,
                "" if seconds is None else f"{seconds * 1000:.1f} ms",
                "" if cost.step_ratio is None else f"{cost.step_ratio:.2f}x",
                "" if peak is None else f"{peak / MiB:,.0f} MiB",
                "" if more is None else f"{signed(more / MiB, 0)} MiB",
                "" if cost.parameters is None else f"{cost.parameters:,}",
                "" if cost.added is None else f"{cost.added:,}",
            ]
        )
    return Table(header, rows)


def explained(columns: Mapping[str, str]) -> Table:
    """Return a table that explains the columns of a table.csv."""
    return Table(["column of table.csv", "meaning"], list(columns.items()), left=frozenset({0, 1}))


def _fixed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return "" if value is None else p_value(value)
