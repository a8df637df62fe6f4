"""What `wordorder train` prints after training."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from wordorder.cli.train import next_commands
from wordorder.errors import BadInput
from wordorder.training.moved_text import init_command, resume_command
from wordorder.training.recorded import check_run_folder


def test_it_ends_with_commands_that_can_be_typed() -> None:
    for position, trust in (("rotary", []), ("mine.Mine", ["--trust"])):
        model = SimpleNamespace(position=position)
        run = SimpleNamespace(
            folder=Path("my runs/a"), fills_in=False, chat=None, model_config=model
        )
        line = next_commands(run)  # type: ignore[arg-type]
        first, second = (shlex.split(part) for part in line.removeprefix("next: ").split(", or "))
        assert first == ["wordorder", "generate", "my runs/a", *trust, "The"]
        assert second == ["wordorder", "eval", "my runs/a", *trust]


def test_a_run_with_code_of_its_own_is_resumed_with_trust(tmp_path: Path) -> None:
    assert resume_command(tmp_path) == f"wordorder train --resume {tmp_path}"
    (tmp_path / "config.json").write_text('{"code": "0123"}')
    assert resume_command(tmp_path, ranks=2).endswith(f"{tmp_path} --trust --ranks 2")
    assert init_command(tmp_path) == f"wordorder train --init {tmp_path} --trust"


def test_a_remedy_can_be_typed(tmp_path: Path) -> None:
    folder = tmp_path / "my run (v1)"
    with pytest.raises(BadInput) as caught:
        check_run_folder(folder)
    _, _, command = str(caught.value).partition(" with ")
    assert shlex.split(command) == ["wordorder", "train", "--out", str(folder)]


def test_a_bidirectional_model_is_not_asked_to_generate() -> None:
    model = SimpleNamespace(position="rotary")
    run = SimpleNamespace(folder=Path("r"), fills_in=True, model_config=model)
    assert next_commands(run) == "next: wordorder eval r, or wordorder explain r"  # type: ignore[arg-type]
