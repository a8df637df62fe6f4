"""The context of a layer in a forward pass, and recorders that observe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..positions import Composed, Sum, TokenLayout
from .additive_mask import AdditiveMask
from .attention import attention, mixing_weights
from .problem import AttentionProblem, KernelName


class AttentionRecord(NamedTuple):
    """The attention of one layer in one forward pass, as the model computed it.

    Args:
        layer: index from 0.
        raw_queries, raw_keys: (batch, heads, time, head_dim) and (batch, key_value_heads, time,
            head_dim), before the embedding transforms them; without cached keys.
        problem: the kernel's input; its queries and keys are transformed.
        attended: (batch, heads, query, head_dim), the kernel's output.
        softcap: the cap of attention scores, which is part of `problem.score`; 0: none.
    """

    layer: int
    raw_queries: Tensor
    raw_keys: Tensor
    problem: AttentionProblem
    attended: Tensor
    softcap: float

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return the attention weights, and the value-independent part of the output.

        That part is zero, unless an embedding such as shaw-values adds to the output.

        Shapes: (batch, heads, query, key) and (batch, heads, query, head_dim).
        """
        problem = self.problem

        def attend(values: Tensor) -> Tensor:
            return attention(problem._replace(values=values))

        return mixing_weights(attend, problem.values)


class Recorder:
    """Base of observers of a forward pass: override a method, and pass the recorder to the model.

    The model calls these methods during its forward pass, so they get what it really computes.
    """

    def residual(self, layer: int, x: Tensor) -> None:
        """Receive the residual stream (batch, time, width) before a layer.

        The last call, with the number of layers, has the stream after all layers, before the
        final norm.
        """

    def attention(self, record: AttentionRecord) -> None:
        """Receive the attention of a layer; a GRU never calls this."""


class ResidualStream(Recorder):
    """Records the residual stream.

    Attributes:
        states: (batch, time, width) before each layer, and after the last.
    """

    def __init__(self) -> None:
        self.states: list[Tensor] = []

    def residual(self, layer: int, x: Tensor) -> None:
        self.states.append(x)


class BalanceLosses:
    """The auxiliary losses of the experts in one forward pass.

    Attributes:
        losses: one of each mixture of experts.
        is_complete: whether the pass is over; a backward pass may then compute layers again.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.is_complete = False


class LayerContext(NamedTuple):
    """A layer's embedding with its tables and masks, for one forward pass.

    Args:
        layer: index from 0.
        position: the layer's embedding.
        tables: the result of its `prepare`.
        additive: the mask and the bias by distance.
        kernel: the requested kernel.
        recorder: an observer, or None.
        balance: in training, collects the auxiliary losses of experts.
        softcap: the cap of attention scores; 0: none.
    """

    layer: int
    position: Sum
    tables: tuple[Any, ...]
    additive: AdditiveMask
    kernel: KernelName
    recorder: Recorder | None = None
    balance: BalanceLosses | None = None
    softcap: float = 0.0

    @property
    def layout(self) -> TokenLayout:
        """Positions, indices and documents of queries and keys."""
        return self.additive.mask.layout

    @property
    def takes_latents(self) -> bool:
        """Whether keys and values may be replaced by latents with the same scores.

        A score function or a recorder may need the queries and keys of each head.
        """
        return self.recorder is None and not self.position.scored

    def attend(
        self,
        x: Tensor,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        cache: Any = None,
        whole: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Return the attended values of new tokens (batch, heads, time, head_dim).

        Args:
            x: the layer's normalised input (batch, time, width).
            queries, keys, values: (batch, heads, time, head_dim), before the embedding transforms
                them; keys and values may have key_value_heads heads.
            cache: the layer's cache, to which the new tokens are appended, or None.
            whole: returns the queries, keys and values of attention from transformed queries,
                transformed keys and values, cached ones included; None: they are the same.
            sinks: (heads,), a further score in each head's softmax, without a value; None: none.
        """
        position, tables = self.position, self.tables
        raw_queries, raw_keys, raw_values = queries, keys, values
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
        if whole is not None:
            if self.recorder is not None:
                raw_queries, raw_keys, _ = whole(raw_queries, raw_keys, raw_values)
            queries, keys, values = whole(queries, keys, values)
        problem = AttentionProblem.of(
            queries,
            keys,
            values,
            position,
            tables,
            state,
            self.additive,
            self.kernel,
            self.softcap,
            sinks,
        )
        attended = attention(problem)
        if self.recorder is not None:
            raw = raw_queries, raw_keys
            record = AttentionRecord(self.layer, *raw, problem, attended, self.softcap)
            self.recorder.attention(record)
        return attended


def layer_contexts(
    position: Composed,
    layout: TokenLayout,
    windows: Sequence[int | None],
    dtype: torch.dtype,
    *,
    kernel: KernelName = "auto",
    rotated_keys: bool = False,
    recorder: Recorder | None = None,
    balance: BalanceLosses | None = None,
    softcap: float = 0.0,
) -> list[LayerContext]:
    """Return each layer's context; layers with equal embedding and window share a mask.

    Args:
        position: the model's embeddings.
        windows: the sliding window of each layer, or None.
        dtype: of the activations.
        rotated_keys: the cache keeps rotated keys.
        balance: in training, collects the auxiliary losses of experts.
        softcap: the cap of attention scores; 0: none.
    """
    tables = position.prepare(layout, rotated_keys)
    shared: dict[tuple[tuple[int, ...], int | None], AdditiveMask] = {}
    contexts = []
    for i, (layer, window) in enumerate(zip(position.sums, windows, strict=True)):
        key = (position.indices[i], window)
        if key not in shared:
            shared[key] = AdditiveMask.of(layer, layout, window, dtype)
        contexts.append(
            LayerContext(i, layer, tables[i], shared[key], kernel, recorder, balance, softcap)
        )
    return contexts
