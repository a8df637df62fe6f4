"""Shaw's relative positions: a trained vector per clipped distance, added to keys (and values).

This was the first relative embedding. There are two classes, because the door of an embedding
depends on its class, never on its options. Vectors added to keys change scores only, so `shaw`
is a score function, which every kernel supports. Vectors added to values need the whole row of
attention weights, so `shaw-values` replaces attention.

No vector is computed per pair of tokens. Queries are multiplied by the vectors of all
distances at once, and the product of each pair is looked up. For values it
is the reverse: the weights of all keys at one distance are summed, and the sums multiply the
vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, upcast
from .layout import TokenLayout, index_grid
from .pairs import Band, Pairs, is_future, look_up, minus_far
from .shape import ModelShape
from .whole_row import Tile, apply_score, attend_in_tiles, scaled_products


class Shaw(Position):
    """Adds to each key a trained vector of its clipped distance from the query.

    All heads of a layer share the vectors. A causal model never uses the vectors of future
    distances. Fractional distances are rounded to the nearest integer.

    Args:
        clip: larger distances, in either direction, share the vector of this one; at least 1.

    Raises:
        PositionError: a clip below 1.

    Source: Shaw et al. 2018, section 3.2, equation 4:
    e_ij = q_i · (k_j + a_ij) / sqrt(head_dim), a_ij = w[clip(j - i, -k, k)].
    Not here: the vectors of equation 3, added to values, which are `shaw-values`.
    """

    summary = "Adds to keys a trained vector per clipped distance."
    source = "Shaw et al. 2018, section 3.2, equation 4"
    formula = "score(i, j) = q_i · (k_j + w[clip(j − i, −k, k)]) / √head_dim"
    traps = (
        "The paper adds vectors to values too, not only to keys: that is shaw-values.",
        "Distances beyond the clip share a vector: the order of farther tokens has no effect.",
        "The index is key minus query: with the opposite sign, past and future are swapped.",
    )
    door = "score"
    reads_vectors = True

    def __init__(self, shape: ModelShape, /, *, clip: int = 16) -> None:
        super().__init__(shape)
        self.clip = clip
        self.weight = _vectors(shape, clip, "shaw")
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the vectors Glorot-uniform, as the authors' tensor2tensor does."""
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def prepare(self, layout: TokenLayout) -> Pairs:
        return Pairs.of(layout)

    def score(self, queries: Tensor, keys: Tensor, tables: Pairs, state: State) -> Score:
        products = _products(queries, self.weight)  # (batch, heads, query, vectors)

        def relative(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            if tables.consecutive and query.dim() > 1:
                rows = tables.of_rows(products, query)
                return _add_consecutive(score, rows, tables.causal, query, key)
            index = _vector_index(tables.distance(batch, query, key), self.clip)
            # `look_up` returns new memory, so adding in place is safe.
            return look_up(products, batch, head, tables.rows[query], index).add_(score)

        return relative


class ShawValues(Position):
    """Adds to each key and each value a trained vector of its clipped distance from the query.

    Args:
        clip: larger distances, in either direction, share the vectors of this one; at least 1.

    Raises:
        PositionError: a clip below 1.

    Source: Shaw et al. 2018, section 3.2, equations 3 and 4: scores as in `shaw`, and
    z_i = sum_j weight_ij (v_j + w'[clip(j - i, -k, k)]).
    """

    summary = "Adds to keys and to values a trained vector per clipped distance."
    source = "Shaw et al. 2018, section 3.2, equations 3 and 4"
    formula = (
        "score(i, j) = q_i · (k_j + w[clip(j − i, −k, k)]) / √head_dim\n"
        "output(i) = Σ_j weight(i, j) (v_j + w′[clip(j − i, −k, k)])"
    )
    traps = (
        *Shaw.traps[1:],
        "It needs the attention weights of whole rows, so no fused kernel can compute it.",
    )
    door = "row"
    reads_vectors = True

    def __init__(self, shape: ModelShape, /, *, clip: int = 16) -> None:
        super().__init__(shape)
        self.clip = clip
        self.weight = _vectors(shape, clip, "shaw-values")
        self.value_weight = _vectors(shape, clip, "shaw-values")
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw both lists of vectors Glorot-uniform, as the authors' tensor2tensor does."""
        nn.init.xavier_uniform_(self.weight, generator=generator)
        nn.init.xavier_uniform_(self.value_weight, generator=generator)

    def prepare(self, layout: TokenLayout) -> Pairs:
        return Pairs.of(layout)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Pairs,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        scale, products = self.shape.head_dim**-0.5, _products(queries, self.weight)
        # Cast outside of the tiles, so that the gradients of tiles are summed unrounded.
        vectors = self.value_weight.to(products.dtype)  # (vectors, head_dim)

        def vector_index(tile: Tile, batch: Tensor, query: Tensor, key: Tensor) -> Tensor:
            pairs = tables.of_sequences(tile.sequences)
            return _vector_index(pairs.distance(batch, query, key), self.clip)

        def scores_of(tile: Tile, queries: Tensor, keys: Tensor, products: Tensor) -> Tensor:
            scores = scaled_products(queries, keys, scale, tile)  # (sequences, heads, rows, keys)
            products = products[:, :, tile.rows]  # (sequences, heads, rows, vectors)
            batch, _, query, key = index_grid(scores, query_indices[tile.rows])
            if tables.consecutive:
                scores = _add_consecutive(scores, products, tables.causal, query, key)
            else:
                index = vector_index(tile, batch, query, key).expand(scores.shape)
                scores = products.gather(-1, index).add_(scores)
            return apply_score(scores, score, query_indices)

        def mixed_vectors(tile: Tile, weights: Tensor) -> Tensor:
            batch, _, query, key = index_grid(weights, query_indices[tile.rows])
            if tables.consecutive:
                return _mix_consecutive(weights, vectors, tables.causal, query, key)
            by_distance = weights.new_zeros(*weights.shape[:3], len(vectors))
            index = vector_index(tile, batch, query, key).expand(weights.shape)
            return by_distance.scatter_add(-1, index, weights) @ vectors

        return attend_in_tiles(
            scores_of,
            (queries, keys, products),
            values,
            may_attend,
            query_indices,
            causal=tables.causal,
            one_tile=score is not None,
            extra_output=mixed_vectors,
        )


def _vectors(shape: ModelShape, clip: int, name: str) -> nn.Parameter:
    if clip < 1:
        raise PositionError(
            f"{name}: clip={clip} must be at least 1; the paper uses 16", code="positions.shaw-clip"
        )
    return nn.Parameter(torch.empty(2 * clip + 1, shape.head_dim))


def _products(queries: Tensor, weight: Tensor) -> Tensor:
    """Return the scaled products of queries and vectors, (batch, heads, query, vectors)."""
    queries = upcast(queries)
    return queries @ (weight.to(queries.dtype) * queries.shape[-1] ** -0.5).mT


def _add_consecutive(
    score: Tensor, products: Tensor, causal: bool, query: Tensor, key: Tensor
) -> Tensor:
    """Return scores with the products of consecutive positions added (drawn in pairs.py).

    Vectors are in the order of key minus query. With clip 2, in a causal and another model:

        distance (query minus key)     2     1     0    -1    -2
        column of `products`           0     1     2     3     4
        causal                       past   near  near
        bidirectional                past   near  near  near  future

    Shapes: score (batch, heads, query, key), products (batch, heads, query, 2 * clip + 1).
    """
    clip = products.shape[-1] // 2
    past, future = products[..., :1], products[..., -1:]  # (batch, heads, query, 1)
    scores, least = score + past, 0  # every key as if in the far past
    if not causal:
        after = is_future(query, key, scores.dtype)  # (query, key)
        scores, least = scores.addcmul_(after, future - past), 1 - clip
    near = minus_far(products[..., 1 : 1 + clip - least], past, future, behind=clip)
    return Band.of(query, key, clip - 1, least).add_to(scores, near)


def _mix_consecutive(
    weights: Tensor, vectors: Tensor, causal: bool, query: Tensor, key: Tensor
) -> Tensor:
    """Return the sum over keys of weight times vector, where positions are consecutive.

    Weights sum to 1. So every key's weight times the far past's vector sums to that vector,
    and near and future keys add the difference to their own vectors.

    Shapes: weights (batch, heads, query, key), vectors (2 * clip + 1, head_dim); the result
    (batch, heads, query, head_dim).
    """
    clip = len(vectors) // 2
    past, future = vectors[:1], vectors[-1:]
    least = 0 if causal else 1 - clip
    near = minus_far(vectors[1 : 1 + clip - least], past, future, behind=clip, axis=0)
    mixed = Band.of(query, key, clip - 1, least).gather_from(weights) @ near + past
    if causal:
        return mixed
    future_weight = (weights * is_future(query, key, weights.dtype)).sum(-1, keepdim=True)
    return mixed + future_weight * (future - past)


def _vector_index(distance: Tensor, clip: int) -> Tensor:
    """Return the index of the vector of a distance (query minus key)."""
    return (-distance).clamp(-clip, clip) + clip
