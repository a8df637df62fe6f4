"""What a model computes on its way: what enters its layers, and how attention weighs.

The model runs as it always does and is listened to, so that what is shown is what it uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wordorder.model import LanguageModel, TokenModel
from wordorder.model.attention import attention, mixing_weights
from wordorder.model.layers import Attention, Scene
from wordorder.positions import Position
from wordorder.positions.base import index_grid, overrides

IN_ATTENTION = ("rotate_queries", "rotate_keys", "distance_bias", "score", "attend")


class Observed(NamedTuple):
    """What a part of a model was given, and what it returned."""

    inputs: tuple[Any, ...]
    output: Any


@dataclass(frozen=True)
class AttentionRow:
    """How the last token looks at all tokens, in the first head of one layer.

    Args:
        layer: from 0.
        distances: (time,) from it to each token.
        query, placed_query: (head_dim,) its query, raw and with its position worked in.
        scores_without, scores: (time,) before the softmax, without the embedding and with it;
            `scores` is None where the embedding replaces attention by something else.
        weights_without, weights: (time,) after it.
    """

    layer: int
    distances: Tensor
    query: Tensor
    placed_query: Tensor
    scores_without: Tensor
    scores: Tensor | None
    weights_without: Tensor
    weights: Tensor


@torch.no_grad()
def observed(
    model: TokenModel, ids: Sequence[int], parts: Sequence[nn.Module]
) -> tuple[list[Observed], Tensor]:
    """Return what each part of a model does while it reads a text, and the final hidden states.

    Shapes: hidden states (time, width).
    """
    found: list[Observed] = []
    hooks = [
        part.register_forward_hook(lambda _, inputs, output: found.append(Observed(inputs, output)))
        for part in parts
    ]
    try:
        hidden = model.hidden(torch.tensor([list(ids)]))[0]
    finally:
        for hook in hooks:
            hook.remove()
    return found, hidden


def layer_states(model: TokenModel, ids: Sequence[int]) -> list[Tensor]:
    """Return what enters each layer, and the final hidden states: (time, width) each."""
    layers = model.blocks if isinstance(model, LanguageModel) else model.norms
    found, hidden = observed(model, ids, list(layers))
    return [*(each.inputs[0][0] for each in found), hidden]


def acts_in_attention(position: Position) -> bool:
    """Return whether an embedding does anything at attention, in any of its doors."""
    return any(overrides(position, hook) for hook in IN_ATTENTION)


@torch.no_grad()
def attention_row(model: LanguageModel, ids: Sequence[int]) -> AttentionRow | None:
    """Return how the last token looks at all, in the first layer in which an embedding acts.

    None where none acts on attention.
    """
    sums = enumerate(model.position.sums)
    layer = next((i for i, whole in sums if any(map(acts_in_attention, whole.parts))), None)
    if layer is None:
        return None
    part: Attention = model.blocks[layer].attention
    (seen,), _ = observed(model, ids, [part])
    x, scene, *_ = seen.inputs
    return _row_of(part, layer, x, scene)


def _row_of(part: Attention, layer: int, x: Tensor, scene: Scene) -> AttentionRow:
    position, tables, bias = scene.position, scene.tables, scene.bias
    raw_queries, raw_keys, values = part.project(x)
    state = position.state(x, bias.geometry, None)
    queries = position.rotate_queries(raw_queries, tables, state)
    keys = position.rotate_keys(raw_keys, tables, state)
    scale = position.softmax_scale or part.head_dim**-0.5
    visible = bias.visible()
    without = _products(raw_queries, raw_keys) * scale
    scores = None
    if position.whole_row is None:
        scores = _products(queries, keys) * scale
        own = position.score(queries, keys, tables, state)
        if own is not None:
            scores = own(scores, *index_grid(scores, bias.geometry.query_slots))
        added = bias.bias()
        scores = scores if added is None else scores + added
    hidden = without.masked_fill(~visible, float("-inf"))

    def gives(values: Tensor) -> Tensor:
        return attention(queries, keys, values, position, tables, state, bias)

    return AttentionRow(
        layer=layer,
        distances=bias.geometry.distances()[0, -1],
        query=raw_queries[0, 0, -1],
        placed_query=queries[0, 0, -1],
        scores_without=without[0, 0, -1],
        scores=None if scores is None else scores[0, 0, -1],
        weights_without=hidden.softmax(-1)[0, 0, -1],
        weights=mixing_weights(gives, values)[0][0, 0, -1],
    )


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    groups = queries.shape[1] // keys.shape[1]
    return queries @ keys.repeat_interleave(groups, 1).mT
