"""The parts of a block: norms, linear layers, standard attention, dense feed-forward.

Weights are float32 in training, and each use casts them to the dtype of the activations: the
same arithmetic as autocast, without its overhead per operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..batch import WHOLE
from .config import ModelConfig
from .context import LayerContext

MOST_PARTS = 16  # parts into which a weight's rows are split over threads


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias in the dtype of x.

    For a single row, as in decoding, the speed is limited by reading the weights, which PyTorch
    does in one thread for float32. Here each thread reads some parts of the rows (19 GB/s instead
    of 10 on the two cores measured); the parts are the same for any number of threads, and so is
    the result. In compiled code a sum of products is faster still.
    """
    if x.is_cpu and not torch.is_grad_enabled() and x.numel() == weight.shape[1]:
        if torch.compiler.is_compiling():
            x = (weight.to(x.dtype) * x.flatten()).sum(-1).view(*x.shape[:-1], -1)
            return x if bias is None else x + bias.to(x.dtype)
        if x.dtype is weight.dtype is torch.float32:
            parts = math.gcd(len(weight), MOST_PARTS)
            rows = weight.view(parts, -1, weight.shape[1])
            x = torch.bmm(x.view(1, 1, -1).expand(parts, -1, -1), rows.mT).view(*x.shape[:-1], -1)
            return x if bias is None else x + bias
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class JoinedLinear(Linear):
    """Several linear layers with the same input as one product, faster in a small model.

    Args:
        inputs: width of the input.
        outputs: width of each layer's output, by the layer's name.

    Attributes:
        parts: rows of the weight and of the bias that belong to each layer.
    """

    def __init__(self, inputs: int, outputs: dict[str, int], *, bias: bool) -> None:
        super().__init__(inputs, sum(outputs.values()), bias=bias)
        self.widths = tuple(outputs.values())
        ends = list(accumulate(self.widths, initial=0))
        self.parts = {n: slice(*rows) for n, rows in zip(outputs, pairwise(ends), strict=True)}


class RMSNorm(nn.RMSNorm):
    """RMSNorm in the dtype of its weights, returned in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is self.weight.dtype and not torch.is_grad_enabled():
            return super().forward(x)
        normed: Tensor = _RMSNorm.apply(x, self.weight, self.eps)
        return normed


class _RMSNorm(torch.autograd.Function):
    """RMSNorm with an explicit backward pass; autograd's reads memory twice as often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.to(weight.dtype)
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # stores no squares
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        unit = wide * scale
        ctx.save_for_backward(unit, scale, weight)
        return (unit * weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        wide = gradient.to(weight.dtype)
        products = (wide * unit).flatten(0, -2)
        along = (products @ (weight / len(weight))).view(scale.shape)
        to_x = (wide * weight).addcmul_(unit, along, value=-1).mul_(scale)
        return to_x.to(gradient.dtype), products.sum(0), None


class LayerNorm(nn.LayerNorm):
    """LayerNorm in the dtype of its weights, returned in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class Dropout(nn.Module):
    """Sets a share of its input to 0 in training, and scales the rest to keep the mean.

    On a CPU random numbers are generated one after another, so each 64-bit number is used for
    four elements, with a share exact to 1/65536. This takes a quarter of the time of PyTorch's
    dropout.

    Where several processes share a batch, each draws the numbers of the whole batch and uses those
    of its rows, so that the result does not depend on the number of processes: PyTorch's generators
    cannot skip numbers.

    Source: Srivastava et al. 2014, section 4; with scaling in training instead of evaluation.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.rows = WHOLE

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        rank, count = self.rows
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            if count == 1:
                return F.dropout(x, self.share)
            shape = (count * len(x), *x.shape[1:])  # of the whole batch
            return x * F.dropout(x.new_ones(shape), self.share)[rank::count]
        is_kept = self._bits(x.shape) >= min(round(self.share * 65536), 65535) - 32768
        return x * (is_kept.to(x.dtype) * (1 / (1 - self.share)))

    def _bits(self, shape: torch.Size) -> Tensor:
        """Return random numbers from -32768 to 32767 for the rows of this process."""
        rank, count = self.rows
        size = math.prod(shape[1:])  # of a row
        if count == 1 or size % 4:
            whole = (count * shape[0], *shape[1:])
            size = math.prod(whole)
            numbers = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(1 << 63), None)
            return numbers.view(torch.int16)[:size].view(whole)[rank::count]
        # Row by row, the numbers of other rows need no memory, and a fifth of the time.
        own = torch.empty(shape[0], size // 4, dtype=torch.int64)
        skipped = torch.empty(size // 4, dtype=torch.int64)
        for row in range(count * shape[0]):
            (own[row // count] if row % count == rank else skipped).random_(-(1 << 63), None)
        return own.view(torch.int16).view(shape)

    def extra_repr(self) -> str:
        return f"share={self.share}"


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """Return the configured norm of a width."""
    if config.norm == "rms":
        return RMSNorm(width, eps=config.norm_epsilon)
    return LayerNorm(width, eps=config.norm_epsilon, bias=config.biases)


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _squared_relu(x: Tensor) -> Tensor:
    return F.relu(x).square()


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
    "relu2": _squared_relu,
}
# gpt-oss' constants: the steepness of the gate's sigmoid, and the limit of both linear layers.
CLAMPED_STEEPNESS, CLAMPED_LIMIT = 1.702, 7.0


def _clamped_gate(gate: Tensor) -> Tensor:
    gate = gate.clamp(max=CLAMPED_LIMIT)
    return gate * torch.sigmoid(CLAMPED_STEEPNESS * gate)


def _clamped_up(up: Tensor) -> Tensor:
    return up.clamp(-CLAMPED_LIMIT, CLAMPED_LIMIT) + 1


# Activations of the gate.
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": F.silu,
    "swiglu_clamped": _clamped_gate,
    "geglu": F.gelu,
    "geglu_tanh": _gelu_tanh,
}

# Functions of the up projection, which the gate multiplies; without an entry, the identity.
UPS: dict[str, Callable[[Tensor], Tensor]] = {"swiglu_clamped": _clamped_up}


def feed_forward_parts(activation: str, hidden: int) -> dict[str, int]:
    """Return the widths of the linear layers before the activation, by name."""
    return {"gate": hidden, "up": hidden} if activation in GATES else {"up": hidden}


def activated(x: Tensor, activation: str) -> Tensor:
    """Return the hidden layer (..., hidden) from the outputs of `feed_forward_parts`."""
    if activation in GATES:
        gate, up = x.chunk(2, dim=-1)
        up = UPS[activation](up) if activation in UPS else up
        return GATES[activation](gate) * up
    return FUNCTIONS[activation](x)


class FeedForward(nn.Module):
    """The feed-forward branch: gated (swiglu, geglu), gelu, relu, or squared relu.

    Source of swiglu_clamped: OpenAI 2025 (gpt-oss), section 2.1.
    """

    def __init__(self, config: ModelConfig, hidden: int) -> None:
        super().__init__()
        self.activation = config.feed_forward
        parts = feed_forward_parts(self.activation, hidden)
        self.input = JoinedLinear(config.width, parts, bias=config.biases)
        self.down = Linear(hidden, config.width, bias=config.biases)

    def forward(self, x: Tensor, context: LayerContext) -> Tensor:
        return self.down(activated(self.input(x), self.activation))


def make_sinks(config: ModelConfig) -> nn.Parameter | None:
    """Return the sinks of a layer, (heads,), or None; they are 0 before training.

    Source: OpenAI 2025 (gpt-oss), section 2.2; with 0 it is Miller 2023, "Attention is off by one".
    """
    return nn.Parameter(torch.zeros(config.heads)) if config.attention_sinks else None


class Attention(nn.Module):
    """The attention branch: projections, QK-norm, positions, kernel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        inner, kv = config.heads * config.head_dim, config.key_value_heads * config.head_dim
        outputs = {"query": inner, "key": kv, "value": kv}
        self.input = JoinedLinear(config.width, outputs, bias=config.biases)
        self.output = Linear(inner, config.width, bias=config.biases)
        self.query_norm = self.key_norm = None
        if config.qk_norm:
            self.query_norm = RMSNorm(self.head_dim, eps=config.norm_epsilon)
            self.key_norm = RMSNorm(self.head_dim, eps=config.norm_epsilon)
        self.sinks = make_sinks(config)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, without positions.

        Shapes: x (batch, time, width); queries (batch, heads, time, head_dim), keys and values
        (batch, key_value_heads, time, head_dim).
        """
        queries, keys, values = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for part in self.input(x).split(self.input.widths, dim=-1)
        )
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return queries, keys, values

    def forward(self, x: Tensor, context: LayerContext, cache: Any = None) -> Tensor:
        attended = context.attend(x, *self.project(x), cache, sinks=self.sinks)
        return self.output(attended.transpose(1, 2).flatten(-2))
