"""A minimal transformer with any embedding: the reference for tests of the real one.

It shares no kernel, cache or mask with `wordorder.model`, computes the score of every pair,
and is slow. Read it to see exactly where each hook of an embedding is called.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .base import Score
from .composed import Composed, Sum
from .layout import TokenLayout, index_grid


def plain_attention(
    position: Sum,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Any,
    state: Any,
    layout: TokenLayout,
    *,
    rotated: bool = False,
    one_by_one: bool = False,
    window: int | None = None,
) -> Tensor:
    """Return attention with any embedding, computed directly from the definition.

    Args:
        rotated: keys are transformed already.
        one_by_one: call the score function with single pairs, as a fused kernel does.
        window: the sliding window, or None.

    Shapes: queries (batch, heads, query, head_dim), keys and values (batch, key_value_heads,
    key, head_dim); the result as queries.
    """
    scale = position.softmax_scale or position.shape.head_dim**-0.5
    queries = position.transform_queries(queries, tables, state)
    keys = keys if rotated else position.transform_keys(keys, tables, state)
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], 1)
    values = values.repeat_interleave(queries.shape[1] // values.shape[1], 1)
    bias = position.distance_bias(layout.distances())  # (heads, batch, query, key)
    score = position.score(queries, keys, tables, state)
    if one_by_one and score is not None:
        score = _one_by_one(score)

    def score_and_bias(value: Tensor, *indices: Tensor) -> Tensor:
        value = value if score is None else score(value, *indices)
        return value if bias is None else value + bias.transpose(0, 1)

    mask, indices = layout.may_attend(window), layout.query_indices
    if position.whole_row is not None:
        return position.attend(queries, keys, values, tables, state, mask, score_and_bias, indices)
    scores = queries @ keys.mT * scale
    scores = score_and_bias(scores, *index_grid(scores, indices))
    return scores.masked_fill(~mask, float("-inf")).softmax(-1).to(values.dtype) @ values


def _one_by_one(score: Score) -> Score:
    """Return a score function that calls another with one pair at a time."""

    def score_pairs(*grids: Tensor) -> Tensor:
        grids = torch.broadcast_tensors(*grids)
        scores: Tensor = torch.vmap(score)(*(grid.flatten() for grid in grids))
        return scores.view(grids[0].shape)

    return score_pairs


@lru_cache(maxsize=16)  # all models of one size have the same, and nothing changes them
def _weights(
    sizes: tuple[tuple[int, int], ...], layers: int, dtype: torch.dtype
) -> tuple[tuple[Tensor, ...], ...]:
    """Return random matrices of these sizes for each layer, of a fixed seed."""
    generator = torch.Generator().manual_seed(1)

    def matrix(rows: int, columns: int) -> Tensor:
        values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        return (values * columns**-0.5).to(dtype)

    with torch.inference_mode(False):  # gradients may pass through them later
        return tuple(tuple(matrix(*size) for size in sizes) for _ in range(layers))


class ReferenceModel:
    """Layers of plain attention with an embedding, and nothing else.

    Args:
        position: the embedding, built for a shape; it determines the number of layers.
        key_value_heads: fewer than heads for grouped queries.
        dtype: of weights and activations; the embedding's parameters keep theirs.
    """

    def __init__(
        self, position: Composed, key_value_heads: int, dtype: torch.dtype = torch.float64
    ) -> None:
        self.position, self.shape, self.dtype = position, position.shape, dtype
        width, inner = self.shape.width, self.shape.heads * self.shape.head_dim
        key_width = key_value_heads * self.shape.head_dim
        sizes = (inner, width), (key_width, width), (key_width, width), (width, inner)
        self.weights = _weights(sizes, self.shape.layers, dtype)

    def read(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        *,
        cache: ReferenceCache | None = None,
        context_length: int = 0,
        one_by_one: bool = False,
        window: int | None = None,
    ) -> Tensor:
        """Return the last layer's output (batch, time, width).

        Args:
            x: inputs (batch, time, width), in place of word embeddings.
            positions: (batch or 1, time); None: they continue those in the cache.
            documents: (batch, time), -1 for padding; None: one document.
            cache: earlier tokens; it is extended.
            context_length: for length-dependent scaling; 0: the trained length.
            one_by_one: call score functions with single pairs, as a fused kernel does.
            window: the sliding window of every layer, or None.
        """
        cache = cache if cache is not None else ReferenceCache()
        context_length = context_length or self.shape.trained_length
        layout = cache.layout(x, positions, documents, context_length, self.shape.causal)
        x = self.position.embed(x.to(self.dtype), layout)
        tables = self.position.prepare(layout, cache.rotated)
        for i, (query, key, value, output) in enumerate(self.weights):
            position = self.position.sums[i]
            normed = x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt()
            queries, keys, values = (
                (normed @ weight.T).unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2)
                for weight in (query, key, value)
            )
            queries, keys = 2 * queries, 2 * keys  # larger scores, whose differences matter
            state = position.state(normed, layout, cache.state(i))
            if cache.rotated:
                keys = position.transform_keys(keys, tables[i], state)
            keys, values, state = cache.append(i, keys, values, state)
            attended = plain_attention(
                position,
                queries,
                keys,
                values,
                tables[i],
                state,
                layout,
                rotated=cache.rotated,
                one_by_one=one_by_one,
                window=window,
            )
            x = x + attended.transpose(1, 2).flatten(-2) @ output.T
        return x


class ReferenceCache:
    """Keys (raw or rotated), values, state and positions of all earlier tokens."""

    def __init__(self, rotated: bool = False) -> None:
        self.rotated = rotated
        self.layers: dict[int, tuple[Tensor, Tensor, Any]] = {}
        self.positions: Tensor | None = None
        self.documents: Tensor | None = None

    def state(self, layer: int) -> Any:
        return self.layers[layer][2] if layer in self.layers else None

    def append(self, layer: int, *new: Any) -> tuple[Tensor, Tensor, Any]:
        if layer in self.layers:
            before = self.layers[layer]
            keys, values = (torch.cat(pair, 2) for pair in zip(before[:2], new[:2], strict=True))
            new = keys, values, _join(before[2], new[2])
        self.layers[layer] = new
        return new

    def layout(
        self,
        x: Tensor,
        positions: Tensor | None,
        documents: Tensor | None,
        context_length: int,
        causal: bool,
    ) -> TokenLayout:
        first = 0 if self.positions is None else self.positions.shape[1]
        indices = torch.arange(first, first + x.shape[1])
        consecutive = positions is None
        if positions is None:
            positions = indices[None]
        if documents is None and self.documents is not None:
            documents = self.documents[:, -1:].expand(-1, x.shape[1])
        all_positions, all_documents = positions, documents
        if self.positions is not None:
            all_positions = torch.cat((self.positions, positions), 1)
        if self.documents is not None and documents is not None:
            all_documents = torch.cat((self.documents, documents), 1)
        self.positions, self.documents = all_positions, all_documents
        return TokenLayout(
            positions,
            all_positions,
            indices,
            documents,
            all_documents,
            context_length,
            causal,
            consecutive,
            self_attention=first == 0,
        )


def _join(before: Any, new: Any) -> Any:
    if isinstance(new, tuple):
        return tuple(_join(b, n) for b, n in zip(before, new, strict=True))
    return None if new is None else torch.cat((before, new), 1)
