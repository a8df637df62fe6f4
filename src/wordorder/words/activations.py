"""Intermediate results of a forward pass: inputs of the layers, and rows of attention.

A `Recorder` collects them from the model's ordinary forward pass, so that nothing is computed here
a second time in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wordorder.model import AttentionRecord, LanguageModel, ResidualStream, TokenModel
from wordorder.positions import Position, index_grid


@dataclass(frozen=True)
class AttentionRow:
    """Attention of the last token to all tokens, in the first head of one layer.

    Args:
        layer: from 0.
        distances: (time,) from the last token to each token.
        query, placed_query: (head_dim,) its query before and after the embedding transforms it.
        scores_without, scores: (time,) before the softmax, without the embedding and with it;
            `scores` is None if the embedding replaces attention altogether.
        weights_without, weights: (time,) after the softmax.
    """

    layer: int
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
        attention: of the first layer in which an embedding acts; None if none does.
    """

    states: list[Tensor]
    first_output: Tensor
    attention: AttentionRow | None


def acts_in_attention(position: Position) -> bool:
    """Return whether an embedding acts in attention: anywhere but at the input."""
    return bool(set(position.active_doors()) - {"input"})


class _FirstLayers(ResidualStream):
    """Records the residual stream, and the attention of one layer."""

    def __init__(self, layer: int | None) -> None:
        super().__init__()
        self.layer = layer
        self.record: AttentionRecord | None = None

    def attention(self, record: AttentionRecord) -> None:
        if record.layer == self.layer:
            self.record = record


@torch.no_grad()
def activations(model: TokenModel, ids: Sequence[int]) -> Activations:
    """Return the activations of one forward pass through a model."""
    sums = model.position.sums if isinstance(model, LanguageModel) else ()
    acting = (i for i, whole in enumerate(sums) if any(map(acts_in_attention, whole.parts)))
    recorder = _FirstLayers(next(acting, None))
    hidden = model.hidden(torch.tensor([list(ids)]), recorder=recorder)
    before, after = recorder.states[:2]
    return Activations(
        states=[*(state[0] for state in recorder.states[:-1]), hidden[0]],
        first_output=(after - before)[0],
        attention=None if recorder.record is None else _row_of(recorder.record),
    )


def _row_of(record: AttentionRecord) -> AttentionRow:
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
    visible_without = without.masked_fill(~problem.mask.may_attend(), float("-inf"))
    return AttentionRow(
        layer=record.layer,
        distances=layout.distances()[0, -1],
        query=raw_queries[0, 0, -1],
        placed_query=problem.queries[0, 0, -1],
        scores_without=without[0, 0, -1],
        scores=None if scores is None else scores[0, 0, -1],
        weights_without=visible_without.softmax(-1)[0, 0, -1],
        weights=record.weights()[0][0, 0, -1],
    )
