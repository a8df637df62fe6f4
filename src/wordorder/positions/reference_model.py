"""A transformer as plain as it can be, with any embedding: what the others are held to.

It shares no kernel, cache or mask with `wordorder.model`, computes every score of every
pair, and is slow. Read it to see exactly where each door of an embedding is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Score, TokenLayout
from .composed import Composed, Sum
from .layout import index_grid


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
    """Return attention with any embedding, as the definition reads, one score at a time.

    Shapes: queries (batch, heads, query, head_dim), keys and values (batch, key_value_heads,
    key, head_dim); the result is as queries.
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

    def total(value: Tensor, *where: Tensor) -> Tensor:
        value = value if score is None else score(value, *where)
        return value if bias is None else value + bias.transpose(0, 1)

    visible = layout.may_attend(window)
    if position.whole_row is not None:
        slots = layout.query_indices
        return position.attend(queries, keys, values, tables, state, visible, total, slots)
    scores = queries @ keys.mT * scale
    scores = total(scores, *index_grid(scores, layout.query_indices))
    return scores.masked_fill(~visible, float("-inf")).softmax(-1).to(values.dtype) @ values


def _one_by_one(score: Score) -> Score:
    def asked(*grids: Tensor) -> Tensor:
        grids = torch.broadcast_tensors(*grids)
        found: Tensor = torch.vmap(score)(*(grid.flatten() for grid in grids))
        return found.view(grids[0].shape)

    return asked


class ReferenceModel:
    """Two layers of plain attention with an embedding, and nothing else.

    Args:
        position: the embedding, built for the shape.
        key_value_heads: fewer than heads for grouped queries.
        dtype: of weights and activations; the embedding's own weights are left alone.
    """

    def __init__(
        self, position: Composed, key_value_heads: int, dtype: torch.dtype = torch.float64
    ) -> None:
        self.position, self.shape, self.dtype = position, position.shape, dtype
        generator = torch.Generator().manual_seed(1)
        width, inner = self.shape.width, self.shape.heads * self.shape.head_dim
        narrow = key_value_heads * self.shape.head_dim

        def matrix(rows: int, columns: int) -> Tensor:
            drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            return (drawn * columns**-0.5).to(dtype)

        sizes = (inner, width), (narrow, width), (narrow, width), (width, inner)
        self.weights = [[matrix(*size) for size in sizes] for _ in range(self.shape.layers)]

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
        """Return the last layer's output (batch, time, width) for inputs of that shape.

        Args:
            one_by_one: ask for each score by itself, as a fused kernel does.
            window: the sliding window of both layers; None: they see everything before.
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
            queries, keys = 2 * queries, 2 * keys  # scores that matter
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
    """What was read before: keys (raw, or rotated), values, state and positions, all kept."""

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
        slots = torch.arange(first, first + x.shape[1])
        consecutive = positions is None
        if positions is None:
            positions = slots[None]
        if documents is None and self.documents is not None:
            documents = self.documents[:, -1:].expand(-1, x.shape[1])
        every = positions if first == 0 else torch.cat((self.positions, positions), 1)
        papers = documents if self.documents is None else torch.cat((self.documents, documents), 1)
        self.positions, self.documents = every, papers
        return TokenLayout(
            positions,
            every,
            slots,
            documents,
            papers,
            context_length,
            causal,
            consecutive,
            self_attention=first == 0,
        )


def _join(before: Any, new: Any) -> Any:
    if isinstance(new, tuple):
        return tuple(_join(b, n) for b, n in zip(before, new, strict=True))
    return None if new is None else torch.cat((before, new), 1)
