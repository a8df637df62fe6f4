"""Attention as in its definition (product, softmax, product), in pieces that stay in the cache.

A training step writes and reads a matrix of scores some ten times. Here the matrix is cut by
sequences and rows into pieces of a few megabytes, which stay in the processor's cache; with a
causal mask the keys of a piece end at its last row. The backward pass is explicit, because
autograd would add up whole matrices for every piece. Measured on two cores, bfloat16, 4096
tokens, six heads of 64, forward and backward: context 256, 37 ms in one piece, 23 in pieces (with
a float32 bias 70 and 25); context 1024, 166 and 66 (with a bias 337 and 67).

There are five kernels, which compute the same function: `in_pieces` for a bias that is fixed or
a trained list by distance; `in_rows`, with autograd, for score functions; `whole_rows` for
embeddings that replace attention; `one_row` for a compiled decoding step; and `whole_matrix` for
tracing. `in_rows` and `whole_rows` compute long sequences some rows at a time, and compute them
again in the backward pass if storing their scores would fill memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..allocator import return_freed_pages
from ..eager import run_eagerly
from ..positions.base import upcast
from ..positions.layout import index_grid
from .additive_mask import AdditiveMask
from .bias import diagonal_sums
from .mask import EVERYTHING
from .problem import AttentionProblem

# Scores in a piece: 4 MiB in bfloat16, 8 MiB in float32. A GPU needs larger pieces to be busy.
PIECE, PIECE_ON_GPU = 1 << 21, 1 << 26
# With a causal mask, four pieces of rows skip three eighths of the scores. With fewer than 64
# rows, matrix products are too small to be fast.
ROW_PIECES, FEWEST_ROWS, MOST_WIDTHS = 4, 64, 32
# Largest number of scores of a layer that are stored for the backward pass (in float32 256 MiB).
# More are computed again.
LARGEST_SCORES = 1 << 26
# Scores computed at a time if they are computed again: a dozen tensors of this size exist at
# the same time.
ROW_SCORES = 1 << 22

Piece = tuple[slice, slice, slice]  # sequences, rows, keys


def takes_anything_else(problem: AttentionProblem) -> bool:
    """Return whether `in_pieces` supports a problem: no score function, no gradients by pair."""
    return problem.score is None and not problem.trains_pairs


# PyTorch's compiler would unroll the loop over pieces: compiling takes twice as long, and the
# code is slower.
@run_eagerly
def in_pieces(problem: AttentionProblem) -> Tensor:
    """Return softmax(scale * queries @ keys.T + additive mask) @ values."""
    by_distance = None if problem.bias is None else problem.bias.by_distance
    queries = problem.queries * problem.scale
    attended: Tensor = _Pieces.apply(
        queries, problem.keys, problem.values, by_distance, problem.sinks, problem.additive
    )
    return attended


class _Pieces(torch.autograd.Function):
    """Attention in pieces, with an explicit backward pass.

    Shapes: queries (batch, heads, query, head_dim), scaled; keys and values (batch, heads, key,
    head_dim); by_distance (heads, distances) or None; sinks (heads,) or None. With sinks, weights
    have one more column, theirs, which no value belongs to.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        by_distance: Tensor | None,
        sinks: Tensor | None,
        additive: AdditiveMask,
    ) -> Tensor:
        attended, stored = queries.new_empty(*queries.shape[:3], values.shape[-1]), []
        keep = any(ctx.needs_input_grad) and _count(queries, keys) <= LARGEST_SCORES
        for piece in _pieces(queries, keys, additive.mask.past_only):
            sequences, rows, some = piece
            weights = _weights(queries, keys, additive, sinks, piece)
            attended[sequences, :, rows] = weights[..., some] @ values[sequences, :, some]
            if keep:
                stored.append(weights)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(queries, keys, values, sinks, *stored)
            ctx.additive = additive
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, sinks, *stored = ctx.saved_tensors
        additive, to_distances = ctx.additive, None
        to_sinks = None if sinks is None else torch.zeros_like(sinks)
        to_queries = torch.empty_like(queries)
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        if ctx.needs_input_grad[3]:
            to_distances = torch.zeros_like(additive.bias.by_distance)
        for i, piece in enumerate(_pieces(queries, keys, additive.mask.past_only)):
            sequences, rows, some = piece
            weights = stored[i] if stored else _weights(queries, keys, additive, sinks, piece)
            to_rows = gradient[sequences, :, rows]  # (sequences, heads, rows, head_dim)
            to_values[sequences, :, some] += weights[..., some].mT @ to_rows
            to_scores = to_rows @ values[sequences, :, some].mT  # (sequences, heads, rows, keys)
            if to_sinks is not None:
                to_scores = F.pad(to_scores, (0, 1))
            to_scores = torch._softmax_backward_data(to_scores, weights, -1, weights.dtype)
            if to_sinks is not None:
                to_sinks += to_scores[..., -1].sum((0, 2), dtype=to_sinks.dtype)
                to_scores = to_scores[..., :-1]
            to_queries[sequences, :, rows] = to_scores @ keys[sequences, :, some]
            to_keys[sequences, :, some] += to_scores.mT @ queries[sequences, :, rows]
            if to_distances is not None:
                part, _ = additive.bias.span(rows, some)
                to_matrix = to_scores.sum(0, dtype=to_distances.dtype)  # (heads, rows, keys)
                to_distances[:, part] += diagonal_sums(to_matrix)
        return to_queries, to_keys, to_values, to_distances, to_sinks, None


def _weights(
    queries: Tensor, keys: Tensor, additive: AdditiveMask, sinks: Tensor | None, piece: Piece
) -> Tensor:
    """Return the attention weights of a piece in the dtype of the keys; a sink's weight is last."""
    sequences, rows, some = piece
    scores = queries[sequences, :, rows] @ keys[sequences, :, some].mT
    added = additive.piece(sequences, rows, some)
    if added is not None:
        scores = scores + added  # float32 where the bias is
    return _with_sinks(scores, sinks).softmax(-1).to(keys.dtype)


def _with_sinks(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Return scores (batch, heads, rows, keys) with the sinks, if any, as those of a last key."""
    if sinks is None:
        return scores
    column = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.cat((scores, column), -1)


def _pieces(queries: Tensor, keys: Tensor, past_only: bool) -> list[Piece]:
    """Return the pieces: sequences, rows of them, and the keys that these rows may attend to."""
    batch, heads, time, _ = queries.shape
    source = keys.shape[2]
    scores = PIECE_ON_GPU if queries.is_cuda else PIECE
    height = max(1, min(time, scores // (heads * source)))
    if past_only:
        height = min(height, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    depth = max(1, scores // (heads * height * source))
    # Keys end at multiples of `step`, because a bfloat16 product keeps memory for every shape it
    # has been used with. At 16,384 tokens and four heads, 512 shapes took 2.5 GB, 32 take 0.1.
    step = max(height, source // MOST_WIDTHS)
    pieces = []
    for first in range(0, batch, depth):
        for start in range(0, time, height):
            stop = min(start + height, time)
            some = slice(0, min(source, -(-stop // step) * step) if past_only else source)
            pieces.append((slice(first, first + depth), slice(start, stop), some))
    return pieces


def needs_autograd(problem: AttentionProblem) -> bool:
    """Return whether there is a score function, or a bias that needs gradients by pair."""
    return problem.score is not None or problem.trains_pairs


def in_rows(problem: AttentionProblem) -> Tensor:
    """Return attention with a score function and any bias; autograd follows it."""
    past_only, keys = problem.mask.past_only, problem.mask.keys

    def attended(rows: slice) -> Tensor:
        return _rows(problem, rows, slice(0, rows.stop if past_only else keys))

    return _some_rows_at_a_time(attended, problem.queries, problem.keys, past_only, ROW_SCORES)


def _rows(problem: AttentionProblem, rows: slice, some: slice) -> Tensor:
    """Return the output of some rows, which attend only to the keys in the slice `some`."""
    keys, values, mask = problem.keys[:, :, some], problem.values[:, :, some], problem.mask
    scores = (problem.queries[:, :, rows] * problem.scale) @ keys.mT
    if problem.score is not None:
        indices = index_grid(scores, mask.layout.query_indices[rows])
        scores = problem.score(upcast(scores), *indices)
    if problem.bias is not None:
        scores = scores + problem.bias.of(rows, some)
    if mask.needed:
        scores = scores.masked_fill(~mask.may_attend(rows, some), float("-inf"))
    weights = _with_sinks(scores, problem.sinks).softmax(-1)[..., : values.shape[2]]
    return weights.to(values.dtype) @ values


def is_whole(problem: AttentionProblem) -> bool:
    """Return whether the whole matrix of scores is asked for, as for tracing."""
    return problem.kernel == "whole"


def whole_matrix(problem: AttentionProblem) -> Tensor:
    """Return attention by its definition, in operations that depend on no size."""
    if replaces_attention(problem):
        return _replaced_rows(problem, EVERYTHING)
    return _rows(problem, EVERYTHING, EVERYTHING)


def is_compiled_step(problem: AttentionProblem) -> bool:
    """Return whether `one_row` supports a problem: one query, in code that is being compiled."""
    return problem.compiled_step and takes_anything_else(problem)


def one_row(problem: AttentionProblem) -> Tensor:
    """Return attention of one query, written as sums that a compiler fuses into loops."""
    queries, keys = problem.queries * problem.scale, problem.keys
    scores = (upcast(queries) * upcast(keys)).sum(-1)[:, :, None]
    added = problem.additive.whole()
    values = problem.values
    scores = _with_sinks(scores if added is None else scores + added, problem.sinks)
    weights = scores.softmax(-1)[..., : values.shape[2]]
    return (weights.mT * upcast(values)).sum(2, keepdim=True).to(values.dtype)


def replaces_attention(problem: AttentionProblem) -> bool:
    """Return whether the embedding replaces attention."""
    return problem.position.whole_row is not None


def whole_rows(problem: AttentionProblem) -> Tensor:
    """Return the output of an embedding that replaces attention, some rows at a time."""
    queries, keys = problem.queries, problem.keys
    alone = problem.score is None and problem.bias is None
    large = _count(queries, keys) > LARGEST_SCORES

    def attended(rows: slice) -> Tensor:
        if large and queries.is_cpu and not torch.compiler.is_compiling():
            return_freed_pages()
        return _replaced_rows(problem, rows)

    # Such an embedding may process all keys in every call, so few calls are better. Without other
    # embeddings in the layer, it cuts the rows into smaller tiles itself.
    scores_at_a_time = LARGEST_SCORES if alone else LARGEST_SCORES // 2
    return _some_rows_at_a_time(attended, queries, keys, False, scores_at_a_time)


def _replaced_rows(problem: AttentionProblem, rows: slice) -> Tensor:
    """Return some rows of the output of an embedding that replaces attention."""
    mask, bias, score = problem.mask, problem.bias, problem.score
    added = None if bias is None else bias.of(rows)

    def score_and_bias(value: Tensor, *indices: Tensor) -> Tensor:
        value = value if score is None else score(value, *indices)
        return value if added is None else value + added

    return problem.position.attend(
        problem.queries[:, :, rows],
        problem.keys,
        problem.values,
        problem.tables,
        problem.state,
        mask.may_attend(rows),
        None if score is None and bias is None else score_and_bias,
        mask.layout.query_indices[rows],
    ).to(problem.values.dtype)


def _some_rows_at_a_time(
    attended: Callable[[slice], Tensor],
    queries: Tensor,
    keys: Tensor,
    past_only: bool,
    scores_at_a_time: int,
) -> Tensor:
    """Return the output of all rows, for long sequences with checkpoints.

    Args:
        attended: returns the output of some rows.
        past_only: rows attend to the past only, so the first rows need fewer keys.
        scores_at_a_time: scores in a call of `attended` if there are more than LARGEST_SCORES.
    """
    time = queries.shape[2]
    scores = _count(queries, keys)
    large = scores > LARGEST_SCORES
    height = max(FEWEST_ROWS, time * scores_at_a_time // scores) if large else time
    recompute = large and torch.is_grad_enabled()
    if past_only:
        height = min(height, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    outputs = []
    # A call can reuse the memory that the previous call freed if it needs less. So the last rows,
    # which attend to the most keys, come first, and in a long sequence each call has one row fewer.
    stop = time
    while stop > 0:
        rows = slice(max(0, stop - height), stop)
        stop, height = rows.start, max(FEWEST_ROWS, height - 1) if large else height
        if recompute:
            outputs.append(checkpoint(attended, rows, use_reentrant=False))
        else:
            outputs.append(attended(rows))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs[::-1], dim=2)


def _count(queries: Tensor, keys: Tensor) -> int:
    """Return the number of scores."""
    batch, heads, time, _ = queries.shape
    return batch * heads * time * keys.shape[2]
