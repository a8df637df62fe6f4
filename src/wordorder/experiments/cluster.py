"""Submits jobs to Slurm with submitit, or to submitit's stand-in for a cluster on this machine.

A submitted job does what every launcher's job does (`jobs.perform`) and writes the same file. Its
machine must have the same file system and the same Python. In the folder of the results,
`.wordorder-jobs` holds, until a job is done,

    ID_submitted.pkl  ID_0_result.pkl  ID_0_log.err ...    submitit's files of the job with this ID
    DIGEST.json       the job that was last submitted for a result: its key and its ID
    DIGEST.told       the progress that it reported last

A lost job (its machine failed, its time ran out, or someone cancelled it) is submitted again, up to
`TRIES` times in all. Jobs in Slurm's queue stay there when the command ends, and the next command
waits for them instead of submitting them again. If two jobs with the same result nevertheless run
at once, the second waits for the first (a lock), and reads its result.

Nothing here imports torch: a job sets its threads first.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from wordorder.errors import BadInput
from wordorder.experiments.cluster_options import ClusterOptions
from wordorder.experiments.jobs import SECONDS_TO_SAVE, Job, Outcome, Tell
from wordorder.experiments.submitted_job import (
    digest,
    digest_of,
    do_submitted,
    read_small,
    write_small,
)
from wordorder.locks import SUBMITTED

ClusterKind = Literal["local", "slurm"]

TRIES = 3  # a job lost three times will be lost again: it needs more time, or another machine
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_FILES = 15.0  # a shared file system may take this long to show another machine's files
SECONDS_IN_ACCOUNTING = 300.0  # after which Slurm knows every job that was submitted
MINUTES_HERE = 60 * 24 * 365  # for a job on this machine, which has no queue and no time limit
NEEDED = ("sbatch", "srun", "sacct", "scancel")


class ClusterLauncher:
    """Runs each job as a job of a cluster.

    Args:
        kind: `slurm`, or `local` for jobs on this machine.
        options: what each job asks for.
        folder: the folder of the results.

    Raises:
        BadInput: submitit or Slurm is not installed here.
    """

    def __init__(self, kind: ClusterKind, options: ClusterOptions, folder: Path) -> None:
        check_available(kind)
        self.kind, self.options = kind, options
        self.folder = folder.absolute() / SUBMITTED
        self.name = f"wordorder-{digest(str(self.folder))[:8]}"
        self._running: list[_Submission] = []
        self._watcher: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        """CPU threads of each job."""
        return self.options.cpus

    @property
    def at_once(self) -> int:
        """How many jobs are submitted at a time."""
        return self.options.jobs

    @property
    def after_stopping(self) -> str:
        """What to tell a person who has stopped the command."""
        if self.kind == "local":
            return ""
        return f"submitted jobs stay in Slurm's queue: scancel --name {self.name} cancels them"

    def submit(self, job: Job, tell: Tell) -> Future[Outcome]:
        """Submit a job, or find it in the queue, and return the future of its outcome.

        Raises:
            BadInput: Slurm does not accept the job.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        submission = _Submission(job, tell)
        submission.handle = self._in_queue(submission) or self._send(submission)
        with self._lock:
            self._running.append(submission)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        return submission.future

    def stop(self) -> None:
        """Leave jobs in Slurm's queue; those on this machine save what they have and end."""
        with self._lock:
            running, self._running = self._running, []
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.join()
        if self.kind == "local":
            _end(running, self.folder)
        with suppress(OSError):
            self.folder.rmdir()  # unless files of jobs remain

    def _watch(self) -> None:
        """Poll all running jobs until none is left or the command stops."""
        while True:
            with self._lock:
                running = list(self._running)
                if not running:
                    self._watcher = None
                    return
            for submission in running:
                try:
                    outcome = self._look(submission)
                except Exception as error:  # submitit's: without its answer the job is not known
                    outcome = Outcome(error=" ".join(f"{type(error).__name__}: {error}".split()))
                if outcome is not None:
                    with self._lock:
                        self._running = [s for s in self._running if s is not submission]
                    submission.future.set_result(outcome)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _look(self, submission: _Submission) -> Outcome | None:
        """Pass on progress; return the outcome of a job that has ended, else None."""
        submission.pass_on(self.folder)
        handle = submission.handle
        if not handle.done():
            return None
        if not handle.paths.result_pickle.exists():
            submission.gone_since = submission.gone_since or time.monotonic()
            if time.monotonic() - submission.gone_since < SECONDS_FOR_FILES:
                return None
            state = handle.state if self.kind == "slurm" else "its process died"
            return self._lost(submission, state)
        try:
            outcome: Outcome | None = handle.result()
        except Exception as error:  # what failed outside of the job's function, as an import
            trace = str(error).rstrip("- \n")
            lines = [line for line in trace.splitlines() if line.strip("- ")] or [repr(error)]
            outcome = Outcome(error=f"its job failed: {lines[-1]}", details=trace)
        if outcome is None:
            return self._lost(submission, "stopped before it was done")
        self._clean(submission)
        return outcome

    def _lost(self, submission: _Submission, state: str) -> Outcome | None:
        """Submit a lost job again, or return that it was lost for good."""
        if "OUT_OF_ME" in state:  # also as `sacct` shortens it; it would be out of memory again
            return Outcome(
                error="its job was out of memory: give more with --slurm-options memory="
            )
        if submission.tries >= TRIES:
            logs = submission.handle.paths.stderr
            return Outcome(
                error=f"its job was lost {TRIES} times, the last time {state}: see {logs}"
            )
        self._clean(submission)
        submission.gone_since = None
        submission.tell(0.0, f"lost ({state}), submitted again")
        submission.handle = self._send(submission)
        return None

    def _send(self, submission: _Submission) -> Any:
        """Submit a job, note it, and return submitit's handle."""
        job = submission.job
        submission.tries += 1
        executor = self._executor(max(self.options.cpus, job.threads))
        order = {**job.order(), "threads": job.threads, "folder": str(self.folder)}
        try:
            with redirect_stderr(io.StringIO()), _without_ctrl_c():
                handle = executor.submit(do_submitted, order)
        except RuntimeError as error:  # sbatch's message
            lines = str(error).strip().splitlines() or [repr(error)]
            raise BadInput(
                f"Slurm does not accept the job: {lines[-1]}: change --slurm-options",
                code="experiments.slurm-refuses",
            ) from None
        record = {"key": job.key, "id": handle.job_id, "kind": self.kind, "time": time.time()}
        write_small(self.folder / f"{digest_of(job.order())}.json", record)
        return handle

    def _executor(self, cpus: int) -> Any:
        import submitit

        logging.getLogger("submitit").setLevel(logging.ERROR)  # it would log on stdout
        executor = submitit.AutoExecutor(self.folder, cluster=self.kind)
        options = self.options
        executor.update_parameters(
            name=self.name,
            timeout_min=options.time if self.kind == "slurm" else MINUTES_HERE,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=cpus,
            gpus_per_node=options.gpus or None,
            mem_gb=options.memory,
            slurm_partition=options.partition,
            slurm_account=options.account,
            slurm_qos=options.qos,
            slurm_constraint=options.constraint,
            # Jobs are submitted again from here, so Slurm is not to do that too.
            slurm_additional_parameters={"no-requeue": True},
        )
        return executor

    def _in_queue(self, submission: _Submission) -> Any:
        """Return the handle of the same job from an earlier command; None if it has ended.

        A job with other settings that would write the same file is cancelled.
        """
        job = submission.job
        record = read_small(self.folder / f"{digest_of(job.order())}.json")
        if self.kind != "slurm" or record.get("kind") != "slurm":
            return None
        if record["id"] in {running.handle.job_id for running in self._running}:
            return None
        import submitit

        handle: Any = submitit.SlurmJob(self.folder, str(record["id"]), tasks=[0])
        forgotten = time.time() - record["time"] > SECONDS_IN_ACCOUNTING
        if handle.done(force_check=True) or (handle.state == "UNKNOWN" and forgotten):
            return None
        if record["key"] != job.key:
            handle.cancel(check=False)
            return None
        submission.tries = 1
        return handle

    def _clean(self, submission: _Submission) -> None:
        """Remove the files of a submitted job."""
        job_id, digest = submission.handle.job_id, digest_of(submission.job.order())
        names = (f"{job_id}_*", f"{digest}.*")
        for path in [path for name in names for path in self.folder.glob(name)]:
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".submission_file_*"):  # links to what was just removed
            if path.is_symlink() and not path.exists():
                path.unlink(missing_ok=True)


@dataclass(eq=False)
class _Submission:
    """One job, and the job of the cluster that does it."""

    job: Job
    tell: Tell
    future: Future[Outcome] = field(default_factory=Future)
    handle: Any = None
    tries: int = 0
    told: Any = None
    gone_since: float | None = None

    def pass_on(self, folder: Path) -> None:
        """Pass on what the job told last."""
        told = read_small(folder / f"{digest_of(self.job.order())}.told")
        if told and told != self.told:
            self.told = told
            self.tell(told["share"], told["line"])


def launcher_of(
    kind: ClusterKind | None, words: Sequence[str], folder: Path, *, at_once: int = 0
) -> ClusterLauncher | None:
    """Return the launcher that a command line chooses; None: processes of this machine.

    Args:
        words: the options of each job, as NAME=VALUE.
        at_once: how many jobs at a time; 0: as the options say, or as this machine has cores for.

    Raises:
        BadInput: invalid options, options without Slurm, or submitit or Slurm is missing.
    """
    if words and kind != "slurm":
        raise BadInput(
            "--slurm-options needs --launcher slurm: add it, or leave them out",
            code="experiments.slurm-options-alone",
        )
    if kind is None:
        return None
    options = ClusterOptions.parse(words)
    if at_once or kind == "local":
        options = replace(options, jobs=at_once or os.cpu_count() or 1)
    return ClusterLauncher(kind, options, folder)


def check_available(kind: ClusterKind) -> None:
    """Check that jobs can be submitted here.

    Raises:
        BadInput: submitit or Slurm is missing.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise BadInput(
            f"--launcher {kind} needs submitit: pip install 'wordorder[slurm]'",
            code="experiments.needs-submitit",
        ) from None
    missing = [name for name in NEEDED if kind == "slurm" and shutil.which(name) is None]
    if missing:
        raise BadInput(
            f"--launcher slurm needs Slurm's {missing[0]}, which is not found here: run the "
            "command on a machine of the cluster, or leave out --launcher",
            code="experiments.no-slurm",
        )


def _end(running: list[_Submission], folder: Path) -> None:
    """Ask jobs on this machine to save and end, and kill those that take too long."""
    for submission in running:
        submission.handle._process.terminate()  # submitit's process passes SIGTERM on
    deadline = time.monotonic() + SECONDS_TO_SAVE
    try:
        while time.monotonic() < deadline and not all(s.handle.done() for s in running):
            time.sleep(0.05)
    finally:
        for submission in running:
            if not submission.handle.done():
                told = read_small(folder / f"{digest_of(submission.job.order())}.told")
                with suppress(KeyError, ProcessLookupError):
                    os.kill(told["process"], signal.SIGKILL)
                submission.handle._process.wait()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back in processes that start here: the terminal sends it to all of its own."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
