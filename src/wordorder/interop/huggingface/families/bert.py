"""BERT: bidirectional, norms after each branch, a table of positions, masked tokens.

BERT's output layer is preceded by a linear layer, GELU and LayerNorm. For a model without these,
layers are written that reproduce the hidden states:

    h = w * z + b              the last LayerNorm: z has mean 0 and variance 1
    dense(h) = S * z + B       undoes w and b
    gelu(S * z + B)            is S * z + B again: B makes every value larger than S
    LayerNorm(S * z + B) = w * z + b

BERT adds a vector for each of two segments. What is imported reads one segment, whose vector is
added to the table of positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.weights import (
    ACTIVATIONS,
    Named,
    WeightMap,
    activation,
    layer_weights,
    norm_weights,
    table_length,
    with_biases,
)
from wordorder.model import LanguageModel

MODEL_TYPE = "bert"
BODY = WeightMap(
    table="bert.embeddings.word_embeddings",
    head="cls.predictions.decoder",
    norm=None,
    embedding_norm="bert.embeddings.LayerNorm",
    positions="bert.embeddings.position_embeddings",
    layer="bert.encoder.layer.{}.",
    names={
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "feed_forward.up": "intermediate.dense",
        "feed_forward.down": "output.dense",
        "feed_forward_norm": "output.LayerNorm",
    },
    has_biases=True,
)
SEGMENTS = "bert.embeddings.token_type_embeddings.weight"
PREDICTIONS = "cls.predictions"
# The modules of the layers before the output layer, by wordorder's names.
TRANSFORM = {
    "linear": f"{PREDICTIONS}.transform.dense",
    "norm": f"{PREDICTIONS}.transform.LayerNorm",
}
# S: so large that GELU leaves numbers above it as they are and that the epsilon of LayerNorm
# vanishes beside its square; a power of two, so that scaling by it rounds nothing.
HEAD_SCALE = 16.0
FUNCTIONS = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {"gelu_new": "gelu_tanh"}
MASKED, BARE = "BertForMaskedLM", "BertModel"
CLASSES = (MASKED, "BertForPreTraining", BARE)


class BertWeights:
    """How BERT stores weights.

    Args:
        segments: rows of the table of segments.
        has_head: the class has an output layer.
    """

    def __init__(self, segments: int = 1, *, has_head: bool = True) -> None:
        self.segments, self.has_head = segments, has_head

    def write(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights of a model under the class's names."""
        named = BODY.write(model)
        named[SEGMENTS] = model.embedding.weight.new_zeros(self.segments, model.config.width)
        return (named | _head(model)) if self.has_head else named

    def read(self, tensors: Mapping[str, Tensor], model: LanguageModel) -> Iterator[Named]:
        """Yield the weights of a model by their names in its state."""
        for name, value in BODY.read(tensors, model):
            is_table = name.startswith("position.")
            yield name, value + tensors[SEGMENTS][0] if is_table else value
        if self.has_head:
            owner = PREDICTIONS if model.head is None else BODY.head
            yield "output_bias", tensors[f"{owner}.bias"]
            for ours, theirs in TRANSFORM.items():
                for kind in ("weight", "bias"):
                    yield f"output_transform.{ours}.{kind}", tensors[f"{theirs}.{kind}"]

    def copies(self, model: LanguageModel) -> list[tuple[str, str]]:
        """Return the tied weights, each with the name of its copy."""
        bias = (f"{PREDICTIONS}.bias", f"{BODY.head}.bias")
        return [*BODY.copies(model), *([bias] if model.head is None else [])]


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feed_forward_width,
        "hidden_act": activation(config.feed_forward),
        "max_position_embeddings": table_length(architecture),
        "type_vocab_size": 1,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _head(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights of the output layer and of those before it."""
    named = {}
    for name, value in transform_weights(model).items():
        module, _, kind = name.partition(".")
        named[f"{TRANSFORM[module]}.{kind}"] = value
    bias = model.output_bias
    zeros = model.embedding.weight.new_zeros(model.config.vocabulary_size)
    named[f"{PREDICTIONS}.bias"] = zeros if bias is None else bias.detach()
    if model.head is not None:
        named[f"{PREDICTIONS}.decoder.bias"] = named[f"{PREDICTIONS}.bias"]
    return named


def transform_weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights of the layers before the output layer, by wordorder's names of modules.

    The multiplier of word vectors, where the output layer is their table, is divided out.
    """
    if model.output_transform is None:
        return _passing_on(model)
    named = {}
    for name, value in with_biases(norm_weights(model.output_transform, "transform")).items():
        _, module, kind = name.split(".")
        scale = model.config.embedding_scale if model.head is None and module == "norm" else 1.0
        named[f"{module}.{kind}"] = value / scale
    return named


def _passing_on(model: LanguageModel) -> dict[str, Tensor]:
    """Return layers before the output layer that leave hidden states as they are."""
    if model.final_norm is None:
        last = layer_weights(model, model.config.layers - 1)
        norm = {n.removeprefix("feed_forward_"): v for n, v in last.items()}
    else:
        norm = norm_weights(model.final_norm, "norm")
    norm = with_biases(norm)
    weight, bias = norm["norm.weight"], norm["norm.bias"]
    offset = HEAD_SCALE * (math.ceil(math.sqrt(len(weight))) + 1)  # |z| is at most sqrt(width)
    output_scale = 1.0 if model.head is not None else model.config.embedding_scale
    return {
        "linear.weight": torch.diag(HEAD_SCALE / weight),
        "linear.bias": offset - HEAD_SCALE * bias / weight,
        "norm.weight": weight / output_scale,
        "norm.bias": bias / output_scale,
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    rows, segments = fields.integer("max_position_embeddings"), fields.integer("type_vocab_size", 2)
    fields.fixed(is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
    has_head = fields.class_name(CLASSES) != BARE
    options = {
        "position": f"learned:length={rows}",
        "vocabulary_size": fields.integer("vocab_size"),
        "width": fields.integer("hidden_size"),
        "layers": fields.integer("num_hidden_layers"),
        "heads": fields.integer("num_attention_heads"),
        "feed_forward": fields.choice("hidden_act", FUNCTIONS, "gelu"),
        "feed_forward_width": fields.integer("intermediate_size"),
        "norm": "layer",
        "norm_placement": "after",
        "norm_epsilon": fields.number("layer_norm_eps", 1e-12),
        "embedding_norm": True,
        "biases": True,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True) or not has_head,
        "output_transform": has_head,
        "output_bias": has_head,
        "causal": False,
        "trained_length": rows,
    }
    notes = ["one segment is read: the vectors of the others are left out"]
    if not has_head:
        notes.append("this class has no output layer: the model predicts nothing")
    return Imported(
        options,
        BertWeights(segments, has_head=has_head),
        tuple(notes[segments < 2 :]),
        has_head,
    )
