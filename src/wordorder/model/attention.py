"""The one place that chooses how attention is computed: a table of kernels.

A kernel says which problems it `supports` and how to `run` one. The first in the table that
supports a problem computes it, so the order of the table is the preference. To add one, write
its two functions in a file of their own and put a line here.

What `--kernel` asks for narrows the choice:
    plain  matrix product, softmax, matrix product. Takes any bias and any score.
    fused  PyTorch's scaled_dot_product_attention, where it takes the problem; else plain.
    flex   FlexAttention, for GPUs, for all but plain causal attention, which fused takes.
    auto   as fused. Which is faster depends on the machine and the length (the backward pass of
           the fused kernel is slow in bfloat16 on some CPUs), so training measures them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import flexible_attention, fused_attention, plain_attention
from .problem import AttentionProblem


class Kernel(NamedTuple):
    """One way to compute attention.

    Args:
        name: what it is called in messages and tests.
        supports: whether it can compute a problem, and should where no earlier kernel does.
        run: returns the attended values (batch, heads, query, head_dim) of a supported problem.
    """

    name: str
    supports: Callable[[AttentionProblem], bool]
    run: Callable[[AttentionProblem], Tensor]


KERNELS = (
    Kernel("whole rows", plain_attention.replaces_attention, plain_attention.whole_rows),
    Kernel("flex", flexible_attention.supports, flexible_attention.run),
    Kernel("rows", plain_attention.needs_autograd, plain_attention.in_rows),
    Kernel("fused", fused_attention.takes_mask, fused_attention.with_mask),
    Kernel("fused with slopes", fused_attention.takes_slopes, fused_attention.with_slopes),
    Kernel("fused with bias", fused_attention.takes_bias, fused_attention.with_bias),
    Kernel("one row", plain_attention.is_compiled_step, plain_attention.one_row),
    Kernel("pieces", plain_attention.takes_anything_else, plain_attention.in_pieces),
)


def kernel_for(problem: AttentionProblem) -> Kernel:
    """Return the kernel that computes a problem."""
    for kernel in KERNELS:
        if kernel.supports(problem):
            return kernel
    raise AssertionError("the last kernel of the table supports every problem")


def attention(problem: AttentionProblem) -> Tensor:
    """Return the attended values (batch, heads, query, head_dim)."""
    return kernel_for(problem).run(problem)


def mixing_weights(attend: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights that attention mixes values with, for any kernel, and what it adds.

    Where only one token has a value, and that is 1 in one dimension, the result in this dimension
    is the token's weight. A head of width d gives the weights of d tokens at once.

    Args:
        attend: from values to the attended values; all else stays fixed.

    Shapes: values (batch, heads, key, head_dim); weights (batch, heads, query, key); what is
    added beside values (batch, heads, query, head_dim).
    """
    added = attend(torch.zeros_like(values))
    keys, width = values.shape[2:]
    weights = []
    for first in range(0, keys, width):
        ones = torch.zeros_like(values)
        columns = torch.arange(min(width, keys - first), device=values.device)
        ones[:, :, first + columns, columns] = 1
        weights.append((attend(ones) - added)[..., : len(columns)])
    return torch.cat(weights, -1), added
