"""Runs a function on many tasks in several processes, which end with this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from wordorder.errors import Failed

Task = TypeVar("Task")


def run_all(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    processes: int,
    done: Callable[[Task], None],
) -> None:
    """Call a function of a module on each task, in any order.

    Args:
        processes: 1 works in this process.
        done: called here with each task that is finished.

    Raises:
        Failed: a process has ended, for example because memory is full.
    """
    processes = min(processes, len(tasks))
    if processes <= 1:
        for task in tasks:
            function(task)
            done(task)
        return
    # Not fork: the threads of `tokenizers` and of this process would not be in the copy.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, context, initializer=_start)
    try:
        futures = {executor.submit(function, task): task for task in tasks}
        for future in as_completed(futures):
            future.result()
            done(futures[future])
    except BrokenProcessPool:
        raise Failed(
            "a process that prepares the text has ended, perhaps because memory is full: run the "
            "command again to continue, with fewer --processes",
            code="text.worker-lost",
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _start() -> None:
    """Leave Ctrl-C to the parent, use one thread, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # The queue of tasks never closes, so after a kill of the parent a worker would wait forever.
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
