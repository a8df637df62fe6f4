"""What embeddings that replace attention share: softmax and values, some scores at a time.

Such an embedding computes a whole row of scores before the softmax, in many steps. Cut by
sequences and rows into parts that stay in the processor's cache, with only the keys that
the rows may see, this is faster, and the backward pass keeps no step: it computes a part
again. Nothing here depends on any one embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .base import Score, wide

Part = tuple[slice, slice, slice]  # sequences, rows, and the keys that these rows may see

# Scores in a part: 2 MiB in float32, for a handful of steps each. A GPU wants more at once.
PART, PART_ON_GPU = 1 << 19, 1 << 26
# Fewer rows make products too small to be fast.
FEWEST_ROWS = 64


def products(queries: Tensor, keys: Tensor, scale: float, part: Part) -> Tensor:
    """Return scaled products of queries and keys (sequences, heads, rows, seen), wide."""
    sequences, rows, seen = part
    return wide(queries[sequences, :, rows] @ keys[sequences, :, seen].mT) * scale


def cut(pairs: Tensor, part: Part) -> Tensor:
    """Return the part of a matrix (batch or 1, heads or 1, query, key)."""
    sequences, rows, seen = part
    return (pairs[sequences] if len(pairs) > 1 else pairs)[:, :, rows, seen]


def worked(scores: Tensor, score: Score | None, slots: Tensor) -> Tensor:
    """Return what the other embeddings of a layer make of all scores of these queries."""
    if score is None:
        return scores
    batch, heads, _, source = scores.shape
    device = scores.device
    return score(
        scores,
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(heads, device=device)[:, None, None],
        slots[:, None],
        torch.arange(source, device=device),
    )


@torch.compiler.disable  # which would unroll the parts
def attend_in_parts(
    scores_of: Callable[[Part], Tensor],
    values: Tensor,
    visible: Tensor,
    slots: Tensor,
    *,
    causal: bool,
    together: bool,
    at_once: int = 0,
) -> Tensor:
    """Return softmax(scores) @ values; autograd follows.

    Args:
        scores_of: returns the scores of a part, wide; what it gives for hidden keys is
            ignored, if it is finite.
        visible: (batch or 1, 1, query, key) bool.
        slots: (query,) int64, where the queries stand on the key axis, in order.
        causal: whether no query sees past its own slot.
        together: take all scores at once, as `worked` needs them where there are others.
        at_once: scores in a part; 0 takes what suits the device.

    Shapes: values (batch, heads, key, head_dim); the result (batch, heads, query, head_dim).
    """

    def attended(part: Part) -> Tensor:
        sequences, _, seen = part
        weights = scores_of(part).masked_fill(~cut(visible, part), float("-inf")).softmax(-1)
        return weights.to(values.dtype) @ values[sequences, :, seen]

    everything: Part = (slice(None), slice(None), slice(None))
    parts = [[everything]] if together else _parts(values, slots, causal, at_once)
    if len(parts) == len(parts[0]) == 1:
        return attended(parts[0][0])
    batches = []
    for row_parts in parts:
        found = []
        for part in row_parts:
            if torch.is_grad_enabled():
                made = checkpoint(attended, part, use_reentrant=False, preserve_rng_state=False)
                found.append(made)
            else:
                found.append(attended(part))
        batches.append(torch.cat(found, 2))
    return torch.cat(batches)


def _parts(values: Tensor, slots: Tensor, causal: bool, at_once: int) -> list[list[Part]]:
    """Return the parts: for some sequences at a time, some rows at a time."""
    batch, heads, source, _ = values.shape
    at_once = at_once or (PART_ON_GPU if values.is_cuda else PART)
    time = len(slots)
    tall = min(time, max(FEWEST_ROWS, at_once // (heads * source)))
    deep = max(1, at_once // (heads * tall * source))
    rows = [slice(start, min(start + tall, time)) for start in range(0, time, tall)]
    ends = [int(slots[part.stop - 1]) + 1 if causal and len(rows) > 1 else source for part in rows]
    return [
        [
            (slice(first, first + deep), part, slice(0, end))
            for part, end in zip(rows, ends, strict=True)
        ]
        for first in range(0, batch, deep)
    ]
