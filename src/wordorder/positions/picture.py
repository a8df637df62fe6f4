"""What an embedding does by itself: how the last of many copies of one word attends to them.

The words are the same, so that only positions can tell them apart: without an embedding
every copy gets the same weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import ModelShape, Position, TokenLayout
from .composed import Sum
from .reference_model import plain_attention

HEADS, HEAD_DIM = 4, 64
STEPS = "▁▂▃▄▅▆▇█"


@torch.no_grad()
def weights_of_copies(kind: type[Position], copies: int, **options: Any) -> Tensor | None:
    """Return the weights (heads, copies) of the last of at most 64 words, nearest last.

    Four heads of 64, with the first values of what is trained; queries and keys are the
    normalised word itself. None for an embedding that only says which positions are fed, or
    that gives more than weighted values.
    """
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=copies), **options)
    if position.max_position is not None:
        copies = min(copies, position.max_position + 1)
    if "sample_positions" in position.active_hooks():
        return None
    generator = torch.Generator().manual_seed(0)
    if hasattr(position, "reset_parameters"):
        position.reset_parameters(generator)
    whole = Sum(position.shape, (position,))
    layout = TokenLayout.of(torch.arange(copies)[None], consecutive=True)
    word = torch.randn(HEADS * HEAD_DIM, generator=generator)
    x = position.embed(word.expand(1, copies, -1), layout)
    x = x * x.square().mean(-1, keepdim=True).rsqrt()
    heads = x.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    tables = (position.prepare(layout),)
    state = whole.state(x, layout, None)
    identity = torch.eye(copies, HEAD_DIM).expand(1, HEADS, -1, -1)  # the result is the weights
    attended = plain_attention(whole, heads, heads, identity, tables, state, layout)
    weights = attended[0, :, -1, :copies]
    return weights if (weights.sum(-1) - 1).abs().max() < 1e-3 else None


def sparkline(weights: Tensor) -> str:
    """Return one character for each weight, the highest the largest."""
    steps = (weights / weights.max() * (len(STEPS) - 1)).round().int().tolist()
    return "".join(STEPS[step] for step in steps)


def placed(kind: type[Position], count: int = 12, **options: Any) -> list[int]:
    """Return the positions that training feeds to the first `count` words."""
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=count), **options)
    drawn = position.sample_positions(
        torch.arange(count)[None], 1, torch.Generator().manual_seed(0)
    )
    return drawn[0].tolist()


__all__ = ["placed", "sparkline", "weights_of_copies"]
