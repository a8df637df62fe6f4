"""ModernBERT: bidirectional, rotary with a local and a global base, GEGLU, LayerNorm.

The first layer has no norm before its attention: that on the embeddings comes right before it. Its
output layer is preceded by a linear layer, GELU and LayerNorm, which are written as in BERT where a
model has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.weights import KINDS, Named, WeightMap, norm_weights, with_biases
from wordorder.model import LanguageModel

from . import bert, rms_decoder
from .layer_kinds import FULL, SLIDING, layer_types, positions, rope_by_kind

MODEL_TYPE = "modernbert"
FINAL_NORM = "model.final_norm"
BODY = WeightMap(
    table="model.embeddings.tok_embeddings",
    head="decoder",
    norm=FINAL_NORM,
    embedding_norm="model.embeddings.norm",
    layer="model.layers.{}.",
    names={
        "attention_norm": "attn_norm",
        "joined": "attn.Wqkv",
        "attention.output": "attn.Wo",
        "feed_forward_norm": "mlp_norm",
        "feed_forward.joined": "mlp.Wi",
        "feed_forward.down": "mlp.Wo",
    },
    joined="parts",
    joins_gate=True,
    has_biases=True,
)
TRANSFORM = {"linear": "head.dense", "norm": "head.norm"}
GATES = {"gelu": "geglu", "gelu_pytorch_tanh": "geglu_tanh", "silu": "swiglu"}
FUNCTIONS = {gate: function for function, gate in GATES.items()}
BASES = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
MASKED, BARE = "ModernBertForMaskedLM", "ModernBertModel"
# Fields that say whether modules have biases, with what is in the modules' names.
BIASES = {
    "attention_bias": "attn.",
    "mlp_bias": "mlp.",
    "norm_bias": "norm.",
    "classifier_bias": "head.dense",
}
# What training reads, how the same is computed by other kernels, and what classifies texts.
UNUSED = (
    "classifier_pooling deterministic_flash_attn embedding_dropout initializer_cutoff_factor "
    "layer_norm_eps mlp_dropout position_embedding_type reference_compile repad_logits_with_grad "
    "sparse_pred_ignore_index sparse_prediction"
).split()


class ModernBertWeights:
    """How ModernBERT stores weights.

    Args:
        without: parts of the names of modules that have no biases.
        has_head: the class has an output layer.
    """

    def __init__(self, without: tuple[str, ...] = (), *, has_head: bool = True) -> None:
        self.without, self.has_head = without, has_head

    def write(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights of a model under the class's names."""
        named = BODY.write(model)
        if self.has_head:
            # The multiplier of a tied table is divided out of the last norm, which is another.
            named |= with_biases(norm_weights(model.final_norm, FINAL_NORM))
            for name, value in bert.transform_weights(model).items():
                module, _, kind = name.partition(".")
                named[f"{TRANSFORM[module]}.{kind}"] = value
            zeros = model.embedding.weight.new_zeros(model.config.vocabulary_size)
            bias = model.output_bias
            named[f"{BODY.head}.bias"] = zeros if bias is None else bias.detach()
        return {name: value for name, value in named.items() if not self._is_absent(name)}

    def read(self, tensors: Mapping[str, Tensor], model: LanguageModel) -> Iterator[Named]:
        """Yield the weights of a model by their names in its state."""
        yield from BODY.read(tensors, model)
        state = model.state_dict()
        theirs = {f"output_transform.{ours}": module for ours, module in TRANSFORM.items()}
        names = {f"{ours}.{kind}": f"{theirs[ours]}.{kind}" for ours in theirs for kind in KINDS}
        for name, stored in {**names, "output_bias": f"{BODY.head}.bias"}.items():
            if name in state:
                value = tensors.get(stored)
                yield name, torch.zeros(state[name].shape) if value is None else value

    def copies(self, model: LanguageModel) -> list[tuple[str, str]]:
        """Return the tied weights, each with the name of its copy."""
        return BODY.copies(model)

    def _is_absent(self, name: str) -> bool:
        return name.endswith(".bias") and any(part in name for part in self.without)


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config, kinds = architecture.config, layer_types(architecture)
    rope = rope_by_kind(architecture)
    window = max(architecture.window_sizes, default=0)
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feed_forward_width,
        "hidden_activation": FUNCTIONS[config.feed_forward],
        "classifier_activation": FUNCTIONS[config.feed_forward],
        "max_position_embeddings": config.trained_length,
        "norm_eps": config.norm_epsilon,
        **dict.fromkeys(BIASES, True),
        "decoder_bias": True,
        # A token attends to half as many on either side.
        "local_attention": 2 * (window - 1) if window else 128,
        "layer_types": kinds,
        "rope_parameters": rope,
        # Version 4's names.
        "global_attn_every_n_layers": len(pattern(kinds)),
        "global_rope_theta": rope[FULL]["rope_theta"],
        "local_rope_theta": rope[SLIDING]["rope_theta"],
        "attention_dropout": 0.0,
        "embedding_dropout": 0.0,
        "mlp_dropout": 0.0,
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    layers = fields.integer("num_hidden_layers")
    period = fields.integer("global_attn_every_n_layers", 3)
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [SLIDING if i % period else FULL for i in range(layers)]
    window = fields.integer("local_attention", 128) // 2 + 1
    spec, trained = positions(fields, kinds, BASES, width // heads, scaled=rms_decoder.KINDS)
    has_head = fields.class_name((MASKED, BARE)) != BARE
    function = fields.choice("hidden_activation", GATES, "gelu")
    if has_head:
        fields.fixed(classifier_activation=FUNCTIONS[function])
    else:
        fields.get("classifier_activation")
    without = [module for name, module in BIASES.items() if not fields.flag(name, False)]
    has_biases = len(without) < len(BIASES)
    has_output_bias = fields.flag("decoder_bias", True)
    for name in UNUSED:
        fields.get(name)
    options = {
        "position": spec,
        "vocabulary_size": fields.integer("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "feed_forward": function,
        "feed_forward_width": fields.integer("intermediate_size"),
        "norm": "layer",
        "norm_epsilon": fields.number("norm_eps", 1e-5),
        "embedding_norm": True,
        "first_norm": False,
        "biases": has_biases,
        "qk_norm": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", True) or not has_head,
        "output_transform": has_head,
        "output_bias": has_head and has_output_bias,
        "causal": False,
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "trained_length": trained,
    }
    without += [] if has_output_bias else [BODY.head]
    notes = () if has_head else ("this class has no output layer: the model predicts nothing",)
    return Imported(options, ModernBertWeights(tuple(without), has_head=has_head), notes, has_head)
