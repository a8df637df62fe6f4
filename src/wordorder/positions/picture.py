"""The effect of an embedding alone: attention of the last of many identical tokens.

Only positions distinguish identical tokens: without an embedding all weights are equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Position, Resettable
from .composed import Sum
from .layout import TokenLayout
from .reference_model import plain_attention
from .shape import ModelShape

HEADS, HEAD_DIM = 4, 64
STEPS = "▁▂▃▄▅▆▇█"


@torch.no_grad()
def weights_of_copies(kind: type[Position], copies: int, **options: Any) -> Tensor | None:
    """Return the attention weights (heads, copies) of the last of identical tokens.

    Four heads of 64 dimensions, parameters at initialisation; queries and keys are the
    normalised token vector itself. None for an embedding that only changes the positions
    that training feeds, or whose output is not a weighted sum of values.

    Args:
        kind: the embedding's class.
        copies: number of tokens, at most 64; the last weight is the token's own.
        options: of the class.
    """
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=copies), **options)
    if position.max_position is not None:
        copies = min(copies, position.max_position + 1)
    if "sample_positions" in position.active_hooks():
        return None
    generator = torch.Generator().manual_seed(0)
    if isinstance(position, Resettable):
        position.reset_parameters(generator)
    layer = Sum(position.shape, (position,))
    layout = TokenLayout.of(torch.arange(copies)[None], consecutive=True)
    word = torch.randn(HEADS * HEAD_DIM, generator=generator)
    x = position.embed(word.expand(1, copies, -1), layout)
    x = x * x.square().mean(-1, keepdim=True).rsqrt()
    heads = x.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    tables = (position.prepare(layout),)
    state = layer.state(x, layout, None)
    # With the identity as values, the output of attention is its weights.
    identity = torch.eye(copies, HEAD_DIM).expand(1, HEADS, -1, -1)
    attended = plain_attention(layer, heads, heads, identity, tables, state, layout)
    weights = attended[0, :, -1, :copies]
    return weights if (weights.sum(-1) - 1).abs().max() < 1e-3 else None


def sparkline(weights: Tensor) -> str:
    """Return one bar character for each weight, the tallest for the largest."""
    steps = (weights / weights.max() * (len(STEPS) - 1)).round().int().tolist()
    return "".join(STEPS[step] for step in steps)


def training_positions(kind: type[Position], count: int = 12, **options: Any) -> list[int]:
    """Return the positions that training feeds to a sequence of `count` tokens."""
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=count), **options)
    positions = position.sample_positions(
        torch.arange(count)[None], 1, torch.Generator().manual_seed(0)
    )
    return positions[0].tolist()


__all__ = ["sparkline", "training_positions", "weights_of_copies"]
