"""The loss of the output layer, without keeping what is as large as tokens x vocabulary twice.

With a small model the logits are its largest tensor by far: their float32 copy, its
softmax and the gradients of both take a third of a step. Here they are made in chunks
that stay in the processor's cache, and only their softmax is kept, in the dtype of the
activations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Logits that are float32 at once: 4 MiB, the cache of a core; a GPU wants more work at once.
CHUNK, CHUNK_ON_GPU = 1 << 20, 1 << 26


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(hidden @ weight.T)[target], in nats.

    Shapes: hidden (tokens, width), weight (vocabulary, width) of the same dtype, targets
    (tokens,) int64 where -1 is not counted and gives 0; result (tokens,) float32, or
    float64 where the input is.
    """
    keep = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    losses: Tensor = _CrossEntropy.apply(hidden, weight, targets, keep)
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, keep: bool) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        kept = hidden.new_empty(len(hidden), len(weight)) if keep else None
        losses = hidden.new_empty(len(hidden), dtype=wide)
        for rows in _chunks(hidden, weight):
            logits = (hidden[rows] @ weight.T).to(wide)
            probabilities = logits.softmax(-1)
            if kept is not None:
                kept[rows] = probabilities
            # Softmax and two maxima give the normaliser five times faster than logsumexp.
            normaliser = logits.amax(-1) - probabilities.amax(-1).log()
            own = logits.gather(-1, targets[rows, None].clamp(min=0)).squeeze(-1)
            losses[rows] = normaliser - own
        losses = losses.masked_fill_(targets < 0, 0.0)
        if kept is not None:
            ctx.save_for_backward(hidden, weight, targets, kept, losses)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, targets, probabilities, losses = ctx.saved_tensors
        counted = gradient.masked_fill(targets < 0, 0.0)[:, None]
        slopes = probabilities * counted.to(probabilities.dtype)
        # p - 1 in bfloat16 would lose what a well predicted token still has to learn.
        own = torch.expm1(-losses)[:, None] * counted
        slopes.scatter_(-1, targets[:, None].clamp(min=0), own.to(slopes.dtype))
        return slopes @ weight, slopes.T @ hidden, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    held = CHUNK_ON_GPU if hidden.is_cuda else CHUNK
    size = max(1, held // len(weight))
    return [slice(start, start + size) for start in range(0, len(hidden), size)]
