"""Attention as the paper writes it: product, softmax, product; in pieces that stay in cache.

A matrix of scores is written and read some ten times in a training step. Cut by sequences and
rows into pieces of a few megabytes, it never leaves the processor's cache, and where queries
attend to the past only, the keys of a piece end where its rows do. The backward pass is written
out, because autograd would fill and add whole matrices for every piece. Measured on two cores,
bfloat16, 4096 tokens, six heads of 64, forward and backward: context 256, 37 ms in one piece, 23
in pieces (with a float32 bias 70 and 25); context 1024, 166 and 66 (with a bias 337 and 67).

Kernels, which give the same numbers: `in_pieces` for a bias that is fixed or a trained list of
distances; `in_rows`, through which autograd goes, for what an embedding computes from scores;
`whole_rows` for embeddings that replace attention; and `one_row` for a compiled decoding step.
Rows of long texts are computed some at a time, and computed again in the backward pass where
keeping them would fill memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..allocator import return_freed_pages
from ..positions.base import upcast
from ..positions.layout import index_grid
from .additive_mask import AdditiveMask
from .bias import diagonal_sums
from .problem import AttentionProblem

# Scores at once: 4 MiB where they are bfloat16, 8 MiB in float32. A GPU wants more at once.
PIECE, PIECE_ON_GPU = 1 << 21, 1 << 26
# Where queries attend to the past only, a quarter of the rows at a time leaves out three eighths
# of the scores; fewer than 64 rows make products too small to be fast.
ROW_PIECES, FEWEST_ROWS, MOST_WIDTHS = 4, 64, 32
# Scores kept for one layer's backward pass; 2^26 float32 numbers are 256 MiB. Beyond it they
# are computed again.
LARGEST_SCORES = 1 << 26
# Scores of rows that are computed again: a dozen matrices of this size live at once.
PART = 1 << 22

Piece = tuple[slice, slice, slice]  # sequences, rows, keys


def takes_anything_else(problem: AttentionProblem) -> bool:
    """Return whether `in_pieces` supports a problem: all that no earlier kernel needs to take."""
    return problem.score is None and not problem.trains_pairs


# PyTorch's compiler would unroll the pieces: twice as long to compile, and slower.
@torch.compiler.disable
def in_pieces(problem: AttentionProblem) -> Tensor:
    """Return softmax(scale * queries @ keys.T + additive mask) @ values."""
    by_distance = None if problem.bias is None else problem.bias.by_distance
    queries = problem.queries * problem.scale
    attended: Tensor = _Pieces.apply(
        queries, problem.keys, problem.values, by_distance, problem.additive
    )
    return attended


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        by_distance: Tensor | None,
        additive: AdditiveMask,
    ) -> Tensor:
        attended, kept = queries.new_empty(*queries.shape[:3], values.shape[-1]), []
        keep = any(ctx.needs_input_grad) and _count(queries, keys) <= LARGEST_SCORES
        for piece in _pieces(queries, keys, additive.mask.past_only):
            sequences, rows, some = piece
            weights = _weights(queries, keys, additive, piece)
            attended[sequences, :, rows] = weights @ values[sequences, :, some]
            if keep:
                kept.append(weights)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(queries, keys, values, *kept)
            ctx.additive = additive
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        additive, to_distances = ctx.additive, None
        to_queries = torch.empty_like(queries)
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        if ctx.needs_input_grad[3]:
            to_distances = torch.zeros_like(additive.bias.by_distance)
        for i, piece in enumerate(_pieces(queries, keys, additive.mask.past_only)):
            sequences, rows, some = piece
            weights = kept[i] if kept else _weights(queries, keys, additive, piece)
            own = gradient[sequences, :, rows]
            to_values[sequences, :, some] += weights.mT @ own
            to_scores = own @ values[sequences, :, some].mT
            to_scores = torch._softmax_backward_data(to_scores, weights, -1, weights.dtype)
            to_queries[sequences, :, rows] = to_scores @ keys[sequences, :, some]
            to_keys[sequences, :, some] += to_scores.mT @ queries[sequences, :, rows]
            if to_distances is not None:
                part, _ = additive.bias.span(rows, some)
                own = to_scores.sum(0, dtype=to_distances.dtype)
                to_distances[:, part] += diagonal_sums(own)
        return to_queries, to_keys, to_values, to_distances, None


def _weights(queries: Tensor, keys: Tensor, additive: AdditiveMask, piece: Piece) -> Tensor:
    """Return the attention weights of a piece, in the dtype of the keys."""
    sequences, rows, some = piece
    scores = queries[sequences, :, rows] @ keys[sequences, :, some].mT
    added = additive.piece(sequences, rows, some)
    if added is not None:
        scores = scores + added  # float32 where the bias is
    return scores.softmax(-1).to(keys.dtype)


def _pieces(queries: Tensor, keys: Tensor, past_only: bool) -> list[Piece]:
    """Return the pieces: sequences, rows of them, and the keys that these rows may attend to."""
    batch, heads, time, _ = queries.shape
    source = keys.shape[2]
    scores = PIECE_ON_GPU if queries.is_cuda else PIECE
    tall = max(1, min(time, scores // (heads * source)))
    if past_only:
        tall = min(tall, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    deep = max(1, scores // (heads * tall * source))
    # Keys end at steps: a product in bfloat16 keeps memory for every shape it has met. At 16,384
    # tokens and four heads 512 shapes held 2.5 GB, 32 hold 0.1.
    step = max(tall, source // MOST_WIDTHS)
    pieces = []
    for first in range(0, batch, deep):
        for start in range(0, time, tall):
            stop = min(start + tall, time)
            some = slice(0, min(source, -(-stop // step) * step) if past_only else source)
            pieces.append((slice(first, first + deep), slice(start, stop), some))
    return pieces


def needs_autograd(problem: AttentionProblem) -> bool:
    """Return whether scores are changed by a function, or by a bias with gradients for pairs."""
    return problem.score is not None or problem.trains_pairs


def in_rows(problem: AttentionProblem) -> Tensor:
    """Return attention after what the score function does to the scores; autograd follows it."""
    queries, keys, values = problem.queries * problem.scale, problem.keys, problem.values
    mask, bias, score = problem.mask, problem.bias, problem.score

    def attended(rows: slice) -> Tensor:
        some = slice(0, rows.stop if mask.past_only else mask.keys)
        scores = queries[:, :, rows] @ keys[:, :, some].mT
        if score is not None:
            scores = score(upcast(scores), *index_grid(scores, mask.layout.query_indices[rows]))
        if bias is not None:
            scores = scores + bias.of(rows, some)
        if mask.needed:
            scores = scores.masked_fill(~mask.may_attend(rows, some), float("-inf"))
        return scores.softmax(-1).to(values.dtype) @ values[:, :, some]

    return _some_rows_at_a_time(attended, queries, keys, mask.past_only, PART)


def is_compiled_step(problem: AttentionProblem) -> bool:
    """Return whether `one_row` supports a problem: one query, in code that is being compiled."""
    return problem.compiled_step and takes_anything_else(problem)


def one_row(problem: AttentionProblem) -> Tensor:
    """Return attention of one query, written as sums, which a compiler puts into its own loops."""
    queries, keys = problem.queries * problem.scale, problem.keys
    scores = (upcast(queries) * upcast(keys)).sum(-1)[:, :, None]
    added = problem.additive.whole()
    weights = (scores if added is None else scores + added).softmax(-1)
    values = problem.values
    return (weights.mT * upcast(values)).sum(2, keepdim=True).to(values.dtype)


def replaces_attention(problem: AttentionProblem) -> bool:
    """Return whether the embedding computes whole rows itself."""
    return problem.position.whole_row is not None


def whole_rows(problem: AttentionProblem) -> Tensor:
    """Return what an embedding computes in place of attention, some rows at a time."""
    queries, keys, values = problem.queries, problem.keys, problem.values
    mask, bias, score = problem.mask, problem.bias, problem.score
    alone = score is None and bias is None
    large = _count(queries, keys) > LARGEST_SCORES

    def attended(rows: slice) -> Tensor:
        if large and queries.is_cpu and not torch.compiler.is_compiling():
            return_freed_pages()
        added = None if bias is None else bias.of(rows)

        def total(value: Tensor, *where: Tensor) -> Tensor:
            value = value if score is None else score(value, *where)
            return value if added is None else value + added

        return problem.position.attend(
            queries[:, :, rows],
            keys,
            values,
            problem.tables,
            problem.state,
            mask.may_attend(rows),
            None if alone else total,
            mask.layout.query_indices[rows],
        ).to(values.dtype)

    # Such an embedding prepares all keys every time; where nothing else is in the layer, it cuts
    # the rows once more itself.
    part = LARGEST_SCORES if alone else LARGEST_SCORES // 2
    return _some_rows_at_a_time(attended, queries, keys, False, part)


def _some_rows_at_a_time(
    attended: Callable[[slice], Tensor], queries: Tensor, keys: Tensor, past_only: bool, part: int
) -> Tensor:
    """Return all rows; those of a long text are computed again in the backward pass.

    Args:
        attended: returns the attended values of some rows.
        past_only: rows attend to the past only, so that fewer at a time means fewer keys.
        part: scores computed at once where the text is long.
    """
    time = queries.shape[2]
    scores = _count(queries, keys)
    large = scores > LARGEST_SCORES
    at_once = max(FEWEST_ROWS, time * part // scores) if large else time
    again = large and torch.is_grad_enabled()
    if past_only:
        at_once = min(at_once, max(FEWEST_ROWS, -(-time // ROW_PIECES)))
    parts = []
    # The memory that a part frees holds the next one if that needs less: the last rows, which
    # attend to most, come first, and each part of a long text is a row shorter.
    stop = time
    while stop > 0:
        rows = slice(max(0, stop - at_once), stop)
        stop, at_once = rows.start, max(FEWEST_ROWS, at_once - 1) if large else at_once
        parts.append(checkpoint(attended, rows, use_reentrant=False) if again else attended(rows))
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=2)


def _count(queries: Tensor, keys: Tensor) -> int:
    """Return how many scores there are."""
    batch, heads, time, _ = queries.shape
    return batch * heads * time * keys.shape[2]
