"""Detects whether a comparison ranks overfitting: passes over the text, best and last loss.

A model trained for many epochs memorises its text, and its loss on other text rises. A comparison
then ranks how fast each embedding overfits, which may be the opposite of how well it learns. Every
run is evaluated at its last step, so the report gives the number of passes and the best loss beside
the last one, and warns first if the two differ.

Source: Muennighoff et al. 2023, Scaling Data-Constrained Language Models: up to 4 passes repeated
text is worth nearly as much as new text, and by 16 passes most of the gain is gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from wordorder.experiments.comparison import Comparison
from wordorder.experiments.results import Result, Summary
from wordorder.experiments.wording import listed
from wordorder.numerals import counted, signed

MOST_PASSES = 4.0
# Two validations of one model on the same tokens at a high learning rate differ by about .01.
MARGIN_NATS = 0.02
# The presets end with a training loss .1 to .3 below the validation loss; dropout hides as much.
GAP_NATS = 0.5


def before_it_starts(passes: float) -> list[str]:
    """Return lines on the number of passes over the text, before the first run."""
    lines = [f"each run makes {_passes(passes)} over the training text"]
    if passes > MOST_PASSES:
        lines.append(
            f"warning: beyond about {MOST_PASSES:g} passes a comparison may rank overfitting "
            "(Muennighoff et al. 2023): give more text, or fewer --steps"
        )
    return lines


def headline(summary: Summary) -> str:
    """Return a qualification of the headline, or ""."""
    passes = summary.comparison.passes
    if not any(result.losses for result in summary.results):
        return ""
    worst = max(summary.results, key=lambda r: r.overfitting_nats or 0.0)
    rise = worst.overfitting_nats or 0.0
    after = f"After {_passes(passes)} over the text this" if passes is not None else "This"
    if rise > MARGIN_NATS:
        return (
            f"{after} comparison ranks overfitting: losses rose after their minimum by up to "
            f"{rise:.3f} nats ({worst.position})."
        )
    if passes is not None and passes > MOST_PASSES:
        curves = all(len(curve) > 1 for r in summary.results for curve in r.curves)
        seen = f", although no loss rose by more than {MARGIN_NATS:g} nats" if curves else ""
        return f"{after} comparison may rank overfitting{seen}."
    return ""


def lines(summary: Summary) -> Iterable[str]:
    """Yield sentences on how training ended, beyond the last loss."""
    judged = [r for r in summary.results if r.losses]
    rose = [r for r in judged if (r.overfitting_nats or 0.0) > MARGIN_NATS]
    if rose:
        ends = [
            f"{r.position} {r.best_nats:.3f} at best, {r.last_nats:.3f} at the last step"
            for r in rose
        ]
        text = judged[0].curve_text
        yield f"Loss on the beginning of the {text} text: {'; '.join(ends)}."
        yield from _at_best(summary)
    gaps = [(gap, r.position) for r in judged if (gap := r.training_gap_nats) is not None]
    if wide := [f"{position} {signed(gap)}" for gap, position in gaps if gap > GAP_NATS]:
        yield (
            "The validation loss is far above the training loss of the last steps (nats): "
            f"{listed(wide)}. The models have memorised part of their training text."
        )
    yield from _worse_than_guessing(judged, summary.comparison)


def _at_best(summary: Summary) -> Iterable[str]:
    order = sorted(
        (r for r in summary.results if r.against_baseline_at_best is not None),
        key=lambda r: r.against_baseline_at_best or 0.0,
    )
    if order:
        each = [f"{r.position} {signed(r.against_baseline_at_best or 0.0)}" for r in order]
        yield (
            f"At the best step of each instead, against {summary.baseline}: {listed(each)} nats "
            f"(selected by the same numbers, so without interval)."
        )


def _worse_than_guessing(judged: Iterable[Result], comparison: Comparison) -> Iterable[str]:
    size = comparison.model.get("vocabulary_size")
    if not size:
        return
    guessing = math.log(size)
    worse = [r.position for r in judged if r.loss_nats is not None and r.loss_nats > guessing]
    if worse:
        yield (
            f"Worse than uniform guessing among {counted(size, 'token')} (a loss of "
            f"{guessing:.2f} nats): {listed(worse)}. Such a run has diverged or only memorised "
            f"its training text."
        )


def _passes(passes: float) -> str:
    """Return a number of passes: `0.62 passes`, `47 passes`."""
    return f"{passes:.2g} passes" if passes < 10 else f"{passes:,.0f} passes"
