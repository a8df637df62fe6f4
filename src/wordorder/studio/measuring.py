"""Measurements of many seconds, as server-sent events: progress, then the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from pydantic import BaseModel

from wordorder.errors import CodedError
from wordorder.positions import PositionError
from wordorder.studio.opened import OpenRuns

Answer = TypeVar("Answer", bound=BaseModel)


class MeasuringEvent(BaseModel, Generic[Answer]):
    """A step of a measurement; the last one has a result or a problem.

    Args:
        share: the fraction done, 0 to 1.
    """

    share: float = 0.0
    result: Answer | None = None
    problem: str = ""


class _Abandoned(Exception):
    """Nobody waits for the result: the page left the room."""


def measured(
    runs: OpenRuns, measure: Callable[[Callable[[float], None]], Answer]
) -> Iterator[MeasuringEvent[Answer]]:
    """Yield the progress of a measurement, which runs in a thread, and its result.

    The measurement stops at its next report of progress once the iterator is closed.

    Args:
        measure: is given a function to call with the fraction done.
    """
    events: SimpleQueue[float | Answer | Exception] = SimpleQueue()
    abandoned = threading.Event()

    def progress(share: float) -> None:
        if abandoned.is_set():
            raise _Abandoned
        events.put(share)

    def work() -> None:
        try:
            with runs.measuring:
                progress(0.0)
                events.put(measure(progress))
        except _Abandoned:
            pass
        except Exception as error:  # raised again below, where the server logs it
            events.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            event = events.get()
            if isinstance(event, float):
                yield MeasuringEvent(share=event)
            elif isinstance(event, CodedError | PositionError):
                yield MeasuringEvent(problem=" ".join(str(event).split()))
                return
            elif isinstance(event, Exception):
                yield MeasuringEvent(problem="the measurement failed: the terminal has more")
                raise event
            else:
                yield MeasuringEvent(share=1.0, result=event)
                return
    finally:
        abandoned.set()
