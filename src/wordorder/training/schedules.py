"""Learning-rate schedules: pure functions of the step, so that resuming needs nothing saved."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["warmup-stable-decay", "cosine"]


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
