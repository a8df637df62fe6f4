"""What a comparison held equal, what it could not, and what besides the embedding shows order.

A causal model without positional embedding still sees order from its second layer on; a
sliding window or a short convolution shows more of it. Whoever reads a comparison must know.
"""

from __future__ import annotations

from dataclasses import replace

from wordorder.experiments.comparison import Comparison
from wordorder.experiments.tuning import LEAST, MOST
from wordorder.experiments.wording import listed
from wordorder.model import LanguageModel, make_model
from wordorder.numerals import counted


def with_facts(record: Comparison) -> Comparison:
    """Return the record of a comparison with what its report says of it."""
    return replace(
        record,
        held_equal=held_equal(record),
        not_equal=not_equal(record),
        leaks=order_leaks(record),
    )


def held_equal(record: Comparison) -> list[str]:
    """Return what all runs of one seed, or all runs, had in common."""
    machine, model = record.machine, record.model
    lines = [
        f"Text and tokens: {record.tokens:,} tokens in {counted(record.steps, 'step')}, in "
        "the same order for one seed; every run is judged at its last step.",
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
            f"{record.training['matrix_learning_rate']:g} for matrices, shared by all and tuned "
            "for none; another rate can have another winner (--tune-lr chooses for each)."
        )
    return lines


def not_equal(record: Comparison) -> list[str]:
    """Return what the embeddings differ in beside what they are."""
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
            f"Time: tokens were equal, not seconds; a step with {slowest} takes {ratio:.2f} times "
            f"as long as with {record.baseline}."
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
                f"Learning rates: the best of {listed(edges)} is at the edge of what is tried, "
                f"{LEAST:g} to {MOST:g} times; it may want a rate beyond."
            )
    for position, factor in tuned.items():
        lines.append(f"Learning rates: {position} has {factor:g} times the shared ones.")
    return lines


def order_leaks(record: Comparison) -> list[str]:
    """Return what shows order without any positional embedding, in words."""
    shared = record.config.model
    lines = []
    if shared.causal and shared.layers > 1:
        lines.append(
            "The causal mask: a token sees only those before it, so that even without positional "
            "embedding a model sees order from its second layer on."
        )
    if any(shared.windows):
        spans = ", ".join(str(window) if window else "none" for window in shared.windows)
        lines.append(f"Sliding windows ({spans}): what lies within one is told from what does not.")
    for position in record.positions:
        model = make_model(replace(shared, position=position))
        instances = model.position.instances if isinstance(model, LanguageModel) else ()
        for leak in sorted({instance.order_leak for instance in instances} - {""}):
            lines.append(f"{position}: {leak}.")
    return lines
