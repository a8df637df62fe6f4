"""Transformer-XL's relative positions: queries meet the distance as a projected sinusoid.

The score of two absolute encodings has four terms. Transformer-XL keeps them, but writes
the distance where the key's position stood, and a trained vector where the query's did.

Two roads give the same numbers. Where positions are consecutive, there is one vector per
distance: queries are multiplied by all of them, and each row is shifted to its place, by
reading rows as if they were one longer. In a causal model that reads the next row's
numbers above the diagonal, where the mask hides them. Anywhere else (gaps, documents with
positions of their own, fractions, a cache) the sinusoid of a distance is taken apart into
sinusoids of both positions, which costs a longer product but knows no distances at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .angles import cos_sin
from .base import ModelShape, Position, PositionError, Score, State, TokenLayout, upcast


class Waves(NamedTuple):
    """Sinusoids of the positions at each slot, and where the queries stand.

    Args:
        places: (batch or 1, key), positions; slots where positions are consecutive.
        values: (batch or 1, key, width) float32, their sines, then their cosines.
        rows: (key,) int64, the row of the query at each slot.
        consecutive: the distance of visible positions is the distance of slots.
        causal: whether the future is hidden.
    """

    places: Tensor
    values: Tensor
    rows: Tensor
    consecutive: bool
    causal: bool

    def of_rows(self, asking: Tensor, queries: Tensor) -> Tensor:
        """Return what is asked (batch, heads, rows, head_dim) by some queries, in order."""
        if len(queries) == asking.shape[2]:
            return asking
        return asking[:, :, self.rows[queries]]


class TransformerXL(Position):
    """Adds a query's product with the projected sinusoid of the distance, and two biases.

    Sines come first and then cosines, as in the authors' code.

    Raises:
        PositionError: an odd width.

    Source: Dai et al. 2019, section 3.3: score(i, j) = (q_i · k_j + q_i · W R_{i-j}
    + u · k_j + v · W R_{i-j}) / sqrt(head_dim), R of Vaswani et al. 2017, section 3.5.
    Not here: recurrence over segments, which in reading is a cache of keys and values.
    """

    summary = "Queries and a trained bias meet the projected sinusoid of each distance."
    source = "Dai et al. 2019, section 3.3"
    formula = (
        "score(i, j) = ((q_i + u) · k_j + (q_i + v) · W R_{i−j}) / √head_dim\n"
        "R_d = sin(d ω₀), sin(d ω₁), … cos(d ω₀), cos(d ω₁), …; ω_n = 10000^(−2n/width)"
    )
    traps = (
        "The relative shift reads garbage above the diagonal, so the mask must hide it.",
        "The shift assumes consecutive positions: with gaps or packed texts it is wrong.",
        "Two biases: u meets the key's content, v its distance; they are not one.",
    )
    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        if shape.width % 2:
            raise PositionError(
                f"transformer-xl needs an even width, got {shape.width}: sines and cosines pair up"
            )
        self.weight = nn.Parameter(torch.empty(shape.heads, shape.head_dim, shape.width))
        self.content_bias = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.position_bias = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw everything from N(0, 0.02), as the authors' code does."""
        for parameter in (self.weight, self.content_bias, self.position_bias):
            nn.init.normal_(parameter, std=0.02, generator=generator)

    def waves(self, places: Tensor) -> Tensor:
        """Return sines, then cosines (..., width) float32 of numbers (...)."""
        pairs = torch.arange(0, self.shape.width, 2, dtype=torch.float64, device="cpu")
        cosine, sine = cos_sin(places[..., None], 10000.0 ** (-pairs / self.shape.width))
        return torch.cat((sine, cosine), dim=-1)

    def prepare(self, layout: TokenLayout) -> Waves:
        places, slots = layout.key_positions, layout.query_indices
        every = torch.arange(places.shape[1], device=places.device)
        if layout.consecutive:
            places = every[None]
        rows = torch.zeros_like(every).scatter(0, slots, every[: len(slots)])
        values = self.waves(places)
        return Waves(places, values, rows, layout.consecutive, layout.causal)

    def score(self, queries: Tensor, keys: Tensor, tables: Waves, state: State) -> Score:
        queries = upcast(queries)
        dtype, scale = queries.dtype, queries.shape[-1] ** -0.5
        weight = self.weight.to(dtype)
        asking = (queries + self.position_bias[:, None]) * scale
        content = (upcast(keys) @ self.content_bias.to(dtype)[..., None])[..., 0] * scale
        waves = tables._replace(values=tables.values.to(dtype))

        def related(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            by_content = content[batch, head, key]
            if query.dim() < 2:  # a few pairs by themselves
                text = batch * (len(waves.places) > 1)
                distance = waves.places[text, query] - waves.places[text, key]
                vectors = weight[head] @ self.waves(distance).to(dtype)[..., None]
                asked = asking[batch, head, waves.rows[query]]
                return score + by_content + (asked * vectors[..., 0]).sum(-1)
            along = query.flatten(), key.flatten()
            # One vector per distance is a product of its own, which few queries do not repay.
            many = len(asking) * query.numel() > 2 * asking.shape[-1]
            road = _shifted if waves.consecutive and many else _apart
            by_distance = road(asking, weight, waves, *along)
            # The sum is new memory, and ours to add to.
            return (score + by_distance).add_(by_content)

        return related


def _shifted(asking: Tensor, weight: Tensor, waves: Waves, queries: Tensor, keys: Tensor) -> Tensor:
    """Return the products with every distance, each row moved to its place.

    Rows of the products go from the farthest distance down, that of the last query and the
    first key: key j is Q-1-i+j in row i of Q. Read as if rows were one shorter, each row
    starts one column after the one above it.

    Shapes: as for `_apart`; slots of queries and of keys are consecutive.
    """
    asking = waves.of_rows(asking, queries)
    count, width = len(queries), len(keys) + (0 if waves.causal else len(queries) - 1)
    # One column more, to make rows longer; what is read past the edge is hidden, or none.
    distances = queries[-1] - torch.arange(width + 1, device=keys.device)
    near = waves.values[0]  # of distances 0, 1, ...
    sines, cosines = near[distances.abs().clamp(max=len(near) - 1)].chunk(2, dim=-1)
    vectors = torch.cat((sines * distances.sign()[:, None], cosines), dim=-1)
    products = asking @ (weight @ vectors.mT)
    rows = products.flatten(-2)[..., count - 1 : count - 1 + count * width]
    return rows.unflatten(-1, (count, width))[..., : len(keys)]


def _apart(asking: Tensor, weight: Tensor, waves: Waves, queries: Tensor, keys: Tensor) -> Tensor:
    """Return the products as ones of each query with the sinusoids of each key's position.

    a sin(i - j) + b cos(i - j) = (b sin i - a cos i) sin j + (a sin i + b cos i) cos j.

    Shapes: asking (batch, heads, rows, head_dim), already scaled; queries (query,) and keys
    (key,) slots; the result (batch, heads, query, key).
    """
    a, b = (waves.of_rows(asking, queries) @ weight).chunk(2, dim=-1)
    sines, cosines = waves.values[:, None, queries].chunk(2, dim=-1)
    turned = torch.cat((b * sines - a * cosines, a * sines + b * cosines), dim=-1)
    there = waves.values[:, : len(keys)]
    return turned @ (there[0].mT if len(there) == 1 else there[:, None].mT)
