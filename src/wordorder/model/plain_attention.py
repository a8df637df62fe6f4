"""Attention as the paper writes it: product, softmax, product; in pieces that stay in cache.

A matrix of scores is written and read some ten times in a training step. Cut by
sequences and by rows into pieces of a few megabytes, it never leaves the processor's
cache, and where rows see the past only, pieces end where the rows do. The backward pass
is written out because autograd would fill and add whole matrices for every piece.
Measured on two cores, bfloat16, 4096 tokens, six heads of 64, forward and backward:
context 256, 37 ms in one piece, 23 in pieces (with a float32 bias 70 and 25); context
1024, 166 and 66 (with a bias 337 and 67).

Roads that give the same numbers: `in_pieces` for a bias that is fixed or a trained list of
distances, `in_rows`, which autograd follows, for what an embedding computes from scores,
`whole_rows` for embeddings that replace attention, and `one_row` for a compiled step of
decoding. Long texts come in pieces on all others, and what the backward pass needs is computed
again where keeping it would fill memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..positions import Sum
from ..positions.base import Score, index_grid, wide
from .bias import Bias, diagonal_sums

# Scores at once: 4 MiB where they are bfloat16, 16 in float32. A GPU wants more at once.
PIECE, PIECE_ON_GPU = 1 << 21, 1 << 26
# Where rows see the past only, a quarter of them at a time leaves out three eighths of the
# scores; fewer than 64 rows make products too small to be fast.
ROW_PIECES, FEWEST_ROWS, MOST_WIDTHS = 4, 64, 32
# Scores kept for one layer's backward pass; 2^26 float32 numbers are 256 MiB. Beyond it they
# are computed again.
LARGEST_SCORES = 1 << 26
# Scores of a part that is computed again: a dozen matrices of this size live at once.
PART = 1 << 22


@torch.compiler.disable  # which would unroll the pieces: twice as long to compile, and slower
def in_pieces(queries: Tensor, keys: Tensor, values: Tensor, bias: Bias) -> Tensor:
    """Return softmax(queries @ keys.T + bias) @ values.

    Shapes: queries (batch, heads, query, head_dim), already scaled; keys, values (batch,
    heads, key, head_dim).
    """
    attended: Tensor = _Pieces.apply(queries, keys, values, bias.by_distance, bias)
    return attended


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, by_distance: Any, bias: Bias
    ) -> Tensor:
        attended, kept = queries.new_empty(*queries.shape[:3], values.shape[-1]), []
        keep = any(ctx.needs_input_grad) and _scores(queries, keys) <= LARGEST_SCORES
        for piece in _pieces(queries, keys, bias.past_only):
            sequences, rows, seen = piece
            weights = _weights(queries, keys, bias, piece)
            attended[sequences, :, rows] = weights @ values[sequences, :, seen]
            if keep:
                kept.append(weights)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(queries, keys, values, *kept)
            ctx.bias = bias
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        bias, to_distances = ctx.bias, None
        to_queries = torch.empty_like(queries)
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        if ctx.needs_input_grad[3]:
            to_distances = torch.zeros_like(bias.by_distance)
        for i, piece in enumerate(_pieces(queries, keys, bias.past_only)):
            sequences, rows, seen = piece
            weights = kept[i] if kept else _weights(queries, keys, bias, piece)
            own = gradient[sequences, :, rows]
            to_values[sequences, :, seen] += weights.mT @ own
            slopes = own @ values[sequences, :, seen].mT
            slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype)
            to_queries[sequences, :, rows] = slopes @ keys[sequences, :, seen]
            to_keys[sequences, :, seen] += slopes.mT @ queries[sequences, :, rows]
            if to_distances is not None:
                part, _ = bias.span(rows, seen)
                own = slopes.sum(0, dtype=to_distances.dtype)
                to_distances[:, part] += diagonal_sums(own)
        return to_queries, to_keys, to_values, to_distances, None


def _weights(
    queries: Tensor, keys: Tensor, bias: Bias, piece: tuple[slice, slice, slice]
) -> Tensor:
    """Return the attention weights of a piece, in the dtype of the keys."""
    sequences, rows, seen = piece
    scores = queries[sequences, :, rows] @ keys[sequences, :, seen].mT
    added = bias.piece(sequences, rows, seen)
    if added is not None:
        scores = scores + added  # float32 where the bias is
    return scores.softmax(-1).to(keys.dtype)


def _pieces(queries: Tensor, keys: Tensor, past_only: bool) -> list[tuple[slice, slice, slice]]:
    """Return (sequences, rows, keys that the rows may see) of every piece."""
    batch, heads, time, _ = queries.shape
    source = keys.shape[2]
    held = PIECE_ON_GPU if queries.is_cuda else PIECE
    tall = max(1, min(time, held // (heads * source)))
    if past_only:
        tall = min(tall, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    deep = max(1, held // (heads * tall * source))
    # Keys end at steps: a product in bfloat16 keeps memory for every shape it has met. At 16,384
    # tokens and four heads 512 shapes held 2.5 GB, 32 hold 0.1.
    step = max(tall, source // MOST_WIDTHS)
    pieces = []
    for first in range(0, batch, deep):
        for start in range(0, time, tall):
            stop = min(start + tall, time)
            seen = slice(0, min(source, -(-stop // step) * step) if past_only else source)
            pieces.append((slice(first, first + deep), slice(start, stop), seen))
    return pieces


def in_rows(
    queries: Tensor, keys: Tensor, values: Tensor, score: Score | None, bias: Bias
) -> Tensor:
    """Return attention after what `score` does to the scores; autograd follows.

    Shapes: as for `in_pieces`.
    """

    def rows_of(rows: slice) -> Tensor:
        seen = slice(0, rows.stop if bias.past_only else bias.keys)
        scores = queries[:, :, rows] @ keys[:, :, seen].mT
        if score is not None:
            scores = score(wide(scores), *index_grid(scores, bias.geometry.query_slots[rows]))
        added = bias.bias(rows, seen)
        if added is not None:
            scores = scores + added
        if bias.hides:
            scores = scores.masked_fill(~bias.visible(rows, seen), float("-inf"))
        return scores.softmax(-1).to(values.dtype) @ values[:, :, seen]

    return _some_at_a_time(rows_of, queries, keys, bias.past_only, PART)


def one_row(queries: Tensor, keys: Tensor, values: Tensor, bias: Bias) -> Tensor:
    """Return attention of one query, written as sums, which a compiler puts into its own loops.

    Shapes: as for `in_pieces`, of one query.
    """
    scores = (wide(queries) * wide(keys)).sum(-1)[:, :, None]
    added = bias.whole()
    weights = (scores if added is None else scores + added).softmax(-1)
    return (weights.mT * wide(values)).sum(2, keepdim=True).to(values.dtype)


def whole_rows(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Sum,
    tables: tuple,
    state: tuple,
    score: Score | None,
    bias: Bias,
) -> Tensor:
    """Return what an embedding puts in place of attention, some rows at a time."""
    plain = score is None and not bias.biased

    large = _scores(queries, keys) > LARGEST_SCORES

    def rows_of(rows: slice) -> Tensor:
        if large and queries.is_cpu and not torch.compiler.is_compiling():
            _give_back()
        added = bias.bias(rows)

        def total(value: Tensor, *where: Tensor) -> Tensor:
            value = value if score is None else score(value, *where)
            return value if added is None else value + added

        return position.attend(
            queries[:, :, rows],
            keys,
            values,
            tables,
            state,
            bias.visible(rows),
            None if plain else total,
            bias.geometry.query_slots[rows],
        ).to(values.dtype)

    # Such embeddings prepare all keys every time; what stands alone they cut once more.
    part = LARGEST_SCORES if plain else LARGEST_SCORES // 2
    return _some_at_a_time(rows_of, queries, keys, False, part)


def _give_back() -> None:
    """Give freed pages back to the system, where the C library is glibc.

    What a part leaves free is cut up by the small things that stay, so that the next part takes
    new memory: 0.15 GiB more with each of 24 parts of path at 16,384 tokens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _some_at_a_time(
    rows_of: Callable[[slice], Tensor], queries: Tensor, keys: Tensor, past_only: bool, part: int
) -> Tensor:
    """Return all rows, in parts; what is too much to keep, the backward pass makes again."""
    time = queries.shape[2]
    scores = _scores(queries, keys)
    large = scores > LARGEST_SCORES
    at_once = max(FEWEST_ROWS, time * part // scores) if large else time
    again = large and torch.is_grad_enabled()
    if past_only:
        at_once = min(at_once, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    parts = []
    # What a part leaves free in memory, the one after fits into if it needs less: the last
    # rows, which see most, come first, and each part of a long text is a row shorter.
    stop = time
    while stop > 0:
        rows = slice(max(0, stop - at_once), stop)
        stop, at_once = rows.start, max(FEWEST_ROWS, at_once - 1) if large else at_once
        parts.append(checkpoint(rows_of, rows, use_reentrant=False) if again else rows_of(rows))
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=2)


def _scores(queries: Tensor, keys: Tensor) -> int:
    batch, heads, time, _ = queries.shape
    return batch * heads * time * keys.shape[2]
