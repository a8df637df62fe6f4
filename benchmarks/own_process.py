"""Runs a measurement in a fresh process, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from wordorder.allocator import keep_large_blocks


def in_a_process(measure: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Return what a function measures in a process of its own, or what went wrong there."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, measure, given))
    process.start()
    sender.close()
    try:
        found: dict[str, Any] = receiver.recv()
    except EOFError:
        found = {"error": "the process died: out of memory?"}
    process.join()
    return found


def _send(sender: Any, measure: Callable[..., dict[str, Any]], given: tuple) -> None:
    try:
        keep_large_blocks()
        sender.send(measure(*given))
    except Exception as error:
        sender.send({"error": f"{type(error).__name__}: {error}"})
