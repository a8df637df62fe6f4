"""What settings may be: a dataclass's annotations are the table, and this reads it.

    learning_rate: Annotated[float, Ge(0)] = 0.01

The same table holds for the command line, a YAML file and Python. A value of another type that can
only mean one of the right type is taken as that: "1e-3" for a number, as PyYAML reads 1e-3; a word
for a list of one word; `compile: no`, which YAML reads as false, for the word. What depends on two
settings stays code of the dataclass.
"""

from __future__ import annotations

import math
import operator
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt

from wordorder.errors import BadInput

Made = TypeVar("Made")
MOST_CHARACTERS = 60  # of a value in a message
LARGEST = (1 << 63) - 1  # of a whole number: what PyTorch and NumPy hold
BOUNDS = {
    Ge: ("at least", operator.ge),
    Gt: ("above", operator.gt),
    Le: ("at most", operator.le),
    Lt: ("below", operator.lt),
}
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Spelled:
    """Text of a pattern.

    Args:
        pattern: a regular expression that the whole text must match.
        meaning: of such a text, for messages.
    """

    pattern: str
    meaning: str


Positive = Annotated[int, Ge(1)]
Repetitions = Annotated[int, Interval(ge=1, le=10_000)]  # of a run, each with a seed of its own
Threads = Annotated[int, Interval(ge=0, le=1024)]  # or processes
NotNegative = Annotated[int, Ge(0)]
Seed = NotNegative
Share = Annotated[float, Interval(ge=0, le=1)]
Probability = Annotated[float, Interval(ge=0, lt=1)]  # of dropping something: never all
Rate = Annotated[float, Ge(0)]
Penalty = Annotated[float, Interval(ge=1e-3, le=1e3)]  # what logits are divided by stays in float32
Duration = Annotated[
    str,
    Spelled(
        r"(?=[\d.]*[1-9])\d{1,9}(\.\d{1,9})?\s*[smh]?", "a length of time, as 90s, 3m, 1.5h or 90"
    ),
]
Device = Annotated[str, Spelled(r"auto|cpu|mps|cuda(:\d{1,3})?", "auto, cpu, cuda, cuda:1 or mps")]


class WrongSetting(BadInput):
    """A setting of a type or a value that it cannot have.

    Args:
        name: of the field, or as it was spelled where it was given.
        value: what was given.
        allowed: what it must be.
    """

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        super().__init__(
            f"{name} is {shown(value)}: it must be {allowed}", code="settings.wrong-value"
        )
        self.name, self.value, self.allowed = name, value, allowed

    def spelled(self, name: str) -> WrongSetting:
        """Return the error with the setting's name as it was spelled where it was given."""
        return WrongSetting(name, self.value, self.allowed)


def check(config: Any) -> None:
    """Check every field of a dataclass by its annotation, for its `__post_init__`.

    A value that means one of the annotated type is replaced by it.

    Raises:
        WrongSetting: the first field that cannot be.
    """
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        fitted = checked(name, hint, value)
        if fitted is not value:
            object.__setattr__(config, name, fitted)


def checked_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name as the fields of a dataclass hold them, each checked by itself.

    Raises:
        WrongSetting: the first that cannot be.
    """
    hints = _hints(kind)
    return {name: checked(name, hints[name], value) for name, value in values.items()}


def from_record(kind: type[Made], values: Mapping[str, Any], what: str) -> Made:
    """Return a dataclass with the values that a record holds, each checked.

    Args:
        what: the record is of, for messages.

    Raises:
        BadInput: a field that there is none of, one that is missing, or a value that cannot be.
    """
    known = {each.name: each for each in fields(kind) if each.init}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise BadInput(f"unknown {what} fields: {', '.join(unknown)}")
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise BadInput(f"the {what} field {name} is missing")
    return kind(**checked_values(kind, values))


def checked(name: str, hint: Any, value: Any) -> Any:
    """Return a value as its annotation has it.

    Raises:
        WrongSetting: it cannot be.
    """
    try:
        return _fitted(hint, value)
    except ValueError as error:
        raise WrongSetting(name, value, str(error)) from None


def shown(value: Any) -> str:
    """Return a value for a message, of bounded length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float | int) and abs(value) < LARGEST:
        return f"{value}"
    if isinstance(value, str) and re.fullmatch(r"[\w.+-]{1,40}", value):
        return value
    try:
        text = reprlib.repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a number of {value.bit_length():,} bits"
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind) if each.init}


def _fitted(hint: Any, value: Any) -> Any:
    """Return a value as an annotation has it.

    Raises:
        ValueError: with what is allowed.
    """
    kind, limits = _taken_apart(hint)
    if get_origin(kind) in (Union, UnionType):
        if value is None or value == "None":  # as help spells it
            return None
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
        kind, limits = _taken_apart(kind)
    if get_origin(kind) is tuple:
        return _list(get_args(kind)[0], value)
    fitted, allowed = _of_type(kind, limits, value), _limits(limits)
    if fitted is None:
        type_name = [] if kind is str and allowed else [_type(kind)]
        raise ValueError(", ".join([*type_name, *([allowed] if allowed else [])]))
    if kind is int and abs(fitted) > LARGEST:
        raise ValueError(f"at most {LARGEST:,}")
    for limit in limits:
        if not _holds(limit, fitted):
            raise ValueError(_limits([limit]) if _is_fence(limit) else allowed)
    return fitted


def _list(item: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        value = (value,)
    try:
        fitted = tuple(_fitted(item, each) for each in value)
    except ValueError as error:
        raise ValueError(f"a list, each {error}" if len(value) > 1 else str(error)) from None
    same = type(value) is tuple and all(a is b for a, b in zip(fitted, value, strict=True))
    return value if same else fitted


def _taken_apart(hint: Any) -> tuple[Any, list[Any]]:
    """Return the type of an annotation, and its limits one by one."""
    if get_origin(hint) is not Annotated:
        return hint, []
    kind, *limits = get_args(hint)
    apart = ([*each] if isinstance(each, GroupedMetadata) else [each] for each in limits)
    known = (*BOUNDS, Spelled)
    return kind, [each for several in apart for each in several if isinstance(each, known)]


def _of_type(kind: Any, limits: list[Any], value: Any) -> Any:
    """Return a value as one of a type; None where it does not mean one."""
    if kind is bool:
        return value if isinstance(value, bool) else WORDS.get(str(value).lower())
    if kind is int:
        return _whole_number(value)
    if kind is float:
        return _number(value)
    if kind is str:
        return _text(value, any(isinstance(limit, Spelled) for limit in limits))
    if get_origin(kind) is Literal:
        names = get_args(kind)
        if isinstance(value, bool):  # YAML's reading of yes, no, on and off
            value = next((n for n in names if WORDS.get(n) is value), None)
        return value if isinstance(value, str) and value in names else None
    if is_dataclass(kind) and not isinstance(value, kind):
        return None
    return value


def _whole_number(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"\s*[+-]?\d{1,20}\s*", value) else _number(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return (value if type(value) is int else int(value)) if whole else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return None
    try:
        number = value if type(value) is float else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any, spelled: bool) -> str | None:
    """Return text, or a path as text.

    Args:
        spelled: numbers too, since the pattern says whether they mean anything.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if spelled and isinstance(value, float | int) and not isinstance(value, bool):
        value = f"{value}"
    if isinstance(value, str) and "\0" in value:
        raise ValueError("text without null bytes")
    return value if isinstance(value, str) else None


def _type(kind: Any) -> str:
    """Return what a type is called in a message."""
    if get_origin(kind) is Literal:
        return _either(get_args(kind))
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text, which stands in quotes in YAML",
    }
    return names.get(kind) or f"a {kind.__name__}"


def _limits(limits: list[Any]) -> str:
    """Return what limits allow: "at least 0 and below 1"; "" without any."""
    limits = [limit for limit in limits if len(limits) == 1 or not _is_fence(limit)]
    if [type(limit) for limit in limits] == [Ge, Le]:
        return f"from {limits[0].ge:,} to {limits[1].le:,}"
    return " and ".join(
        limit.meaning
        if isinstance(limit, Spelled)
        else f"{BOUNDS[type(limit)][0]} {_bound(limit):,}"
        for limit in limits
    )


def _holds(limit: Any, value: Any) -> bool:
    if isinstance(limit, Spelled):
        return re.fullmatch(limit.pattern, value) is not None
    holds: bool = BOUNDS[type(limit)][1](value, _bound(limit))
    return holds


def _is_fence(limit: Any) -> bool:
    """Return whether a limit is one that nobody meets, and that only slips pass."""
    return isinstance(limit, Le) and limit.le >= 1000


def _bound(limit: Any) -> Any:
    return getattr(limit, type(limit).__name__.lower())


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
