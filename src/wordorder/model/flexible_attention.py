"""Attention as one kernel that is made from an embedding's score function, on a GPU.

PyTorch's FlexAttention writes a fused kernel from a function of one score, and leaves out the
blocks that a mask hides; neither scores nor biases are ever in memory. So a bias costs what it
takes to look up one number, and documents packed into a row cost less than one long text.

A score that is made of vectors (fire, transformer-xl) it cannot take, and PyTorch says so. A CPU
has no backward pass of it: there it is computed step by step, which is for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from ..positions.base import Score
from .bias import Bias


def is_flexible(bias: Bias) -> bool:
    """Return whether what is added to the scores can be looked up one by one."""
    return not bias.biased or bias.by_distance is not None


def flexible(
    queries: Tensor, keys: Tensor, values: Tensor, score: Score | None, bias: Bias, scale: float
) -> Tensor:
    """Return attention after what `score` does to the scores, under a bias and masks.

    Shapes: queries (batch, heads, query, head_dim), keys and values (batch, heads, key,
    head_dim); a head of 16 or more on a GPU.
    """
    slots, by_distance, last = bias.geometry.query_slots, bias.by_distance, bias.queries - 1

    def changed(value: Tensor, batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        if score is not None:
            value = score(value, batch, head, slots[row], key)
        return value if by_distance is None else value + by_distance[head, last - row + key]

    simple = score is None and by_distance is None
    # Code that is compiled as a whole has the kernel compiled with it.
    alone = not (queries.is_cpu or torch.compiler.is_compiling())
    return (_compiled() if alone else flex_attention)(
        queries,
        keys,
        values,
        score_mod=None if simple else changed,
        block_mask=_blocks(bias) if bias.hides else None,
        scale=scale,
    )


def _blocks(bias: Bias) -> BlockMask:
    """Return which blocks of the scores anything is seen of; all layers share it."""
    # Not an attribute: as one, PyTorch 2.13's compiler took one window's blocks for the other's.
    if ("blocks",) not in bias.kept:
        geometry = bias.geometry

        def visible(sequence: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
            return geometry.sees(sequence, row, key, bias.window)

        texts = None if geometry.key_documents is None else len(geometry.key_documents)
        sizes = texts, None, bias.queries, bias.keys
        device = geometry.query_slots.device
        bias.kept[("blocks",)] = create_block_mask(visible, *sizes, device=device)
    return bias.kept[("blocks",)]


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)
