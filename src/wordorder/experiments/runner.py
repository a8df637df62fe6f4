"""Runs many jobs, several in parallel; reports progress, and stores each result when its job ends.

A small model does not keep many cores busy: two runs at once with one thread each often finish
sooner than two consecutive runs with two threads each. A failed job does not stop the rest.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from wordorder.experiments.jobs import Job, Outcome, Tell, remove_unsound, stored
from wordorder.experiments.processes import ProcessLauncher


class Launcher(Protocol):
    """Where jobs run: in processes of this machine, or anywhere that calls `jobs.perform`."""

    def submit(self, job: Job, tell: Tell) -> Future[Outcome]:
        """Start a job; `tell` is not called once its future is done."""

    def stop(self) -> None:
        """Interrupt running jobs; return once each has saved its state."""


class Progress:
    """Receives progress events while jobs run; subclasses show them."""

    def say(self, line: str) -> None:
        """Handle a message."""

    def plan(self, jobs: Sequence[Job], heading: str, seconds: float) -> None:
        """Handle the start of several jobs.

        Args:
            heading: one line about them.
            seconds: the estimated time of all of them.
        """

    def started(self, number: int, job: Job) -> None:
        """Job `number` of the plan has begun."""

    def told(self, number: int, share: float, line: str) -> None:
        """Job `number` has done a share of its work, 0 to 1."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """Job `number` has ended; the outcome has whether it succeeded or failed."""


def run_what_is_left(
    jobs: Sequence[Job],
    *,
    at_once: int,
    plan: Callable[[list[Job]], tuple[str, float]],
    show: Progress,
    changed: Callable[[list[Outcome | None]], None] = lambda outcomes: None,
    launcher: Launcher | None = None,
) -> list[Outcome]:
    """Run every job whose result is not stored; return all outcomes, in the order given.

    Args:
        plan: maps the remaining jobs to a heading and the estimated seconds, for `Progress.plan`.
        changed: called with one entry per job: its outcome, or None if it has not finished; first
            with the stored results, then after each job.
    """
    outcomes = [stored(job) for job in jobs]
    changed(outcomes)
    left = [number for number, outcome in enumerate(outcomes) if outcome is None]
    left.sort(key=lambda number: jobs[number].alone)  # exclusive jobs last: they run by themselves

    def ended(number: int, outcome: Outcome) -> None:
        outcomes[left[number]] = outcome
        changed(outcomes)

    if left:
        order = [jobs[number] for number in left]
        for job in order:
            remove_unsound(job)
        heading, seconds = plan(order)
        show.plan(order, heading, seconds)
        run_jobs(order, at_once=at_once, show=show, ended=ended, launcher=launcher)
    return [outcome for outcome in outcomes if outcome is not None]


def run_jobs(
    jobs: Sequence[Job],
    *,
    at_once: int,
    show: Progress | None = None,
    ended: Callable[[int, Outcome], None] = lambda number, outcome: None,
    launcher: Launcher | None = None,
) -> list[Outcome]:
    """Run every job and return their outcomes, in the order given.

    Args:
        at_once: how many run at once.
        ended: called as (number, outcome) when a job is over, before that is shown.
        launcher: where jobs run; None: in processes of this machine.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when every job has saved and gone.
    """
    show, launcher = show or Progress(), launcher or ProcessLauncher()
    outcomes: dict[int, Outcome] = {}
    waiting = deque(enumerate(jobs))
    running: dict[int, Job] = {}
    events: queue.Queue[tuple[int, Any]] = queue.Queue()

    def tell(number: int, share: float, line: str) -> None:
        events.put((number, (share, line)))

    def over(number: int, future: Future[Outcome]) -> None:
        events.put((number, future.result()))

    try:
        while waiting or running:
            while waiting and _may_start(waiting[0][1], running, at_once):
                number, job = waiting.popleft()
                running[number] = job
                future = launcher.submit(job, partial(tell, number))
                show.started(number, job)
                future.add_done_callback(partial(over, number))
            number, event = events.get()
            if isinstance(event, Outcome):
                outcomes[number] = event
                del running[number]
                ended(number, event)
                show.ended(number, event)
            else:
                show.told(number, *event)
    finally:
        launcher.stop()
    return [outcomes[number] for number in range(len(jobs))]


def at_once_in_words(at_once: int) -> str:
    """Return how many jobs run at once, for a plan's heading."""
    return "one at a time" if at_once == 1 else f"{at_once} at once"


def _may_start(job: Job, running: dict[int, Job], at_once: int) -> bool:
    if job.alone or any(each.alone for each in running.values()):
        return not running
    return len(running) < at_once
