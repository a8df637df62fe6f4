"""The weights of a model under the names of a class of transformers, in both directions.

A family's `WeightMap` is one table: `write` reads it from wordorder's weights to the class's, for
exports, and `read` from the class's to wordorder's, for imports.

    wordorder                       write ->                                  <- read
    blocks.N.attention.query        rotary dimensions in half-split order     interleaved pairs
    query, key, value               joined in one projection                  separated
    no bias                         zeros, if the class always has biases     zeros, if it has none
    word vectors times a multiplier folded into the table                     a multiplier of 1

Names of a layer's weights are wordorder's without the prefix `blocks.N.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel
from wordorder.model.layers import JoinedLinear

from .rotary_layout import in_halves, in_pairs

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
PROJECTIONS = ("query", "key", "value")
# Sinusoidal tables, and ALiBi where a class limits it, are written for this many times the trained
# length. No tested model predicts well beyond it.
FILLED = 8


@dataclass(frozen=True)
class WeightMap:
    """What a class calls the weights of a model, and how it stores them.

    Args:
        table, head: the modules of the word vectors and of the output layer.
        norm: the module of the norm before the output layer; None without one.
        layer: the prefix of a layer's weights, `{}` for its index.
        names: the class's module for each of wordorder's in a layer.
        embedding_norm: the module of the norm on the embeddings; None without one.
        positions: the module of the table of positions; None without one.
        offset: rows at the start of that table that no position uses.
        joined: queries, keys and values are one projection, all queries first ("parts") or head
            by head ("heads"); None: three projections.
        joins_gate: gate and up of the feed-forward are one projection, the gate first.
        is_transposed: matrices of the layers are stored (inputs, outputs).
        has_biases: every norm and linear layer has a bias.
        without_biases: wordorder's names of modules that have none in the class, though others do.
        query_factor: what the class multiplies scores by, besides 1/sqrt(head_dim).
        branch_factor: what the class multiplies the output of each residual branch by.
        output_factor: what the class multiplies logits by.
        norm_offset: what the class adds to the weights of its norms.
        scales_words: the class multiplies word vectors by the square root of the width.
        has_sinks: attention always has sinks.
    """

    table: str
    head: str
    norm: str | None
    layer: str
    names: Mapping[str, str]
    embedding_norm: str | None = None
    positions: str | None = None
    offset: int = 0
    joined: Literal["parts", "heads"] | None = None
    joins_gate: bool = False
    is_transposed: bool = False
    has_biases: bool = False
    without_biases: tuple[str, ...] = ()
    query_factor: float = 1.0
    branch_factor: float = 1.0
    output_factor: float = 1.0
    norm_offset: float = 0.0
    scales_words: bool = False
    has_sinks: bool = False

    def write(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights of a model under the class's names."""
        architecture = Architecture.of(model)
        named = self.word_weights(model)
        norm = norm_weights(model.embedding_norm, self.embedding_norm or "")
        named |= with_biases(norm) if self.has_biases else norm
        if self.positions is not None:
            table = architecture.position_table(table_length(architecture))
            unused = table.new_zeros(self.offset, table.shape[1])
            named[f"{self.positions}.weight"] = torch.cat((unused, table)) if self.offset else table
        for i in range(model.config.layers):
            layer = self._scaled(layer_weights(model, i), written=True)
            layer = in_halves(layer, architecture.rotary(i), model.config.head_dim)
            named |= renamed(self._stored(layer, model), self.names, self.layer.format(i))
        return named

    def read(self, tensors: Mapping[str, Tensor], model: LanguageModel) -> Iterator[Named]:
        """Yield the weights of a model by their names in its state, a layer at a time.

        Args:
            tensors: the class's weights; each is read once.
            model: of the architecture to fill, on any device.
        """
        yield "embedding.weight", tensors[f"{self.table}.weight"]
        if model.head is not None:
            yield "head.weight", tensors[f"{self.head}.weight"]
        for name, norm, module in (
            ("embedding_norm", model.embedding_norm, self.embedding_norm),
            ("final_norm", model.final_norm, self.norm),
        ):
            if norm is not None:
                weights = {f"{name}.{kind}": tensors.get(f"{module}.{kind}") for kind in KINDS}
                given = {key: value for key, value in weights.items() if value is not None}
                yield from _complete(self._scaled(given, written=False), norm, name).items()
        if self.positions is not None:
            rows = tensors[f"{self.positions}.weight"][self.offset :]
            yield from ((name, rows) for name in model.state_dict() if name.startswith("position."))
        architecture = Architecture.of(model)
        for i, block in enumerate(model.blocks):
            layer = self._restored(tensors, self.layer.format(i), model)
            layer = in_pairs(layer, architecture.rotary(i), model.config.head_dim)
            layer = self._scaled(layer, written=False)
            for name, value in _complete(layer, block).items():
                yield f"blocks.{i}.{name}", value

    def copies(self, model: LanguageModel) -> list[tuple[str, str]]:
        """Return the table of a tied model with the name of its copy as the output layer."""
        return [] if model.head is not None else [(f"{self.table}.weight", f"{self.head}.weight")]

    def word_weights(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights outside of the layers, the embedding multiplier folded into them.

        A class that does not multiply word vectors by s stores the table times s. If the table is
        the output layer too, the final norm's weights are divided by s, which keeps the logits.
        """
        scale = model.config.embedding_scale
        if self.scales_words:
            scale /= model.config.width**0.5
        weights = {f"{self.table}.weight": model.embedding.weight.detach() * scale}
        output_scale = 1.0
        if model.head is None:
            output_scale = scale
        else:
            weights[f"{self.head}.weight"] = model.head.weight.detach()
        final = norm_weights(model.final_norm, "final_norm")
        final = {name: value / output_scale for name, value in final.items()}
        final = self._scaled(final, written=True)
        final = with_biases(final) if self.has_biases else final
        return weights | {f"{self.norm}.{name.partition('.')[2]}": v for name, v in final.items()}

    def _stored(self, layer: dict[str, Tensor], model: LanguageModel) -> dict[str, Tensor]:
        """Return a layer's weights joined, with biases and transposed as the class stores them."""
        if self.joined is not None:
            layer = joined(layer, model.config.head_dim, by_heads=self.joined == "heads")
        if self.joins_gate:
            layer = _with_gate_joined(layer)
        if self.has_biases:
            layer = with_biases(layer)
        if self.has_sinks:
            layer = with_sinks(layer, model)
        layer = {n: v for n, v in layer.items() if n not in self._absent}
        return {n: v.T if self.is_transposed and v.dim() == 2 else v for n, v in layer.items()}

    def _restored(
        self, tensors: Mapping[str, Tensor], prefix: str, model: LanguageModel
    ) -> dict[str, Tensor]:
        """Return a layer's weights under wordorder's names: the inverse of `_stored`."""
        layer = {}
        for ours, theirs in self.names.items():
            for kind in (*KINDS, SINKS):
                if (value := tensors.get(f"{prefix}{theirs}.{kind}")) is not None:
                    is_turned = self.is_transposed and value.dim() == 2
                    layer[f"{ours}.{kind}"] = value.T if is_turned else value
        if self.joined is not None:
            layer = separated(layer, model.config.head_dim, by_heads=self.joined == "heads")
        if self.joins_gate:
            for kind in KINDS:
                if (rows := layer.pop(f"{GATED}.{kind}", None)) is not None:
                    gate, up = rows.chunk(2)
                    layer |= {f"feed_forward.gate.{kind}": gate, f"feed_forward.up.{kind}": up}
        return layer

    @property
    def _absent(self) -> frozenset[str]:
        return frozenset(f"{module}.bias" for module in self.without_biases)

    def _scaled(self, weights: dict[str, Tensor], *, written: bool) -> dict[str, Tensor]:
        """Return weights with the class's factors and offsets folded in, or `written` without."""
        scaled = dict(weights)
        for name, value in weights.items():
            module, _, kind = name.rpartition(".")
            offset = self.norm_offset if module.endswith("norm") and kind == "weight" else 0.0
            factor = self._factor(module, "attention.query_norm.weight" in weights)
            if offset or factor != 1:
                scaled[name] = value / factor - offset if written else (value + offset) * factor
        return scaled

    def _factor(self, module: str, has_query_norm: bool) -> float:
        """Return what the weights of a module are multiplied by when they are read."""
        queries = "attention.query_norm" if has_query_norm else "attention.query"
        factors = {
            queries: self.query_factor,
            "attention.output": self.branch_factor,
            "feed_forward.down": self.branch_factor,
            "final_norm": self.output_factor,
        }
        return factors.get(module, 1.0)


Named = tuple[str, Tensor]
KINDS = ("weight", "bias")
SINKS = "sinks"  # of attention
NO_SINK = -6e4  # a sink that takes no attention
GATED = "feed_forward.joined"


def _complete(
    weights: Mapping[str, Tensor], module: nn.Module, name: str = ""
) -> dict[str, Tensor]:
    """Return the state of a module: joined layers as one matrix, zeros for biases not given.

    Args:
        weights: by name, those of joined layers one by one.
        name: of the module, before its parameters' names.
    """
    state: dict[str, Tensor] = {}
    for owner, part in module.named_modules():
        path = ".".join(filter(None, (name, owner)))
        for kind, parameter in part.named_parameters(recurse=False):
            key, zeros = f"{path}.{kind}", torch.zeros(parameter.shape)
            if isinstance(part, JoinedLinear):
                parent = path.rpartition(".")[0]
                state[key] = torch.cat(
                    [
                        weights.get(f"{parent}.{piece}.{kind}", zeros[rows])
                        for piece, rows in part.parts.items()
                    ]
                )
            else:
                state[key] = weights.get(key, zeros)
    return state


def layer_weights(model: LanguageModel, layer: int) -> dict[str, Tensor]:
    """Return the weights of one layer by their names without `blocks.N.`."""
    prefix = f"blocks.{layer}."
    parts = (part for part in model.parts() if part.name.startswith(prefix))
    return {part.name.removeprefix(prefix): part.value for part in parts}


def renamed(
    layer: Mapping[str, Tensor], names: Mapping[str, str], prefix: str
) -> dict[str, Tensor]:
    """Return weights under the names of a class: `names` has that of each owning module."""
    weights = {}
    for name, value in layer.items():
        owner, _, kind = name.rpartition(".")
        weights[f"{prefix}{names[owner]}.{kind}"] = value
    return weights


def norm_weights(norm: nn.Module | None, name: str) -> dict[str, Tensor]:
    """Return the weight of a norm, and its bias if it has one, under a class's name for it."""
    if norm is None:
        return {}
    return {f"{name}.{kind}": value.detach() for kind, value in norm.named_parameters()}


def with_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with a bias of zeros for each module that has none."""
    complete = dict(weights)
    for name, value in weights.items():
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and f"{owner}.bias" not in weights:
            complete[f"{owner}.bias"] = value.new_zeros(len(value))
    return complete


def with_sinks(layer: Mapping[str, Tensor], model: LanguageModel) -> dict[str, Tensor]:
    """Return a layer's weights with sinks that take nothing, if it has none."""
    return {f"attention.{SINKS}": torch.full((model.config.heads,), NO_SINK), **layer}


def joined(layer: Mapping[str, Tensor], head_dim: int, *, by_heads: bool) -> dict[str, Tensor]:
    """Return a layer's weights with queries, keys and values as one projection, `joined`.

    Args:
        by_heads: rows are the query, key and value of head 0, then of head 1, ...; otherwise all
            queries, then all keys, then all values.
    """
    separate = tuple(f"attention.{part}." for part in PROJECTIONS)
    weights = {name: value for name, value in layer.items() if not name.startswith(separate)}
    for kind in KINDS:
        if f"attention.query.{kind}" not in layer:
            continue
        parts = [layer[f"attention.{part}.{kind}"] for part in PROJECTIONS]
        if by_heads:
            heads = torch.stack([part.view(-1, head_dim, *part.shape[1:]) for part in parts], 1)
            weights[f"joined.{kind}"] = heads.flatten(0, 2)
        else:
            weights[f"joined.{kind}"] = torch.cat(parts)
    return weights


def separated(layer: Mapping[str, Tensor], head_dim: int, *, by_heads: bool) -> dict[str, Tensor]:
    """Return a layer's weights with `joined` as three projections: the inverse of `joined`."""
    weights = {name: value for name, value in layer.items() if not name.startswith("joined.")}
    for kind in KINDS:
        if (rows := layer.get(f"joined.{kind}")) is None:
            continue
        if by_heads:
            parts = rows.view(-1, 3, head_dim, *rows.shape[1:]).unbind(1)
        else:
            parts = rows.view(3, -1, head_dim, *rows.shape[1:]).unbind(0)
        for part, heads in zip(PROJECTIONS, parts, strict=True):
            weights[f"attention.{part}.{kind}"] = heads.flatten(0, 1)
    return weights


def _with_gate_joined(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a layer's weights with gate and up as one projection, `feed_forward.joined`."""
    weights = dict(layer)
    for kind in KINDS:
        if f"feed_forward.gate.{kind}" in weights:
            parts = [weights.pop(f"feed_forward.{part}.{kind}") for part in ("gate", "up")]
            weights[f"{GATED}.{kind}"] = torch.cat(parts)
    return weights


def activation(feed_forward: str) -> str:
    """Return what transformers calls the function of a feed-forward without a gate."""
    return ACTIVATIONS[feed_forward]


# What wordorder calls a feed-forward without a gate, and transformers its function.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu2": "relu2",
}


def table_length(architecture: Architecture) -> int:
    """Return the number of positions of a class that has a table or a limit.

    A learned table keeps its length; an embedding without an end gets `FILLED` times the trained
    length.
    """
    last = architecture.composed.max_position
    return FILLED * architecture.config.trained_length if last is None else last + 1


def rounded(name: str, weight: Tensor, dtype: str) -> Tensor:
    """Return a weight in one of DTYPES.

    Raises:
        BadInput: it is too large for that dtype.
    """
    result = weight.to(DTYPES[dtype])
    if not result.isfinite().all():
        raise BadInput(
            f"{name} has weights that are too large for {dtype}: use --dtype bf16, or leave "
            "--dtype out",
            code="interop.too-large-for-dtype",
        )
    return result
