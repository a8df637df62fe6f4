"""Attention as one kernel that is made from an embedding's score function, on a GPU.

PyTorch's FlexAttention writes a fused kernel from a function of one score, and leaves out the
blocks that a mask hides; neither scores nor biases are ever in memory. So a bias costs one lookup
for each score, and documents packed into a row cost less than one long text.

It cannot take a score that is made of vectors (fire, transformer-xl); PyTorch then says so. On a
CPU it has no backward pass, and is computed step by step, which is for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from .additive_mask import AdditiveMask
from .problem import AttentionProblem


def supports(problem: AttentionProblem) -> bool:
    """Return whether flex was asked for, and every bias can be looked up pair by pair."""
    bias = problem.bias
    plain = problem.score is None and bias is None and problem.mask.causal_only
    can = bias is None or bias.by_distance is not None
    return problem.kernel == "flex" and not plain and can


def run(problem: AttentionProblem) -> Tensor:
    """Return attention after what the score function does, under a bias and masks.

    A head has 16 numbers or more on a GPU.
    """
    mask, score = problem.mask, problem.score
    by_distance = None if problem.bias is None else problem.bias.by_distance
    indices, last = mask.layout.query_indices, mask.queries - 1

    def changed(value: Tensor, batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        if score is not None:
            value = score(value, batch, head, indices[row], key)
        return value if by_distance is None else value + by_distance[head, last - row + key]

    simple = score is None and by_distance is None
    # Code that is compiled as a whole has the kernel compiled with it.
    alone = not (problem.queries.is_cpu or torch.compiler.is_compiling())
    return (_compiled() if alone else flex_attention)(
        problem.queries,
        problem.keys,
        problem.values,
        score_mod=None if simple else changed,
        block_mask=_blocks(problem.additive) if mask.needed else None,
        scale=problem.scale,
    )


def _blocks(additive: AdditiveMask) -> BlockMask:
    """Return which blocks of the scores are not hidden; all layers share it."""
    # Not an attribute: as one, PyTorch 2.13's compiler took one window's blocks for the other's.
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
