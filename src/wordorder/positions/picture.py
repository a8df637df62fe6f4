"""Measures what an embedding alone does; the results are the data for plots of it.

Each function measures an instance with its current parameters, on tokens at positions
0, 1, 2, ... Where content matters, all tokens share one random vector, so that only positions
distinguish them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .axial import Axial
from .base import Position, Resettable
from .composed import Sum
from .cope import Cope, counted_positions
from .layout import TokenLayout, index_grid
from .pope import Pope
from .reference_model import plain_attention
from .rotary import Rotary
from .rotary_scaling import SCALINGS, parameters_of
from .self_extend import SelfExtend
from .shape import ModelShape
from .xpos import XPos

HEADS, HEAD_DIM = 4, 64  # of `example`
STEPS = "▁▂▃▄▅▆▇█"


def example(kind: type[Position], length: int, /, **options: Any) -> Position:
    """Return an embedding for four heads of 64 dimensions, with initial values of seed 0.

    Args:
        kind: the embedding's class.
        length: the trained length.
        options: of the class.
    """
    position = kind(ModelShape(HEADS, HEAD_DIM, trained_length=length), **options)
    return initialised(position)


def initialised(position: Position) -> Position:
    """Return the embedding after setting its parameters to initial values of seed 0."""
    if isinstance(position, Resettable):
        position.reset_parameters(torch.Generator().manual_seed(0))
    return position


@torch.no_grad()
def input_table(position: Position, length: int) -> Tensor:
    """Return what is added to word vectors at the first positions, (length, width) float32."""
    zeros = torch.zeros(1, length, position.shape.width)
    return position.embed(zeros, _layout(length, position.shape.causal))[0].float()


def similarity_by_distance(table: Tensor, distances: Tensor) -> Tensor:
    """Return the mean cosine of two rows of a table, by their distance (distances,)."""
    rows = torch.nn.functional.normalize(table, dim=-1)
    cosines = [(rows[d:] * rows[: len(rows) - d]).sum(-1).mean() for d in distances.tolist()]
    return torch.stack(cosines)


@torch.no_grad()
def product_by_distance(position: Position, length: int) -> Tensor:
    """Return the product of a query of ones with keys of ones, by distance, (heads, length).

    The query is the last of `length` tokens. The largest product of each head is scaled to 1.
    """
    shape = position.shape
    layout = _of_query(_layout(length, shape.causal), length - 1)
    state = position.state(_copies(position, length), _layout(length, shape.causal), None)
    tables = position.prepare(layout)
    keys = torch.ones(1, shape.heads, length, shape.head_dim)
    query = position.transform_queries(keys[:, :, -1:], tables, state)[0].float()
    keys = position.transform_keys(keys, tables, state)[0].float()
    products = (keys @ query.mT)[..., 0].flip(-1)
    return products / products.abs().amax(-1, keepdim=True)


@torch.no_grad()
def query_factors(position: Position, length: int) -> Tensor:
    """Return what queries of ones become, by the number of their keys, (heads, length)."""
    shape = position.shape
    ones = torch.ones(1, shape.heads, length, shape.head_dim)
    tables = position.prepare(_layout(length, shape.causal))
    return position.transform_queries(ones, tables, None)[0, ..., 0]


def frequencies_of(position: Position, context_length: int) -> Tensor | None:
    """Return the angle per position of each rotated pair, (pairs,) float64; None without any."""
    if isinstance(position, Rotary):
        return position.frequencies(context_length)
    if isinstance(position, XPos | Pope | Axial):
        return position.frequencies()
    return None


def scaled_frequencies(rotary: Rotary, factor: float) -> dict[str, Tensor]:
    """Return the frequencies (pairs,) float64 of a rotary embedding under each scaling.

    Args:
        rotary: its own scaling is replaced. LongRoPE's divisors are found by a search on a
            trained model, so it is among the results only if `rotary` has them.
        factor: how many times longer sequences get, above 1.
    """
    shape = rotary.shape
    common = {name: getattr(rotary, name) for name in ("base", "fraction", "proportional")}
    original = rotary.original_length or shape.trained_length
    scaled = {}
    for scaling in SCALINGS:
        if scaling == "longrope" and not rotary.long_factors:
            continue
        options = {**common, "scaling": scaling}
        if "original_length" in parameters_of(scaling):
            options["original_length"] = original
        if scaling == "longrope":
            options |= {"long_factors": rotary.long_factors, "short_factors": rotary.short_factors}
        if "factor" in parameters_of(scaling) and scaling != "dynamic":
            options["factor"] = factor
        scaled[scaling] = Rotary(shape, **options).frequencies(int(factor * original))
    return scaled


def angles(position: Position, positions: Tensor) -> Tensor | None:
    """Return the angle in radians of each pair at some positions, (pairs, time) float64.

    None for an embedding that does not rotate by fixed frequencies.
    """
    if isinstance(position, SelfExtend):
        position = position.rotary
    frequencies = frequencies_of(position, int(positions.max()) + 1)
    if frequencies is None:
        return None
    if isinstance(position, Axial):
        coordinates = position.coordinates(positions[None])[0].double()
        return (coordinates[:, list(position.coordinate_of)] * frequencies).T
    return frequencies[:, None] * positions.double()


@torch.no_grad()
def bias_by_distance(position: Position, length: int, query: int) -> tuple[Tensor, Tensor]:
    """Return the distances of `length` keys from a query, and what is added to its scores.

    Args:
        query: position of the query, below `length`; in a causal model no key is later.

    Shapes: distances (keys,) int64 ascending, the bias (heads, keys) float32.
    """
    shape = position.shape
    length = query + 1 if shape.causal else length
    distances = query - torch.arange(length)
    bias = position.distance_bias(distances)
    if bias is None:
        layout = _layout(length, shape.causal)
        x = _copies(position, length)
        heads = _heads(x, shape)
        state = position.state(x, layout, None)
        layout = _of_query(layout, query)
        of_query = heads[:, :, query : query + 1]
        score = position.score(of_query, heads, position.prepare(layout), state)
        zeros = torch.zeros(1, shape.heads, 1, length)
        score = score or (lambda zeros, *_: zeros)
        bias = score(zeros, *index_grid(zeros, layout.query_indices))[0, :, 0]
    return distances.flip(0), bias.float().flip(-1)


@torch.no_grad()
def positions_counted(position: Cope, length: int) -> Tensor:
    """Return the position that CoPE counts for each key, by distance, (heads, length).

    Queries and keys are random normal vectors; the query is the last one.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = (2, position.shape.heads, length, position.shape.head_dim)
    queries, keys = torch.randn(sizes, generator=generator)
    products = (keys @ queries[:, -1, :, None])[..., 0] * position.shape.head_dim**-0.5
    return counted_positions(products.sigmoid(), position.most).flip(-1)


def weights_of_copies(position: Position, copies: int) -> Tensor | None:
    """Return the attention weights (heads, copies) of the last of identical tokens.

    As `weight_map_of_copies`; the last weight is the token's own.
    """
    weights = weight_map_of_copies(position, copies)
    return None if weights is None else weights[:, -1]


@torch.no_grad()
def weight_map_of_copies(position: Position, copies: int) -> Tensor | None:
    """Return the attention weights (heads, query, key) of identical tokens.

    Queries and keys are the normalised token vector itself. None for an embedding that changes
    the positions that training feeds, or whose output is not a weighted sum of values. The weights
    of stick-breaking add up to less than 1.

    Args:
        position: an embedding, or the `Sum` of a layer.
        copies: number of tokens, reduced if an embedding has fewer positions.
    """
    layer = position if isinstance(position, Sum) else Sum(position.shape, (position,))
    parts, shape = layer.parts, layer.shape
    limits = [part.max_position + 1 for part in parts if part.max_position is not None]
    copies = min(copies, *limits) if limits else copies
    if any("sample_positions" in part.active_hooks() for part in parts):
        return None
    layout = _layout(copies, shape.causal)
    x = torch.randn(shape.width, generator=torch.Generator().manual_seed(1)).expand(1, copies, -1)
    for part in parts:
        x = part.embed(x, layout)
    x = x * x.square().mean(-1, keepdim=True).rsqrt()
    heads = _heads(x, shape)
    tables = tuple(part.prepare(layout) for part in parts)
    state = layer.state(x, layout, None)

    def attend(values: Tensor) -> Tensor:
        return plain_attention(layer, heads, heads, values, tables, state, layout)[0]

    # With the rows of an identity as values, the output of attention is its weights.
    outputs = []
    for identity in torch.eye(copies).split(shape.head_dim, dim=1):
        values = torch.nn.functional.pad(identity, (0, shape.head_dim - identity.shape[1]))
        values = values.expand(1, shape.heads, -1, -1)
        outputs.append(attend(values)[..., : identity.shape[1]])
    weights = torch.cat(outputs, -1)
    adds = attend(torch.zeros_like(values)).any()  # beside the values, as shaw-values
    is_sum = weights.sum(-1).max() < 1 + 1e-3 and weights.min() > -1e-3 and not adds
    return weights if is_sum else None


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
    positions, hooks = torch.arange(length), position.active_hooks()
    if "embed" in hooks:
        return Picture("table", input_table(position, length))
    if "sample_positions" in hooks:
        sampled = [training_positions(position, length, seed) for seed in range(3)]
        return Picture("positions", torch.tensor(sampled).float())
    rotated = None if isinstance(position, SelfExtend) else angles(position, positions)
    if rotated is not None:
        return Picture("rotation", rotated.T.cos().float())
    layout = _layout(length, position.shape.causal)
    bias = position.distance_bias(layout.distances()[0])
    if bias is not None:
        return Picture("bias", bias[head].masked_fill(~layout.may_attend()[0, 0], -torch.inf))
    weights = weight_map_of_copies(position, length)
    return None if weights is None else Picture("weights", weights[head])


def sparkline(weights: Tensor) -> str:
    """Return one bar character for each weight, the tallest for the largest."""
    steps = (weights / weights.max() * (len(STEPS) - 1)).round().int().tolist()
    return "".join(STEPS[step] for step in steps)


def training_positions(position: Position, count: int, seed: int = 0) -> list[float]:
    """Return the positions that training feeds to a sequence of `count` tokens."""
    plain = torch.arange(count)[None]
    sampled = position.sample_positions(plain, 1, torch.Generator().manual_seed(seed))
    positions: list[float] = sampled[0].tolist()
    return positions


def _layout(length: int, causal: bool) -> TokenLayout:
    return TokenLayout.of(torch.arange(length)[None], causal=causal, consecutive=True)


def _of_query(layout: TokenLayout, query: int) -> TokenLayout:
    """Return the layout with one query, at this index of the key axis."""
    return replace(
        layout,
        query_positions=layout.key_positions[:, query : query + 1],
        query_indices=torch.tensor([query]),
        trailing=query + 1 == layout.key_positions.shape[1],
        self_attention=False,
    )


def _copies(position: Position, length: int) -> Tensor:
    """Return one random token vector, normalised and repeated, (1, length, width)."""
    x = torch.randn(position.shape.width, generator=torch.Generator().manual_seed(1))
    return (x * x.square().mean().rsqrt()).expand(1, length, -1)


def _heads(x: Tensor, shape: ModelShape) -> Tensor:
    """Return vectors (1, time, width), cut or repeated to heads (1, heads, time, head_dim)."""
    size = shape.heads * shape.head_dim
    repeated = torch.cat([x] * -(-size // x.shape[-1]), -1)[..., :size]
    return repeated.unflatten(-1, (shape.heads, shape.head_dim)).transpose(1, 2)
