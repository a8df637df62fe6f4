"""Computes when a timed run ends, from the recent pace and the remaining time.

With warmup-stable-decay the number of steps need not be known before the decay starts. The decay is
a share of the steps, so it starts when the remaining time is what those steps take at the recent
pace. If the pace changes during the decay, the number of steps is set again, and the learning rate
falls from its current value to zero at the new end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# The pace is measured over this share of the budget, within these limits in seconds: long enough to
# include a validation, short enough to notice a change before a tenth of the run is lost. It covers
# at least FEWEST_STEPS, because otherwise a single slow step would move the end.
WINDOW_SHARE, SHORTEST_WINDOW, LONGEST_WINDOW = 0.05, 1.0, 60.0
FEWEST_STEPS = 8
# The end is set again if it would miss by more than these shares of the remaining time and budget.
MISS_OF_TIME_LEFT, MISS_OF_BUDGET = 0.15, 0.02
MOST_DECAY = 0.99


class Pace:
    """The recent seconds per step, including validations and checkpoints.

    Args:
        window: length of the time window in seconds.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.marks: deque[tuple[float, int]] = deque()

    def add(self, seconds: float, done: int) -> None:
        """Record how many steps are done after this many seconds."""
        self.marks.append((seconds, done))
        while len(self.marks) > FEWEST_STEPS + 1 and self.marks[1][0] <= seconds - self.window:
            self.marks.popleft()

    def seconds_per_step(self) -> float | None:
        """Return the mean over the window; None before two steps are done."""
        if len(self.marks) < 3:
            return None
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        return (end - start) / (last - first)


@dataclass(frozen=True)
class Deadline:
    """The time budget of a run; computes its number of steps.

    Args:
        budget: seconds from the first step to the last, including validations and checkpoints.
        decay: share of the steps in which the learning rate falls.
        step_seconds: seconds of a step, measured before the run.
    """

    budget: float
    decay: float
    step_seconds: float

    def pace(self) -> Pace:
        """Return a pace with a window for this budget."""
        window = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, WINDOW_SHARE * self.budget))
        return Pace(window)

    def new_end(self, done: int, elapsed: float, pace: float | None, end: int | None) -> int | None:
        """Return the total number of steps if it must be set now, otherwise None.

        Args:
            done: number of steps done, at least 1.
            elapsed: seconds since the first step began.
            pace: recent seconds per step; None if unknown.
            end: the total number of steps set before; None before the decay.
        """
        left, pace = self.budget - elapsed, pace or self.step_seconds
        fitting = done + max(0, round(left / pace))
        if end is None:
            share = min(self.decay, MOST_DECAY)
            fitting = max(fitting, done + 1)
            return fitting if left <= share / (1 - share) * done * pace else None
        miss = abs((end - done) * pace - left)
        if miss <= max(MISS_OF_TIME_LEFT * left, MISS_OF_BUDGET * self.budget):
            return None
        return fitting if fitting != end else None
