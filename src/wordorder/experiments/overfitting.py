"""Whether a comparison ranks embeddings or overfitting: passes over the text, best and last loss.

A model that reads its text many times begins to repeat it, and its loss on other text rises. What
is compared then is how fast each embedding overfits, which may be the opposite of how well it
learns. A comparison judges every run at its last step, all alike; so it says how often the text is
read, gives the best loss on the way beside the last, and says so first where the two differ.

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
# Two validations of one model on the same tokens while its rate is high differ by about .01.
MARGIN_NATS = 0.02
# The presets end some .1 to .3 below their validation loss; dropout alone hides as much again.
GAP_NATS = 0.5


def before_it_starts(passes: float) -> list[str]:
    """Return what to say of the number of passes before the first run, a line each."""
    lines = [f"each run makes {_passes(passes)} over the training text"]
    if passes > MOST_PASSES:
        lines.append(
            f"warning: beyond about {MOST_PASSES:g} passes a comparison may rank overfitting "
            "(Muennighoff et al. 2023): give more text, or fewer --steps"
        )
    return lines


def headline(summary: Summary) -> str:
    """Return the qualification of the headline; "" where there is none."""
    passes = summary.comparison.passes
    if not any(result.losses for result in summary.results):
        return ""
    worst = max(summary.results, key=lambda r: r.overfitting_nats or 0.0)
    rise = worst.overfitting_nats or 0.0
    after = f"After {_passes(passes)} over the text this" if passes is not None else "This"
    if rise > MARGIN_NATS:
        return (
            f"{after} ranks overfitting: losses rose after their best, by up to {rise:.3f} nats "
            f"({worst.position})."
        )
    if passes is not None and passes > MOST_PASSES:
        return f"{after} may rank overfitting, although no loss rose before the last step."
    return ""


def lines(summary: Summary) -> Iterable[str]:
    """Yield what is to be said of how training ended, beyond the last loss."""
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
            "The validation loss is far above the training loss of the last steps, by nats: "
            f"{listed(wide)}. The models know their training text better than the language."
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
            f"Each at its own best instead, against {summary.baseline}: {listed(each)} nats "
            "(chosen by the same numbers, so no interval)."
        )


def _worse_than_guessing(judged: Iterable[Result], comparison: Comparison) -> Iterable[str]:
    size = comparison.model.get("vocabulary_size")
    if not size:
        return
    guessing = math.log(size)
    found = [r.position for r in judged if r.loss_nats is not None and r.loss_nats > guessing]
    if found:
        yield (
            f"Worse than guessing evenly among {counted(size, 'token')} (a loss of "
            f"{guessing:.2f} nats): {listed(found)}. Such a run diverged or has only memorised its "
            "training text."
        )


def _passes(passes: float) -> str:
    """Return a number of passes: `0.62 passes`, `47 passes`."""
    return f"{passes:.2g} passes" if passes < 10 else f"{passes:,.0f} passes"
