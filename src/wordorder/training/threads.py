"""How many threads compute fastest, measured before a run and looked at again during it.

Two threads on two cores are faster than one only while both cores are free. Beside another
process the threads wait for each other at every operation, and a step takes several times
as long as with one thread. A few parallel operations show this within milliseconds, so they
are tried first; real steps are timed only where more threads may be worth it.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

# Parallel operations of the first test: 65,536 sines, which PyTorch divides among two threads.
# They go on for longer than a core is lent to one process at a time, a few milliseconds: within
# less, two threads are now and then lucky.
PROBE_SIZE, PROBE_SECONDS = 1 << 16, 0.06
# More threads that take this many times as long as fewer wait for a core; the test stops there.
WAITING = 1.5
SECONDS_TIMED, ROUNDS = 0.25, 2  # of real steps with each number of threads
HOPELESS = 3.0  # times the fastest so far: one step is enough to tell
GAIN = 0.95  # another number of threads must take less than this share of the time
# A step is slow when the median of the last seconds is this many times what it was.
SLOW, RECENT_SECONDS = 1.5, 2.0
SECONDS_BETWEEN_LOOKS = 5.0
SHARE_OF_TIME = 0.03  # for looking again

Step = Callable[[], object]


def candidates(threads: int) -> tuple[int, ...]:
    """Return the numbers of threads to try: one, half of all, all."""
    return tuple(sorted({1, max(1, threads // 2), threads}))


def fastest(step: Step, numbers: Sequence[int], current: int) -> tuple[int, dict[int, float]]:
    """Return the best number of threads, and the seconds of a step with each that was timed.

    Args:
        step: one forward and backward pass, which must not change anything.
        numbers: the numbers of threads to choose from, ascending.
        current: the number in use, which another must beat clearly.
    """
    possible = worth_timing(numbers)
    if len(possible) == 1:
        return possible[0], {}
    seconds = timed(step, possible)
    best = min(seconds, key=seconds.__getitem__)
    if current in seconds and seconds[best] > GAIN * seconds[current]:
        best = current
    return best, seconds


def worth_timing(numbers: Sequence[int]) -> list[int]:
    """Return the numbers of threads that do not wait for a core just now."""
    before, values = torch.get_num_threads(), torch.rand(PROBE_SIZE)
    kept: list[int] = []
    lowest, operations = float("inf"), 0
    try:
        for number in numbers:
            torch.set_num_threads(number)
            torch.sin(values)  # starts the threads
            took, operations = _probe(values, operations, WAITING * lowest)
            if took <= WAITING * lowest:
                kept.append(number)
            lowest = min(lowest, took)
    finally:
        torch.set_num_threads(before)
    return kept


def _probe(values: torch.Tensor, operations: int, most_seconds: float) -> tuple[float, int]:
    """Return the seconds of some operations, and how many they are.

    Args:
        operations: how many; 0: as many as PROBE_SECONDS hold.
        most_seconds: stop after so long.
    """
    took, done = 0.0, 0
    while done < operations if operations else took < PROBE_SECONDS:
        start = time.perf_counter()
        torch.sin(values)
        took += time.perf_counter() - start
        done += 1
        if took > most_seconds:
            break
    return took, operations or done


def timed(step: Step, numbers: Sequence[int]) -> dict[int, float]:
    """Return the mean seconds of a step with each number of threads, in turn; hopeless ones once.

    Args:
        numbers: ascending; the first is never given up.
    """
    before = torch.get_num_threads()
    times: dict[int, list[float]] = {number: [] for number in numbers}
    hopeless: set[int] = set()
    try:
        for number in [*numbers] * ROUNDS:
            if number in hopeless:
                continue
            torch.set_num_threads(number)
            others = [statistics.mean(t) for n, t in times.items() if t and n != number]
            limit = HOPELESS * min(others, default=float("inf"))
            warm_up = _seconds(step)
            if warm_up > limit:
                hopeless.add(number)
                times[number].append(warm_up)
                continue
            spent = 0.0
            while spent < SECONDS_TIMED / ROUNDS:
                times[number].append(_seconds(step))
                spent += times[number][-1]
    finally:
        torch.set_num_threads(before)
    return {number: statistics.mean(values) for number, values in times.items()}


def _seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


class ThreadWatch:
    """Says when the number of threads should be looked at again.

    When steps have become much slower than they were, and now and then while fewer threads
    are used than there could be, since the process that took a core may have ended.

    Args:
        numbers: the numbers of threads to choose from, ascending.
        threads: the number in use.
        step_seconds: what a step takes with it; None: the first steps tell.
        clock: returns the seconds now.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        threads: int,
        step_seconds: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.numbers, self.threads, self.usual = tuple(numbers), threads, step_seconds
        self.clock = clock
        self.started = self.looked = clock()
        self.spent = 0.0
        self.recent: deque[float] = deque()

    def stepped(self, seconds: float) -> None:
        """Note what a step took, without validations and checkpoints."""
        self.recent.append(seconds)
        while len(self.recent) > 1 and sum(self.recent) - self.recent[0] >= RECENT_SECONDS:
            self.recent.popleft()
        if self.usual is None and sum(self.recent) >= RECENT_SECONDS:
            self.usual = statistics.median(self.recent)

    def is_due(self) -> bool:
        """Return whether to look now; looking takes no more than a few percent of the time."""
        now = self.clock()
        if self.spent > SHARE_OF_TIME * (now - self.started):
            return False
        if self.threads < self.numbers[-1] and now - self.looked > SECONDS_BETWEEN_LOOKS:
            return True
        return (
            self.usual is not None
            and sum(self.recent) >= RECENT_SECONDS
            and statistics.median(self.recent) > SLOW * self.usual
        )

    def look(self, step: Step) -> int:
        """Measure, and return the number of threads that is best now."""
        start = self.clock()
        best, _ = fastest(step, self.numbers, self.threads)
        self.looked = self.clock()
        self.spent += self.looked - start
        # What is usual from here on is for the next steps to tell.
        self.recent.clear()
        self.usual = None
        return best

    def switch(self, threads: int) -> None:
        """Compute with another number of threads."""
        torch.set_num_threads(threads)
        self.threads, self.usual = threads, None
        self.recent.clear()
