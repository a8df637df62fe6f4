"""The checks `movable` and `initialised`: how an embedding is created, moved and initialised."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..base import PositionError, Resettable
from ..reference_model import ReferenceModel
from ..spec import as_line
from .setup import CheckFailed, Setup, require_equal


def movable(setup: Setup) -> None:
    """Creating it on the meta device, moving, copying, saving and loading change nothing."""
    x, position = setup.inputs(1, 9), setup.build()
    expected = ReferenceModel(position, setup.key_value_heads).read(x)
    if list(position.buffers()):
        raise CheckFailed(
            "has a buffer, which can be rounded, saved, or uninitialised: compute it from options"
        )
    try:
        with torch.device("meta"), _linspace_on_the_cpu():
            moved = setup.build_default()
    except Exception as error:  # a user's constructor may raise anything
        reason = error if isinstance(error, PositionError) else as_line(error)
        raise CheckFailed(
            f"on the meta device, where transformers creates it, {reason}: create tensors with the "
            "parameter's device"
        ) from error
    moved = moved.to_empty(device="cpu")
    moved.load_state_dict(position.state_dict())
    loaded = setup.build(seed=5)
    loaded.load_state_dict(position.state_dict())
    for case, other in (
        ("created on the meta device, then loaded", moved),
        ("loaded from a state dict", loaded),
        ("copied", copy.deepcopy(position)),
        ("cast to float64 and back", copy.deepcopy(position).double().float()),
    ):
        require_equal(ReferenceModel(other, setup.key_value_heads).read(x), expected, case)


@contextmanager
def _linspace_on_the_cpu() -> Iterator[None]:
    """Let torch.linspace create tensors on the CPU unless a device is named.

    transformers does so while it creates a model on the meta device.
    """
    linspace = torch.linspace
    torch.linspace = lambda *values, **how: linspace(*values, **{"device": "cpu", **how})
    try:
        yield
    finally:
        torch.linspace = linspace


def initialised(setup: Setup) -> None:
    """reset_parameters sets finite values, which depend on the generator only."""
    for instance in setup.build_default().embeddings:
        if not list(instance.parameters()):
            continue
        if not isinstance(instance, Resettable):
            raise CheckFailed(f"{type(instance).__name__} has parameters but no reset_parameters()")
        values = []
        for _ in range(2):
            with torch.no_grad():
                for parameter in instance.parameters():
                    parameter.fill_(math.nan)
            instance.reset_parameters(torch.Generator().manual_seed(3))
            values.append([p.detach().clone() for p in instance.parameters()])
        if not all(torch.isfinite(value).all() for value in values[0]):
            raise CheckFailed("reset_parameters() leaves values unchanged or not finite")
        if not all(torch.equal(a, b) for a, b in zip(*values, strict=True)):
            raise CheckFailed("reset_parameters() gives different values for the same generator")


__all__ = ["initialised", "movable"]
