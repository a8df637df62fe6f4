"""Learning-rate schedules: pure functions of the step and of what was recorded.

So resuming needs nothing saved but the recorded ends of a timed run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Schedule = Literal["warmup-stable-decay", "cosine"]

# Muon's momentum rises to its value in the first steps, when old gradients mislead the most.
# Source: modded-nanogpt and nanochat, 0.85 to 0.95 in 300 steps.
FIRST_MOMENTUM, STEPS_TO_MOMENTUM = 0.85, 300


def learning_rate_factor(
    step: int, steps: int, *, schedule: Schedule, warmup: int, decay: float
) -> float:
    """Return what the peak learning rate is multiplied by at a step, from 0 to 1.

    Args:
        step: from 0 to steps - 1.
        warmup: steps of linear rise.
        decay: for warmup-stable-decay the share of steps in which the rate falls linearly
            to 0 at the end; cosine falls from the warm-up's end to a tenth.

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
    """Return Muon's momentum at a step: it rises linearly from 0.85, unless it is lower anyway."""
    first = min(FIRST_MOMENTUM, momentum)
    return first + (momentum - first) * min(1.0, step / STEPS_TO_MOMENTUM)


def open_ended_factor(step: int, ends: Sequence[tuple[int, int]], warmup: int) -> float:
    """Return the factor of warmup-stable-decay where the end is decided while the run goes on.

    Args:
        step: from 0.
        ends: decisions (first step that it holds for, steps in all), in order. From the first
            decision on the factor falls linearly to 0 at the end; each later one continues
            from the factor reached, to 0 at the new end.
        warmup: steps of linear rise.
    """
    fall = 1.0
    for number, (begin, steps) in enumerate(ends):
        until = ends[number + 1][0] if number + 1 < len(ends) else step
        fall *= (steps - max(begin, min(step, until))) / max(1, steps - begin)
        if step <= until:
            break
    return min((step + 1) / warmup if warmup else 1.0, fall, 1.0)
