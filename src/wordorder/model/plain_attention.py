"""Attention as the paper writes it: product, softmax, product; in pieces that stay in cache.

A matrix of scores is written and read some ten times in a training step. Cut by
sequences and by rows into pieces of a few megabytes, it never leaves the processor's
cache, and where rows see the past only, pieces end where the rows do. The backward pass
is written out because autograd would fill and add whole matrices for every piece.
Measured on two cores, bfloat16, 4096 tokens, six heads of 64, forward and backward:
context 256, 37 ms in one piece, 23 in pieces (with a float32 bias 70 and 25); context
1024, 166 and 66 (with a bias 337 and 67).

Two roads give the same numbers: `pieces` for biases that are not trained, and `rows`,
which autograd follows, for what an embedding computes from scores or trains.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..positions.base import Score

# Scores at once: 4 MiB where they are bfloat16, 16 in float32. A GPU wants more at once.
PIECE, PIECE_ON_GPU = 1 << 21, 1 << 26
# Where rows see the past only, a quarter of them at a time leaves out three eighths of the
# scores; fewer than 64 rows make products too small to be fast.
ROW_PIECES, FEWEST_ROWS = 4, 64
# Scores that autograd may hold at once for one layer; 2^26 float32 numbers are 256 MiB.
LARGEST_SCORES = 1 << 26


def plain_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    score: Score | None,
    slots: Tensor,
    past_only: bool,
) -> Tensor:
    """Return softmax(queries @ keys.T + bias) @ values, after what `score` does to scores.

    Args:
        bias: broadcasts to (batch, heads, query, key); minus infinity hides. In the dtype of
            the queries, or in float32, in which the scores are then taken too.
        slots: (query,) index of each query into the key axis.
        past_only: row i sees no key past i.

    Shapes: queries (batch, heads, query, head_dim), already scaled; keys, values (batch,
    heads, key, head_dim).
    """
    trained = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if score is None and not trained:
        return _in_pieces(queries, keys, values, bias, past_only)
    batch, heads, time, _ = queries.shape
    at_once = max(1, LARGEST_SCORES // (batch * heads * keys.shape[2]))
    if time <= at_once:
        return _rows(queries, keys, values, bias, score, slots)
    parts = []
    for start in range(0, time, at_once):
        part = slice(start, start + at_once)
        piece = bias[..., part, :] if bias is not None else None
        parts.append(_rows(queries[:, :, part], keys, values, piece, score, slots[part]))
    return torch.cat(parts, dim=2)


@torch.compiler.disable  # which would unroll the pieces: twice as long to compile, and slower
def _in_pieces(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, past_only: bool
) -> Tensor:
    attended: Tensor = _Pieces.apply(queries, keys, values, bias, past_only)
    return attended


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, past: bool
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        attended, kept = torch.empty_like(queries), []
        for sequences, rows, seen in _pieces(queries, keys, past):
            scores = queries[sequences, :, rows] @ keys[sequences, :, seen].mT
            if bias is not None:
                own = bias[sequences] if len(bias) > 1 else bias
                scores = scores + own[..., rows, seen]  # float32 where the bias is
            weights = scores.softmax(-1).to(values.dtype)
            attended[sequences, :, rows] = weights @ values[sequences, :, seen]
            if keep:
                kept.append(weights)
        if keep:
            ctx.save_for_backward(queries, keys, values, *kept)
            ctx.past = past
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        queries, keys, values, *kept = ctx.saved_tensors
        to_queries = torch.empty_like(queries)
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        pieces = _pieces(queries, keys, ctx.past)
        for (sequences, rows, seen), weights in zip(pieces, kept, strict=True):
            own = gradient[sequences, :, rows]
            to_values[sequences, :, seen] += weights.mT @ own
            slopes = own @ values[sequences, :, seen].mT
            slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype)
            to_queries[sequences, :, rows] = slopes @ keys[sequences, :, seen]
            to_keys[sequences, :, seen] += slopes.mT @ queries[sequences, :, rows]
        return to_queries, to_keys, to_values, None, None


def _pieces(queries: Tensor, keys: Tensor, past_only: bool) -> list[tuple[slice, slice, slice]]:
    """Return (sequences, rows, keys that the rows may see) of every piece."""
    batch, heads, time, _ = queries.shape
    source = keys.shape[2]
    held = PIECE_ON_GPU if queries.is_cuda else PIECE
    tall = max(1, min(time, held // (heads * source)))
    if past_only:
        tall = min(tall, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    deep = max(1, held // (heads * tall * source))
    pieces = []
    for first in range(0, batch, deep):
        for start in range(0, time, tall):
            stop = min(start + tall, time)
            seen = slice(0, stop if past_only else source)
            pieces.append((slice(first, first + deep), slice(start, stop), seen))
    return pieces


def _rows(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    score: Score | None,
    slots: Tensor,
) -> Tensor:
    scores = queries @ keys.mT
    if score is not None:
        batch, heads, _, source = scores.shape
        device = scores.device
        where = (
            torch.arange(batch, device=device)[:, None, None, None],
            torch.arange(heads, device=device)[:, None, None],
            slots[:, None],
            torch.arange(source, device=device),
        )
        scores = score(scores.float(), *where)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1).to(values.dtype) @ values
