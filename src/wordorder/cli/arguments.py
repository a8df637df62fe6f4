"""Parses command-line arguments into a dataclass of options.

tyro assigns the arguments to the fields of a frozen dataclass and prints the help; the annotations
(`wordorder.settings`) decide which values are valid, as in YAML and in Python. tyro reports errors
in boxes of several lines; here they become a `BadInput` of one line. Errors that the dataclass
raises are passed on.
"""

from __future__ import annotations

import difflib
import io
import os
import shlex
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import is_dataclass
from itertools import takewhile
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from wordorder.errors import BadInput
from wordorder.settings import WrongSetting, check, checked

Options = TypeVar("Options")
REGISTRY = ConstructorRegistry()
# Options of nanoGPT, Hugging Face and other tools: their names, the options of ours that a command
# needs for the hint, and the hint.
USUAL_NAMES = (
    ("lr", "--learning-rate", "did you mean --learning-rate?"),
    ("block-size context-length seq-len", "--trained-length", "did you mean --trained-length?"),
    ("n-layer n-layers num-layers", "--layers", "did you mean --layers?"),
    ("n-head n-heads num-heads", "--heads", "did you mean --heads?"),
    ("n-embd d-model hidden-size", "--width", "did you mean --width?"),
    ("max-iters max-steps", "--steps", "did you mean --steps?"),
    ("num-epochs num-train-epochs", "--epochs", "did you mean --epochs?"),
    ("format", "--to --dtype", "did you mean --to?"),  # not the --to of extend, a length
)
# What other tools call a value of an option, and ours.
USUAL_VALUES = {
    ("--to", "ollama"): "gguf",
    ("--to", "llama.cpp"): "gguf",
    ("--to", "transformers"): "hf",
    ("--to", "huggingface"): "hf",
    ("--to", "onnxruntime"): "onnx",
    ("--dtype", "fp32"): "f32",
    ("--dtype", "float32"): "f32",
    ("--dtype", "fp16"): "f16",
    ("--dtype", "float16"): "f16",
    ("--dtype", "bfloat16"): "bf16",
}


@REGISTRY.primitive_rule
def _as_typed(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Pass on an invalid number or choice as text: `check` raises the error for it."""
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
    """Parse arguments into a dataclass, whose docstring is the help.

    Args:
        options: the dataclass; the defaults of its fields are those of the options.
        arguments: the arguments after the command.
        command: the command, such as `wordorder eval`, for help and messages.
        default: values of options that are not typed; None: the defaults of the fields.

    Raises:
        BadInput: an option is unknown, missing, or has an invalid value.
    """
    for word in takewhile(lambda word: word != "--", arguments):
        if _usual_hint(word, options):  # before tyro, which names a missing option first
            raise _unknown(word, options, command, arguments)
    _check_given_once(arguments, options)
    try:
        with (
            redirect_stderr(io.StringIO()),
            _help_as_wanted(),
            _on_parse_error(lambda e: _raise_ours(e, command)),
        ):
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
        ours = _ours(leaving) or BadInput(
            f"the arguments are not valid: {command} --help lists the options",
            code="cli.invalid-arguments",
        )
        raise (_as_spelled(ours, options) if isinstance(ours, WrongSetting) else ours) from None
    if unknown:
        raise _unknown(unknown[0], options, command, arguments)
    return value


def _check_given_once(arguments: Sequence[str], options: type) -> None:
    """Check that an option of several values is typed once: argparse would drop the first ones.

    Of an option with one value the last one counts, as everywhere.

    Raises:
        BadInput: one is given twice.
    """
    several = {
        f"--{_spelling(name, how).replace('_', '-')}"
        for name, kind, how in _annotations(options)
        if tuple in (get_origin(kind), *map(get_origin, get_args(kind)))
        and tyro.conf.UseAppendAction not in how
    }
    before = takewhile(lambda word: word != "--", arguments)
    flags = [word.partition("=")[0].replace("_", "-") for word in before if word.startswith("--")]
    for name in (name for name in flags if flags.count(name) > 1):
        if name in several:
            raise BadInput(
                f"{name} is given twice: give all of its values after one", code="cli.given-twice"
            )
        if name == "--config":
            raise BadInput(
                "--config is given twice: put both files into one", code="cli.config-twice"
            )


def typed_names(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the fields of typed options: muon for --no-muon."""
    options = takewhile(lambda word: word != "--", arguments)
    flags = (word.partition("=")[0][2:] for word in options if word.startswith("--"))
    return frozenset(flag.removeprefix("no-").replace("-", "_") for flag in flags)


def refuse_typed(typed: Set[str], *rules: tuple[bool, str, BadInput]) -> None:
    """Check that no typed option is without effect.

    Args:
        rules: for each, a condition, the options without effect under it, and the error to raise;
            its message has {} in place of the option.

    Raises:
        BadInput: for the first such option.
    """
    for condition, names, error in rules:
        for name in names.split() if condition else ():
            if name in typed:
                raise about_option(error, f"--{name.replace('_', '-')}")


def about_option(error: BadInput, option: str) -> BadInput:
    """Return the error with the option in place of {} in its message."""
    error.args = (str(error).replace("{}", option, 1),)
    return error


def hidden_names(options: type) -> set[str]:
    """Return the fields of options, nested ones included, that have no command-line option."""
    return {name for name, _, how in _annotations(options) if tyro.conf.Suppress in how}


def _annotations(options: Any) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Yield name, type and metadata of each field of options, nested ones included."""
    kind = get_args(options)[0] if get_origin(options) is Annotated else options
    hints = get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}
    for name, hint in hints.items():
        annotated = get_origin(hint) is Annotated
        yield name, get_args(hint)[0] if annotated else hint, hint.__metadata__ if annotated else ()
        yield from _annotations(hint)


def _spelling(name: str, how: tuple[Any, ...], attribute: str = "name") -> str:
    """Return the name that the metadata gives a field, or its own."""
    names = [getattr(item, attribute, None) for item in how]
    return next((str(given) for given in names if given), name)


def _as_spelled(error: WrongSetting, options: type) -> WrongSetting:
    """Return the error with the option as it is typed: --learning-rate, or RUN."""
    how = next((how for name, _, how in _annotations(options) if name == error.name), ())
    if tyro.conf.Positional in how:
        metavar = _spelling(error.name, how, "metavar")  # such as [DATA ...]
        return error.spelled(metavar.strip("[]").removesuffix(" ..."))
    spelled = error.spelled(f"--{_spelling(error.name, how).replace('_', '-')}")
    usual = USUAL_VALUES.get((spelled.name, str(error.value).lower()))
    if usual and usual in error.allowed:
        spelled.args = (f"{spelled}; did you mean {usual}?",)
    return spelled


@contextmanager
def _help_as_wanted() -> Iterator[None]:
    """Print tyro's help without colours if NO_COLOR is set (no-color.org), which tyro ignores.

    tyro uses colours only on a terminal, so its output is captured and then printed.
    """
    if not os.environ.get("NO_COLOR"):
        yield
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        print(printed.getvalue(), end="")


def _on_parse_error(hook: Callable[[Any], None]) -> AbstractContextManager[None]:
    """Call a hook with tyro's parse errors as data, before tyro prints them.

    The hook is private to tyro and may change in any release. Without it users get a less
    specific message (`cli.invalid-arguments`), so nothing depends on it but the wording.
    """
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return nullcontext()
    return on_parse_error(hook)


def _raise_ours(event: Any, command: str) -> None:
    """Raise tyro's parse error as a BadInput, for the kinds that our options can cause."""
    kind = type(event).__name__
    if kind == "MissingArgs":
        argument = event.missing_arguments[0].arg
        raise BadInput(
            f"{_argument_name(argument)} is missing; {command} --help lists the options",
            code="cli.missing-argument",
        )
    if kind == "BadValue":
        raise BadInput(
            f"{_argument_name(event.argument)} has no value; {command} --help lists the options",
            code="cli.missing-value",
        )


def _argument_name(argument: Any) -> str:
    """Return the name of tyro's description of an argument: RUN, or --learning-rate."""
    lowered = argument.lowered
    return str(lowered.metavar if argument.is_positional() else lowered.name_or_flags[-1])


def _ours(leaving: SystemExit) -> ValueError | None:
    """Return the error of the dataclass that made tyro exit, if there is one."""
    cause = leaving.__context__
    while cause is not None:
        if isinstance(cause, ValueError) and type(cause).__module__.startswith("wordorder."):
            return cause
        cause = cause.__context__
    return None


def _unknown(word: str, options: type, command: str, arguments: Sequence[str]) -> BadInput:
    """Return the error for an unknown option or a superfluous argument."""
    option, flags = word.partition("=")[0], _flags(options)
    if option in flags and "--" in arguments:  # what follows -- is no option
        return BadInput(
            f"{option} stands after --, which ends the options: put {option} before --",
            code="cli.option-after-end",
        )
    if not option.startswith("-"):
        hint = f"{command} --help lists the options"
        is_run = os.path.exists(os.path.join(word, "config.json"))
        if "--data" in flags and "--data" not in arguments and os.path.exists(word) and not is_run:
            hint = f"did you mean --data {shlex.quote(word)}?"
        return BadInput(
            f"unexpected argument {word!r}: {hint}",
            code="cli.unexpected-argument",
        )
    names = [flag.lstrip("-") for flag in flags]  # hyphens would make any two options alike
    near = [] if " " in option else _near(option.lstrip("-"), names)
    hint = f"did you mean --{near[0]}?" if near else f"{command} --help lists the options"
    if usual := _usual_hint(word, options):
        hint = usual
    elif not near and any(tyro.conf.Positional in how for _, _, how in _annotations(options)):
        hint += "; put -- before a text that begins with a hyphen"
    return BadInput(f"{command} has no option {option}: {hint}", code="cli.unknown-option")


def _near(typed: str, names: Sequence[str]) -> list[str]:
    """Return the name that was meant, if there is one: the typed one's continuation comes first."""
    begun = [name for name in names if len(typed) > 2 and name.startswith(typed)]
    return begun[:1] or difflib.get_close_matches(typed, names, n=1)


def _usual_hint(word: str, options: type) -> str:
    """Return the hint for an option that other tools have; "" for any other word."""
    name = word.partition("=")[0].replace("_", "-")
    for names, needed, hint in USUAL_NAMES:
        if word.startswith("--") and name[2:] in names.split():
            flags = _flags(options)
            if name not in flags and set(needed.split()) <= {*flags}:
                return hint
    return ""


def _flags(options: type) -> list[str]:
    """Return the options of a command, as they are typed."""
    flags = ["--help"]
    for name, kind, how in _annotations(options):
        if is_dataclass(kind) or {tyro.conf.Suppress, tyro.conf.Positional}.intersection(how):
            continue
        flag = _spelling(name, how).replace("_", "-")
        flags.append(f"--{flag}")
        if kind is bool and tyro.conf.FlagCreatePairsOff not in how:
            flags.append(f"--no-{flag}")
    return sorted(flags)
