"""The check `gradients`: gradients of an embedding are right, and reach every parameter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..reference_model import ReferenceModel
from .setup import CheckFailed, Setup


def gradients(setup: Setup) -> None:
    """Gradients match finite differences, and reach every parameter."""
    reference, x = setup.reference_model(), setup.inputs(1, 7).requires_grad_()
    reference.position.double()
    named = reference.position.instances.named_parameters()
    parameters = {name: p for name, p in named if p.requires_grad}
    last = setup.first_position(300, 1)
    far = [position for position in (0, 1, 3, 9, 30, 90, 300) if position <= last]
    results = _checked_gradients(reference, x, None, {"the input": x, **parameters}, "7 tokens")
    # Parameters with an effect at large distances only, such as a rate past a threshold.
    parameters = {name: p for name, p in parameters.items() if not results[name].any()}
    inputs, positions = x[:, : len(far)], torch.tensor([far])
    results = _checked_gradients(reference, inputs, positions, parameters, f"tokens at {far}")
    if missing := [name for name, gradient in results.items() if not gradient.any()]:
        raise CheckFailed(f"7 tokens, or tokens at {far}: {', '.join(missing)} gets no gradient")


def _checked_gradients(
    reference: ReferenceModel,
    x: Tensor,
    positions: Tensor | None,
    variables: Mapping[str, Tensor],
    case: str,
) -> dict[str, Tensor]:
    """Return the gradients of a loss, each compared with a finite difference.

    Raises:
        CheckFailed: a gradient that differs from the finite difference by more than 2%.
    """
    if not variables:
        return {}
    loss, step = reference.read(x, positions).square().mean(), 1e-5
    generator = torch.Generator().manual_seed(2)
    results = torch.autograd.grad(loss, list(variables.values()), materialize_grads=True)
    gradients = dict(zip(variables, results, strict=True))
    for name, gradient in gradients.items():
        values = variables[name]
        direction = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        direction = 0.5 * direction / direction.norm() + gradient / gradient.norm().clamp(min=1e-9)
        losses = []
        with torch.no_grad():
            for sign in (1, -1):
                values += sign * step * direction
                losses.append(float(reference.read(x, positions).square().mean()))
                values -= sign * step * direction
        difference = (losses[0] - losses[1]) / (2 * step)
        expected = float((gradient * direction).sum())
        if abs(difference - expected) > 0.02 * abs(expected) + 1e-6:
            raise CheckFailed(
                f"{case}: along a direction of {name} the loss changes at a rate of "
                f"{difference:.4g}, but the gradient gives {expected:.4g}"
            )
    return gradients


__all__ = ["gradients"]
