"""Specs: strings that name embeddings with their options, parsed once to data.

spec   = layer { "/" layer }          a pattern over layers, repeated
layer  = part { "+" part }            several embeddings in one layer
part   = name [ ":" option { "," option } ]     of the catalogue, or package.module.Class
option = key "=" value                number, word, true, false or [a,b,c]
"""

from __future__ import annotations

import difflib
import importlib
import math
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile
from types import FrameType
from typing import Any

import torch

from .aliases import ALIASES, canonical_name
from .base import Position, PositionError

OURS, TORCH = (os.path.dirname(path) for path in (os.path.dirname(__file__), torch.__file__))
INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class Part:
    """One embedding of a spec: its name and the options that the spec sets."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        options = ",".join(f"{key}={_written(value)}" for key, value in self.options)
        return f"{self.name}:{options}" if options else self.name


@dataclass(frozen=True)
class Spec:
    """A parsed spec: for each layer of the pattern, its embeddings."""

    layers: tuple[tuple[Part, ...], ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all layers of the pattern, in order."""
        return tuple(part for layer in self.layers for part in layer)

    def __str__(self) -> str:
        return "/".join("+".join(str(part) for part in layer) for layer in self.layers)


def parse(text: str, catalogue: Mapping[str, type[Position]]) -> Spec:
    """Return the parsed spec of a string.

    Raises:
        PositionError: an unknown name (with the most similar known one), an unknown option,
            or a malformed spec.
    """
    layers = tuple(
        tuple(_part(part.strip(), text, catalogue) for part in _split(layer, "+"))
        for layer in _split(text, "/")
    )
    return Spec(layers)


def foreign(text: str) -> list[str]:
    """Return the dotted class names in a spec, which are not of the catalogue.

    Nothing is imported.
    """
    parts = (part.partition(":")[0].strip() for part in re.split(r"[/+](?![^\[]*\])", text))
    return [name for name in parts if "." in name]


def find(name: str, catalogue: Mapping[str, type[Position]], where: str = "") -> type[Position]:
    """Return the class of a name or alias in the catalogue, or of package.module.Class.

    Modules in the current folder are found too. Importing a module runs its code.

    Args:
        where: a phrase for the error message, such as " in 'rotary/nope'".

    Raises:
        PositionError: an unknown name, a module that cannot be imported, or a class that is
            not a `Position`.
    """
    if (canonical := name if name in catalogue else canonical_name(name)) in catalogue:
        return catalogue[canonical]
    if "." not in name:
        near = difflib.get_close_matches(canonical, [*catalogue, *ALIASES], n=1)
        hint = f"use one of {', '.join(catalogue)}"
        if near:
            hint = f"did you mean {canonical_name(near[0])}?"
        elif os.path.isfile(f"{name}.py"):
            hint = f"name a class in {name}.py, as {name}.Class"
        raise PositionError(
            f"{name!r}{where} is not a positional embedding: {hint}", code="positions.unknown-name"
        )
    module, _, class_name = name.rpartition(".")
    if not module or class_name in ("", "py"):  # ./mine.Mine is cut at its slash
        raise PositionError(
            f"{name!r}{where} is no class: write module.Class without a path, such as "
            f"{module.strip('.') or 'mine'}.MyEmbedding, and run in the folder of the file",
            code="positions.file-for-class",
        )
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        kind = getattr(importlib.import_module(module), class_name, None)
    except Exception as error:  # a user's module may raise anything
        reason = error if isinstance(error, (ImportError, SyntaxError)) else as_line(error)
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            reason = f"{error}: run in the folder that contains it, or add that to PYTHONPATH"
        raise PositionError(
            f"{name}: cannot import {module}: {reason}", code="positions.import-failed"
        ) from error
    finally:
        sys.path.remove(here)
    if kind is None:
        raise PositionError(
            f"{name}: the module {module} has no class {class_name}{_classes_in(module)}",
            code="positions.no-such-class",
        )
    if not (isinstance(kind, type) and issubclass(kind, Position)):
        raise PositionError(
            f"{name} is not a subclass of wordorder.positions.Position",
            code="positions.not-a-position",
        )
    return kind


def _classes_in(module: str) -> str:
    """Return which embeddings a module has; or which file it is, if a file here has its name."""
    found, here = sys.modules[module], os.path.realpath(f"{module}.py")
    read = os.path.realpath(getattr(found, "__file__", None) or here)
    if os.path.isfile(here) and here != read:
        return f", and was read from {read}, not from the file here: give that another name"
    names = [kind.__qualname__ for kind in _defined(vars(found), module)]
    return f": it has {', '.join(names)}" if names else ""


def _defined(values: Mapping[str, Any], module: str | None) -> list[type[Position]]:
    """Return the embeddings that a module defines itself, from its global values."""
    return [
        kind
        for kind in values.values()
        if isinstance(kind, type) and issubclass(kind, Position) and kind.__module__ == module
    ]


def as_line(error: BaseException) -> str:
    """Return an error's type, file, line number and message on one line.

    File and line are those of the last frame in user code that wordorder called, or without such a
    frame, of the last frame outside of PyTorch.
    """
    frames = [*traceback.walk_tb(error.__traceback__)]
    outside = [frame for frame in frames if not _is_in(frame[0], TORCH)]
    frame, line = (_user_frames(error) or outside or frames)[-1]
    message = " ".join(str(error).split())
    file = os.path.basename(frame.f_code.co_filename)
    return f"{type(error).__name__} at {file}:{line}: {message}"


def of_user_code(error: BaseException) -> str | None:
    """Return a sentence on an error that a user-defined embedding raised; None for any other."""
    name = _user_class(error)
    return name and f"{name} raised {as_line(error)}; test it with wordorder check {name}"


def _user_class(error: BaseException) -> str | None:
    """Return the user-defined embedding whose code raised an error, as module.Class.

    None if no user code was running, or if its class cannot be determined.
    """
    for frame, _ in reversed(_user_frames(error)):
        instance, module = frame.f_locals.get("self"), frame.f_globals.get("__name__")
        if isinstance(instance, Position):
            return f"{type(instance).__module__}.{type(instance).__qualname__}"
        defined = _defined(frame.f_globals, module)
        if len(defined) == 1:
            return f"{module}.{defined[0].__qualname__}"
    return None


def _user_frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """Return the frames of user code that wordorder called, with line numbers."""
    # A StopIteration inside a generator becomes the cause of a new RuntimeError.
    for each in (error.__cause__, error):
        frames = [*traceback.walk_tb(each.__traceback__)] if each else []
        called = [*dropwhile(lambda entry: not _is_in(entry[0], OURS), frames)]
        if theirs := [entry for entry in called if not _is_in(entry[0], OURS, *INSTALLED)]:
            return theirs
    return []


def _is_in(frame: FrameType, *folders: str) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(("<frozen", *(folder + os.sep for folder in folders)))


def _part(text: str, spec: str, catalogue: Mapping[str, type[Position]]) -> Part:
    name, colon, rest = text.partition(":")
    allowed = find(name, catalogue, "" if spec == name else f" in {spec!r}").options()
    options: list[tuple[str, Any]] = []
    for option in _split(rest, ",") if colon else []:
        key, equals, value = (piece.strip() for piece in option.partition("="))
        if not equals or not value:
            raise PositionError(
                f"{option!r} in {spec!r} is not an option: write key=value",
                code="positions.option-without-value",
            )
        if key not in allowed:
            known = ", ".join(f"{k} ({_written(v)})" for k, v in allowed.items()) or "none"
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; its options are: {known}"
            raise PositionError(
                f"{name} has no option {key!r}{hint}",
                code="positions.unknown-option",
            )
        if key in dict(options):
            raise PositionError(
                f"{name} has {key} twice in {spec!r}: give it once",
                code="positions.option-given-twice",
            )
        options.append((key, _value(value, name, key, allowed[key])))
    return Part(name if name in catalogue else canonical_name(name), tuple(options))


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator, except within brackets."""
    return re.split(rf"{re.escape(separator)}(?![^\[]*\])", text)


def _value(text: str, name: str, key: str, default: Any) -> Any:
    """Return an option's value, converted to the type of its default."""
    if not isinstance(default, bool | int | float | str | tuple):
        raise PositionError(
            f"{name}: {key}={text} cannot be read: {key} has the default {default!r}; give it one "
            "of its own type: a number, true or false, a word, or a tuple such as (1, 2)",
            code="positions.option-without-type",
        )
    if isinstance(default, bool):
        if text in ("true", "false"):
            return text == "true"
        raise PositionError(
            f"{name}: {key}={text} must be true or false", code="positions.option-not-boolean"
        )
    if isinstance(default, tuple):
        try:
            return tuple(_number(item) for item in text.strip("[]").split(",") if text != "[]")
        except ValueError:
            raise PositionError(
                f"{name}: {key}={text} must be a list, such as [1,2.5]",
                code="positions.option-not-list",
            ) from None
    if isinstance(default, (int, float)):
        try:
            number = _number(text)
            return int(text) if isinstance(default, int) else number
        except ValueError:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise PositionError(
                f"{name}: {key}={text} must be {kind}", code="positions.option-not-number"
            ) from None
    return text


def _number(text: str) -> float:
    """Return a finite number; raise ValueError for any other text."""
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(_written(float(item)) for item in value) + "]"
    if isinstance(value, float):
        text = f"{value:.15g}" if float(f"{value:.15g}") == value else repr(value)
        return text.replace("e+", "e")  # in a spec a plus sign separates embeddings
    return str(value)
