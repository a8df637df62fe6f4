"""Opens the run that a command reads."""

from __future__ import annotations

import sys

from wordorder.training.moved_text import resume_command
from wordorder.training.run import Run


def open_run(folder: str, *, trust: bool) -> Run:
    """Return the run in a folder, and say so if its training is not over.

    Args:
        trust: allow running the code of a user-defined embedding.

    Raises:
        BadInput: there is no run, or it is damaged.
        Refused: the run has a user-defined embedding, and `trust` is not set.
    """
    run = Run.load(folder, trust=trust)
    if (unfinished := run.unfinished) is not None:
        again = resume_command(folder)
        note = f"note: the training of {folder} is not over, {unfinished}: go on with {again}"
        print(note, file=sys.stderr)
    return run
