"""The table of attention kernels, and the choice among them.

A kernel has two functions: `supports(problem)` and `run(problem)`. The first kernel in the table
that supports a problem computes it, so the order of the table is the preference:

    kernel             used when
    whole matrix       a graph is traced (`wordorder export --to onnx`)
    whole rows         the embedding replaces attention (cope, dape, path, self-extend, shaw-values,
                       stick-breaking)
    flex               --kernel flex is given, and there is a score function, a bias with a
                       by-distance table, or a mask other than the causal one
    rows               there is a score function, or a trained bias that needs gradients by pair
    fused              there is neither score nor bias (none, sinusoidal, learned, rotary)
    fused with slopes  the bias is ALiBi's, and there are 512 keys or more
    fused with bias    the bias is not trained and fits in one float32 matrix
    one row            no earlier kernel supports a compiled decoding step
    pieces             no earlier kernel does; with --kernel plain, instead of the fused kernels

To add a kernel, write its two functions in a new file and add a line here.

--kernel limits the choice:
    plain  matrix product, softmax, matrix product; supports every bias and score.
    fused  PyTorch's scaled_dot_product_attention if it supports the problem, else plain.
    flex   FlexAttention, for GPUs, except for plain causal attention, which fused computes.
    auto   in the model the same as fused; `wordorder train` times plain and fused (on a GPU flex
           too) and picks the fastest, which depends on the machine and the length (on some CPUs
           the fused kernel's backward pass is slow in bfloat16).
    whole  one matrix of scores, in operations that depend on no size; no option of the command.
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
        name: its name in messages and tests.
        supports: returns whether it can compute a problem that no earlier kernel supports.
        run: returns the attended values (batch, heads, query, head_dim) of a supported problem.
    """

    name: str
    supports: Callable[[AttentionProblem], bool]
    run: Callable[[AttentionProblem], Tensor]


KERNELS = (
    Kernel("whole matrix", plain_attention.is_whole, plain_attention.whole_matrix),
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
    """Return the attention weights of any kernel, and its output when all values are zero.

    Attention is linear in the values, so identity matrices as values give the weights. A head
    of width d gives the weights of d tokens at once. With 5 keys and d = 2 these are the values:

        key 0   1 0      0 0      0 0
            1   0 1      0 0      0 0
            2   0 0      1 0      0 0
            3   0 0      0 1      0 0
            4   0 0      0 0      1 0
               keys 0 1  keys 2 3 key 4      whose weights are the output

    Args:
        attend: returns the output of attention for values; everything else stays fixed.

    Shapes: values (batch, heads, key, head_dim); weights (batch, heads, query, key); the output
    for zeros (batch, heads, query, head_dim), which an embedding such as shaw-values adds.
    """
    added = attend(torch.zeros_like(values))
    keys, width = values.shape[2:]
    weights = []
    for first in range(0, keys, width):
        identity = torch.zeros_like(values)
        columns = torch.arange(min(width, keys - first), device=values.device)
        identity[:, :, first + columns, columns] = 1
        weights.append((attend(identity) - added)[..., : len(columns)])
    return torch.cat(weights, -1), added
