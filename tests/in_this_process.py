"""A launcher that runs jobs in this process, so that tests can watch and patch what they do."""

from __future__ import annotations

from concurrent.futures import Future

from wordorder.experiments.jobs import Job, Outcome, Tell, perform


class InThisProcess:
    """Runs each job when it is submitted, and notes the names of the functions it ran."""

    def __init__(self) -> None:
        self.functions: list[str] = []

    def submit(self, job: Job, tell: Tell) -> Future[Outcome]:
        self.functions.append(job.function.__name__)
        future: Future[Outcome] = Future()
        future.set_result(perform(job.order(), job.function, tell))
        return future

    def stop(self) -> None:
        """Nothing runs on."""
