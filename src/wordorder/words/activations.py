"""Intermediate results of a forward pass: inputs of the layers, and attention.

A `Recorder` collects them from the model's ordinary forward pass, so that nothing is computed here
a second time in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import AttentionRecord, LanguageModel, Recorder, ResidualStream, TokenModel
from wordorder.positions import Position, index_grid


@dataclass(frozen=True)
class AttentionHead:
    """Attention of all tokens to all tokens, in one head.

    Args:
        layer, head: from 0.
        distances: (query, key) from each token to each token.
        may_attend: (query, key) bool, the mask.
        queries, keys: (time, head_dim) before the embedding transforms them.
        placed_queries, placed_keys: the same afterwards; an embedding may widen them.
        scores_without, scores: (query, key) before the softmax, without the embedding and with
            it; `scores` is None if the embedding replaces attention altogether.
        weights_without, weights: (query, key) after the softmax.
    """

    layer: int
    head: int
    distances: Tensor
    may_attend: Tensor
    queries: Tensor
    keys: Tensor
    placed_queries: Tensor
    placed_keys: Tensor
    scores_without: Tensor
    scores: Tensor | None
    weights_without: Tensor
    weights: Tensor


@dataclass(frozen=True)
class AttentionRow:
    """Attention of the last token to all tokens, in one head of one layer.

    Args:
        layer, head: from 0.
        distances: (time,) from the last token to each token.
        query, placed_query: (head_dim,) its query before and after the embedding transforms it.
        scores_without, scores: (time,) before the softmax, without the embedding and with it;
            `scores` is None if the embedding replaces attention altogether.
        weights_without, weights: (time,) after the softmax.
    """

    layer: int
    head: int
    distances: Tensor
    query: Tensor
    placed_query: Tensor
    scores_without: Tensor
    scores: Tensor | None
    weights_without: Tensor
    weights: Tensor


@torch.no_grad()
def layer_states(model: TokenModel, ids: Sequence[int]) -> list[Tensor]:
    """Return the inputs of each layer, then the final hidden states: (time, width) each."""
    stream = ResidualStream()
    hidden = model.hidden(torch.tensor([list(ids)]), recorder=stream)
    return [*(state[0] for state in stream.states[:-1]), hidden[0]]


@torch.no_grad()
def layer_outputs(model: TokenModel, ids: Sequence[int]) -> list[Tensor]:
    """Return what each layer adds to the residual stream: (time, width) each."""
    stream = ResidualStream()
    model.hidden(torch.tensor([list(ids)]), recorder=stream)
    return [(after - before)[0] for before, after in pairwise(stream.states)]


def acts_in_attention(position: Position) -> bool:
    """Return whether an embedding acts in attention: anywhere but at the input."""
    return bool(set(position.active_doors()) - {"input"})


class _LayerRecorder(Recorder):
    """Records the attention of one layer."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.record: AttentionRecord | None = None

    def attention(self, record: AttentionRecord) -> None:
        if record.layer == self.layer:
            self.record = record


@torch.no_grad()
def attention_head(
    model: TokenModel, ids: Sequence[int], layer: int, head: int = 0
) -> AttentionHead:
    """Return the attention of one head, as the model computes it.

    Args:
        layer, head: from 0.

    Raises:
        BadInput: the model has no attention, or not that layer or head.
    """
    record = _recorded(model, torch.tensor([list(ids)]), layer)
    _check_index("head", head, model.config.heads)
    return _head_of(record, head)


def attention_row(
    model: LanguageModel, ids: Sequence[int], layer: int | None = None, head: int = 0
) -> AttentionRow | None:
    """Return attention of the last token; None if no embedding acts in attention.

    Args:
        layer, head: from 0; None: the first layer in which an embedding acts.

    Raises:
        BadInput: the model does not have that layer or head.
    """
    if layer is None:
        sums = enumerate(model.position.sums)
        layer = next((i for i, whole in sums if any(map(acts_in_attention, whole.parts))), None)
    if layer is None:
        return None
    whole = attention_head(model, ids, layer, head)
    return AttentionRow(
        layer=layer,
        head=head,
        distances=whole.distances[-1],
        query=whole.queries[-1],
        placed_query=whole.placed_queries[-1],
        scores_without=whole.scores_without[-1],
        scores=None if whole.scores is None else whole.scores[-1],
        weights_without=whole.weights_without[-1],
        weights=whole.weights[-1],
    )


@torch.no_grad()
def attention_of_copies(model: TokenModel, token: int, copies: int, layer: int = 0) -> Tensor:
    """Return the weights (heads, copies) of the last of identical tokens, in one layer.

    Only positions distinguish identical tokens, so these weights show the embedding alone, with
    what the model has learned; `wordorder.positions.picture` has them for an untrained embedding.

    Raises:
        BadInput: the model has no attention, or more copies than its embedding has positions.
    """
    record = _recorded(model, torch.full((1, copies), token), layer)
    return record.weights()[0][0, :, -1]


def _recorded(model: TokenModel, tokens: Tensor, layer: int) -> AttentionRecord:
    """Return the attention of one layer for tokens (1, time)."""
    if not isinstance(model, LanguageModel):
        raise BadInput(
            "a GRU has no attention: choose a run of a transformer", code="words.no-attention"
        )
    _check_index("layer", layer, model.config.layers)
    recorder = _LayerRecorder(layer)
    model.hidden(tokens, recorder=recorder)
    assert recorder.record is not None
    return recorder.record


def _check_index(name: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise BadInput(
            f"the model has no {name} {index + 1}: choose one from 1 to {count}",
            code="words.no-such-head",
        )


def _head_of(record: AttentionRecord, head: int) -> AttentionHead:
    problem, raw_queries = record.problem, record.raw_queries
    layout = problem.mask.layout
    # With grouped queries several query heads share a key head: repeat the keys.
    raw_keys = record.raw_keys.repeat_interleave(
        raw_queries.shape[1] // record.raw_keys.shape[1], 1
    )
    without = raw_queries @ raw_keys.mT * problem.scale
    scores = None
    if problem.position.whole_row is None:
        scores = problem.queries @ problem.keys.mT * problem.scale
        if problem.score is not None:
            scores = problem.score(scores, *index_grid(scores, layout.query_indices))
        if problem.bias is not None:
            scores = scores + problem.bias.of()
    may_attend = problem.mask.may_attend()
    visible_without = without.masked_fill(~may_attend, float("-inf"))
    return AttentionHead(
        layer=record.layer,
        head=head,
        distances=layout.distances()[0],
        may_attend=may_attend[0, 0],
        queries=raw_queries[0, head],
        keys=raw_keys[0, head],
        placed_queries=problem.queries[0, head],
        placed_keys=problem.keys[0, head],
        scores_without=without[0, head],
        scores=None if scores is None else scores[0, head],
        weights_without=visible_without.softmax(-1)[0, head],
        weights=record.weights()[0][0, head],
    )
