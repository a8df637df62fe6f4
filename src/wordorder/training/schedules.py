"""Learning-rate schedules: pure functions of the step and of recorded decisions.

    warmup-stable-decay   /‾‾‾‾‾\\        cosine   /‾-.
                         /       \\                /    `-._

Resuming therefore needs no state except the recorded ends of a timed run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Schedule = Literal["warmup-stable-decay", "cosine"]

# Muon's momentum rises in the first steps, when old gradients are the most misleading.
# Source: modded-nanogpt and nanochat, 0.85 to 0.95 in 300 steps.
FIRST_MOMENTUM, STEPS_TO_MOMENTUM = 0.85, 300


def learning_rate_factor(
    step: int, steps: int, *, schedule: Schedule, warmup: int, decay: float
) -> float:
    """Return the factor of the peak learning rate at a step, from 0 to 1.

    Args:
        step: from 0 to steps - 1.
        steps: total number of steps.
        schedule: warmup-stable-decay, or cosine, which falls to a tenth.
        warmup: steps of linear rise.
        decay: for warmup-stable-decay, the share of steps in which the rate falls linearly to 0.

    Source: Hu et al. 2024, MiniCPM, section 4 (warmup-stable-decay); Loshchilov and Hutter
    2017 (cosine).
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if schedule == "cosine":
        done = max(0.0, (step - warmup) / max(1, steps - warmup))
        return rise * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
    falling = max(1, round(decay * steps))
    return min(rise, (steps - step) / falling, 1.0)


def momentum_at(step: int, momentum: float) -> float:
    """Return Muon's momentum at a step: it rises linearly from 0.85, unless `momentum` is lower."""
    first = min(FIRST_MOMENTUM, momentum)
    return first + (momentum - first) * min(1.0, step / STEPS_TO_MOMENTUM)


def open_ended_factor(step: int, ends: Sequence[tuple[int, int]], warmup: int) -> float:
    """Return the factor of warmup-stable-decay for a run whose end is decided during training.

    Args:
        step: from 0.
        ends: decisions (first step that it applies to, total number of steps), in order. From the
            first one on, the factor falls linearly to 0 at the end; each later one continues from
            the current factor to 0 at the new end.
        warmup: steps of linear rise.
    """
    fall = 1.0
    for number, (begin, steps) in enumerate(ends):
        until = ends[number + 1][0] if number + 1 < len(ends) else step
        fall *= (steps - max(begin, min(step, until))) / max(1, steps - begin)
        if step <= until:
            break
    return min((step + 1) / warmup if warmup else 1.0, fall, 1.0)
