"""Errors that are not bugs: each class is one exit code, each error has a code of its own.

The command line prints the message on one line and exits with `exit_code`; anything else that
is raised is a bug and keeps its traceback. `tests/messages.md` lists every message by its code.
Imports nothing, so that every package may raise these.
"""

from __future__ import annotations

import sys


class CodedError(Exception):
    """Base of these errors.

    Args:
        message: one line: what was given, where, what is allowed, what to do.
        code: identifies the message in tests and programs, as in `text.missing-field`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class BadInput(CodedError, ValueError):
    """The request cannot be carried out as it stands, and the user can change it."""

    exit_code = 2


class Failed(CodedError, RuntimeError):
    """A valid request failed while it ran: a NaN loss, or too little memory."""

    exit_code = 1


class Refused(CodedError, RuntimeError):
    """The request is possible but unsafe without consent, such as an inexact resume."""

    exit_code = 3


class Note(UserWarning):
    """A warning for the user: the command line prints its message alone, as it does errors."""


def of_embedding(error: BaseException) -> str | None:
    """Return the message of an error that a positional embedding raised; None for any other error.

    If a user-defined embedding raised something other than a PositionError, the message names the
    file and line.
    """
    # wordorder.positions imports nothing else of wordorder, so it has its own error class. If that
    # error was raised, wordorder.positions is already imported.
    positions = sys.modules.get("wordorder.positions")
    if positions is None or isinstance(error, BadInput | Failed | Refused):
        return None
    if isinstance(error, positions.PositionError):
        return str(error)
    sentence: str | None = positions.of_user_code(error)
    return sentence
