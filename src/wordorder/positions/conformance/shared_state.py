"""The check `unshared`: state that instances share must not change their outputs.

A table that a class, a module or a cached function keeps is shared by all instances in a
process. If its key lacks an option, a shape or a dtype, the output of one instance depends on
which instances came before. The check finds containers of such state: if one is emptied, a
forward pass fills it again. Then it compares outputs with all containers emptied, as in a new
process, and outputs after those of other instances, in both orders. A cache with a complete
key passes.

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
from .setup import CheckFailed, Setup, require_equal

# Packages and classes that keep no state of an embedding.
FOREIGN = {"torch", "numpy", "builtins", *sys.stdlib_module_names}
STOP = {object, nn.Module, Position}


@dataclass(frozen=True)
class StateContainer:
    """A container outside of instances that may hold state, such as a dict of a class.

    Args:
        name: its name in the code.
        content: returns a copy of the content; None or an empty collection if it is empty.
        fill: sets the content to such a copy.
        empty: removes the content.
    """

    name: str
    content: Callable[[], Any]
    fill: Callable[[Any], Any]
    empty: Callable[[], Any]


def unshared(setup: Setup) -> None:
    """Instances with other options, shapes, lengths or dtypes leave no trace."""
    kinds = {find(part.name, setup.catalogue) for layer in setup.spec.layers for part in layer}
    containers = [container for kind in kinds for container in _containers(kind)]
    before = [container.content() for container in containers]
    try:
        _output(setup)
        full = [container for container in containers if _has_content(container.content())]
        used = [container for container in full if _is_refilled(container, setup)]
        if used:
            _compare(setup, used)
    finally:
        for container, content in zip(containers, before, strict=True):
            container.fill(content)


def _is_refilled(container: StateContainer, setup: Setup) -> bool:
    """Return whether a forward pass fills a container after it is emptied."""
    before = container.content()
    container.empty()
    try:
        _output(setup)
    except Exception:  # the code needs the content, so it is a constant
        container.fill(before)
        return False
    if _has_content(container.content()):
        return True
    container.fill(before)
    return False


def _has_content(content: Any) -> bool:
    return content is not None and not (hasattr(content, "__len__") and len(content) == 0)


def _compare(setup: Setup, used: list[StateContainer]) -> None:
    """Raise CheckFailed if an output depends on the instances before it."""
    cases = dict(_cases(setup))
    expected: dict[str, Tensor | None] = {}
    for case, compute in cases.items():
        for container in used:
            container.empty()
        with suppress(Exception):  # reported by other checks
            expected[case] = compute()
    names = " and ".join(container.name for container in used)
    for order in (list(expected), list(expected)[::-1]):
        for container in used:
            container.empty()
        for name in order:
            case = f"{name}, after other instances that share {names}"
            try:
                output = cases[name]()
            except Exception as error:
                raise CheckFailed(f"{case}: {as_line(error)}") from error
            alone = expected[name]
            if output is not None and alone is not None:
                require_equal(output, alone, case)
            elif output is not None:
                raise CheckFailed(f"{case}: there is an output, but alone a PositionError")


def _cases(setup: Setup) -> Iterator[tuple[str, Callable[[], Tensor | None]]]:
    """Yield functions that compute an output with a new instance, and a name for each."""
    yield "the given spec", lambda: _output(setup)
    yield f"{LONG} tokens", lambda: _output(setup, time=LONG)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        yield name, functools.partial(_output, setup, dtype=dtype)
    length = 2 * setup.trained_length
    yield f"trained_length={length}", lambda: _output(replace(setup, trained_length=length))
    heads, groups = 2 * setup.heads, 2 * setup.key_value_heads
    yield f"{heads} heads", lambda: _output(replace(setup, heads=heads, key_value_heads=groups))
    for _, other in variants(setup):
        yield str(other.spec), functools.partial(_output, other)


@torch.no_grad()
def _output(setup: Setup, time: int = SHORT, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """Return a model's output, or None if the embedding raises a PositionError."""
    with suppress(PositionError):
        position = setup.build()
        position = position if dtype == torch.float64 else position.to(dtype)
        return ReferenceModel(position, setup.key_value_heads, dtype).read(setup.inputs(1, time))
    return None


def _containers(kind: type) -> Iterator[StateContainer]:
    """Yield the state containers of a class, and of all code that it calls."""
    queue: list[tuple[str, Any]] = [(kind.__name__, kind)]
    seen: set[int] = set()
    while queue:
        name, value = queue.pop()
        if id(value) not in seen:
            seen.add(id(value))
            yield from _containers_in(name, value)
            queue.extend(_referenced_by(name, value))


def _containers_in(name: str, value: Any) -> Iterator[StateContainer]:
    if hasattr(value, "cache_clear") and hasattr(value, "cache_info"):

        def misses() -> Any:
            return range(value.cache_info().misses)

        yield StateContainer(
            f"the cache of {name}", misses, lambda content: None, value.cache_clear
        )
    elif isinstance(value, MutableMapping | MutableSequence | MutableSet):

        def fill(content: Any) -> None:
            value.clear()
            if isinstance(value, MutableSequence):
                value.extend(content)
            elif isinstance(value, MutableMapping):
                value.update(content)
            else:
                for item in content:
                    value.add(item)

        yield StateContainer(name, lambda: copy.copy(value), fill, value.clear)
    elif isinstance(value, type) and value not in STOP and not _is_foreign(value):
        for key in vars(value):
            if vars(value)[key] is None or isinstance(vars(value)[key], Tensor):
                yield _variable(f"{name}.{key}", value, key)
    elif isinstance(value, FunctionType):
        for instruction in dis.get_instructions(value):
            if instruction.opname == "STORE_GLOBAL":
                yield _variable(instruction.argval, value.__globals__, instruction.argval)


def _variable(name: str, owner: Any, key: str) -> StateContainer:
    """Return the container of a class attribute or a module's variable."""
    if isinstance(owner, dict):
        get, put = functools.partial(owner.get, key), functools.partial(owner.__setitem__, key)
    else:
        get, put = functools.partial(vars(owner).get, key), functools.partial(setattr, owner, key)
    return StateContainer(name, get, put, lambda: put(None))


def _referenced_by(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects that a class or function refers to, with their names."""
    if hasattr(value, "__wrapped__"):
        yield name, value.__wrapped__
    if isinstance(value, staticmethod | classmethod | MethodType):
        yield name, value.__func__
    elif isinstance(value, property):
        yield from ((name, method) for method in (value.fget, value.fset) if method)
    elif isinstance(value, functools.partial):
        yield name, value.func
    elif isinstance(value, type):
        for parent in value.__mro__:
            if parent not in STOP and not _is_foreign(parent):
                yield parent.__name__, parent
                for key, attribute in vars(parent).items():
                    if isinstance(attribute, FunctionType) or not key.startswith("__"):
                        yield f"{parent.__name__}.{key}", attribute
    elif isinstance(value, FunctionType):
        yield from _referenced_by_function(name, value)
    elif not isinstance(value, ModuleType) and not _is_foreign(type(value)):
        yield type(value).__name__, type(value)
        yield from ((f"{name}.{k}", v) for k, v in getattr(value, "__dict__", {}).items())


def _referenced_by_function(name: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield a function's attributes, defaults, closure and the globals that its code names."""
    if _is_foreign(function):
        return
    yield f"{name}.__dict__", function.__dict__
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield f"a default of {name}", default
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a closure variable that is not set yet
            yield key, cell.cell_contents
    names = set(_names(function.__code__))
    for key in sorted(names & set(function.__globals__)):
        value = function.__globals__[key]
        if not isinstance(value, ModuleType):
            yield key, value
        elif value.__name__.partition(".")[0] not in FOREIGN:
            yield from ((f"{key}.{n}", getattr(value, n)) for n in names if hasattr(value, n))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_foreign(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] in FOREIGN


__all__ = ["unshared"]
