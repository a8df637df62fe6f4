"""The controls of a comparison: what is equal in all runs, what is not, and other sources of order.

A causal model without positional embedding still perceives order from its second layer on; a
sliding window or a short convolution adds more. The report of a comparison lists these.
"""

from __future__ import annotations

from dataclasses import replace

from wordorder.experiments.comparison import Comparison
from wordorder.experiments.tuning import LEAST, MOST
from wordorder.experiments.wording import listed
from wordorder.model import LanguageModel, make_model
from wordorder.numerals import counted


def with_facts(record: Comparison) -> Comparison:
    """Return the record of a comparison with the sentences on its controls."""
    return replace(
        record,
        held_equal=held_equal(record),
        not_equal=not_equal(record),
        leaks=order_leaks(record),
    )


def held_equal(record: Comparison) -> list[str]:
    """Return what all runs, or all runs of one seed, have in common."""
    machine, model = record.machine, record.model
    lines = [
        f"Text and tokens: {record.tokens:,} tokens in {counted(record.steps, 'step')}, in the "
        f"same order for one seed; every run is evaluated at its last step.",
        f"Model: {counted(model['layers'], 'layer')} of width {model['width']}, "
        f"{counted(model['heads'], 'head')}, "
        f"trained on sequences of {record.trained_length} tokens.",
        "Initial weights: equal for one seed wherever name and shape agree.",
        f"Computing: {machine['device']}, {machine['dtype']}, {machine['kernel']} attention, "
        f"{counted(machine['threads'], 'thread')} a run, torch {machine['torch']}.",
    ]
    if not record.tuned:
        lines.append(
            f"Learning rates: {record.training['learning_rate']:g}, and "
            f"{record.training['matrix_learning_rate']:g} for matrices, the same for all and not "
            f"tuned; the ranking can differ at other rates (--tune-lr tunes them for each)."
        )
    return lines


def not_equal(record: Comparison) -> list[str]:
    """Return further differences between runs: parameters, time, tuned learning rates."""
    lines = []
    costs, base = record.costs, record.costs[record.baseline]
    for position, cost in costs.items():
        if cost["added"]:
            share = 100 * cost["added"] / cost["parameters"]
            lines.append(f"Parameters: {position} adds {cost['added']:,}, {share:.1f}% of all.")
    slowest = max(costs, key=lambda p: costs[p]["step_seconds"])
    ratio = costs[slowest]["step_seconds"] / base["step_seconds"]
    if ratio > 1:
        lines.append(
            f"Time: runs have equal tokens, not equal seconds; a step with {slowest} takes "
            f"{ratio:.2f} times as long as with {record.baseline}."
        )
    tuned = record.tuned or {}
    if tuned and (tuning := record.tuning):
        lines.append(
            f"Learning rates: chosen for each embedding by the {tuning['text']} loss of "
            f"{counted(len(tuning['seeds']), 'seed')} after {counted(tuning['steps'], 'step')}."
        )
        edges = [p for p, f in tuned.items() if f in (LEAST, MOST)]
        if edges:
            lines.append(
                f"Learning rates: the best rate of {listed(edges)} is at the edge of the search "
                f"range, {LEAST:g} to {MOST:g} times; the optimum may be beyond."
            )
    for position, factor in tuned.items():
        lines.append(f"Learning rates: {position} has {factor:g} times the shared ones.")
    return lines


def order_leaks(record: Comparison) -> list[str]:
    """Return the sources of order other than the positional embedding."""
    shared = record.config.model
    lines = []
    if shared.causal and shared.layers > 1:
        lines.append(
            "The causal mask: each token attends only to earlier ones, so even without positional "
            "embedding a model perceives order from its second layer on."
        )
    if any(shared.windows):
        spans = ", ".join(str(window) if window else "none" for window in shared.windows)
        lines.append(
            f"Sliding windows ({spans}): tokens inside a window are distinguished from "
            f"those outside."
        )
    for position in record.positions:
        model = make_model(replace(shared, position=position))
        embeddings = model.position.embeddings if isinstance(model, LanguageModel) else ()
        for leak in sorted({embedding.order_leak for embedding in embeddings} - {""}):
            lines.append(f"{position}: {leak}.")
    return lines
