"""gpt-oss: attention sinks, YaRN between ends that are not rounded, and experts with biases.

Experts are stored joined, and their matrices transposed. The rows of gate and up alternate, where
wordorder has all rows of the gate first:

    gate_up_proj (experts, width, 2 * hidden)      gate_0 up_0 gate_1 up_1 ...
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported, pattern
from wordorder.interop.huggingface.rope_fields import read_rotary
from wordorder.interop.weights import WeightMap
from wordorder.model import LanguageModel
from wordorder.model.layers import CLAMPED_LIMIT, CLAMPED_STEEPNESS

from . import rms_decoder
from .layer_kinds import FULL, SLIDING, layer_types

MODEL_TYPE = "gpt_oss"
BASE = 150_000.0
# Of the class, where a file has none.
USUAL_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
ROUTER, EXPERTS = "feed_forward.router", "feed_forward.experts"


@dataclass(frozen=True)
class GptOssWeights(WeightMap):
    """How the class stores weights; the router, experts and their biases are always there."""

    def _stored(self, layer: dict[str, Tensor], model: LanguageModel) -> dict[str, Tensor]:
        count = model.config.experts
        gates, gate_biases = _stacked(layer, count, "gate")
        ups, up_biases = _stacked(layer, count, "up")
        downs, down_biases = _stacked(layer, count, "down")
        weights = {
            **{name: value for name, value in layer.items() if not _is_of_an_expert(name)},
            f"{EXPERTS}.gate_up_proj": torch.stack((gates, ups), 2).flatten(1, 2).mT,
            f"{EXPERTS}.gate_up_proj_bias": torch.stack((gate_biases, up_biases), 2).flatten(1),
            f"{EXPERTS}.down_proj": downs.mT,
            f"{EXPERTS}.down_proj_bias": down_biases,
        }
        weights.setdefault(f"{ROUTER}.bias", gates.new_zeros(count))
        return super()._stored(weights, model)

    def _restored(
        self, tensors: Mapping[str, Tensor], prefix: str, model: LanguageModel
    ) -> dict[str, Tensor]:
        layer = super()._restored(tensors, prefix, model)
        experts = f"{prefix}{self.names[EXPERTS]}"
        joined = tensors[f"{experts}.gate_up_proj"].mT
        biases = tensors[f"{experts}.gate_up_proj_bias"]
        return layer | {
            "feed_forward.input.weight": torch.cat((joined[:, ::2], joined[:, 1::2]), 1),
            "feed_forward.input.bias": torch.cat((biases[:, ::2], biases[:, 1::2]), 1),
            "feed_forward.down.weight": tensors[f"{experts}.down_proj"].mT,
            "feed_forward.down.bias": tensors[f"{experts}.down_proj_bias"],
        }


def _stacked(layer: Mapping[str, Tensor], count: int, part: str) -> tuple[Tensor, Tensor]:
    """Return the weights (experts, outputs, inputs) and biases (experts, outputs) of a part."""
    names = [f"feed_forward.{expert}.{part}" for expert in range(count)]
    weights = torch.stack([layer[f"{name}.weight"] for name in names])
    if f"{names[0]}.bias" not in layer:
        return weights, weights.new_zeros(weights.shape[:2])
    return weights, torch.stack([layer[f"{name}.bias"] for name in names])


def _is_of_an_expert(name: str) -> bool:
    return name.startswith("feed_forward.") and name.split(".")[1].isdigit()


WEIGHTS = GptOssWeights(
    table=rms_decoder.WEIGHTS.table,
    head=rms_decoder.WEIGHTS.head,
    norm=rms_decoder.WEIGHTS.norm,
    layer=rms_decoder.WEIGHTS.layer,
    names={
        **{
            ours: theirs
            for ours, theirs in rms_decoder.WEIGHTS.names.items()
            if ours not in rms_decoder.FEED_FORWARD
        },
        "attention": "self_attn",
        ROUTER: "mlp.router",
        EXPERTS: "mlp.experts",
    },
    has_sinks=True,
)


def configuration(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that this class reads."""
    config = architecture.config
    return {
        **rms_decoder.settings(architecture),
        "intermediate_size": config.expert_width,
        "num_local_experts": config.experts,
        "num_experts_per_tok": config.active_experts,
        "swiglu_alpha": CLAMPED_STEEPNESS,
        "swiglu_limit": CLAMPED_LIMIT,
        "sliding_window": max(architecture.window_sizes, default=config.trained_length),
        "layer_types": layer_types(architecture),
    }


def imported(fields: Fields) -> Imported:
    """Return the architecture of a config.json."""
    layers, head_dim = fields.integer("num_hidden_layers"), fields.integer("head_dim", 64)
    rotary = read_rotary(fields, head_dim, base=BASE, usual=USUAL_ROPE)
    kinds = fields.sequence("layer_types", layers, rms_decoder.KINDS)
    if kinds is None:
        kinds = [FULL if i % 2 else SLIDING for i in range(layers)]
    window = 0 if fields.get("sliding_window") is None else fields.integer("sliding_window")
    active = fields.integer("num_experts_per_tok", 4)
    fields.fixed(
        swiglu_alpha=CLAMPED_STEEPNESS, swiglu_limit=CLAMPED_LIMIT, experts_per_token=active
    )
    for name in ("router_aux_loss_coef", "output_router_logits", "initial_context_length"):
        fields.get(name)
    width = fields.integer("intermediate_size", 2880)
    options = {
        **rms_decoder.options(fields, rotary, biases=True),
        "head_dim": head_dim,
        "key_value_heads": fields.integer("num_key_value_heads", 8),
        "attention_sinks": True,
        "windows": tuple(pattern([window if kind == SLIDING else 0 for kind in kinds])),
        "norm_epsilon": fields.number("rms_norm_eps", 1e-5),
        "feed_forward": "swiglu_clamped",
        "experts": fields.integer("num_local_experts", fields.get("num_experts", 128)),
        "active_experts": active,
        "expert_width": width,
    }
    without = () if fields.flag("attention_bias", True) else rms_decoder.ATTENTION
    weights = replace(WEIGHTS, query_factor=rotary.score_factor, without_biases=without)
    return Imported(options, weights)
