"""State that outlives an instance: the property `alone` of the kit.

A table that is kept by a class, a module or a cached function is shared by all instances in a
process. With a key that forgets an option, a shape or a dtype, what one of them reads depends on
which was read before it. Such a place is known by this: emptied, it is filled again by reading.
Everything is then read with empty places, as in a fresh process, and after the others, in both
orders. A cache whose key is whole passes.

Not here: state in a file, or inside compiled code.
"""

from __future__ import annotations

import copy
import dis
import functools
import sys
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, MutableSet
from contextlib import suppress
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Position, PositionError
from ..reference_model import ReferenceModel
from ..spec import as_line, find
from .options import LONG, SHORT, variants
from .setup import Broken, Setup, same

FOREIGN = {"torch", "numpy", "builtins", *sys.stdlib_module_names}  # holds no embedding's state
STOP = {object, nn.Module, Position}


@dataclass(frozen=True)
class Place:
    """Something outside of instances that may hold state.

    Args:
        name: as it stands in the code.
        content: returns a copy of what it holds; nothing is None or is empty.
        fill: takes such a copy back.
        empty: makes it what it is before an instance was made.
    """

    name: str
    content: Callable[[], Any]
    fill: Callable[[Any], Any]
    empty: Callable[[], Any]


def alone(setup: Setup) -> None:
    """What others made and read before leaves no trace: options, shapes, lengths, dtypes."""
    kinds = {find(part.name, setup.catalogue) for layer in setup.spec.layers for part in layer}
    places = [place for kind in kinds for place in _places(kind)]
    held = [place.content() for place in places]
    try:
        _read(setup)
        full = [place for place in places if _holds(place.content())]
        used = [place for place in full if _is_filled_by_reading(place, setup)]
        if used:
            _compare(setup, used)
    finally:
        for place, content in zip(places, held, strict=True):
            place.fill(content)


def _is_filled_by_reading(place: Place, setup: Setup) -> bool:
    """Return whether a place, emptied, holds something once an embedding has read."""
    before = place.content()
    place.empty()
    try:
        _read(setup)
    except Exception:  # what cannot be missed is a constant
        place.fill(before)
        return False
    if _holds(place.content()):
        return True
    place.fill(before)
    return False


def _holds(content: Any) -> bool:
    return content is not None and not (hasattr(content, "__len__") and len(content) == 0)


def _compare(setup: Setup, used: list[Place]) -> None:
    """Raise Broken where a reading is another one after others."""
    readings, by_itself = dict(_readings(setup)), {}
    for what, read in readings.items():
        for place in used:
            place.empty()
        with suppress(Exception):  # other properties say so
            by_itself[what] = read()
    names = " and ".join(place.name for place in used)
    for order in (list(by_itself), list(by_itself)[::-1]):
        for place in used:
            place.empty()
        for what in order:
            after = f"{what}, read after others that share {names}"
            try:
                found = readings[what]()
            except Exception as error:
                raise Broken(f"{after}: {as_line(error)}") from error
            if found is not None:
                same(found, by_itself[what], after)


def _readings(setup: Setup) -> Iterator[tuple[str, Callable[[], Tensor | None]]]:
    """Yield readings, each by an instance of its own."""
    yield "as given", lambda: _read(setup)
    yield f"{LONG} tokens", lambda: _read(setup, time=LONG)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        yield name, lambda dtype=dtype: _read(setup, dtype=dtype)
    length = 2 * setup.trained_length
    yield f"trained on {length}", lambda: _read(replace(setup, trained_length=length))
    heads, groups = 2 * setup.heads, 2 * setup.key_value_heads
    yield f"{heads} heads", lambda: _read(replace(setup, heads=heads, key_value_heads=groups))
    for _, other in variants(setup):
        yield str(other.spec), lambda other=other: _read(other)


@torch.no_grad()
def _read(setup: Setup, time: int = SHORT, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """Return what is read; None where the embedding cannot."""
    with suppress(PositionError):
        position = setup.build()
        position = position if dtype == torch.float64 else position.to(dtype)
        return ReferenceModel(position, setup.key_value_heads, dtype).read(setup.text(1, time))
    return None


def _places(kind: type) -> Iterator[Place]:
    """Yield what a class and the code that it calls may keep outside of instances."""
    waiting: list[tuple[str, Any]] = [(kind.__name__, kind)]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if id(value) not in seen:
            seen.add(id(value))
            yield from _kept_in(name, value)
            waiting.extend(_reached(name, value))


def _kept_in(name: str, value: Any) -> Iterator[Place]:
    if hasattr(value, "cache_clear") and hasattr(value, "cache_info"):

        def misses() -> Any:
            return range(value.cache_info().misses)

        yield Place(f"the cache of {name}", misses, lambda content: None, value.cache_clear)
    elif isinstance(value, MutableMapping | MutableSequence | MutableSet):

        def fill(content: Any) -> None:
            value.clear()
            add = value.extend if isinstance(value, MutableSequence) else value.update
            add(content)

        yield Place(name, lambda: copy.copy(value), fill, value.clear)
    elif isinstance(value, type) and value not in STOP and not _is_foreign(value):
        for key in vars(value):
            if vars(value)[key] is None or isinstance(vars(value)[key], Tensor):
                yield _variable(f"{name}.{key}", value, key)
    elif isinstance(value, FunctionType):
        for step in dis.get_instructions(value):
            if step.opname == "STORE_GLOBAL":
                yield _variable(step.argval, value.__globals__, step.argval)


def _variable(name: str, owner: Any, key: str) -> Place:
    """Return a class's attribute, or a module's variable, that code may set."""
    if isinstance(owner, dict):
        get, put = functools.partial(owner.get, key), functools.partial(owner.__setitem__, key)
    else:
        get, put = functools.partial(vars(owner).get, key), functools.partial(setattr, owner, key)
    return Place(name, get, put, lambda: put(None))


def _reached(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what the code of a class or a function names, holds or closes over."""
    if hasattr(value, "__wrapped__"):
        yield name, value.__wrapped__
    if isinstance(value, staticmethod | classmethod | MethodType):
        yield name, value.__func__
    elif isinstance(value, property):
        yield from ((name, each) for each in (value.fget, value.fset) if each)
    elif isinstance(value, functools.partial):
        yield name, value.func
    elif isinstance(value, type):
        for parent in value.__mro__:
            if parent not in STOP and not _is_foreign(parent):
                yield parent.__name__, parent
                for key, each in vars(parent).items():
                    if isinstance(each, FunctionType) or not key.startswith("__"):
                        yield f"{parent.__name__}.{key}", each
    elif isinstance(value, FunctionType):
        yield from _held_by(name, value)
    elif not isinstance(value, ModuleType) and not _is_foreign(type(value)):
        yield type(value).__name__, type(value)
        yield from ((f"{name}.{k}", v) for k, v in getattr(value, "__dict__", {}).items())


def _held_by(name: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    if _is_foreign(function):
        return
    yield f"{name}.__dict__", function.__dict__
    for each in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default of {name}", each
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet
            yield key, cell.cell_contents
    names = set(_names(function.__code__))
    for key in sorted(names & set(function.__globals__)):
        found = function.__globals__[key]
        if not isinstance(found, ModuleType):
            yield key, found
        elif found.__name__.partition(".")[0] not in FOREIGN:
            yield from ((f"{key}.{n}", getattr(found, n)) for n in names if hasattr(found, n))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_foreign(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] in FOREIGN


__all__ = ["alone"]
