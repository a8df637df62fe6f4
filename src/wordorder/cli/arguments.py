"""From what was typed to a command's options, with one clear line where it is wrong.

tyro splits what was typed into the fields of a frozen dataclass and writes the help; what a value
may be, the annotations say (`wordorder.settings`), here as in YAML and in Python. tyro's complaints
are boxes of several lines; here they become a `BadInput` like any other. An unknown option is
looked up among the known ones, and an error that the dataclass itself raised comes out as it was
raised.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Sequence, Set
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from wordorder.errors import BadInput
from wordorder.settings import WrongSetting, check, checked

Options = TypeVar("Options")
REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def _as_typed(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Leave an invalid number or choice as it was typed: `check` says what it must be."""
    if get_origin(info.type) is Literal:
        metavar = "{" + ",".join(get_args(info.type)) + "}"
    elif info.type in (int, float):
        metavar = info.type.__name__.upper()
    else:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: _read(info.type, words[0]),
        is_instance=lambda value: isinstance(value, str | int | float),
        str_from_instance=lambda value: [str(value)],
    )


def _read(kind: Any, word: str) -> Any:
    try:
        return checked("", kind, word)
    except WrongSetting:
        return word


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
                registry=REGISTRY,
            )
        if not unknown:
            check(value)
    except WrongSetting as error:
        raise _as_spelled(error, options) from None
    except SystemExit as leaving:
        if not leaving.code:  # --help has been printed
            raise
        ours = _ours(leaving) or BadInput(_flat(complaint.getvalue(), command))
        raise (_as_spelled(ours, options) if isinstance(ours, WrongSetting) else ours) from None
    if unknown:
        raise BadInput(_unknown(unknown[0], options, command))
    return value


def typed_names(arguments: Sequence[str]) -> frozenset[str]:
    """Return the options that were typed, by the names of their fields: muon for --no-muon."""
    flags = (word.partition("=")[0][2:] for word in arguments if word.startswith("--"))
    return frozenset(flag.removeprefix("no-").replace("-", "_") for flag in flags)


def refuse_typed(typed: Set[str], *rules: tuple[bool, str, str]) -> None:
    """Refuse options that were typed and would change nothing.

    Args:
        rules: each whether it holds, the names of the options that then change nothing, and what to
            say, with {} for the option.

    Raises:
        BadInput: for the first that was typed.
    """
    for holds, names, why in rules:
        for name in names.split() if holds else ():
            if name in typed:
                raise BadInput(why.replace("{}", f"--{name.replace('_', '-')}", 1))


def hidden_names(options: type) -> set[str]:
    """Return the fields of a dataclass of options, and of those in it, that have no option."""
    return {name for name, how in _annotations(options) if tyro.conf.Suppress in how}


def _annotations(options: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the fields of a dataclass of options, and of those in it, with how they are typed."""
    kind = get_args(options)[0] if get_origin(options) is Annotated else options
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    for name, hint in hints.items():
        yield name, get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        yield from _annotations(hint)


def _as_spelled(error: WrongSetting, options: type) -> WrongSetting:
    """Return the error with the option as it is typed: --learning-rate, or RUN."""
    how = next((how for name, how in _annotations(options) if name == error.name), ())
    if tyro.conf.Positional in how:
        named = [each.metavar for each in how if getattr(each, "metavar", None)]
        return error.spelled(named[0] if named else error.name)
    named = [each.name for each in how if getattr(each, "name", None)]
    return error.spelled(f"--{(named[0] if named else error.name).replace('_', '-')}")


def _ours(leaving: SystemExit) -> BadInput | None:
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
    value = re.match(r"Missing value for argument '(.+?)'", message)
    message = f"{value[1]} is without a value" if value else message
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
            tyro.cli(options, args=["--help"], prog=command, registry=REGISTRY)
    except SystemExit:
        pass
    return sorted(set(re.findall(r"--[a-z][\w.-]*", shown.getvalue())))
