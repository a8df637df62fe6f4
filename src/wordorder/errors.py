"""What can go wrong without being a bug: each class is one exit code.

The command line prints the message on one line and leaves with `exit_code`;
anything else that is raised is a bug and keeps its traceback. Imports nothing,
so that every package may raise these.
"""

from __future__ import annotations


class BadInput(ValueError):
    """What was asked for cannot be done as asked: the asker can change it.

    The message is one line: what was given, where, what is allowed, what to do.
    """

    exit_code = 2


class Failed(RuntimeError):
    """The request was right and the work went wrong: a NaN loss, no memory left."""

    exit_code = 1


class Refused(RuntimeError):
    """It could be done and would be wrong: an inexact resume nobody asked for."""

    exit_code = 3
