"""Validates the fields of a dataclass by their annotations.

    learning_rate: Annotated[float, Ge(0)] = 0.01

The same rules hold for the command line, a YAML file and Python. A value of another type is
converted if its meaning is clear: "1e-3" to a number, since PyYAML reads 1e-3 as text; one word to
a list of one word; false to "no" in `compile: no`. Rules that involve two settings are in the
dataclass's `__post_init__`.
"""

from __future__ import annotations

import math
import operator
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from decimal import Decimal
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt

from wordorder.errors import BadInput

Config = TypeVar("Config")
MOST_CHARACTERS = 60  # of a value in a message
LARGEST = (1 << 63) - 1  # the largest int64, the integers of PyTorch and NumPy
BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    Ge: ("at least", operator.ge),
    Gt: ("above", operator.gt),
    Le: ("at most", operator.le),
    Lt: ("below", operator.lt),
}
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Spelled:
    """An annotation for text that must match a pattern.

    Args:
        pattern: a regular expression that the whole text must match.
        meaning: what such text is, for messages.
    """

    pattern: str
    meaning: str


@dataclass(frozen=True)
class InThousands:
    """An annotation for a whole number that may be written with K, M or B, such as 2.5M."""


@dataclass(frozen=True)
class NotEmpty:
    """An annotation for text that must not be empty: as a path, "" would be the current folder.

    Args:
        meaning: what the text is, for messages.
    """

    meaning: str


UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}
Positive = Annotated[int, Ge(1)]
SHORT_COUNT = r"\d{1,9}(\.\d{1,9})?[KMB]"
TokenCount = Annotated[int, Ge(1), InThousands()]
Repetitions = Annotated[int, Interval(ge=1, le=10_000)]  # runs that differ in their seed
Threads = Annotated[int, Interval(ge=0, le=1024)]  # threads or processes
NotNegative = Annotated[int, Ge(0)]
Seed = NotNegative
Share = Annotated[float, Interval(ge=0, le=1)]
Probability = Annotated[float, Interval(ge=0, lt=1)]  # of dropout, which must not drop all
Rate = Annotated[float, Ge(0)]
Penalty = Annotated[float, Interval(ge=1e-3, le=1e3)]  # divides logits, which are float32
_TIME = r"\d{1,9}(\.\d{1,9})?"
Duration = Annotated[
    str,
    Spelled(
        rf"(?=.*[1-9])({_TIME}|(?=\d)({_TIME}\s*h\s*)?({_TIME}\s*m(in)?\s*)?({_TIME}\s*s)?)",
        "a duration such as 90s, 3m, 1.5h, 1h30m or 90 (seconds)",
    ),
]
WordCount = Annotated[
    str,
    Spelled(r"(?=[\d.]*[1-9])\d{1,9}(\.\d{1,3})?[KMB]?", "a number of words such as 500K or 1M"),
]
ByteCount = Annotated[
    str, Spelled(r"(?=[\d.]*[1-9])\d{1,9}(\.\d{1,3})?[KMGT]B", "a size such as 500MB or 2GB")
]
Epochs = Annotated[float, Interval(gt=0, le=1_000_000)]
PathName = Annotated[str, NotEmpty("a path (. is the current folder)")]
DataName = Annotated[
    str, NotEmpty("a file, a folder, python-docs or hf:NAME (. is the current folder)")
]
TokenizerName = Annotated[
    str, NotEmpty("bpe, bytes, characters, the path of a tokenizer.json or hf:NAME")
]
Device = Annotated[str, Spelled(r"auto|cpu|mps|cuda(:\d{1,3})?", "auto, cpu, cuda, cuda:1 or mps")]


class WrongSetting(BadInput):
    """A setting has a type or a value that is not allowed.

    Args:
        name: the field, or its spelling on the command line.
        value: the invalid value.
        allowed: which values are allowed.
    """

    def __init__(self, name: str, value: Any, allowed: str) -> None:
        super().__init__(
            f"{name} is {formatted(value)}: it must be {allowed}", code="settings.wrong-value"
        )
        self.name, self.value, self.allowed = name, value, allowed

    def spelled(self, name: str) -> WrongSetting:
        """Return the same error for another spelling of the setting's name."""
        return WrongSetting(name, self.value, self.allowed)


def check(config: Any) -> None:
    """Validate every field of a dataclass; called from its `__post_init__`.

    Values of another type are converted in place if their meaning is clear.

    Raises:
        WrongSetting: for the first invalid field.
    """
    kind: type = type(config)
    for name, hint in _hints(kind).items():
        value = getattr(config, name)
        fitted = checked(name, hint, value)
        if fitted is not value:
            object.__setattr__(config, name, fitted)


def checked_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by field name, each validated and converted by itself.

    Raises:
        WrongSetting: for the first invalid value.
    """
    hints = _hints(kind)
    return {name: checked(name, hints[name], value) for name, value in values.items()}


def from_record(kind: type[Config], values: Mapping[str, Any], record_name: str) -> Config:
    """Return a dataclass with the values of a JSON record, each validated.

    Args:
        record_name: what the record describes, for messages.

    Raises:
        BadInput: an unknown field, a missing field, or an invalid value.
    """
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise BadInput(
            f"unknown {record_name} fields: {', '.join(unknown)}; if a later version wrote them, "
            "upgrade wordorder",
            code="settings.unknown-field",
        )
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise BadInput(
                f"the {record_name} field {name} is missing", code="settings.missing-field"
            )
    return kind(**checked_values(kind, values))


def checked(name: str, hint: Any, value: Any) -> Any:
    """Return a value, validated and converted to its annotated type.

    Args:
        name: the setting, for messages.
        hint: the annotation.

    Raises:
        WrongSetting: the annotation does not allow the value.
    """
    try:
        return _fitted(hint, value)
    except ValueError as error:
        raise WrongSetting(name, value, str(error)) from None


def formatted(value: Any) -> str:
    """Return a value as text for a message, of bounded length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float | int) and abs(value) < LARGEST:
        return f"{value}"
    if isinstance(value, str) and re.fullmatch(r"[\w.+-]{1,40}", value):
        return value
    try:
        text = reprlib.repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # an integer with more digits than Python converts to text
        text = f"a number of {value.bit_length():,} bits"
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _fitted(hint: Any, value: Any) -> Any:
    """Return a value, converted to its annotated type.

    Raises:
        ValueError: the value is invalid; the message says which values are allowed.
    """
    kind, limits, may_be_none, item = _parts(hint)
    if may_be_none and (value is None or value == "None"):  # the spelling in the help
        return None
    if item is not None:
        return _list(item, value)
    fitted = _of_type(kind, limits, value)
    if fitted is None:
        allowed = _limits(limits)
        is_spelled = any(isinstance(limit, Spelled) for limit in limits)
        short = " such as 500K or 10M" if _in_thousands(limits) else ""
        type_name = [] if is_spelled else [_type(kind) + short]
        raise ValueError(", ".join([*type_name, *([allowed] if allowed else [])]))
    if kind is int and abs(fitted) > LARGEST:
        raise ValueError(f"at most {LARGEST:,}")
    for limit in limits:
        if not _holds(limit, fitted):
            raise ValueError(_limits([limit] if _is_fence(limit) else limits))
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


@cache  # a comparison checks some thousand values of the same few hundred settings
def _parts(hint: Any) -> tuple[Any, list[Any], bool, Any]:
    """Return an annotation's type, its limits, whether None is allowed, and a list's items."""
    kind, limits = _type_and_limits(hint)
    may_be_none = get_origin(kind) in (Union, UnionType)
    if may_be_none:
        (kind,) = (member for member in get_args(kind) if member is not NoneType)
        kind, limits = _type_and_limits(kind)
    return kind, limits, may_be_none, get_args(kind)[0] if get_origin(kind) is tuple else None


def _type_and_limits(hint: Any) -> tuple[Any, list[Any]]:
    """Return the type of an annotation, and its limits one by one."""
    if get_origin(hint) is not Annotated:
        return hint, []
    kind, *metadata = get_args(hint)
    groups = ([*item] if isinstance(item, GroupedMetadata) else [item] for item in metadata)
    known = (*BOUNDS, Spelled, NotEmpty, InThousands)
    return kind, [limit for group in groups for limit in group if isinstance(limit, known)]


def _of_type(kind: Any, limits: list[Any], value: Any) -> Any:
    """Return a value converted to a type; None if it cannot be converted."""
    if kind is bool:
        return value if isinstance(value, bool) else WORDS.get(str(value).lower())
    if kind is int:
        if _in_thousands(limits) and isinstance(value, str) and re.fullmatch(SHORT_COUNT, value):
            value = in_full(value)
        return _whole_number(value)
    if kind is float:
        return _number(value)
    if kind is str:
        return _text(value, any(isinstance(limit, Spelled) for limit in limits))
    if get_origin(kind) is Literal:
        names = get_args(kind)
        if isinstance(value, bool):  # YAML reads yes, no, on and off as booleans
            value = next((n for n in names if WORDS.get(n) is value), None)
        return value if isinstance(value, str) and value in names else None
    if isinstance(kind, type) and is_dataclass(kind) and not isinstance(value, kind):
        return None
    return value


def _in_thousands(limits: list[Any]) -> bool:
    return any(isinstance(limit, InThousands) for limit in limits)


def in_full(count: str) -> float:
    """Return the number that 500, 500K, 1M or 2.5B spells."""
    return float(Decimal(count.rstrip("KMB")) * UNITS.get(count[-1], 1))


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
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any, spelled: bool) -> str | None:
    """Return text, or a path as text; None for other values.

    Args:
        spelled: accept numbers too; the pattern then decides.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if spelled and isinstance(value, float | int) and not isinstance(value, bool):
        value = f"{value}"
    if isinstance(value, str) and "\0" in value:
        raise ValueError("text without null bytes")
    return value if isinstance(value, str) else None


def _type(kind: Any) -> str:
    """Return the name of a type for a message."""
    if get_origin(kind) is Literal:
        return _either(get_args(kind))
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text (in quotes in YAML)",
    }
    return names.get(kind) or f"a {kind.__name__}"


def _limits(limits: list[Any]) -> str:
    """Return which values limits allow: "at least 0 and below 1"; "" without limits."""
    limits = [limit for limit in limits if not isinstance(limit, InThousands)]
    limits = [limit for limit in limits if len(limits) == 1 or not _is_fence(limit)]
    if [type(limit) for limit in limits] == [Ge, Le]:
        return f"from {limits[0].ge:,} to {limits[1].le:,}"
    return " and ".join(
        limit.meaning
        if isinstance(limit, Spelled | NotEmpty)
        else f"{BOUNDS[type(limit)][0]} {_bound(limit):,}"
        for limit in limits
    )


def _holds(limit: Any, value: Any) -> bool:
    if isinstance(limit, Spelled):
        return re.fullmatch(limit.pattern, value) is not None
    if isinstance(limit, NotEmpty):
        return bool(value)
    if isinstance(limit, InThousands):
        return True
    return BOUNDS[type(limit)][1](value, _bound(limit))


def _is_fence(limit: Any) -> bool:
    """Return whether a limit is so high that only a typing error exceeds it."""
    return isinstance(limit, Le) and _bound(limit) >= 1000


def _bound(limit: Any) -> Any:
    return getattr(limit, type(limit).__name__.lower())


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
