"""What a run tells while it works; this one says nothing, the command line draws it."""

from __future__ import annotations

from typing import Any

from wordorder.training.plan import Plan


class Display:
    """The moments of a run that a person may want to see; override what is shown."""

    def say(self, line: str) -> None:
        """One line about something that happened."""

    def plan(self, plan: Plan, done: int) -> None:
        """The run is about to start, or to go on after `done` steps."""

    def step(self, record: dict[str, Any], seconds_left: float) -> None:
        """A step is done; `record` is its line of metrics.jsonl."""

    def decided(self, decision: dict[str, Any]) -> None:
        """The number of steps in all (`steps`) or of threads (`threads`) is set from `step` on."""

    def validated(self, record: dict[str, Any]) -> None:
        """The validation text was read; `record` is the line of metrics.jsonl."""

    def sample(self, record: dict[str, Any]) -> None:
        """The model wrote something; `record` is the line of metrics.jsonl."""

    def close(self) -> None:
        """The run is over, well or badly."""
