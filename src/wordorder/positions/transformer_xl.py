"""Transformer-XL's relative positions: queries are multiplied by projected sinusoids of distances.

With absolute encodings, the score of a query and a key has four terms. Transformer-XL keeps
them, but replaces the key's position by the distance, and the query's position by a trained
vector.

Two methods compute the same products. Where positions are consecutive, there is one sinusoid
per distance: queries are multiplied by all of them, and each row of products is shifted to its
keys. Otherwise (gaps, fractions), or with few queries, the sinusoid of a distance
is expanded into sinusoids of both positions: a larger matmul, but no projection
for each distance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .angles import cos_sin
from .base import Position, PositionError, Score, State, upcast
from .layout import TokenLayout
from .shape import ModelShape


class Sinusoids(NamedTuple):
    """Sinusoids of the positions on the key axis, and which row of the queries is at each index.

    Args:
        positions: (batch or 1, key); where positions are consecutive, the indices instead.
        values: (batch or 1, key, width) float32, sines of the positions, then cosines.
        rows: (key,) int64, the row of the queries at each index; 0 where there is no query.
        consecutive: for pairs that may attend to each other, the difference of positions is
            the difference of indices.
        causal: whether queries attend only to keys at or before their own index.
    """

    positions: Tensor
    values: Tensor
    rows: Tensor
    consecutive: bool
    causal: bool

    def of_rows(self, queries: Tensor, indices: Tensor) -> Tensor:
        """Return the queries (batch, heads, rows, head_dim) with these indices, in order."""
        if indices.shape[0] == queries.shape[2]:
            return queries
        return queries[:, :, self.rows[indices]]


class TransformerXL(Position):
    """Adds a query's product with the projected sinusoid of the distance, and two biases.

    In a sinusoid all sines come first, then all cosines, as in the authors' code.

    Raises:
        PositionError: an odd width.

    Source: Dai et al. 2019, section 3.3: score(i, j) = (q_i · k_j + q_i · W R_{i-j}
    + u · k_j + v · W R_{i-j}) / sqrt(head_dim), R of Vaswani et al. 2017, section 3.5.
    Not here: recurrence over segments; in inference it is a cache of keys and values.
    """

    summary = "Queries and a trained bias are multiplied by projected sinusoids of distances."
    source = "Dai et al. 2019, section 3.3"
    formula = (
        "score(i, j) = ((q_i + u) · k_j + (q_i + v) · W R_{i−j}) / √head_dim\n"
        "R_d = sin(d ω₀), sin(d ω₁), … cos(d ω₀), cos(d ω₁), …; ω_n = 10000^(−2n/width)"
    )
    traps = (
        "The relative shift leaves wrong numbers above the diagonal, which the mask must hide.",
        "The shift takes index differences: with gaps or fractional positions it is wrong.",
        "There are two biases: u is multiplied by the key's content, v by the distance.",
    )
    door = "score"
    reads_vectors = True

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        if shape.width % 2:
            raise PositionError(
                f"transformer-xl: the width {shape.width} must be even, for pairs of a sine and a "
                "cosine",
                code="positions.transformer-xl-width",
            )
        self.weight = nn.Parameter(torch.empty(shape.heads, shape.head_dim, shape.width))
        self.content_bias = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.position_bias = nn.Parameter(torch.empty(shape.heads, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw everything from N(0, 0.02), as the authors' code does."""
        for parameter in (self.weight, self.content_bias, self.position_bias):
            nn.init.normal_(parameter, std=0.02, generator=generator)

    def sinusoids(self, positions: Tensor) -> Tensor:
        """Return sines, then cosines (..., width) float32 of positions or distances (...)."""
        pairs = torch.arange(0, self.shape.width, 2, dtype=torch.float64, device="cpu")
        cosine, sine = cos_sin(positions[..., None], 10000.0 ** (-pairs / self.shape.width))
        return torch.cat((sine, cosine), dim=-1)

    def prepare(self, layout: TokenLayout) -> Sinusoids:
        positions, indices = layout.key_positions, layout.query_indices
        every_index = torch.arange(positions.shape[1], device=positions.device)
        if layout.consecutive:
            positions = every_index[None]
        rows = torch.zeros_like(every_index).scatter(0, indices, every_index[: indices.shape[0]])
        values = self.sinusoids(positions)
        return Sinusoids(positions, values, rows, layout.consecutive, layout.causal)

    def score(self, queries: Tensor, keys: Tensor, tables: Sinusoids, state: State) -> Score:
        queries = upcast(queries)
        dtype, scale = queries.dtype, queries.shape[-1] ** -0.5
        weight = self.weight.to(dtype)  # (heads, head_dim, width)
        biased = (queries + self.position_bias[:, None]) * scale  # (batch, heads, query, head_dim)
        content = (upcast(keys) @ self.content_bias.to(dtype)[..., None])[..., 0] * scale
        sinusoids = tables._replace(values=tables.values.to(dtype))

        def relative(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            by_content = content[batch, head, key]
            if query.dim() < 2:  # single pairs, as a fused kernel passes them
                row = batch * (sinusoids.positions.shape[0] > 1)
                distance = sinusoids.positions[row, query] - sinusoids.positions[row, key]
                vectors = weight[head] @ self.sinusoids(distance).to(dtype)[..., None]
                of_pairs = biased[batch, head, sinusoids.rows[query]]
                return score + by_content + (of_pairs * vectors[..., 0]).sum(-1)
            # Projecting one sinusoid per distance costs more than it saves for few queries.
            many = biased.shape[0] * query.numel() > 2 * biased.shape[-1]
            products = _by_distance if sinusoids.consecutive and many else _by_position
            added = products(biased, weight, sinusoids, query.flatten(), key.flatten())
            # The sum is new memory, so adding in place is safe.
            return (score + added).add_(by_content)

        return relative


def _by_distance(
    queries: Tensor, weight: Tensor, sinusoids: Sinusoids, rows: Tensor, keys: Tensor
) -> Tensor:
    """Return products of queries and distances, from one product per distance: the shift.

    Each query is multiplied by the sinusoids of all distances in decreasing order, plus one extra
    (-1 when causal) that makes the shift line up. Of 3 queries and 3 keys, with `a` the first
    query, that is

        a2  a1  a0  a-1
        b2  b1  b0  b-1
        c2  c1  c0  c-1

    In memory these are one sequence. Without its first 2 numbers, and cut into rows of 3, it is

        a0  a-1 b2         query 0: distance 0 to key 0, ...
        b1  b0  b-1        query 1: distances 1 and 0
        c2  c1  c0         query 2: distances 2, 1 and 0

    which is right on and below the diagonal; the causal mask hides the rest. A bidirectional
    model needs negative distances, so its rows are longer and are cut off at the end.

    Shapes: as for `_by_position`; indices of queries and of keys are consecutive.
    """
    queries = sinusoids.of_rows(queries, rows)
    count, width = rows.shape[0], keys.shape[0] + (0 if sinusoids.causal else rows.shape[0] - 1)
    distances = rows[-1] - torch.arange(width + 1, device=keys.device)
    non_negative = sinusoids.values[0]  # (key, width), of distances 0, 1, ...
    index = distances.abs().clamp(max=non_negative.shape[0] - 1)
    sines, cosines = non_negative[index].chunk(2, dim=-1)
    vectors = torch.cat((sines * distances.sign()[:, None], cosines), dim=-1)
    products = queries @ (weight @ vectors.mT)  # (batch, heads, query, distances)
    shifted = products.flatten(-2)[..., count - 1 : count - 1 + count * width]
    return shifted.unflatten(-1, (count, width))[..., : keys.shape[0]]


def _by_position(
    queries: Tensor, weight: Tensor, sinusoids: Sinusoids, rows: Tensor, keys: Tensor
) -> Tensor:
    """Return products of queries and distances, from the sinusoids of both positions.

    a sin(i - j) + b cos(i - j) = (b sin i - a cos i) sin j + (a sin i + b cos i) cos j.

    Args:
        queries: (batch, heads, rows, head_dim), scaled.
        weight: (heads, head_dim, width), the projection of sinusoids.
        rows, keys: (query,) and (key,) int64, indices into the key axis.

    Shapes: the result (batch, heads, query, key).
    """
    a, b = (sinusoids.of_rows(queries, rows) @ weight).chunk(2, dim=-1)
    sines, cosines = sinusoids.values[:, None, rows].chunk(2, dim=-1)  # of query positions
    rotated = torch.cat((b * sines - a * cosines, a * sines + b * cosines), dim=-1)
    of_keys = sinusoids.values[:, : keys.shape[0]]  # (batch or 1, key, width)
    return rotated @ (of_keys[0].mT if of_keys.shape[0] == 1 else of_keys[:, None].mT)
