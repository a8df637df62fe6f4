"""Intermediate results of a forward pass: inputs of the layers, and attention.

A `Recorder` collects them from the model's ordinary forward pass, so that nothing is computed here
a second time in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import AttentionRecord, LanguageModel, ResidualStream, TokenModel
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

    def last_row(self) -> AttentionRow:
        """Return the attention of the last token."""
        return AttentionRow(
            layer=self.layer,
            head=self.head,
            distances=self.distances[-1],
            query=self.queries[-1],
            placed_query=self.placed_queries[-1],
            scores_without=self.scores_without[-1],
            scores=None if self.scores is None else self.scores[-1],
            weights_without=self.weights_without[-1],
            weights=self.weights[-1],
        )


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


@dataclass(frozen=True)
class Activations:
    """What one forward pass computes, for one text.

    Args:
        states: (time, width) each, the inputs of the layers, then the final hidden states.
        first_output: (time, width) what the first layer adds to the residual stream.
        attention: of one head; None if no embedding acts in attention.
    """

    states: list[Tensor]
    first_output: Tensor
    attention: AttentionHead | None


def acts_in_attention(position: Position) -> bool:
    """Return whether an embedding acts in attention: anywhere but at the input."""
    return bool(set(position.active_doors()) - {"input"})


class _OneLayer(ResidualStream):
    """Records the residual stream, and the attention of one layer."""

    def __init__(self, layer: int | None) -> None:
        super().__init__()
        self.layer = layer
        self.record: AttentionRecord | None = None

    def attention(self, record: AttentionRecord) -> None:
        if record.layer == self.layer:
            self.record = record


@torch.no_grad()
def activations(
    model: TokenModel, ids: Sequence[int], layer: int | None = None, head: int = 0
) -> Activations:
    """Return the activations of one forward pass through a model.

    Args:
        layer, head: of the attention, from 0; None: the first layer in which an embedding acts.

    Raises:
        BadInput: the model does not have that layer or head.
    """
    if isinstance(model, LanguageModel):
        _check_index("head", head, model.config.heads)
    elif layer is not None or head:
        raise _no_attention()
    if isinstance(model, LanguageModel) and layer is None:
        sums = enumerate(model.position.sums)
        layer = next((i for i, whole in sums if any(map(acts_in_attention, whole.parts))), None)
    recorder, hidden = _recorded(model, torch.tensor([list(ids)]), layer)
    before, after = recorder.states[:2]
    return Activations(
        states=[*(state[0] for state in recorder.states[:-1]), hidden[0]],
        first_output=(after - before)[0],
        attention=None if recorder.record is None else _head_of(recorder.record, head),
    )


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
    recorder, _ = _recorded(model, torch.tensor([list(ids)]), layer)
    record = _required(recorder.record)
    _check_index("head", head, model.config.heads)
    return _head_of(record, head)


@torch.no_grad()
def attention_of_copies(model: TokenModel, token: int, copies: int, layer: int = 0) -> Tensor:
    """Return the weights (heads, copies) of the last of identical tokens, in one layer.

    Only positions distinguish identical tokens, so these weights show the embedding alone, with
    what the model has learned; `wordorder.positions.picture` has them for an embedding by itself.

    Raises:
        BadInput: the model has no attention, or more copies than its embedding has positions.
    """
    recorder, _ = _recorded(model, torch.full((1, copies), token), layer)
    return _required(recorder.record).weights()[0][0, :, -1]


def _recorded(model: TokenModel, tokens: Tensor, layer: int | None) -> tuple[_OneLayer, Tensor]:
    """Return what a pass over tokens (1, time) records, and the hidden states."""
    if isinstance(model, LanguageModel) and layer is not None:
        _check_index("layer", layer, model.config.layers)
    recorder = _OneLayer(layer)
    return recorder, model.hidden(tokens, recorder=recorder)


def _required(record: AttentionRecord | None) -> AttentionRecord:
    if record is None:
        raise _no_attention()
    return record


def _no_attention() -> BadInput:
    return BadInput(
        "a GRU has no attention: choose a run of a transformer", code="words.no-attention"
    )


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
    if record.softcap:  # part of the model, not of the embedding
        without = record.softcap * torch.tanh(without / record.softcap)
    scores = None
    if problem.position.whole_row is None:
        scores = problem.queries @ problem.keys.mT * problem.scale
        if problem.score is not None:
            scores = problem.score(scores, *index_grid(scores, layout.query_indices))
        if problem.bias is not None:
            scores = scores + problem.bias.of()
    may_attend = problem.mask.may_attend()
    visible_without = without.masked_fill(~may_attend, float("-inf"))
    if problem.sinks is not None:
        sinks = problem.sinks[:, None, None].expand(*without.shape[:-1], 1)
        visible_without = torch.cat((visible_without, sinks.to(without.dtype)), -1)
    weights_without = visible_without.softmax(-1)[..., : without.shape[-1]]
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
        weights_without=weights_without[0, head],
        weights=record.weights()[0][0, head],
    )
