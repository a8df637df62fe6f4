"""The tables of a comparison: table.csv with every number, and short ones for people."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable

from wordorder.experiments.judgement import Change
from wordorder.experiments.page import Table
from wordorder.experiments.summary import AtLength, Result, Summary
from wordorder.experiments.verdict import signed, times, with_interval, with_reach
from wordorder.training.plan import MiB

# What the header of table.csv means; F is a factor of the trained length, HOW a disturbance.
COLUMNS = {
    "position": "the positional embedding",
    "baseline": "yes: the one that the others are compared with",
    "rank": "1: the lowest loss, by the paired differences; neighbours need not differ",
    "seeds, failed, missing": "how many runs ended well, failed, and have not been made",
    "loss_nats, bits_per_byte": "validation loss, mean over seeds",
    "loss_nats_by_seed": "seed:loss of each run",
    "difference, difference_low, difference_high": (
        "paired difference of the loss to the baseline's, and its 95% interval over seeds"
    ),
    "difference_by_seed": "seed:difference of each pair",
    "p, p_holm, p_permutation": (
        "of the paired t-test; after Holm's correction; by flipping signs, from six seeds on"
    ),
    "shown": "yes: the interval excludes zero and p_holm is below 0.05",
    "same_targets_Fx": (
        "loss of the same tokens with F times the trained length as context, or cannot"
    ),
    "same_targets_Fx_change, _low, _high, _p_holm": "against the same model's loss at 1x",
    "same_targets_Fx_word": "what more context does: uses it, survives, breaks or undecided",
    "whole_windows_Fx, _change, _low, _high, _p_holm": (
        "the same over whole windows, which mix short and long contexts"
    ),
    "order_HOW, _low, _high, _p_holm": "rise of the loss where the order is disturbed",
    "parameters, parameters_added": "of the model, and those of the embedding alone",
    "step_seconds, step_ratio": "of one training step, and over the baseline's",
    "peak_bytes, more_bytes": "most memory of a run's process, and beyond the baseline's",
}

REACH = "± is the 95% interval over seeds of the paired difference."


def table_csv(summary: Summary) -> str:
    """Return table.csv: a header and one row for each embedding, as `COLUMNS` describes them."""
    rows = [_record(summary, result) for result in summary.results]
    header = dict.fromkeys(name for row in rows for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(header), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


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
        "difference_by_seed": _by_seed(change.seeds, change.difference.values) if change else "",
        "p": _number(change and change.difference.p),
        "p_holm": _number(change and change.adjusted_p),
        "p_permutation": _number(change and change.difference.p_permutation),
        "shown": ("yes" if change.shown else "no") if change else "",
    }
    for at in result.same_targets:
        name = f"same_targets_{times(at.factor)}"
        row |= {name: "cannot" if at.cannot else _number(at.loss_nats)}
        if at.factor != 1:
            row |= {**_change(name, at.change), **_holm(name, at.change), f"{name}_word": at.word}
    for at in result.whole_windows:
        name = f"whole_windows_{times(at.factor)}"
        row |= {name: "cannot" if at.cannot else _number(at.loss_nats)}
        if at.factor != 1:
            row |= {**_change(name, at.change), **_holm(name, at.change)}
    for disturbed in result.order:
        name = "order_" + re.sub(r"\W+", "_", disturbed.how.lower()).strip("_")
        row |= {**_change(name, disturbed.rise, first=""), **_holm(name, disturbed.rise)}
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


def _holm(name: str, change: Change | None) -> dict[str, str]:
    return {f"{name}_p_holm": _number(change and change.adjusted_p)}


def _number(value: float | None, *, whole: bool = False) -> str:
    if value is None:
        return ""
    return str(round(value)) if whole or isinstance(value, int) else f"{value:.6g}"


def _by_seed(seeds: Iterable[int], values: Iterable[float]) -> str:
    return " ".join(f"{s}:{v:.6g}" for s, v in zip(seeds, values, strict=True))


def overview(summary: Summary) -> Table:
    """Return what matters most, one row for each embedding by rank."""
    furthest = max((at.factor for r in summary.results for at in r.same_targets), default=1.0)
    header = ["embedding", "loss", f"against {summary.baseline}"]
    header += [f"at {times(furthest)}"] if furthest > 1 else []
    header += ["step", "adds"]
    rows = []
    for result in summary.ranked:
        loss = _fixed(result.loss_nats, 4)
        if 0 < len(result.seeds) < summary.seeds:  # another mean than the others'
            loss += f" ({len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''})"
        row = [result.position, loss, _against(summary, result, with_reach)]
        if furthest > 1:
            row.append(next((_word(a) for a in result.same_targets if a.factor == furthest), ""))
        ratio, added = result.cost.step_ratio, result.cost.added
        row.append("" if ratio is None else f"{ratio:.2f}x")
        row.append("" if added is None else f"{added:,}")
        rows.append(row)
    return Table(header, rows, caption=REACH)


def _against(summary: Summary, result: Result, shown: Callable[[Change], str]) -> str:
    if result.position == summary.baseline:
        return "baseline" if result.losses else "no run"
    if result.against_baseline is None:
        return "no pair" if result.losses else "no run"
    return shown(result.against_baseline)


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
        ]
        rows.append([*row, _p(change and change.difference.p_permutation)] if permuted else row)
    return Table([*header, "p, permutation"] if permuted else header, rows)


def by_length(summary: Summary, lengths: Callable[[Result], tuple[AtLength, ...]]) -> Table:
    """Return losses at each length, and under each its change from the trained length."""
    factors = {at.factor: at.length for r in summary.results for at in lengths(r)}
    header = ["embedding", *(f"{times(f)} ({factors[f]:,})" for f in sorted(factors))]
    rows = []
    for result in summary.results:
        at = {a.factor: a for a in lengths(result)}
        if at:
            rows.append([result.position, *(_cell(at.get(f)) for f in sorted(factors))])
    return Table(header, rows, caption=f"Under each loss its change from 1x. {REACH}")


def _cell(at: AtLength | None) -> str:
    if at is None:
        return ""
    if at.cannot:
        return "cannot"
    change = f"\n{with_reach(at.change)}" if at.change else ""
    return f"{at.loss_nats:.3f}{change}" + (f"\n{at.word}" if at.word else "")


def order(summary: Summary) -> Table:
    """Return how much the loss rises under each disturbance of the order."""
    probes = list(dict.fromkeys(d.how for r in summary.results for d in r.order))
    rows = []
    for result in summary.results:
        cells = {d.how: "cannot" if d.rise is None else with_reach(d.rise) for d in result.order}
        if cells:
            rows.append([result.position, *(cells.get(how, "") for how in probes)])
    return Table(["embedding", *probes], rows, caption=REACH)


def costs(summary: Summary) -> Table:
    """Return what each embedding costs in time, memory and parameters."""
    header = ["embedding", "step", "ratio", "most memory", "more", "parameters", "added"]
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


def _fixed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
