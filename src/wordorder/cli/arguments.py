"""From what was typed to a command's options, with one clear line where it is wrong.

tyro reads a frozen dataclass and writes the help. Its complaints are boxes of
several lines; here they become a `BadInput` like any other. An unknown option is
looked up among the known ones, and an error that the dataclass itself raised
comes out as it was raised.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TypeVar

import tyro

from wordorder.errors import BadInput

Options = TypeVar("Options")


def parse(
    options: type[Options],
    arguments: Sequence[str],
    *,
    command: str,
    default: Options | None = None,
) -> Options:
    """Read `arguments` into `options`, a dataclass whose docstring is the help.

    Args:
        options: the dataclass; its fields' defaults are the options' defaults.
        arguments: what was typed after the command.
        command: what to call it in help and messages, as `wordorder eval`.
        default: where what was not typed comes from; None takes the fields' defaults.

    Raises:
        BadInput: where an option is unknown, missing or has a value it cannot have.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            value, unknown = tyro.cli(
                options,
                args=list(arguments),
                prog=command,
                default=tyro.MISSING_NONPROP if default is None else default,
                return_unknown_args=True,
            )
    except SystemExit as leaving:
        if not leaving.code:  # --help has been printed
            raise
        raise _ours(leaving) or BadInput(_flat(complaint.getvalue(), command)) from None
    if unknown:
        raise BadInput(_unknown(unknown[0], options, command))
    return value


def _ours(leaving: SystemExit) -> ValueError | None:
    """The error that the dataclass raised, where that is why tyro leaves."""
    cause: BaseException | None = leaving
    while (cause := cause.__context__) is not None:
        if isinstance(cause, ValueError) and type(cause).__module__.startswith("wordorder."):
            return cause
    return None


def _flat(box: str, command: str) -> str:
    """A box's first section as one line; boxes are drawn with `│`, without UTF-8 with blanks."""
    plain = re.sub(r"\033\[[\d;]*m", "", box)
    below_title = "\n".join(line.strip("│ ") for line in plain.splitlines()[1:])
    first = re.split(r"(?m)^[─╰-][─╯-]*$", below_title.strip("-\n"))[0]
    lines = first.strip().splitlines()
    missing = lines[0].startswith("Missing from")
    message = f"{lines[1]} is missing" if missing else " ".join(lines)
    message = re.sub(r"^Error parsing (\S+): ", r"\1: ", message)
    message = message.replace("invalid literal for int() with base 10: ", "not a whole number: ")
    message = message.replace("could not convert string to float: ", "not a number: ")
    return f"{message.rstrip('. ')}; {command} --help lists the options"


def _unknown(token: str, options: type, command: str) -> str:
    given = token.partition("=")[0]
    if not given.startswith("-"):
        return f"{command} has no use for {token!r}: {command} --help lists its options"
    near = difflib.get_close_matches(given, _flags(options, command), n=1)
    hint = f"did you mean {near[0]}?" if near else f"{command} --help lists its options"
    return f"{command} has no option {given}: {hint}"


def _flags(options: type, command: str) -> list[str]:
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            tyro.cli(options, args=["--help"], prog=command)
    except SystemExit:
        pass
    return sorted(set(re.findall(r"--[a-z][\w.-]*", shown.getvalue())))
