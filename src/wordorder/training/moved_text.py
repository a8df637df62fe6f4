"""Checks that the texts of a run are where the run recorded them."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.data_names import weighted_name
from wordorder.text.user_text import OPEN_PIPES, printable
from wordorder.training.config import TEXTS, TrainConfig

NEW = "NEWPATH"  # a placeholder: only the user knows the path


def check_not_moved(config: TrainConfig, folder: Path, remedy: str) -> None:
    """Check that the texts of a run exist.

    Args:
        folder: the run folder.
        remedy: what to do, with {} in place of the options that say where the texts are now.

    Raises:
        BadInput: a text is missing.
    """
    missing: list[str] = []
    options: list[str] = []
    for setting in TEXTS:
        names: list[str] = []
        for text in getattr(config, setting):
            name, weight = weighted_name(text)
            if moved := _is_missing(name):
                missing.append(name)
            share = "" if weight is None or not moved else f"={weight!r}"
            names.append(f"{NEW}{share}" if moved else text)
        if names != list(getattr(config, setting)):
            options += [f"--{setting.replace('_', '-')}", *names]
    if missing:
        raise BadInput(
            f"the text of {folder} is no longer at {printable(missing[0])}: if it was moved, "
            f"{remedy.replace('{}', shlex.join(options), 1)}",
            code="training.text-moved",
        )


def resuming(folder: Path) -> str:
    """Return the command that resumes a run, with {} in place of the options for its texts."""
    return f"{resume_command(folder)} {{}}"


def resume_command(folder: str | Path, *, ranks: int = 1) -> str:
    """Return the command that resumes a run.

    Args:
        ranks: how many processes train it.
    """
    several = ["--ranks", str(ranks)] if ranks > 1 else []
    return shlex.join(["wordorder", "train", "--resume", str(folder), *_trust(folder), *several])


def init_command(folder: str | Path) -> str:
    """Return the command that trains from a run's weights."""
    return shlex.join(["wordorder", "train", "--init", str(folder), *_trust(folder)])


def _trust(folder: str | Path) -> list[str]:
    """Return the option that a run with code of its own needs."""
    try:
        has_code = "code" in json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return []
    return ["--trust"] if has_code else []


def _is_missing(name: str) -> bool:
    """Return whether a recorded name is a path without a file; other names are not absolute."""
    return os.path.isabs(name) and not name.startswith(OPEN_PIPES) and not os.path.exists(name)
