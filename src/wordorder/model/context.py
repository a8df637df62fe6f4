"""What one layer needs of the forward pass that it is in, and what looks into it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from ..positions import Sum, TokenLayout
from .additive_mask import AdditiveMask
from .attention import attention, mixing_weights
from .problem import AttentionProblem, KernelName


class AttentionRecord(NamedTuple):
    """The attention of one layer in one forward pass, as the model computed it.

    Args:
        layer: from 0.
        raw_queries, raw_keys: (batch, heads, time, head_dim), (batch, key_value_heads, ...), before
            positions were worked in; keys without those of a cache.
        problem: what the kernel was given; its queries and keys have positions worked in.
        attended: (batch, heads, query, head_dim), what the kernel returned.
    """

    layer: int
    raw_queries: Tensor
    raw_keys: Tensor
    problem: AttentionProblem
    attended: Tensor

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return the attention weights, and what the embedding adds beside the values.

        Shapes: (batch, heads, query, key) and (batch, heads, query, head_dim).
        """
        problem = self.problem

        def attend(values: Tensor) -> Tensor:
            return attention(replace(problem, values=values))

        return mixing_weights(attend, problem.values)


class Recorder:
    """Looks into a forward pass: override what is of interest, and pass it to the model.

    The model calls it on its way, so that what is shown is what the model computes.
    """

    def residual(self, layer: int, x: Tensor) -> None:
        """Receive the residual stream (batch, time, width) before a layer, from 0.

        Last comes the stream after all layers, before the final norm.
        """

    def attention(self, record: AttentionRecord) -> None:
        """Receive the attention of a layer; a GRU has none."""


class ResidualStream(Recorder):
    """Keeps the residual stream.

    Attributes:
        states: (batch, time, width) before each layer, and after the last.
    """

    def __init__(self) -> None:
        self.states: list[Tensor] = []

    def residual(self, layer: int, x: Tensor) -> None:
        self.states.append(x)


class LayerContext(NamedTuple):
    """A layer's embedding with its tables and masks, for one forward pass.

    Args:
        layer: from 0.
        position: the layer's embedding.
        tables: what it prepared.
        additive: the mask and the bias by distance.
        kernel: the kernel that was asked for.
        recorder: what looks into the layer, or None.
    """

    layer: int
    position: Sum
    tables: tuple
    additive: AdditiveMask
    kernel: KernelName
    recorder: Recorder | None = None

    @property
    def layout(self) -> TokenLayout:
        """Where queries and keys stand."""
        return self.additive.mask.layout

    def attend(
        self, x: Tensor, queries: Tensor, keys: Tensor, values: Tensor, cache: Any = None
    ) -> Tensor:
        """Return the attended values of new tokens (batch, heads, time, head_dim).

        Args:
            x: the layer's normalised input (batch, time, width).
            queries, keys, values: (batch, heads, time, head_dim), before positions are worked in.
            cache: what the layer keeps of earlier tokens; the new ones are appended.
        """
        position, tables = self.position, self.tables
        raw_queries, raw_keys = queries, keys
        state = position.state(x, self.layout, None if cache is None else cache.state)
        if cache is None:
            keys = position.transform_keys(keys, tables, state)
        elif cache.rotated:
            keys = position.transform_keys(keys, tables, state)
            keys, values, state = cache.append(keys, values, state)
        else:
            keys, values, state = cache.append(keys, values, state)
            keys = position.transform_keys(keys, tables, state)
        queries = position.transform_queries(queries, tables, state)
        problem = AttentionProblem.of(
            queries, keys, values, position, tables, state, self.additive, self.kernel
        )
        attended = attention(problem)
        if self.recorder is not None:
            record = AttentionRecord(self.layer, raw_queries, raw_keys, problem, attended)
            self.recorder.attention(record)
        return attended
