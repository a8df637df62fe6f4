"""What `wordorder train` prints after training."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

from wordorder.cli.train import next_commands


def test_it_ends_with_commands_that_can_be_typed() -> None:
    run = SimpleNamespace(folder=Path("my runs/a"), fills_in=False, chat=None)
    line = next_commands(run)  # type: ignore[arg-type]
    first, second = (shlex.split(part) for part in line.removeprefix("next: ").split(", or "))
    assert first == ["wordorder", "generate", "my runs/a", "The"]
    assert second == ["wordorder", "eval", "my runs/a"]


def test_a_bidirectional_model_is_not_asked_to_generate() -> None:
    run = SimpleNamespace(folder=Path("r"), fills_in=True)
    assert next_commands(run) == "next: wordorder eval r, or wordorder explain r"  # type: ignore[arg-type]
