"""Chooses the number of threads, by measurements before and during a run.

Two threads on two cores are faster than one only while both cores are free. Beside another busy
process the threads wait for each other at every operation, and a step takes several times as long
as with one thread. A short test with parallel operations detects this within milliseconds; real
steps are timed only for numbers of threads that pass it.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch

# The parallel operation of the test: 65,536 sines, which PyTorch divides among two threads. The
# test lasts longer than a scheduler's time slice of a few milliseconds, within which two threads
# may be lucky.
PROBE_SIZE, PROBE_SECONDS = 1 << 16, 0.06
# If more threads take this many times as long as fewer, they wait for a core.
WAITING = 1.5
# Seconds and rounds in which real steps are timed, for each number of threads. A step that takes
# that many seconds is not repeated after its warm-up.
SECONDS_TIMED, ROUNDS = 0.25, 2
HOPELESS = 3.0  # a step this many times slower than the fastest is timed only once
GAIN = 0.95  # another number of threads must take less than this share of the time
# Steps have become slow if the median of the recent ones is this many times the usual.
SLOW, RECENT_SECONDS = 1.5, 2.0
SECONDS_BETWEEN_LOOKS = 5.0
SHARE_OF_TIME = 0.03  # of the run, for measuring again

Step = Callable[[], object]


def candidates(threads: int) -> tuple[int, ...]:
    """Return the numbers of threads to measure: one, half of all, all."""
    return tuple(sorted({1, max(1, threads // 2), threads}))


def fastest(step: Step, numbers: Sequence[int], current: int) -> tuple[int, dict[int, float]]:
    """Return the fastest number of threads, and the seconds of a step with each timed number.

    Args:
        step: one forward and backward pass without side effects.
        numbers: the numbers of threads to choose from, ascending.
        current: the number in use; another must be faster by 5%.
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
    """Return the numbers of threads that do not wait for a core at the moment."""
    before, values = torch.get_num_threads(), torch.rand(PROBE_SIZE)
    passed: list[int] = []
    lowest, operations = float("inf"), 0
    try:
        for number in numbers:
            torch.set_num_threads(number)
            torch.sin(values)  # starts the threads
            took, operations = _probe(values, operations, WAITING * lowest)
            if took <= WAITING * lowest:
                passed.append(number)
            lowest = min(lowest, took)
    finally:
        torch.set_num_threads(before)
    return passed


def use_free_cores() -> None:
    """Set as many threads as there are free cores now, at most the current number.

    With another busy process on two cores, two threads took 40 times as long as one to generate
    a token, and twice as long to evaluate a text. The test takes 0.1 s.
    """
    numbers = candidates(torch.get_num_threads())
    if len(numbers) > 1:
        torch.set_num_threads(worth_timing(numbers)[-1])


def _probe(values: torch.Tensor, operations: int, most_seconds: float) -> tuple[float, int]:
    """Return the seconds of some operations, and their number.

    Args:
        operations: number of operations; 0: as many as take PROBE_SECONDS.
        most_seconds: stop after this time.
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
    """Return the mean seconds of a step with each number of threads, measured in turn.

    Args:
        numbers: ascending; a number that is much slower than others is timed only once.
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
            if warm_up > min(limit, SECONDS_TIMED):
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
    """Decides when to measure the number of threads again.

    It does so when steps have become much slower, and regularly while fewer threads are used than
    possible, because the process that occupied a core may have ended.

    Args:
        numbers: the numbers of threads to choose from, ascending.
        threads: the number in use.
        step_seconds: seconds of a step with this number; None: taken from the first steps.
        clock: returns the time in seconds.
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
        """Record the seconds of a step, without validations and checkpoints."""
        self.recent.append(seconds)
        while len(self.recent) > 1 and sum(self.recent) - self.recent[0] >= RECENT_SECONDS:
            self.recent.popleft()
        if self.usual is None and sum(self.recent) >= RECENT_SECONDS:
            self.usual = statistics.median(self.recent)

    def is_due(self) -> bool:
        """Return whether to measure now; measuring takes at most 3% of the time."""
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
        """Measure, and return the fastest number of threads at the moment."""
        start = self.clock()
        best, _ = fastest(step, self.numbers, self.threads)
        self.looked = self.clock()
        self.spent += self.looked - start
        # The next steps determine the usual time again.
        self.recent.clear()
        self.usual = None
        return best

    def switch(self, threads: int) -> None:
        """Compute with another number of threads."""
        torch.set_num_threads(threads)
        self.threads, self.usual = threads, None
        self.recent.clear()
