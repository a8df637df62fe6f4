"""Other values of an embedding's options, and whether each makes a difference."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..base import PositionError
from ..reference_model import ReferenceModel
from ..spec import Part, Spec, find
from .setup import Broken, NotApplicable, Setup

SHORT, LONG = 9, 40  # tokens read; what acts far away only shows in the long text, or at FAR
FAR = 3001


def variants(setup: Setup) -> Iterator[tuple[str, Setup]]:
    """Yield each option's name and the setup with another value, where the constructor takes it."""
    for place, part in enumerate(setup.spec.layers[0]):
        given, kind = dict(part.options), find(part.name, setup.catalogue)
        settled = kind(setup.shape, **given).resolved_options()
        choices = _choices(kind)
        for name, default in kind.options().items():
            value = settled.get(name, given.get(name, default))
            for changed in _other_values(value, choices.get(name, ())):
                options = tuple({**given, name: changed}.items())
                parts = list(setup.spec.layers[0])
                parts[place] = Part(part.name, options)
                other = replace(setup, spec=Spec((tuple(parts), *setup.spec.layers[1:])))
                try:
                    longest = other.bare().max_position
                except PositionError:
                    continue
                if longest is None or longest >= SHORT:
                    yield name, other


def _other_values(value: Any, choices: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, bool):
        found: tuple[Any, ...] = (not value,)
    elif isinstance(value, int):
        found = value + 2, 2 * value, 10 * value + 7
    elif isinstance(value, float):
        found = (value / 2, 2 * value, value / 10, 10 * value) if value else (0.5, 1.0)
    else:
        found = choices
    return tuple(each for each in found if each != value)


def _choices(kind: type) -> dict[str, tuple[Any, ...]]:
    """Return the values of the options that are annotated as a Literal."""
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (NameError, TypeError):  # names that only a type checker knows
        return {}
    return {n: typing.get_args(h) for n, h in hints.items() if typing.get_origin(h) is Literal}


def options_act(setup: Setup) -> None:
    """Every option changes something: what is read, fed to training or learned by it."""
    by_name = _by_name(setup)
    if not by_name:
        raise NotApplicable("no option has another value to try")
    for name, others in by_name.items():
        if not _acts(name, setup, by_name) and not _has_no_room(name, setup):
            values = " and ".join(_value(other, name) for other in others)
            raise Broken(
                f"its option {name} changes nothing: {values} read as the value given; is what it "
                "decides kept outside the instance, by a key without it?"
            )


def _by_name(setup: Setup) -> dict[str, list[Setup]]:
    found: dict[str, list[Setup]] = {}
    for name, other in variants(setup):
        found.setdefault(name, []).append(other)
    return found


def _acts(name: str, setup: Setup, by_name: dict[str, list[Setup]]) -> bool:
    """Return whether an option makes a difference, by itself or beside one other."""
    if any(_differ(setup, other) for other in by_name.get(name, ())):
        return True
    # An option may wait for another: a sharpness for the scaling that has one.
    return any(
        _differ(with_other, both)
        for second, cases in by_name.items()
        for with_other in cases
        if second != name
        for first, both in variants(with_other)
        if first == name
    )


def _has_no_room(name: str, setup: Setup) -> bool:
    """Return whether it is the options given that leave it no room.

    It then makes a difference where none is given, or cannot be given without others.
    """
    parts = tuple(Part(part.name, ()) for part in setup.spec.layers[0])
    plain = replace(setup, spec=Spec((parts, *setup.spec.layers[1:])))
    if plain.spec == setup.spec:
        return False
    try:
        plain.bare()
    except PositionError:
        return False
    by_name = _by_name(plain)
    return name not in by_name or _acts(name, plain, by_name)


def _value(setup: Setup, name: str) -> str:
    return next(
        f"{name}={dict(part.options)[name]!r}"
        for part in setup.spec.layers[0]
        if name in dict(part.options)
    )


def _differ(one: Setup, other: Setup) -> bool:
    """Return whether anything that comes of two embeddings differs."""
    outputs = zip(_outputs(one), _outputs(other), strict=True)
    return any(not _equal(_got(a), _got(b)) for a, b in outputs)


def _outputs(setup: Setup) -> Iterator[Callable[[], Any]]:
    """Yield what may differ, the cheapest first."""
    reference, x = setup.reference_model(), setup.text(1, SHORT)
    yield lambda: reference.read(x)
    yield lambda: [(p.shape, p.requires_grad) for p in reference.position.parameters()]
    yield lambda: reference.read(setup.text(1, LONG))
    yield lambda: reference.read(x, torch.arange(SHORT)[None] + setup.far(FAR, SHORT))
    yield lambda: reference.read(x, context_length=500)
    axes = max((getattr(each, "axes", 1) for each in reference.position.instances), default=1)
    grid = torch.stack([torch.arange(SHORT) // (1 + axis) for axis in range(axes)], dim=-1)
    yield lambda: reference.read(x, grid[None]) if axes > 1 else None
    plain = torch.arange(SHORT)[None]
    yield lambda: reference.position.sample_positions(
        plain, len(plain), torch.Generator().manual_seed(1)
    )
    yield lambda: _slopes(reference, setup.text(1, LONG))


def _slopes(reference: ReferenceModel, x: Tensor) -> list[list[float]]:
    parameters = [p for p in reference.position.parameters() if p.requires_grad]
    loss = reference.read(x).square().mean()
    if not loss.requires_grad:
        return []
    slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return [slope.flatten().tolist() for slope in slopes]


def _got(output: Callable[[], Any]) -> Any:
    try:
        return output()
    except PositionError as error:
        return str(error)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


__all__ = ["options_act", "variants"]
