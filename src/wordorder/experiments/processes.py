"""Launches jobs on this machine, each in a process of its own.

Each job gets a fresh Python process: its threads are set before anything computes, its peak memory
is its own, and a crash does not affect other jobs. For the same reason each job has its own
`ProcessPoolExecutor`: when a process of a shared pool is killed, the pool terminates the others,
fails all of their jobs, and does not report which process was killed.

Ctrl-C reaches only the command, which forwards it once; each job then saves its state. A job also
saves when the command is killed, and its process ends soon after.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import current_process, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from wordorder import stopping
from wordorder.experiments.jobs import SECONDS_TO_SAVE, Job, Outcome, Tell, function_of, perform


class ProcessLauncher:
    """Runs each job in a new process of this machine."""

    def __init__(self) -> None:
        self._running: list[_Running] = []

    def submit(self, job: Job, tell: Tell) -> Future[Outcome]:
        """Start a job, and return the future of its outcome.

        Args:
            tell: called from another thread with the job's progress, never after it has ended.
        """
        self._running = [each for each in self._running if not each.future.done()]
        running = _Running(job, tell)
        self._running.append(running)  # first, so that Ctrl-C while it starts stops it too
        running.start()
        return running.future

    def stop(self) -> None:
        """Interrupt running jobs; return once each has saved and its process has ended.

        A second Ctrl-C, or a job that takes longer than `SECONDS_TO_SAVE`, kills processes.
        """
        for running in self._running:
            running.signal(signal.SIGINT)
        try:
            started = [each.future for each in self._running if each.thread.is_alive()]
            wait(started, SECONDS_TO_SAVE)
        finally:
            for running in self._running:
                running.end()


@dataclass(eq=False)
class _Running:
    """One job, its process, and a thread that waits for it."""

    job: Job
    tell: Tell
    future: Future[Outcome] = field(default_factory=Future)

    def __post_init__(self) -> None:
        # The process unlinks the file once it has opened it, so that a kill leaves no file behind.
        self.log = tempfile.NamedTemporaryFile(prefix="wordorder-job-", delete=False)  # noqa: SIM115
        self.context = _Context(self.job.threads, self.log.name)
        self.thread = threading.Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        self.pool = ProcessPoolExecutor(1, self.context)
        self.answer = self.pool.submit(_work, self.job.order())
        self.thread.start()

    def _listen(self) -> None:
        """Forward the job's progress until it ends, then set its outcome."""
        process = self.context.process
        assert process is not None  # `start` has submitted the job, which creates it
        process.sender.close()  # the process has the other copy, which ends with it
        with suppress(EOFError, OSError):
            while (event := self.context.receiver.recv()) is not None:
                self.tell(*event)
        try:
            outcome = self.answer.result()
        except BaseException:  # the pool is broken
            outcome = None
        self.pool.shutdown()
        if outcome is None:
            code = process.exitcode
            died = f"died of signal {-code}" if code and code < 0 else f"ended by {code}"
            outcome = Outcome(error=f"its process {died}")
        self.log.seek(0)
        details = self.log.read().decode(errors="replace")
        self._close()
        self.future.set_result(replace(outcome, details=details))

    def _close(self) -> None:
        self.log.close()
        Path(self.log.name).unlink(missing_ok=True)
        self.context.receiver.close()

    def signal(self, number: int) -> None:
        process = self.context.process
        if not self.future.done() and process is not None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def end(self) -> None:
        """Kill the process if it has not ended, and wait for the thread."""
        self.signal(signal.SIGKILL)
        if self.thread.is_alive():
            self.thread.join()
        Path(self.log.name).unlink(missing_ok=True)  # if the process did not get to unlink it


class _Context(SpawnContext):
    """Creates the one process of a pool and keeps it, because a pool does not expose exit codes.

    Args:
        threads: CPU threads of the job.
        log: the file for the job's stdout and stderr.
    """

    def __init__(self, threads: int, log: str) -> None:
        super().__init__()
        self.threads, self.log = threads, log
        self.process: _Process | None = None

    def Process(self, *args: Any, **options: Any) -> _Process:  # type: ignore[override]
        self.process = _Process(*args, **options)
        self.receiver, self.process.sender = self.Pipe(duplex=False)
        self.process.threads, self.process.log = self.threads, self.log
        return self.process


class _Process(SpawnProcess):
    """A fresh Python that, unlike other spawned processes, does not rerun the caller's script."""

    sender: Connection
    threads: int
    log: str

    def start(self) -> None:
        """Start the process with SIGINT blocked, which it inherits until it can save."""
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # it has no file to run again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        """Wait for the job and do it, in the new process."""
        os.setsid()  # the terminal's Ctrl-C reaches the command alone
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also if started by nohup or &
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
        os.unlink(self.log)
        threading.Thread(target=_end_with_the_command, daemon=True).start()
        super().run()


def _work(order: dict[str, Any]) -> Outcome:
    """Run one job in this process, and tell of it to the command."""
    process, parent = current_process(), parent_process()
    assert isinstance(process, _Process) and parent is not None

    def tell(*event: Any) -> None:
        with suppress(BrokenPipeError):  # the command was killed: saving comes next
            process.sender.send(event)

    try:
        with stopping.handling(ctrl_c=True):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            import torch

            from wordorder.allocator import keep_large_blocks

            keep_large_blocks()
            torch.set_num_threads(process.threads)
            return perform(order, function_of(order), tell)
    except KeyboardInterrupt as error:
        return Outcome(error=f"interrupted ({stopping.exit_code(error)})")
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sys.stdout.flush()
        sys.stderr.flush()
        if not parent.is_alive():
            os._exit(stopping.exit_code(KeyboardInterrupt()))
        with suppress(BrokenPipeError):
            process.sender.send(None)


def _end_with_the_command() -> None:
    """Interrupt this process when the command has ended, and end it soon after."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SECONDS_TO_SAVE)
    os._exit(stopping.exit_code(KeyboardInterrupt()))
