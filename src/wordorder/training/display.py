"""The progress events of a run; the default ignores them, the command line shows them."""

from __future__ import annotations

from typing import Any

from wordorder.training.plan import Plan


class Display:
    """Receives the progress events of a run; override the methods of events to show."""

    def say(self, line: str) -> None:
        """Receive a message of one line."""

    def plan(self, plan: Plan, done: int) -> None:
        """Receive the plan before the first step, or before a resume after `done` steps."""

    def step(self, record: dict[str, Any], seconds_left: float) -> None:
        """Receive a finished step; `record` is its line of metrics.jsonl."""

    def decided(self, decision: dict[str, Any]) -> None:
        """Receive a new total of steps (`steps`) or of threads (`threads`) from `step` on."""

    def validated(self, record: dict[str, Any]) -> None:
        """Receive a held-out loss; `record` is its line of metrics.jsonl."""

    def sample(self, record: dict[str, Any]) -> None:
        """Receive a generated sample; `record` is its line of metrics.jsonl."""

    def close(self) -> None:
        """Release the display: the run has ended, successfully or not."""
