"""DeepSeek-V2 and V3: latent attention, and a dense feed-forward or experts with shared ones.

V3 chooses experts by sigmoid scores and selection biases, V2 by softmax scores that it does not
normalize. Both rotate interleaved pairs, as wordorder does, so no rows are permuted; V3's
`rope_interleave: false` is wordorder's `layout=half`.

Their norms of latents always have epsilon 1e-6, whatever config.json says of the others. A latent
times c with an epsilon times c squared has the same norm:

    c x / sqrt(mean(c^2 x^2) + c^2 e) = x / sqrt(mean(x^2) + e)

so the projections to latents are stored divided by c = sqrt(epsilon / 1e-6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, Imported
from wordorder.interop.huggingface.rope_fields import RotarySettings, magnitude, read_rotary
from wordorder.interop.huggingface.rotary import max_position_embeddings, rope_settings
from wordorder.model import LanguageModel, ModelConfig

from . import rms_decoder

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
STORED_BIAS = "e_score_correction_bias"
LATENT_EPSILON = 1e-6  # of both classes' norms of latents
# Fields that classes read for their experts only.
EXPERTS = (
    "n_routed_experts",
    "num_experts",
    "num_experts_per_tok",
    "n_shared_experts",
    "moe_intermediate_size",
    "n_group",
    "topk_group",
)
TO_LATENTS = ("attention.query_latent", "attention.latent")


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
        "rope_interleave": all(r.layout == "interleaved" for r in architecture.rotaries),
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
    factor = (LATENT_EPSILON / config.norm_epsilon) ** 0.5 if part in TO_LATENTS else 1.0
    return Place(f"{prefix}{NAMES[part]}.{kind}", rows, view, factor)


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


@dataclass(frozen=True)
class DeepseekWeights:
    """How both classes store weights.

    Args:
        plain_factor, rotary_factor: the class's additional factors of scores, compared with
            wordorder, in dimensions without positions and in rotated ones.
    """

    plain_factor: float = 1.0
    rotary_factor: float = 1.0

    def write(self, model: LanguageModel) -> dict[str, Tensor]:
        """Return the weights of a model under the class's names."""
        stored: dict[str, Tensor] = {}
        for part in model.parts():
            place, value = place_of(part.name, model.config), part.value
            if place.name not in stored:
                rows = place.rows or len(value)
                stored[place.name] = value.new_empty(rows, *value.shape[1:])
            view = place.view(stored[place.name])
            value = value / self._factor(part.name, model.config, value.device)
            view.copy_(value.reshape(view.shape) * place.factor)
        for name, value in model.named_buffers():
            stored[_stored_bias(name)] = value.clone()
        return stored

    def read(self, tensors: Mapping[str, Tensor], model: LanguageModel) -> Iterator[Named]:
        """Yield the weights of a model by their names in its state: the inverse of `write`."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        parts = list(model.parts())
        for number, part in enumerate(parts):
            if number == 0 or parts[number - 1].parameter is not part.parameter:
                whole = torch.empty(part.parameter.shape)
            place = place_of(part.name, model.config)
            value = place.view(tensors[place.name]).float() / place.factor
            value = value.reshape(part.value.shape)
            whole[part.rows] = value * self._factor(part.name, model.config, value.device)
            if number + 1 == len(parts) or parts[number + 1].parameter is not part.parameter:
                yield names[id(part.parameter)], whole
        for name, _ in model.named_buffers():
            yield name, tensors[_stored_bias(name)].float()

    def copies(self, model: LanguageModel) -> list[tuple[str, str]]:
        """Return the table of a tied model with the name of its copy as the output layer."""
        tied = (f"{OUTSIDE['embedding']}.weight", f"{OUTSIDE['head']}.weight")
        return [tied] if model.head is None else []

    def _factor(self, name: str, config: ModelConfig, device: torch.device) -> Tensor | float:
        """Return the factor that is applied to the rows of a part when they are read."""
        if not name.endswith("attention.query.weight"):
            return 1.0
        both = config.head_dim + config.rotary_head_dim
        factors = torch.full((both,), self.rotary_factor, device=device)
        factors[: config.head_dim] = self.plain_factor
        return factors.repeat(config.heads)[:, None]


Named = tuple[str, Tensor]
WEIGHTS = DeepseekWeights()


def _stored_bias(name: str) -> str:
    """Return the stored name of `blocks.N.feed_forward.router.selection_bias`."""
    return f"model.layers.{name.split('.')[1]}.mlp.gate.{STORED_BIAS}"


def imported_v2(fields: Fields) -> Imported:
    """Return the architecture of a config.json of DeepSeek-V2."""
    # Its class never normalizes the weights of experts, whatever the file says.
    fields.get("norm_topk_prob")
    fields.fixed(mlp_bias=False, scoring_func="softmax")
    methods = {"greedy": False, "group_limited_greedy": True}
    has_groups = fields.choice("topk_method", methods, "greedy")
    routing = {
        "router": "softmax",
        "normalized_routing": False,
        "routed_scale": fields.number("routed_scaling_factor", 1.0),
    }
    experts = _experts(fields, routing, dense_default=0, has_groups=has_groups)
    return _imported(fields, experts, layout="interleaved")


def imported_v3(fields: Fields) -> Imported:
    """Return the architecture of a config.json of DeepSeek-V3."""
    fields.fixed(scoring_func="sigmoid", topk_method="noaux_tc")
    routing = {
        "router": "sigmoid",
        "normalized_routing": fields.flag("norm_topk_prob", True),
        "routed_scale": fields.number("routed_scaling_factor", 2.5),
    }
    experts = _experts(fields, routing, dense_default=3, has_groups=True)
    layout = "interleaved" if fields.flag("rope_interleave", True) else "half"
    return _imported(fields, experts, layout=layout)


def _experts(
    fields: Fields, routing: dict[str, Any], *, dense_default: int, has_groups: bool
) -> dict[str, Any]:
    """Return the options of experts; empty if all layers are dense.

    Args:
        routing: the options that the classes read differently.
        dense_default: how many of the first layers have no experts, where the file does not say.
    """
    # Fields without effect here: for training, for expert parallelism, and about experts if all
    # layers are dense. After the first dense layers every layer must have experts (moe_layer_freq).
    for name in ("aux_loss_alpha", "seq_aux", "output_router_logits", "ep_size", *EXPERTS):
        fields.get(name)
    fields.fixed(moe_layer_freq=1)
    name = "first_k_dense_replace"
    dense = fields.get(name, dense_default) and fields.integer(name, dense_default)
    if dense >= fields.integer("num_hidden_layers"):
        return {}
    groups, active = fields.get("n_group"), fields.get("topk_group")
    grouped = has_groups and groups is not None and active is not None
    return {
        **routing,
        "dense_layers": dense,
        "experts": fields.integer("n_routed_experts", fields.get("num_experts")),
        "active_experts": fields.integer("num_experts_per_tok"),
        "shared_experts": fields.integer("n_shared_experts"),
        "expert_width": fields.integer("moe_intermediate_size"),
        "expert_groups": fields.integer("n_group") if grouped else 1,
        "active_groups": fields.integer("topk_group") if grouped else 1,
    }


def _imported(fields: Fields, experts: dict[str, Any], *, layout: str) -> Imported:
    heads = fields.integer("num_attention_heads")
    head_dim, rotary_dim = fields.integer("qk_nope_head_dim"), fields.integer("qk_rope_head_dim")
    fields.fixed(
        num_key_value_heads=heads,
        attention_bias=False,
        qk_head_dim=head_dim + rotary_dim,
        head_dim=rotary_dim,
    )
    rotary = read_rotary(fields, rotary_dim)
    latent = fields.get("q_lora_rank")
    options: dict[str, Any] = {
        "position": _laid_out(rotary.spec, layout),
        "vocabulary_size": fields.integer("vocab_size"),
        "width": fields.integer("hidden_size"),
        "layers": fields.integer("num_hidden_layers"),
        "heads": heads,
        "head_dim": head_dim,
        "attention": "latent",
        "latent_dim": fields.integer("kv_lora_rank"),
        "query_latent_dim": 0 if latent is None else fields.integer("q_lora_rank"),
        "rotary_head_dim": rotary_dim,
        "value_head_dim": fields.integer("v_head_dim"),
        "feed_forward": fields.choice("hidden_act", rms_decoder.SWIGLU, "silu"),
        "feed_forward_width": fields.integer("intermediate_size"),
        "norm": "rms",
        "norm_epsilon": fields.number("rms_norm_eps", 1e-6),
        "biases": False,
        "tied_embeddings": fields.flag("tie_word_embeddings", False),
        "trained_length": rotary.trained_length,
        **experts,
    }
    weights = _score_factors(fields, rotary)
    further = fields.get("num_nextn_predict_layers", 0)
    if not further:
        return Imported(options, weights)
    first = options["layers"]
    left_out = "|".join(str(first + i) for i in range(fields.integer("num_nextn_predict_layers")))
    notes = ("layers that predict further tokens (num_nextn_predict_layers) are left out",)
    return Imported(options, weights, notes, left_out=rf"^model\.layers\.({left_out})\.")


def _laid_out(spec: str, layout: str) -> str:
    return spec if layout == "interleaved" or spec == "none" else f"{spec},layout={layout}"


def _score_factors(fields: Fields, rotary: RotarySettings) -> DeepseekWeights:
    """Return the weight map with those factors of scores that the spec's scaling does not include.

    The attention factor scales the scores of rotated dimensions only, `mscale_all_dim` those of all
    dimensions, and so does the spec's scaling.
    """
    rope = {**fields.part("rope_scaling").values, **fields.part("rope_parameters").values}
    scale, usual = rope.get("mscale_all_dim"), rotary.usual_factor
    of_all = magnitude(rope["factor"], scale) if scale else 1.0
    of_rotated = of_all * rotary.attention_factor
    plain, rotated = (1.0 if f == usual else (f / usual) ** 2 for f in (of_all, of_rotated))
    return DeepseekWeights(plain, rotated)
