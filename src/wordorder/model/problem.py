"""The input of an attention kernel."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..positions import Sum
from ..positions.base import Score
from .additive_mask import AdditiveMask
from .bias import AttentionBias
from .mask import AttentionMask

KernelName = Literal["auto", "plain", "fused", "flex", "whole"]


class AttentionProblem(NamedTuple):
    """Queries, keys and values of one layer, with its mask, bias and score function.

    Args:
        queries: (batch, heads, query, head_dim), transformed by the embedding, not yet scaled. The
            embedding may have widened queries and keys.
        keys, values: (batch, heads, key, head_dim); the head_dim of values may differ.
        scale: factor applied to q.k.
        score: the elementwise function of scores, or None.
        additive: the mask and the bias by distance.
        position, tables, state: the layer's embedding, what its `prepare` returned, and its cached
            state; kernels need them when it overrides `attend`.
        kernel: the requested kernel.
        sinks: (heads,) float32, an extra logit in each head's softmax that has no value vector, so
            that the weights of the keys sum to less than 1; None: no sinks.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    score: Score | None
    additive: AdditiveMask
    position: Sum
    tables: tuple[Any, ...]
    state: tuple[Any, ...]
    kernel: KernelName = "auto"
    sinks: Tensor | None = None

    @classmethod
    def of(
        cls,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Sum,
        tables: tuple[Any, ...],
        state: tuple[Any, ...],
        additive: AdditiveMask,
        kernel: KernelName = "auto",
        softcap: float = 0.0,
        sinks: Tensor | None = None,
    ) -> AttentionProblem:
        """Return the problem of a layer, for queries and keys transformed by its embedding.

        Args:
            softcap: the cap of scores, before a bias is added; 0: none. Sinks are not capped.

        Shapes: keys and values may be (batch, key_value_heads, key, head_dim); they are repeated
        for the query heads that share them.
        """
        heads = queries.shape[1]
        keys, values = _for_each_head(keys, heads), _for_each_head(values, heads)
        return cls(
            queries,
            keys,
            values,
            position.softmax_scale or position.shape.score_dim**-0.5,
            _capped(position.score(queries, keys, tables, state), softcap),
            additive,
            position,
            tables,
            state,
            kernel,
            sinks,
        )

    @property
    def mask(self) -> AttentionMask:
        """The mask."""
        return self.additive.mask

    @property
    def bias(self) -> AttentionBias | None:
        """The bias by distance, or None."""
        return self.additive.bias

    @property
    def trains_pairs(self) -> bool:
        """Whether a trainable bias must be computed for each query-key pair.

        This is so if positions are not consecutive; autograd then needs the full matrix.
        """
        return self.bias is not None and self.bias.trained and self.bias.by_distance is None

    @property
    def compiled_step(self) -> bool:
        """Whether this is a single query in code that is being compiled: a decoding step."""
        return self.mask.queries == 1 and torch.compiler.is_compiling()


def _capped(score: Score | None, cap: float) -> Score | None:
    """Return a function that computes cap * tanh(score / cap).

    Source: Gemma Team 2024 (Gemma 2), arXiv 2408.00118, section 2.
    """
    if not cap:
        return score

    def capped(value: Tensor, *where: Tensor) -> Tensor:
        value = value if score is None else score(value, *where)
        return cap * torch.tanh(value / cap)

    return capped


def _for_each_head(x: Tensor, heads: int) -> Tensor:
    """Return keys or values repeated for the query heads that share them."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)
