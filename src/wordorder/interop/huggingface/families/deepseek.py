"""DeepSeek-V2 and V3: latent attention, and a dense feed-forward or experts with shared ones.

V3 chooses experts by sigmoid scores and selection biases, V2 by softmax scores that it does not
normalize. Both rotate interleaved pairs, as wordorder does, so no rows are permuted. Their norms of
latents always have epsilon 1e-6, whatever config.json says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.rotary import max_position_embeddings, rope_settings
from wordorder.model import LanguageModel, ModelConfig

V2, V3 = "deepseek_v2", "deepseek_v3"

NAMES = {
    "attention_norm": "input_layernorm",
    "attention.query_latent": "self_attn.q_a_proj",
    "attention.query_norm": "self_attn.q_a_layernorm",
    "attention.latent": "self_attn.kv_a_proj_with_mqa",
    "attention.rotary_key": "self_attn.kv_a_proj_with_mqa",
    "attention.latent_norm": "self_attn.kv_a_layernorm",
    "attention.key": "self_attn.kv_b_proj",
    "attention.value": "self_attn.kv_b_proj",
    "attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.router": "mlp.gate",
}
OUTSIDE = {"embedding": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
BIAS, STORED_BIAS = "selection_bias", "e_score_correction_bias"


class Place(NamedTuple):
    """Where a class of transformers stores a part of a parameter.

    Args:
        name: of its tensor.
        rows: of that tensor; 0: those of the part.
        view: returns the part's view of the tensor.
        factor: what the stored weights are multiplied by.
    """

    name: str
    rows: int = 0
    view: Callable[[Tensor], Tensor] = lambda stored: stored
    factor: float = 1.0


def configuration_v2(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that DeepSeek-V2's class reads."""
    limited = architecture.config.expert_groups > 1
    method = "group_limited_greedy" if limited else "greedy"
    return {**_settings(architecture), "topk_method": method, "norm_topk_prob": False}


def configuration_v3(architecture: Architecture) -> dict[str, Any]:
    """Return the fields of config.json that DeepSeek-V3's class reads."""
    config = architecture.config
    return {
        **_settings(architecture),
        "norm_topk_prob": config.normalized_routing,
        "rope_interleave": True,
        "num_nextn_predict_layers": 0,
    }


def _settings(architecture: Architecture) -> dict[str, Any]:
    config = architecture.config
    rotary = next(iter(architecture.rotaries), None)
    rope = rope_settings(rotary)
    if rotary is not None and rotary.scaling == "yarn":
        # The factor of the scores of all dimensions, not of the rotated ones alone.
        for settings in (rope["rope_parameters"], rope["rope_scaling"]):
            settings |= {"mscale": 1.0, "mscale_all_dim": 1.0}
    return {
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "kv_lora_rank": config.latent_dim,
        "q_lora_rank": config.query_latent_dim or None,
        "qk_nope_head_dim": config.head_dim,
        "qk_rope_head_dim": config.rotary_head_dim,
        "v_head_dim": config.value_head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "max_position_embeddings": max_position_embeddings(rotary, config.trained_length),
        "attention_bias": False,
        "attention_dropout": 0.0,
        **rope,
        **_expert_settings(config),
    }


def _expert_settings(config: ModelConfig) -> dict[str, Any]:
    if not config.experts:
        return {"first_k_dense_replace": config.layers}
    return {
        "first_k_dense_replace": config.dense_layers,
        "n_routed_experts": config.experts,
        "num_experts_per_tok": config.active_experts,
        "n_shared_experts": config.shared_experts,
        "moe_intermediate_size": config.expert_width,
        "n_group": config.expert_groups,
        "topk_group": config.active_groups,
        "routed_scaling_factor": config.routed_scale,
    }


def place_of(name: str, config: ModelConfig) -> Place:
    """Return where both classes store a part, by its name in `LanguageModel.parts`.

    They have no multiplier of word vectors: it is in the table, and where the table is the output
    layer too, the final norm's weights are divided by it.
    """
    owner, _, kind = name.rpartition(".")
    if owner in OUTSIDE:
        scale = config.embedding_scale
        divisor = scale if config.tied_embeddings else 1.0
        factor = {"embedding": scale, "final_norm": 1 / divisor}.get(owner, 1.0)
        return Place(f"{OUTSIDE[owner]}.{kind}", factor=factor)
    _, layer, part = owner.split(".", 2)
    prefix = f"model.layers.{layer}."
    if part == "attention.query":
        stored = "q_b_proj" if config.query_latent_dim else "q_proj"
        return Place(f"{prefix}self_attn.{stored}.{kind}")
    if part not in NAMES:  # feed_forward.gate, feed_forward.shared.gate, feed_forward.3.gate
        *middle, matrix = part.removeprefix("feed_forward.").split(".")
        module = "".join("shared_experts." if m == "shared" else f"experts.{m}." for m in middle)
        return Place(f"{prefix}mlp.{module}{matrix}_proj.{kind}")
    rows, view = _joined(part, config)
    return Place(f"{prefix}{NAMES[part]}.{kind}", rows, view)


def _joined(part: str, config: ModelConfig) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return the rows of the tensor that holds a part, and the part's view of it.

    Rows of keys and values are those of head 0's key, head 0's value, head 1's key, ...
    """
    latent, head = config.latent_dim, config.head_dim
    both = head + config.value_head_dim
    down, up = latent + config.rotary_head_dim, config.heads * both
    joined: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
        "attention.latent": (down, lambda stored: stored[:latent]),
        "attention.rotary_key": (down, lambda stored: stored[latent:]),
        "attention.key": (up, lambda stored: stored.unflatten(0, (-1, both))[:, :head]),
        "attention.value": (up, lambda stored: stored.unflatten(0, (-1, both))[:, head:]),
    }
    return joined.get(part, (0, lambda stored: stored))


def weights(model: LanguageModel) -> dict[str, Tensor]:
    """Return the weights under the names of both classes."""
    stored: dict[str, Tensor] = {}
    for part in model.parts():
        place, value = place_of(part.name, model.config), part.value
        if place.name not in stored:
            rows = place.rows or len(value)
            stored[place.name] = value.new_empty(rows, *value.shape[1:])
        view = place.view(stored[place.name])
        view.copy_(value.reshape(view.shape) * place.factor)
    for name, value in model.named_buffers():
        stored[_stored_bias(name)] = value.clone()
    return stored


def read(tensors: Mapping[str, Tensor], model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a model by their names in its state: the inverse of `weights`.

    Args:
        tensors: the weights under the names of both classes.
        model: which weights, for example on the meta device.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parts = list(model.parts())
    for number, part in enumerate(parts):
        if number == 0 or parts[number - 1].parameter is not part.parameter:
            whole = torch.empty(part.parameter.shape)
        place = place_of(part.name, model.config)
        value = place.view(tensors[place.name]).float() / place.factor
        whole[part.rows] = value.reshape(part.value.shape)
        if number + 1 == len(parts) or parts[number + 1].parameter is not part.parameter:
            yield names[id(part.parameter)], whole
    for name, _ in model.named_buffers():
        yield name, tensors[_stored_bias(name)].float()


def _stored_bias(name: str) -> str:
    """Return the stored name of `blocks.N.feed_forward.router.selection_bias`."""
    return f"model.layers.{name.split('.')[1]}.mlp.gate.{STORED_BIAS}"
