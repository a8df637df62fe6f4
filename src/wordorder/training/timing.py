"""When a timed run ends: how fast recent steps were, and how many more the time allows.

With warmup-stable-decay the number of steps need not be known before the decay begins. The
decay is a share of the steps, so it begins when the time left is what those steps would
take at the recent pace. The machine may change during the decay; then the number of steps
is set again, and the rate falls from where it is to zero at the new end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# The pace is measured over this share of the budget, between these numbers of seconds: long
# enough to hold a validation, short enough to see a change before a tenth of the run is lost.
# And over this many steps at least, or one slow step would move the end.
WINDOW_SHARE, SHORTEST_WINDOW, LONGEST_WINDOW = 0.05, 1.0, 60.0
FEWEST_STEPS = 8
# The end is set again when it would miss by this share of the time left, and of the budget.
MISS_OF_TIME_LEFT, MISS_OF_BUDGET = 0.15, 0.02
MOST_DECAY = 0.99


class Pace:
    """The seconds a step took recently, with validations and checkpoints between the steps.

    Args:
        window: seconds to look back.
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.marks: deque[tuple[float, int]] = deque()

    def add(self, seconds: float, done: int) -> None:
        """Note how many steps were done after so many seconds."""
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
    """The time that a run's steps may take, and what that means for its end.

    Args:
        budget: seconds from the first step to the last, validations and checkpoints included.
        decay: share of the steps in which the rate falls.
        step_seconds: what a step was measured to take before the run.
    """

    budget: float
    decay: float
    step_seconds: float

    def pace(self) -> Pace:
        """Return a pace over a window that suits the budget."""
        window = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, WINDOW_SHARE * self.budget))
        return Pace(window)

    def new_end(self, done: int, elapsed: float, pace: float | None, end: int | None) -> int | None:
        """Return the number of steps in all if it is to be set now, otherwise None.

        Args:
            done: steps done, at least 1.
            elapsed: seconds since the first step began.
            pace: recent seconds per step; None if not known yet.
            end: the number of steps set before; None while the decay has not begun.
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
