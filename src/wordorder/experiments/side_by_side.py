"""Several small jobs side by side, each in a process of its own.

A small model does not keep many cores busy: two runs with one thread each are often done
before two runs one after the other with two. Each job has a fresh Python, so that its
threads are set before anything computes, the memory it takes at most is its own, and one
that dies takes no other along. What passes between the processes is lines of JSON.

Ctrl-C reaches the command alone, which passes it on once: a job then saves what it has. So it
does where the command is killed, which it knows by the end of its own standard input; it is not
there for long after.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from wordorder import stopping
from wordorder.errors import BadInput, Failed, Refused

SECONDS_TO_SAVE = 60.0  # what a job has after Ctrl-C before it is stopped at once

Job = Mapping[str, Any]
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Args:
        job: as it was given.
        result: what its function returned, as JSON gives it back; None where it failed.
        error: one line on why it failed; None where it did not.
        details: what it wrote to stderr, a traceback where the error is a bug.
    """

    job: Job
    result: Any = None
    error: str | None = None
    details: str = ""


class Progress:
    """The moments of a grid of jobs that a person may want to see; override what is shown."""

    def started(self, number: int, job: Job) -> None:
        """Job `number` has begun."""

    def told(self, number: int, share: float, line: str) -> None:
        """Job `number` has done a share of its work, 0 to 1."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """Job `number` is over, well or badly."""


def run_jobs(
    function: Callable[[Any, Tell], Any],
    jobs: Sequence[Job],
    *,
    processes: int,
    threads: int,
    show: Progress | None = None,
    record: Callable[[int, Outcome], None] = lambda number, outcome: None,
) -> list[Outcome]:
    """Run every job and return how each ended, in the order given.

    Args:
        function: of a module's top level, `function(job, tell) -> result`; it is imported anew in
            each process and calls `tell(share, line)` now and then.
        jobs: what JSON can hold; a failed one does not stop the rest.
        processes: how many run at once.
        threads: CPU threads of each.
        show: is told what happens.
        record: called as (number, outcome) when a job is over, before it is shown.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when every job has saved and gone.
    """
    show = show or Progress()
    outcomes: dict[int, Outcome] = {}
    waiting = deque(enumerate(jobs))
    running: dict[int, _Process] = {}
    heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, job = waiting.popleft()
                running[number] = _Process(function, number, job, threads, heard)
                show.started(number, job)
            number, message = heard.get()
            if message is not None and "share" in message:
                show.told(number, message["share"], message["line"])
            elif message is not None:
                running[number].last = message
            else:
                outcomes[number] = running.pop(number).outcome()
                record(number, outcomes[number])
                show.ended(number, outcomes[number])
    finally:
        for process in running.values():
            process.interrupt()
        for process in running.values():
            process.stop()
    return [outcomes[number] for number in range(len(jobs))]


@dataclass
class _Process:
    """One job's process, and a thread that listens to it."""

    function: Callable[[Any, Tell], Any]
    number: int
    job: Job
    threads: int
    heard: queue.Queue[tuple[int, dict[str, Any] | None]]
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = f"{self.function.__module__}:{self.function.__qualname__}"
        self.stderr: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, named, str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env={**os.environ, "OMP_NUM_THREADS": str(self.threads)},
            encoding="utf-8",
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(self.job) + "\n")
            self.process.stdin.flush()  # and left open for as long as this process lives
        with self.process.stdout as lines:
            for line in lines:
                self.heard.put((self.number, json.loads(line)))
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.heard.put((self.number, None))

    def outcome(self) -> Outcome:
        self.stderr.seek(0)
        details = self.stderr.read()
        self.stderr.close()
        if "result" in self.last:
            return Outcome(self.job, result=self.last["result"], details=details)
        code = self.process.returncode
        died = "its process " + (f"died of signal {-code}" if code < 0 else f"ended by {code}")
        return Outcome(self.job, error=self.last.get("error", died), details=details)

    def interrupt(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        try:
            self.process.wait(SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.stderr.close()


def _job(named: str, threads: int) -> int:
    """Run one job in this process: read it from stdin, tell of it on stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print is no message
    import torch

    from wordorder.allocator import keep_large_blocks

    keep_large_blocks()
    torch.set_num_threads(threads)
    module, _, name = named.partition(":")

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    try:
        with stopping.handling(ctrl_c=True):
            job = json.loads(sys.stdin.readline())
            threading.Thread(target=_end_with_the_command, daemon=True).start()
            function = getattr(importlib.import_module(module), name)
            say({"result": function(job, lambda share, line: say({"share": share, "line": line}))})
    except KeyboardInterrupt as error:
        return stopping.exit_code(error)
    except (BadInput, Failed, Refused) as error:
        say({"error": " ".join(str(error).split())})
        return error.exit_code
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        say({"error": " ".join(f"{type(error).__name__}: {error}".split())})
        return 1
    return 0


def _end_with_the_command() -> None:
    """Interrupt this process when its standard input ends, which the command held open."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(SECONDS_TO_SAVE)
    os._exit(stopping.exit_code(KeyboardInterrupt()))


if __name__ == "__main__":
    sys.exit(_job(sys.argv[1], int(sys.argv[2])))
