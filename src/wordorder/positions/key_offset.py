"""Partial key offset: a part of each key comes from the token before.

To copy what followed an earlier occurrence of a word, attention must find the token after that
word. With ordinary keys this takes two layers, one of which moves a word's identity to the next
token. If half of a key comes from the token before, one layer suffices: a query that looks for a
word in this half finds the token after it.

The other half stays the token's own, and is the one that rotary rotates:
`rotary:fraction=0.5+key-offset`. The token before is found by index in the same document, so
positions have no effect. Raw keys are cached and offset when they are read, so that the first
token of a piece finds the last one of the piece before.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Position, PositionError, State
from .layout import TokenLayout
from .shape import ModelShape


class KeyOffset(Position):
    """Replaces the last dimensions of each key by those of the token before.

    The first token of a document keeps its own. Padding is skipped.

    Args:
        fraction: fraction of the head that comes from the token before, above 0 and at most 1,
            rounded down to whole dimensions.

    Raises:
        PositionError: a fraction that is out of range or rounds to no dimension; latent
            attention, which gives the embedding only a part of each key.

    Source: modded-nanogpt, record 49 of December 2025 (classiclarryd): half of the head, in
    the dimensions that rotary leaves unrotated, in the layers with long windows.
    Not here: the same offset of values; a learned mixture of both tokens.
    """

    summary = "A part of each key comes from the token before."
    source = "modded-nanogpt, record 49 (classiclarryd 2025); no paper"
    door = "query-key"
    formula = (
        "k′_j = (k_j[: d − m], k_{j−1}[d − m :]),  m = ⌊fraction · d⌋\n"
        "j − 1 is the token before in the same document; the first one keeps its own"
    )
    traps = (
        "Dimensions that rotary rotates should stay the token's own: give rotary the fraction that "
        "is left, rotary:fraction=0.5+key-offset.",
        "In a packed row the first key of a document must not come from the document before, as it "
        "does where keys are shifted by one index.",
        "Decoding needs the raw key of the token before: a cache of transformed keys lacks part "
        "of it.",
        "A sliding window sees one token beyond its end, through the first key in it.",
    )
    order_leak = "a part of each key comes from the token before"

    def __init__(self, shape: ModelShape, /, *, fraction: float = 0.5) -> None:
        super().__init__(shape)
        if shape.score_dim != shape.head_dim:
            raise PositionError(
                "key-offset changes whole keys, but latent attention gives it only a part: use "
                "--attention standard",
                code="positions.key-offset-latent",
            )
        self.dimensions = int(shape.head_dim * fraction) if 0 < fraction <= 1 else 0
        if not self.dimensions:
            raise PositionError(
                f"key-offset: fraction={fraction} must be above 0 and at most 1, and at least one "
                f"of {shape.head_dim} dimensions",
                code="positions.key-offset-fraction",
            )
        self.fraction = fraction

    def prepare(self, layout: TokenLayout) -> Tensor:
        return tokens_before(layout)

    def transform_keys(self, keys: Tensor, tables: Tensor, state: State) -> Tensor:
        own, moved = keys.split((keys.shape[-1] - self.dimensions, self.dimensions), -1)
        index = tables[:, None, :, None].expand(*moved.shape[:2], -1, -1)
        index = index.expand(-1, -1, -1, self.dimensions)
        return torch.cat((own, moved.gather(2, index)), -1)


def tokens_before(layout: TokenLayout) -> Tensor:
    """Return the index of the token before each key in its document, (batch or 1, key) int64.

    A first token has its own index, and so has padding.
    """
    documents = layout.key_documents
    every = torch.arange(layout.key_positions.shape[1], device=layout.key_positions.device)
    if documents is None:
        return (every - 1).clamp(min=0)[None]
    if torch.compiler.is_exporting():  # ONNX has no stable sort
        earlier = (documents[:, :, None] == documents[:, None]) & (every < every[:, None])
        last = torch.where(earlier, every, -1).amax(-1)
        return torch.where((last < 0) | (documents < 0), every, last)
    # Sorted by document, with the order of tokens kept, the token before is the neighbour.
    ordered, order = documents.sort(dim=1, stable=True)
    follows = (ordered == ordered.roll(1, 1)) & (every > 0) & (ordered >= 0)
    return torch.zeros_like(order).scatter(1, order, torch.where(follows, order.roll(1, 1), order))
