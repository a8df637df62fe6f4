"""Decides during a run when it ends and how many threads it uses.

Decisions depend on the clock, and the trained weights depend on the decisions. So each decision is
recorded before it takes effect, and a resumed run repeats the recorded ones before it makes new
ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordorder.training.decisions import Decisions
from wordorder.training.threads import ThreadWatch
from wordorder.training.timing import Deadline

if TYPE_CHECKING:
    from wordorder.training.training import Training

# torch.compile compiles again for another number of threads, which takes this long.
RECOMPILING_SECONDS = 35.0


class RunController:
    """Decides during a run, and repeats recorded decisions after a resume.

    Args:
        folder: the run folder.
        deadline: the deadline of a timed run with an open end; None: the number of steps is fixed.
        thread_numbers: the numbers of threads to choose from; empty: fixed.
        step_seconds: measured seconds of a step; None: not measured.
        known: decisions in the checkpoint.
        ranks: number of processes that share a batch now.
        ranks_before: their number when the run started.
        now: clock in seconds; None: `time.perf_counter`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deadline: Deadline | None = None,
        thread_numbers: tuple[int, ...] = (),
        step_seconds: float | None = None,
        known: list[dict[str, Any]] | None = None,
        ranks: int = 1,
        ranks_before: int | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.decisions = Decisions(folder / "training", known)
        self.deadline, self.thread_numbers = deadline, thread_numbers
        self.step_seconds, self.now = step_seconds, now or time.perf_counter
        self.ranks, self.ranks_before = ranks, ranks_before or ranks
        self.took = 0.0
        self.watch: ThreadWatch | None = None

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The decisions made so far."""
        return self.decisions.records[: self.decisions.taken]

    def begin(self, training: Training, seconds: Callable[[], float]) -> None:
        """Start to observe a run.

        Args:
            seconds: returns the training time of the run, including time before a resume.
        """
        self.training, self.seconds = training, seconds
        if self.deadline is not None:
            self.pace = self.deadline.pace()
            self.pace.add(seconds(), training.done)
        if len(self.thread_numbers) > 1:
            threads = training.compute.threads
            self.watch = ThreadWatch(self.thread_numbers, threads, self.step_seconds, self.now)

    def stepped(self) -> None:
        """Record the duration of a finished step and of the work after it."""
        if self.watch is not None:
            self.watch.stepped(self.took)
        if self.deadline is not None:
            self.pace.add(self.seconds(), self.training.done)

    def decide(self) -> Iterator[dict[str, Any]]:
        """Make the decisions that are due before the next step, and yield them."""
        for decision in self.decisions.due(self.training.done):
            self._take(decision)
            if "threads" not in decision or self.watch is not None:
                yield decision
        if self.decisions.ahead:
            return
        for new in (self._ranks(), self._threads(), self._end()):
            if new is not None:
                self.decisions.add(new)
                self._take(new)
                yield new

    def _take(self, decision: dict[str, Any]) -> None:
        if "steps" in decision:
            self.training.end_at(decision["steps"], decision["step"])
        elif "threads" in decision and self.watch is not None:
            self.watch.switch(decision["threads"])

    def _ranks(self) -> dict[str, Any] | None:
        """Record that the run goes on with another number of ranks."""
        counts = [each["ranks"] for each in self.decisions.records if "ranks" in each]
        last = counts[-1] if counts else self.ranks_before
        return None if last == self.ranks else {"step": self.training.done, "ranks": self.ranks}

    def _end(self) -> dict[str, Any] | None:
        training = self.training
        if self.deadline is None or training.done == 0:
            return None
        end = training.steps if training.ends else None
        pace = self.pace.seconds_per_step()
        steps = self.deadline.new_end(training.done, self.seconds(), pace, end)
        return None if steps is None else {"step": training.done, "steps": steps}

    def _threads(self) -> dict[str, Any] | None:
        watch, training = self.watch, self.training
        if watch is None or training.done == 0 or not watch.is_due():
            return None
        threads = watch.look(training.forward_and_backward)
        if threads == watch.threads or (training.compute.compile and self._nearly_done()):
            return None
        return {"step": training.done, "threads": threads}

    def _nearly_done(self) -> bool:
        """Return whether the remaining time is too short to repay another compilation."""
        training, elapsed = self.training, self.seconds()
        if self.deadline is not None:
            left = self.deadline.budget - elapsed
        else:
            left = elapsed / training.done * (training.steps - training.done)
        return left < 4 * RECOMPILING_SECONDS
