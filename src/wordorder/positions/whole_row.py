"""What embeddings that replace attention share: softmax and values, some scores at a time.

Such an embedding computes a whole row of scores before the softmax, in many steps. Cut by
sequences and rows into parts that stay in the processor's cache, with only the keys that
the rows may see, this is faster, and the backward pass keeps no step: it computes a part
again. Nothing here depends on any one embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .base import Score, upcast
from .layout import index_grid

# Scores in a part: 2 MiB in float32, for a handful of steps each. A GPU wants more at once.
PART, PART_ON_GPU = 1 << 19, 1 << 26
# Fewer rows make products too small to be fast.
FEWEST_ROWS = 64


class Part(NamedTuple):
    """Some sequences, some rows of them, and the keys that these rows may see."""

    sequences: slice
    rows: slice
    seen: slice

    def of(self, pairs: Tensor) -> Tensor:
        """Return the part of a matrix (batch or 1, heads or 1, query, key)."""
        return (pairs[self.sequences] if len(pairs) > 1 else pairs)[:, :, self.rows, self.seen]


def worked(scores: Tensor, score: Score | None, slots: Tensor) -> Tensor:
    """Return what the other embeddings of a layer make of all scores of these queries."""
    if score is None:
        return scores
    return score(scores, *index_grid(scores, slots))


def products(queries: Tensor, keys: Tensor, scale: float, part: Part) -> Tensor:
    """Return scaled products (sequences, heads, rows, seen), wide, of some sequences."""
    return upcast(queries[:, :, part.rows] @ keys[:, :, part.seen].mT) * scale


@torch.compiler.disable  # which would unroll the parts
def attend_in_parts(
    scores_of: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    values: Tensor,
    visible: Tensor,
    slots: Tensor,
    *,
    causal: bool,
    together: bool,
    at_once: int = 0,
    more: Callable[[Part, Tensor], Tensor] | None = None,
) -> Tensor:
    """Return softmax(scores) @ values; autograd follows.

    Args:
        scores_of: called as (part, *inputs), with the inputs of the part's sequences; returns
            its scores (sequences, heads, rows, seen), wide. What it gives for hidden keys is
            ignored, if it is finite.
        inputs: (batch, ...) each, split by sequences once: slices would each carry back a
            gradient of everything.
        visible: (batch or 1, 1, query, key) bool.
        slots: (query,) int64, where the queries stand on the key axis, in order.
        causal: whether no query sees past its own slot.
        together: take all scores at once, as `worked` needs them where there are others.
        at_once: scores in a part; 0 takes what suits the device.
        more: called as (part, weights), with weights as the scores; returns what they give
            beside values, (sequences, heads, rows, head_dim).

    Shapes: values (batch, heads, key, head_dim); the result (batch, heads, query, head_dim).
    """
    batch, heads, source, _ = values.shape
    time = len(slots)
    at_once = at_once or (PART_ON_GPU if values.is_cuda else PART)
    tall = time if together else min(time, max(FEWEST_ROWS, at_once // (heads * source)))
    deep = batch if together else max(1, at_once // (heads * tall * source))
    rows = [slice(start, min(start + tall, time)) for start in range(0, time, tall)]
    ends = [int(slots[row.stop - 1]) + 1 if causal and len(rows) > 1 else source for row in rows]
    again = torch.is_grad_enabled() and (len(rows) > 1 or deep < batch)

    # `seen` is given, not closed over: so a checkpoint around this one does not keep it.
    def attended(part: Part, seen: Tensor, values: Tensor, *own: Tensor) -> Tensor:
        scores = scores_of(part, *own)
        weights = scores.masked_fill(~part.of(seen), float("-inf")).softmax(-1)
        mixed = weights.to(values.dtype) @ values[:, :, part.seen]
        return mixed if more is None else mixed + more(part, weights).to(values.dtype)

    run = attended
    if again:
        run = partial(checkpoint, attended, use_reentrant=False, preserve_rng_state=False)
    splits = zip(*(each.split(deep) for each in (values, *inputs)), strict=True)
    found = []
    for i, own in enumerate(splits):
        sequences = slice(i * deep, (i + 1) * deep)
        parts = [Part(sequences, row, slice(0, end)) for row, end in zip(rows, ends, strict=True)]
        # The last rows, which see most, first: what they leave free in memory holds the others.
        made = [run(part, visible, *own) for part in parts[::-1]]
        found.append(torch.cat(made[::-1], 2))
    return torch.cat(found)
