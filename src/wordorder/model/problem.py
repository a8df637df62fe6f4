"""Everything that a kernel needs to compute the attention of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..positions import Sum
from ..positions.base import Score
from .additive_mask import AdditiveMask
from .bias import AttentionBias
from .mask import AttentionMask

KernelName = Literal["auto", "plain", "fused", "flex"]


@dataclass(frozen=True)
class AttentionProblem:
    """Queries, keys and values of one layer, and what its embedding does to the scores.

    Args:
        queries: (batch, heads, query, head_dim), positions worked in, not yet scaled. An embedding
            may have made queries and keys wider.
        keys, values: (batch, heads, key, head_dim).
        scale: what products of queries and keys are multiplied by.
        score: the elementwise function of the scores, or None.
        additive: the mask and the bias by distance.
        position, tables, state: the layer's embedding, for what replaces whole rows.
        kernel: the kernel that was asked for.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    score: Score | None
    additive: AdditiveMask
    position: Sum
    tables: tuple
    state: tuple
    kernel: KernelName = "auto"

    @classmethod
    def of(
        cls,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Sum,
        tables: tuple,
        state: tuple,
        additive: AdditiveMask,
        kernel: KernelName = "auto",
    ) -> AttentionProblem:
        """Return the problem of a layer whose queries and keys have positions worked in.

        Shapes: keys and values may be (batch, key_value_heads, key, head_dim): groups of query
        heads share them.
        """
        heads = queries.shape[1]
        keys, values = _for_each_head(keys, heads), _for_each_head(values, heads)
        return cls(
            queries,
            keys,
            values,
            position.softmax_scale or position.shape.head_dim**-0.5,
            position.score(queries, keys, tables, state),
            additive,
            position,
            tables,
            state,
            kernel,
        )

    @property
    def mask(self) -> AttentionMask:
        """Which keys each query may attend to."""
        return self.additive.mask

    @property
    def bias(self) -> AttentionBias | None:
        """The bias by distance."""
        return self.additive.bias

    @property
    def trains_pairs(self) -> bool:
        """Whether a bias needs gradients that no list of distances can take."""
        return self.bias is not None and self.bias.trained and self.bias.by_distance is None

    @property
    def compiled_step(self) -> bool:
        """Whether this is one query of a decoding step that is being compiled."""
        return self.mask.queries == 1 and torch.compiler.is_compiling()


def _for_each_head(x: Tensor, heads: int) -> Tensor:
    """Return keys or values repeated for the query heads that share them."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)
