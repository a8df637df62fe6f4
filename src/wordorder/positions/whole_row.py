"""Attention for embeddings that replace it: scores, softmax and values, tile by tile.

Such an embedding computes whole rows of scores before the softmax, in several steps. The
scores are cut into tiles of some sequences and rows, which stay in the processor's cache; with
a causal mask the keys of a tile end at its last row. The backward pass stores none of the
steps: it computes each tile again.

           keys
    rows   1 1 . . . .      three tiles of a causal sequence: `.` is never computed
           1 1 . . . .
           2 2 2 2 . .
           2 2 2 2 . .
           3 3 3 3 3 3
           3 3 3 3 3 3

Nothing here depends on a particular embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..eager import run_eagerly
from .base import Score, upcast
from .layout import index_grid

# Scores in a tile: 2 MiB in float32, for a handful of steps each. A GPU needs larger tiles to
# be busy.
TILE_SCORES, TILE_SCORES_ON_GPU = 1 << 19, 1 << 26
# With fewer rows, matrix products are too small to be fast.
FEWEST_ROWS = 64


class Tile(NamedTuple):
    """A part of a matrix of scores: slices of the batch, query and key axes."""

    sequences: slice
    rows: slice
    keys: slice

    def of(self, matrix: Tensor) -> Tensor:
        """Return this tile of a matrix (batch or 1, heads or 1, query, key)."""
        return (matrix[self.sequences] if matrix.shape[0] > 1 else matrix)[
            :, :, self.rows, self.keys
        ]


def apply_score(scores: Tensor, score: Score | None, query_indices: Tensor) -> Tensor:
    """Return the scores after the score function of the layer's other embeddings, if any.

    Shapes: scores (batch, heads, query, key), not a tile of them.
    """
    if score is None:
        return scores
    return score(scores, *index_grid(scores, query_indices))


def scaled_products(queries: Tensor, keys: Tensor, scale: float, tile: Tile) -> Tensor:
    """Return products of queries and keys, (sequences, heads, rows, keys) float32 or float64.

    Shapes: queries (sequences, heads, query, head_dim), keys (sequences, heads, key, head_dim).
    """
    return upcast(queries[:, :, tile.rows] @ keys[:, :, tile.keys].mT) * scale


def softmax_of_allowed(scores: Tensor, allowed: Tensor) -> Tensor:
    """Return the softmax over the keys that the mask allows."""
    return scores.masked_fill(~allowed, float("-inf")).softmax(-1)


@run_eagerly  # the compiler would unroll the loop over tiles
def attend_in_tiles(
    scores_of: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    values: Tensor,
    may_attend: Tensor,
    query_indices: Tensor,
    *,
    causal: bool,
    one_tile: bool,
    tile_scores: int = 0,
    extra_output: Callable[[Tile, Tensor], Tensor] | None = None,
    normalise: Callable[[Tensor, Tensor], Tensor] = softmax_of_allowed,
) -> Tensor:
    """Return weights @ values, weights by default softmax(scores); autograd follows it.

    Args:
        scores_of: called as (tile, *inputs), with the inputs of the tile's sequences; returns
            its scores (sequences, heads, rows, keys) in float32 or float64. Scores of masked
            keys are ignored, but must be finite.
        inputs: tensors (batch, ...), which are split by sequences once. Slicing them in each
            tile would give each slice a gradient of the whole tensor.
        may_attend: (batch or 1, 1, query, key) bool, the mask.
        query_indices: (query,) int64, indices of the queries into the key axis, ascending.
        causal: whether no query attends to a key after its own index.
        one_tile: compute all scores in one tile, as `apply_score` needs them if the layer has
            other embeddings.
        tile_scores: number of scores in a tile; 0: a number that suits the device.
        extra_output: called as (tile, weights), with weights as the scores; returns what is
            added to the output besides values, (sequences, heads, rows, head_dim).
        normalise: called as (scores, mask) of a tile, returns its weights.

    Shapes: values (batch, heads, key, head_dim); the result (batch, heads, query, head_dim).
    """

    # The mask is an argument: an outer checkpoint would keep it alive if it were closed over.
    def attend(tile: Tile, may_attend: Tensor, values: Tensor, *inputs: Tensor) -> Tensor:
        scores = scores_of(tile, *inputs)
        weights = normalise(scores, tile.of(may_attend))
        output = weights.to(values.dtype) @ values[:, :, tile.keys]
        return output if extra_output is None else output + extra_output(tile, weights).to(values)

    if torch.compiler.is_exporting():  # a graph for any size, which has no loop over tiles
        return attend(Tile(*[slice(None)] * 3), may_attend, values, *inputs)
    batch, heads, source, _ = values.shape
    time = len(query_indices)
    tile_scores = tile_scores or (TILE_SCORES_ON_GPU if values.is_cuda else TILE_SCORES)
    height = time if one_tile else min(time, max(FEWEST_ROWS, tile_scores // (heads * source)))
    depth = batch if one_tile else max(1, tile_scores // (heads * height * source))
    pieces = _rows_and_keys(query_indices, height, source, causal)
    recompute = torch.is_grad_enabled() and (len(pieces) > 1 or depth < batch)
    again = partial(checkpoint, attend, use_reentrant=False, preserve_rng_state=False)
    run, outputs = again if recompute else attend, []
    splits = zip(*(tensor.split(depth) for tensor in (values, *inputs)), strict=True)
    for i, split in enumerate(splits):
        sequences = slice(i * depth, (i + 1) * depth)
        # The last rows, which have the most keys, come first: the memory that they free holds
        # every other tile.
        of_rows = [run(Tile(sequences, *piece), may_attend, *split) for piece in pieces[::-1]]
        outputs.append(torch.cat(of_rows[::-1], 2))
    return torch.cat(outputs)


def _rows_and_keys(
    query_indices: Tensor, height: int, source: int, causal: bool
) -> list[tuple[slice, slice]]:
    """Return slices of `height` rows, and of the keys that they may attend to."""
    time = len(query_indices)
    rows = [slice(start, min(start + height, time)) for start in range(0, time, height)]
    if not causal or len(rows) == 1:
        return [(row, slice(0, source)) for row in rows]
    return [(row, slice(0, int(query_indices[row.stop - 1]) + 1)) for row in rows]
