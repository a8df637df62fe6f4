"""Other values of an embedding's options, and the check that each option has an effect."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..base import Position, PositionError
from ..reference_model import ReferenceModel
from ..spec import Part, Spec, find
from .setup import CheckFailed, NotApplicable, Setup

# Numbers of tokens in an input, and a first position. Options that act at large distances have no
# effect on a short input at small positions.
SHORT, LONG, FAR = 9, 40, 3001


def variants(setup: Setup, only: str | None = None) -> Iterator[tuple[str, Setup]]:
    """Yield setups with one option changed, and its name; values that raise are skipped.

    Args:
        only: the name of the option to change; None: each.
    """
    for index, part in enumerate(setup.spec.layers[0]):
        options, kind = dict(part.options), find(part.name, setup.catalogue)
        resolved = kind(setup.shape, **options).resolved_options()
        choices = _choices(kind)
        for name, default in kind.options().items():
            if only not in (None, name):
                continue
            value = resolved.get(name, options.get(name, default))
            for changed in _other_values(value, choices.get(name, ())):
                parts = list(setup.spec.layers[0])
                parts[index] = Part(part.name, tuple({**options, name: changed}.items()))
                other = replace(setup, spec=Spec((tuple(parts), *setup.spec.layers[1:])))
                try:
                    limit = other.build_default().max_position
                except PositionError:
                    continue
                if limit is None or limit >= SHORT:
                    yield name, other


def _other_values(value: Any, choices: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, bool):
        candidates: tuple[Any, ...] = (not value,)
    elif isinstance(value, int):
        candidates = value + 2, 2 * value, 10 * value + 7
    elif isinstance(value, float):
        candidates = (value / 2, 2 * value, value / 10, 10 * value) if value else (0.5, 1.0)
    else:
        candidates = choices
    return tuple(candidate for candidate in candidates if candidate != value)


def _choices(kind: type[Position]) -> dict[str, tuple[Any, ...]]:
    """Return the values of the options that are annotated as a Literal."""
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (NameError, TypeError):  # annotations whose names are imported for type checking only
        return {}
    return {n: typing.get_args(h) for n, h in hints.items() if typing.get_origin(h) is Literal}


def options_act(setup: Setup) -> str | None:
    """Every option changes outputs, training positions or gradients."""
    by_name = _by_name(setup)
    note = _untested(setup, by_name)
    if not by_name:
        raise NotApplicable(note or "no option has another valid value")
    for name, others in by_name.items():
        if not _has_effect(name, setup, by_name) and not _is_disabled(name, setup):
            values = " and ".join(_written(other, name) for other in others)
            raise CheckFailed(
                f"the option {name} has no effect: outputs are the same with {values}; is a result "
                f"cached outside of the instance, under a key without {name}"
                f"{', or does it act on later tokens only (--bidirectional)' * setup.causal}?"
            )
    return note


def _untested(setup: Setup, tested: Mapping[str, object]) -> str | None:
    """Return which string options have no values to test, and how to declare the values."""
    kinds = [find(part.name, setup.catalogue) for part in setup.spec.layers[0]]
    defaults = {name: value for kind in kinds for name, value in kind.options().items()}
    words = [name for name, value in defaults.items() if value is None or isinstance(value, str)]
    untested = ", ".join(name for name in words if name not in tested)
    remedy = "annotate it with its values, as Literal['one', 'other']"
    return f"not tested: {untested}; {remedy}" if untested else None


def _by_name(setup: Setup) -> dict[str, list[Setup]]:
    by_name: dict[str, list[Setup]] = {}
    for name, other in variants(setup):
        by_name.setdefault(name, []).append(other)
    return by_name


def _has_effect(name: str, setup: Setup, by_name: dict[str, list[Setup]]) -> bool:
    """Return whether an option has an effect, alone or together with one other option."""
    if any(_differ(setup, other) for other in by_name.get(name, ())):
        return True
    # Some options have an effect only with another, such as those of one scaling.
    return any(
        _differ(with_other, both)
        for second, cases in by_name.items()
        for with_other in cases
        if second != name
        for _, both in variants(with_other, name)
    )


def _is_disabled(name: str, setup: Setup) -> bool:
    """Return whether the spec's other options disable an option.

    That is so if the option has an effect, or is invalid, in the spec without any options.
    """
    parts = tuple(Part(part.name, ()) for part in setup.spec.layers[0])
    plain = replace(setup, spec=Spec((parts, *setup.spec.layers[1:])))
    if plain.spec == setup.spec:
        return False
    try:
        plain.build_default()
    except PositionError:
        return False
    by_name = _by_name(plain)
    return name not in by_name or _has_effect(name, plain, by_name)


def _written(setup: Setup, name: str) -> str:
    return next(
        f"{name}={dict(part.options)[name]!r}"
        for part in setup.spec.layers[0]
        if name in dict(part.options)
    )


def _differ(one: Setup, other: Setup) -> bool:
    """Return whether any output of two embeddings differs."""
    outputs = zip(_outputs(one), _outputs(other), strict=True)
    return any(not _equal(_result(a), _result(b)) for a, b in outputs)


def _outputs(setup: Setup) -> Iterator[Callable[[], Any]]:
    """Yield functions whose results may differ, the cheapest first."""
    reference, x = setup.reference_model(), setup.inputs(1, SHORT)
    yield lambda: reference.read(x)
    yield lambda: [(p.shape, p.requires_grad) for p in reference.position.parameters()]
    yield lambda: reference.read(setup.inputs(1, LONG))
    yield lambda: reference.read(x, torch.arange(SHORT)[None] + setup.first_position(FAR, SHORT))
    # Some scalings act past the trained length only.
    longer = max(500, 2 * setup.shape.trained_length)
    yield lambda: reference.read(x, context_length=longer)
    axes = max((getattr(p, "axes", 1) for p in reference.position.embeddings), default=1)
    grid = torch.stack([torch.arange(SHORT) // (1 + axis) for axis in range(axes)], dim=-1)
    yield lambda: reference.read(x, grid[None]) if axes > 1 else None
    plain = torch.arange(SHORT)[None]
    yield lambda: reference.position.sample_positions(
        plain, len(plain), torch.Generator().manual_seed(1)
    )
    yield lambda: _gradients(reference, setup.inputs(1, LONG))


def _gradients(reference: ReferenceModel, x: Tensor) -> list[list[float]]:
    parameters = [p for p in reference.position.parameters() if p.requires_grad]
    loss = reference.read(x).square().mean()
    if not loss.requires_grad:
        return []
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return [gradient.flatten().tolist() for gradient in gradients]


def _result(output: Callable[[], Any]) -> Any:
    """Return a function's result, or the message of the PositionError that it raises."""
    try:
        return output()
    except PositionError as error:
        return str(error)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


__all__ = ["options_act", "variants"]
