"""How embeddings are written: a spec, parsed once to data.

spec   = layer { "/" layer }          a pattern over layers, repeated
layer  = part { "+" part }            several at once
part   = name [ ":" option { "," option } ]     of the catalogue, or package.module.Class
option = key "=" value                number, word, true, false or [a,b,c]
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .aliases import ALIASES, canonical_name
from .base import Position, PositionError


@dataclass(frozen=True)
class Part:
    """One embedding of a spec: its name and the options that were given."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        given = ",".join(f"{key}={_written(value)}" for key, value in self.options)
        return f"{self.name}:{given}" if given else self.name


@dataclass(frozen=True)
class Spec:
    """A parsed spec: for each layer of the pattern, the parts that act there at once."""

    layers: tuple[tuple[Part, ...], ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all its layers, one after another."""
        return tuple(part for layer in self.layers for part in layer)

    def __str__(self) -> str:
        return "/".join("+".join(str(part) for part in layer) for layer in self.layers)


def parse(text: str, catalogue: Mapping[str, type[Position]]) -> Spec:
    """Return the spec that a string spells.

    Raises:
        PositionError: an unknown name or option (with what was probably meant), or a
            malformed spec.
    """
    layers = tuple(
        tuple(_part(part.strip(), text, catalogue) for part in _split(layer, "+"))
        for layer in _split(text, "/")
    )
    return Spec(layers)


def foreign(text: str) -> list[str]:
    """Return the classes of one's own that a spec names, without importing any."""
    parts = (part.partition(":")[0].strip() for part in re.split(r"[/+](?![^\[]*\])", text))
    return [name for name in parts if "." in name]


def find(name: str, catalogue: Mapping[str, type[Position]], where: str = "") -> type[Position]:
    """Return the class of a name or alias in the catalogue, or of package.module.Class.

    A module in the current folder counts. Importing it runs its code.

    Args:
        where: what a message says of where the name stands.

    Raises:
        PositionError: no such module or class, or one that is no `Position`.
    """
    if (own := name if name in catalogue else canonical_name(name)) in catalogue:
        return catalogue[own]
    if "." not in name:
        near = difflib.get_close_matches(own, [*catalogue, *ALIASES], n=1)
        hint = f"there are {', '.join(catalogue)}"
        if near:
            hint = f"did you mean {canonical_name(near[0])}?"
        raise PositionError(f"{name!r}{where} is no positional embedding: {hint}")
    module, _, kind = name.rpartition(".")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except Exception as error:
        said = error if isinstance(error, (ImportError, SyntaxError)) else as_line(error)
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            said = f"{error}: go to the folder that holds it, or put that in PYTHONPATH"
        raise PositionError(f"{name}: {module} cannot be imported: {said}") from error
    finally:
        sys.path.remove(here)
    if found is None:
        raise PositionError(f"{name}: the module {module} has no class {kind}")
    if not (isinstance(found, type) and issubclass(found, Position)):
        raise PositionError(f"{name} is no positional embedding: derive it from Position")
    return found


def as_line(error: Exception) -> str:
    """Return what was raised and where, on a line: the last place outside of PyTorch."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = os.path.dirname(torch.__file__)
    last = ([frame for frame in frames if not frame.filename.startswith(theirs)] or frames)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__} at {os.path.basename(last.filename)}:{last.lineno}: {said}"


def _part(text: str, spec: str, catalogue: Mapping[str, type[Position]]) -> Part:
    name, colon, rest = text.partition(":")
    allowed = find(name, catalogue, "" if spec == name else f" in {spec!r}").options()
    options = []
    for option in _split(rest, ",") if colon else []:
        key, equals, value = (piece.strip() for piece in option.partition("="))
        if not equals or not value:
            raise PositionError(f"{option!r} in {spec!r} must read key=value")
        if key not in allowed:
            known = ", ".join(f"{k} ({v})" for k, v in allowed.items()) or "none"
            raise PositionError(f"{name} has no option {key!r}; its options are: {known}")
        options.append((key, _value(value, name, key, allowed[key])))
    return Part(name if name in catalogue else canonical_name(name), tuple(options))


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that does not stand within brackets."""
    return re.split(rf"{re.escape(separator)}(?![^\[]*\])", text)


def _value(text: str, name: str, key: str, default: Any) -> Any:
    """Return an option's value, of its default's type."""
    if isinstance(default, bool):
        if text in ("true", "false"):
            return text == "true"
        raise PositionError(f"{name}: {key}={text} must be true or false")
    if isinstance(default, tuple):
        try:
            return tuple(float(item) for item in text.strip("[]").split(",") if text != "[]")
        except ValueError:
            raise PositionError(f"{name}: {key}={text} must be a list as [1,2.5]") from None
    if isinstance(default, (int, float)):
        try:
            number = float(text)
            return int(text) if isinstance(default, int) else number
        except ValueError:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise PositionError(f"{name}: {key}={text} must be {kind}") from None
    return text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ",".join(_written(float(item)) for item in value) + "]"
    if isinstance(value, float):
        text = f"{value:.15g}" if float(f"{value:.15g}") == value else repr(value)
        return text.replace("e+", "e")  # a plus sign parts embeddings
    return str(value)
