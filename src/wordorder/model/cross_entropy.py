"""The loss of the output layer, in chunks, with only one tensor of tokens x vocabulary.

In a small model the logits are by far the largest tensor: their float32 copy, its softmax and
the gradients of both take a third of a training step. Here logits are computed in chunks that
stay in the processor's cache, and only their softmax is kept for the backward pass, in the dtype
of the activations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Logits in a chunk: 4 MiB in float32, the cache of a core. A GPU needs larger chunks to be busy.
CHUNK, CHUNK_ON_GPU = 1 << 20, 1 << 26


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(hidden @ weight.T)[target], in nats.

    Shapes: hidden (tokens, width), weight (vocabulary, width) of the same dtype, targets
    (tokens,) int64, where -1 is ignored and has loss 0; the result (tokens,) float32, or float64
    if the input is float64.
    """
    keep = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    losses: Tensor = _CrossEntropy.apply(hidden, weight, targets, keep)
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, keep: bool) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        softmax = hidden.new_empty(len(hidden), len(weight)) if keep else None
        losses = hidden.new_empty(len(hidden), dtype=wide)
        for rows in _chunks(hidden, weight):
            logits = (hidden[rows] @ weight.T).to(wide)
            probabilities = logits.softmax(-1)
            if softmax is not None:
                softmax[rows] = probabilities
            # The log normaliser is the largest logit minus the log of the largest probability,
            # which is five times faster than logsumexp.
            normaliser = logits.amax(-1) - probabilities.amax(-1).log()
            at_target = logits.gather(-1, targets[rows, None].clamp(min=0)).squeeze(-1)
            losses[rows] = normaliser - at_target
        losses = losses.masked_fill_(targets < 0, 0.0)
        if softmax is not None:
            ctx.save_for_backward(hidden, weight, targets, softmax, losses)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, targets, probabilities, losses = ctx.saved_tensors
        counted = gradient.masked_fill(targets < 0, 0.0)[:, None]
        to_logits = probabilities * counted.to(probabilities.dtype)  # (tokens, vocabulary)
        # At the target it is p - 1 = expm1(-loss). In bfloat16, p rounds to 1 for well predicted
        # tokens, and p - 1 would be 0.
        at_target = torch.expm1(-losses)[:, None] * counted
        to_logits.scatter_(-1, targets[:, None].clamp(min=0), at_target.to(to_logits.dtype))
        return to_logits @ weight, to_logits.T @ hidden, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    logits = CHUNK_ON_GPU if hidden.is_cuda else CHUNK
    size = max(1, logits // len(weight))
    return [slice(start, start + size) for start in range(0, len(hidden), size)]
