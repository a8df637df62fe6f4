"""Shaw's relative positions: a trained vector per clipped distance, added to keys (and values).

The first relative embedding. Two classes, because they enter by two doors: vectors added to
keys only change scores, so `shaw` is a score function and keeps every fast road; vectors
added to values need the whole row of attention weights, so `shaw-values` replaces
attention. Which door an embedding uses is asked of its class, never of its options.

No pair of tokens gets a vector of its own: the query is multiplied by all vectors at once,
and every pair picks its product. For values it is the reverse: the weights of all pairs at
one distance are added up, and the sums multiply the vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, Score, State, TokenLayout, upcast
from .layout import index_grid
from .pairs import Band, Pairs, ahead, less_far, picked
from .whole_row import Part, attend_in_parts, products, worked


class Shaw(Position):
    """Adds to each key a trained vector of its clipped distance from the query.

    The vectors serve all heads of a layer. In a causal model those of the future are never
    read. Distances between whole numbers take the nearest.

    Args:
        clip: distances beyond it, either way, share its vector; at least 1.

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
        "Beyond the clip all distances look alike: the order of far tokens is not seen.",
        "The index is key minus query; the other way round, past and future change places.",
    )
    door = "score"

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
        products = _products(queries, self.weight)

        def related(
            score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
        ) -> Tensor:
            if tables.consecutive and query.dim() > 1:
                return _banded(score, tables.of_rows(products, query), tables.causal, query, key)
            which = _which(tables.distance(batch, query, key), self.clip)
            # What is picked is new memory, and ours to add to.
            return picked(products, batch, head, tables.rows[query], which).add_(score)

        return related


class ShawValues(Position):
    """Adds to each key and each value a trained vector of its clipped distance from the query.

    Args:
        clip: distances beyond it, either way, share its vectors; at least 1.

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
        "It needs the weights of whole rows, so no fused attention can compute it.",
    )
    door = "row"

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
        visible: Tensor,
        score: Score | None,
        slots: Tensor,
    ) -> Tensor:
        scale, asked = self.shape.head_dim**-0.5, _products(queries, self.weight)
        vectors = self.value_weight.to(asked.dtype)  # once: slopes of parts add up unrounded

        def which(part: Part, batch: Tensor, query: Tensor, key: Tensor) -> Tensor:
            own = tables.of_sequences(part.sequences)
            return _which(own.distance(batch, query, key), self.clip)

        def scores_of(part: Part, queries: Tensor, keys: Tensor, asked: Tensor) -> Tensor:
            scores, asked = products(queries, keys, scale, part), asked[:, :, part.rows]
            batch, _, query, key = index_grid(scores, slots[part.rows])
            if tables.consecutive:
                scores = _banded(scores, asked, tables.causal, query, key)
            else:
                pick = which(part, batch, query, key).expand(scores.shape)
                scores = asked.gather(-1, pick).add_(scores)
            return worked(scores, score, slots)

        def related(part: Part, weights: Tensor) -> Tensor:
            batch, _, query, key = index_grid(weights, slots[part.rows])
            if tables.consecutive:
                return _mixed(weights, vectors, tables.causal, query, key)
            sums = weights.new_zeros(*weights.shape[:3], len(vectors))
            pick = which(part, batch, query, key).expand(weights.shape)
            return sums.scatter_add(-1, pick, weights) @ vectors

        return attend_in_parts(
            scores_of,
            (queries, keys, asked),
            values,
            visible,
            slots,
            causal=tables.causal,
            together=score is not None,
            more=related,
        )


def _vectors(shape: ModelShape, clip: int, name: str) -> nn.Parameter:
    if clip < 1:
        raise PositionError(f"{name}: clip={clip} must be 1 or more; 16 is the paper's")
    return nn.Parameter(torch.empty(2 * clip + 1, shape.head_dim))


def _products(queries: Tensor, weight: Tensor) -> Tensor:
    """Return each query's scaled product with every vector, (batch, heads, query, vectors)."""
    queries = upcast(queries)
    return queries @ (weight.to(queries.dtype) * queries.shape[-1] ** -0.5).mT


def _banded(score: Tensor, products: Tensor, causal: bool, query: Tensor, key: Tensor) -> Tensor:
    """Return scores with the products of consecutive positions added.

    All keys beyond the clip get one product of their row, those within the difference.
    """
    clip = products.shape[-1] // 2
    past, future = products[..., :1], products[..., -1:]
    scores, least = score + past, 0
    if not causal:
        scores, least = scores.addcmul_(ahead(query, key, scores.dtype), future - past), 1 - clip
    near = less_far(products[..., 1 : 1 + clip - least], past, future, behind=clip)
    return Band.of(query, key, clip - 1, least).add_to(scores, near)


def _mixed(weights: Tensor, vectors: Tensor, causal: bool, query: Tensor, key: Tensor) -> Tensor:
    """Return the vectors of consecutive positions, each times the weights at its distance.

    Weights sum to 1, so the far past has what the near and the future leave.
    """
    clip = len(vectors) // 2
    past, future = vectors[:1], vectors[-1:]
    least = 0 if causal else 1 - clip
    near = less_far(vectors[1 : 1 + clip - least], past, future, behind=clip, axis=0)
    mixed = Band.of(query, key, clip - 1, least).taken(weights) @ near + past
    if causal:
        return mixed
    after = (weights * ahead(query, key, weights.dtype)).sum(-1, keepdim=True)
    return mixed + after * (future - past)


def _which(distance: Tensor, clip: int) -> Tensor:
    """Return the index of a distance's vector: they are in the order of key minus query."""
    return (-distance).clamp(-clip, clip) + clip
