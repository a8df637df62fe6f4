"""Attention with PyTorch's FlexAttention, a fused kernel generated from a score function.

FlexAttention generates a GPU kernel from a function of a single score, and skips blocks of scores
that are masked. Neither scores nor biases are stored in memory. A bias costs one lookup per
score, and documents packed into a row cost less than one long document.

It does not support score functions that compute with vectors (fire, transformer-xl); PyTorch
raises an error for them. On a CPU it has no backward pass and is slow, so it is for tests only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from .additive_mask import AdditiveMask
from .problem import AttentionProblem


def supports(problem: AttentionProblem) -> bool:
    """Return whether flex is requested, and a bias, if any, can be looked up by index.

    Sinks are left to the other kernels.
    """
    if problem.kernel != "flex" or problem.sinks is not None:
        return False
    bias = problem.bias
    plain_causal = problem.score is None and bias is None and problem.mask.causal_only
    has_lookup = bias is None or bias.by_distance is not None
    return not plain_causal and has_lookup


def run(problem: AttentionProblem) -> Tensor:
    """Return attention with a score function, a bias and masks.

    On a GPU the head size must be 16 or more.
    """
    mask, score = problem.mask, problem.score
    by_distance = None if problem.bias is None else problem.bias.by_distance
    indices, last = mask.layout.query_indices, mask.queries - 1

    def score_mod(value: Tensor, batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        if score is not None:
            value = score(value, batch, head, indices[row], key)
        return value if by_distance is None else value + by_distance[head, last - row + key]

    unchanged = score is None and by_distance is None
    # If the model is being compiled, the kernel is compiled with it.
    compile_here = not (problem.queries.is_cpu or torch.compiler.is_compiling())
    kernel: Callable[..., Any] = flex_attention
    if compile_here:
        kernel = _compiled()
    return kernel(
        problem.queries,
        problem.keys,
        problem.values,
        score_mod=None if unchanged else score_mod,
        block_mask=_blocks(problem.additive) if mask.needed else None,
        scale=problem.scale,
    )


def _blocks(additive: AdditiveMask) -> BlockMask:
    """Return the block mask; layers with the same additive mask share it."""
    # In the memo, not an attribute: with an attribute, PyTorch 2.13's compiler used the blocks of
    # one window for layers with another.
    if ("blocks",) not in additive.memo:
        mask, layout = additive.mask, additive.mask.layout

        def allowed(sequence: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
            return layout.may_attend_at(sequence, row, key, mask.window)

        sequences = None if layout.key_documents is None else len(layout.key_documents)
        device = layout.query_indices.device
        additive.memo[("blocks",)] = create_block_mask(
            allowed, sequences, None, mask.queries, mask.keys, device=device
        )
    return additive.memo[("blocks",)]


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)
