"""The effect of an embedding alone: attention of the last of many identical tokens.

Only positions distinguish identical tokens: without an embedding all weights are equal.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .angles import cos_sin
from .base import Position, Resettable
from .composed import Sum
from .layout import TokenLayout
from .reference_model import plain_attention
from .rotary import Rotary
from .rotary_scaling import SCALINGS, parameters_of
from .shape import ModelShape

HEADS, HEAD_DIM = 4, 64
STEPS = "▁▂▃▄▅▆▇█"


@torch.no_grad()
def weights_of_copies(kind: type[Position], copies: int, **options: Any) -> Tensor | None:
    """Return the attention weights (heads, copies) of the last of identical tokens.

    Four heads of 64 dimensions, trained for that many tokens, parameters at initialisation; else
    as `attention_of_copies`.

    Args:
        kind: the embedding's class.
        copies: number of tokens; the last weight is the token's own.
        options: of the class.
    """
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=copies), **options)
    weights = attention_of_copies(position, copies)
    return None if weights is None else weights[:, -1]


@torch.no_grad()
def attention_of_copies(position: Position, copies: int) -> Tensor | None:
    """Return the attention weights (heads, query, key) of identical tokens, untrained.

    A copy of the embedding with initial parameters is used; queries and keys are the normalised
    token vector itself. None for an embedding that only changes the positions that
    training feeds, or whose output is not a weighted sum of values.

    Args:
        copies: number of tokens; fewer if the embedding has fewer positions.
    """
    if position.max_position is not None:
        copies = min(copies, position.max_position + 1)
    if "sample_positions" in position.active_hooks():
        return None
    generator = torch.Generator().manual_seed(0)
    position = deepcopy(position)
    if isinstance(position, Resettable):
        position.reset_parameters(generator)
    shape = position.shape
    layer = Sum(shape, (position,))
    layout = TokenLayout.of(torch.arange(copies)[None], causal=shape.causal, consecutive=True)
    word = torch.randn(shape.heads * shape.head_dim, generator=generator)
    x = position.embed(word.expand(1, copies, -1), layout)
    x = x * x.square().mean(-1, keepdim=True).rsqrt()
    heads = x.unflatten(-1, (shape.heads, shape.head_dim)).transpose(1, 2)
    tables = (position.prepare(layout),)
    state = layer.state(x, layout, None)
    # With the identity as values, the output of attention is its weights: head_dim columns at once.
    columns = []
    for values in torch.eye(copies).split(shape.head_dim, 1):
        padded = torch.nn.functional.pad(values, (0, shape.head_dim - values.shape[1]))
        identity = padded.expand(1, shape.heads, -1, -1)
        attended = plain_attention(layer, heads, heads, identity, tables, state, layout)
        columns.append(attended[0, ..., : values.shape[1]])
    weights = torch.cat(columns, -1)
    return weights if (weights.sum(-1) - 1).abs().max() < 1e-3 else None


class Picture(NamedTuple):
    """What an embedding computes from positions alone, as a matrix.

    Args:
        kind: "table": added to the word vector of each position, (position, width); "rotation":
            the cosine of each pair's angle, (position, pairs); "bias": added to the scores,
            (query, key); "weights": attention of identical tokens, (query, key); "positions":
            what training feeds, (sequence, token).
        values: float32; -inf where a query may not attend.
    """

    kind: str
    values: Tensor


@torch.no_grad()
def picture_of(position: Position, length: int, head: int = 0) -> Picture | None:
    """Return the picture of an embedding at the first `length` positions.

    None if its attention cannot be described by weights.
    """
    if position.max_position is not None:
        length = min(length, position.max_position + 1)
    positions, shape = torch.arange(length)[None], position.shape
    hooks, causal = position.active_hooks(), shape.causal
    layout = TokenLayout.of(positions, causal=causal, consecutive=True)
    if "embed" in hooks:
        return Picture("table", position.embed(torch.zeros(1, length, shape.width), layout)[0])
    if "sample_positions" in hooks:
        sampled = position.sample_positions(positions, 3, torch.Generator().manual_seed(0))
        return Picture("positions", sampled.float())
    frequencies = frequencies_of(position, length)
    if frequencies is not None:
        return Picture("rotation", cos_sin(positions[0, :, None], frequencies)[0])
    bias = position.distance_bias(layout.distances()[0])
    if bias is not None:
        return Picture("bias", bias[head].masked_fill(~layout.may_attend()[0, 0], -torch.inf))
    weights = attention_of_copies(position, length)
    return None if weights is None else Picture("weights", weights[head])


def frequencies_of(position: Position, context_length: int) -> Tensor | None:
    """Return the angle per position of each rotated pair, (pairs,) float64; None without any."""
    if isinstance(position, Rotary):
        return position.frequencies(context_length)
    frequencies = getattr(position, "frequencies", None)
    return None if frequencies is None else frequencies()


def scaled_frequencies(rotary: Rotary, factor: float) -> dict[str, Tensor]:
    """Return the frequencies (pairs,) float64 of a rotary embedding under each scaling.

    Args:
        rotary: its own scaling is replaced. LongRoPE's divisors are found by a search on a
            trained model, so it is among the results only if `rotary` has them.
        factor: how many times longer sequences get, above 1.
    """
    shape = rotary.shape
    kept = {name: getattr(rotary, name) for name in ("base", "fraction", "proportional")}
    original = rotary.original_length or shape.trained_length
    scaled = {}
    for scaling in SCALINGS:
        if scaling == "longrope" and not rotary.long_factors:
            continue
        options = {**kept, "scaling": scaling}
        if "original_length" in parameters_of(scaling):
            options["original_length"] = original
        if scaling == "longrope":
            options |= {"long_factors": rotary.long_factors, "short_factors": rotary.short_factors}
        if "factor" in parameters_of(scaling) and scaling != "dynamic":
            options["factor"] = factor
        scaled[scaling] = Rotary(shape, **options).frequencies(int(factor * original))
    return scaled


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


__all__ = [
    "Picture",
    "attention_of_copies",
    "frequencies_of",
    "picture_of",
    "scaled_frequencies",
    "sparkline",
    "training_positions",
    "weights_of_copies",
]
