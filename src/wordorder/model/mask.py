"""Which keys each query may attend to, for all layers that share a window."""

from __future__ import annotations

from torch import Tensor

from ..positions import TokenLayout

EVERYTHING = slice(None)


class AttentionMask:
    """The mask of the layers that share a window, in one forward pass.

    Args:
        layout: indices and documents of queries and keys.
        window: the layers' sliding window, or None.

    Attributes:
        queries, keys: numbers of queries and keys.
        needed: whether a mask is needed, decided without reading tensor values.
        past_only: query i is key i, and attends to keys 0 to i only.
        causal_only: the mask is the square lower triangle: causal, no cached keys, no documents,
            no narrower window.
    """

    def __init__(self, layout: TokenLayout, window: int | None) -> None:
        self.layout, self.window = layout, window
        self.queries, self.keys = layout.query_indices.shape[0], layout.key_positions.shape[1]
        self.needed = layout.needs_mask(window)
        self.past_only = layout.causal and layout.self_attention
        single = self.past_only and layout.key_documents is None
        self.causal_only = single and (window is None or window >= self.keys)

    def keys_of(self, rows: slice) -> slice:
        """Return slice(0, n) that covers every key any of these queries may attend to."""
        if not (self.layout.causal and self.layout.trailing):
            return EVERYTHING
        return slice(0, self.keys - self.queries + rows.indices(self.queries)[1])

    def may_attend(
        self,
        rows: slice | None = None,
        keys: slice | None = None,
        sequences: slice | None = None,
    ) -> Tensor:
        """Return which keys these queries may attend to, (sequences or 1, 1, rows, keys) bool."""
        layout = self.layout if sequences is None else self.layout.of_sequences(sequences)
        return layout.may_attend(self.window, rows, keys)
