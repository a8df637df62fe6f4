"""The architecture of a model: one frozen dataclass that covers GPT-2 to Qwen3 and DeepSeek-V3.

The default is an architecture for which other tools have a stock class (Qwen3: RMSNorm with
weights, QK-norm, SwiGLU, no biases, rotary), so that a model trained with the defaults can be
used everywhere.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Interval

from ..errors import BadInput
from ..settings import NotNegative, Positive, Probability, Rate, check, from_record

if TYPE_CHECKING:
    from ..positions import ModelShape

# Initial standard deviation of the entries of the embedding table (GPT-2's).
EMBEDDING_STD = 0.02
# Far above the largest models in existence: a larger number is a typing error.
MOST_WIDTH, MOST_HEADS, MOST_EXPERTS = 1 << 20, 1 << 16, 1 << 12
Width = Annotated[int, Interval(ge=1, le=MOST_WIDTH)]
OpenWidth = Annotated[int, Interval(ge=0, le=MOST_WIDTH)]
Heads = Annotated[int, Interval(ge=1, le=MOST_HEADS)]
VocabularySize = Annotated[int, Interval(ge=1, le=10_000_000)]
Kind = Literal["transformer", "gru"]
USUAL_BALANCE_LOSS = 0.01  # Source: Fedus et al. 2022 (Switch), section 2.2
FeedForwardKind = Literal[
    "swiglu", "swiglu_clamped", "geglu", "geglu_tanh", "gelu", "gelu_tanh", "relu", "relu2"
]
# Feed-forwards with three matrices.
GATED = ("swiglu", "swiglu_clamped", "geglu", "geglu_tanh")
USUAL_DROPOUT = 0.1  # if the size of the corpus is unknown; `training/size.py` has the rule


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a language model.

    Raises:
        BadInput: a value that its annotation does not allow, or sizes that do not fit together.
    """

    kind: Kind = "transformer"
    """a transformer, or a GRU, which processes tokens in order and needs no positions"""
    position: str = "rotary"
    """positional embedding, such as rotary:base=500000 or learned+alibi or rotary/none"""
    vocabulary_size: VocabularySize = 4096
    """number of tokens; training sets it from the tokenizer"""
    width: Width = 192
    """width of the residual stream"""
    layers: Annotated[int, Interval(ge=1, le=1000)] = 4
    heads: Heads = 6
    """query heads"""
    key_value_heads: Annotated[int, Interval(ge=0, le=MOST_HEADS)] = 0
    """heads of keys and values, shared by groups of query heads; 0: as many as heads"""
    head_dim: OpenWidth = 0
    """width of one head; 0: width / heads"""
    attention: Literal["standard", "latent"] = "standard"
    """latent: keys and values are computed from a small cached latent (DeepSeek-V2)"""
    latent_dim: OpenWidth = 0
    """width of the latent of keys and values; 0: four times head_dim (HF: kv_lora_rank)"""
    query_latent_dim: OpenWidth = 0
    """width of a latent of queries; 0: no such latent (HF: q_lora_rank)"""
    rotary_head_dim: OpenWidth = 0
    """width added to each head for rotary positions; 0: half of head_dim (HF: qk_rope_head_dim)"""
    value_head_dim: OpenWidth = 0
    """width of one head of values; 0: head_dim (HF: v_head_dim)"""
    feed_forward: FeedForwardKind = "swiglu"
    feed_forward_width: Annotated[int, Interval(ge=0, le=16 * MOST_WIDTH)] = 0
    """width of the hidden layer; 0: four times the width, or 8/3 of it with a gate"""
    experts: Annotated[int, Interval(ge=0, le=MOST_EXPERTS)] = 0
    """feed-forwards of a mixture of experts; 0: one dense feed-forward (HF: n_routed_experts)"""
    active_experts: Annotated[int, Interval(ge=0, le=MOST_EXPERTS)] = 0
    """experts that compute each token; 0: two (HF: num_experts_per_tok)"""
    shared_experts: Annotated[int, Interval(ge=0, le=MOST_EXPERTS)] = 0
    """further experts that compute every token (HF: n_shared_experts)"""
    expert_width: OpenWidth = 0
    """width of the hidden layer of an expert; 0: feed_forward_width divided by the number of
    experts that compute a token (HF: moe_intermediate_size)"""
    dense_layers: NotNegative = 0
    """first layers that have a dense feed-forward instead of experts (HF: first_k_dense_replace)"""
    router: Literal["softmax", "sigmoid"] = "softmax"
    """how experts are chosen: softmax, with loads balanced by an auxiliary loss (Switch, Mixtral),
    or sigmoid, with loads balanced by selection biases (DeepSeek-V3)"""
    balance_loss: Rate | None = None
    """factor of the auxiliary loss; None: 0.01 for softmax, 0 for sigmoid"""
    expert_groups: Annotated[int, Interval(ge=1, le=MOST_EXPERTS)] = 1
    """groups of experts; the best groups are chosen first, then experts in them (HF: n_group)"""
    active_groups: Annotated[int, Interval(ge=1, le=MOST_EXPERTS)] = 1
    """groups that are chosen (HF: topk_group)"""
    normalized_routing: bool = True
    """divide the weights of a token's experts by their sum (HF: norm_topk_prob)"""
    routed_scale: Annotated[float, Gt(0)] = 1.0
    """factor of the weights of a token's experts (HF: routed_scaling_factor)"""
    norm: Literal["rms", "layer"] = "rms"
    norm_placement: Literal["before", "after", "both"] = "before"
    """before each branch (GPT-2, Llama), after it is added to the residual (BERT), or both before
    a branch and on its output (Gemma 2)"""
    first_norm: bool = True
    """a norm before the attention of the first layer; ModernBERT has --embedding-norm instead"""
    norm_epsilon: Annotated[float, Gt(0)] = 1e-6
    embedding_norm: bool = False
    """a norm after the embeddings (BLOOM, BERT)"""
    biases: bool = False
    """biases in linear layers and layer norms"""
    parallel_residual: bool = False
    """attention and feed-forward have the same input (GPT-NeoX)"""
    qk_norm: bool = True
    """RMSNorm with weights on the queries and keys of each head (Qwen3); latent attention has
    RMSNorm on its latents instead"""
    tied_embeddings: bool = True
    """use the embedding table as the output layer"""
    output_transform: bool = False
    """a linear layer, the feed-forward's activation and a norm before the output layer (BERT)"""
    output_bias: bool = False
    """a bias for each token in the output layer (BERT)"""
    embedding_scale: Rate = 0.0
    """factor of the word embeddings; 0: the square root of the width"""
    logit_softcap: Rate = 0.0
    """replace each logit c by cap * tanh(c / cap); 0: no cap"""
    attention_softcap: Rate = 0.0
    """replace each attention score c by cap * tanh(c / cap) (Gemma 2); 0: no cap"""
    attention_sinks: bool = False
    """a learned logit for each head that takes a share of its attention but has no value vector
    (gpt-oss)"""
    windows: tuple[NotNegative, ...] = ()
    """sliding window of each layer, as a pattern over layers; 0: no window"""
    causal: bool = True
    """tokens attend only to earlier tokens and themselves"""
    dropout: Probability | None = None
    """dropout on the two residual branches; None: chosen by the number of epochs and the text"""
    trained_length: Positive = 256
    """tokens in one training sequence"""

    def __post_init__(self) -> None:
        check(self)
        if self.kind == "gru" and not self.causal:
            raise BadInput(
                "a GRU processes tokens from left to right, so it is always causal: leave out "
                "--no-causal",
                code="model.gru-bidirectional",
            )
        is_divided = self.kind == "transformer" and not self.head_dim
        if is_divided and self.width % self.heads:
            pairs = 2 * self.heads  # rotary needs an even head size
            raise BadInput(
                f"the width {self.width} is not a multiple of {self.heads} heads: use "
                f"--width {self.width // pairs * pairs + pairs}, another number of --heads, or set "
                "--head-dim",
                code="model.width-of-heads",
            )
        if self.norm_placement != "before" and self.parallel_residual:
            raise BadInput(
                "--parallel-residual adds both branches at once, which --norm-placement "
                f"{self.norm_placement} does not have: leave out one of the two",
                code="model.parallel-norms",
            )
        if not self.first_norm and self.norm_placement == "after":
            raise BadInput(
                "--no-first-norm leaves out a norm before attention, which --norm-placement after "
                "does not have: leave out one of the two",
                code="model.no-first-norm",
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise BadInput(
                f"{self.heads} heads are not a multiple of {self.key_value_heads} key-value heads: "
                f"use --key-value-heads 1 or {self.heads}, or another divisor of {self.heads}",
                code="model.key-value-heads",
            )
        check_latent(self)
        check_experts(self)
        # The default needs no lookup, which would import torch: --help must stay fast.
        if self.position != "rotary":
            from ..positions import canonical

            object.__setattr__(self, "position", canonical(self.position))

    @property
    def resolved(self) -> ModelConfig:
        """The same architecture with every size that is 0 replaced by its computed value.

        A configuration keeps the zeros, so that `replace(config, width=512)` also changes the
        sizes that depend on the width. A model has the resolved configuration.
        """
        # A gate is a third matrix, so 8/3 gives as many parameters as 4.
        hidden = self.width * 8 // 3 if self.feed_forward in GATED else 4 * self.width
        head_dim = self.head_dim or self.width // self.heads
        hidden = self.feed_forward_width or -(-hidden // 32) * 32
        return replace(
            self,
            head_dim=head_dim,
            key_value_heads=self.key_value_heads or self.heads,
            feed_forward_width=hidden,
            embedding_scale=self.embedding_scale or self._default_embedding_scale(),
            dropout=USUAL_DROPOUT if self.dropout is None else self.dropout,
            **(self._latent_sizes(head_dim) if self.attention == "latent" else {}),
            **(self._expert_sizes(hidden) if self.experts else {}),
        )

    def _latent_sizes(self, head_dim: int) -> dict[str, Any]:
        """Return the sizes of latent attention.

        Source: DeepSeek-AI 2024, arXiv 2405.04434, section 3.1.2: four and half a head's width.
        """
        return {
            "latent_dim": self.latent_dim or 4 * head_dim,
            "rotary_head_dim": self.rotary_head_dim or -(-head_dim // 4) * 2,  # even, for pairs
            "value_head_dim": self.value_head_dim or head_dim,
            "qk_norm": False,
        }

    def _expert_sizes(self, hidden: int) -> dict[str, Any]:
        """Return the sizes of experts; a token's experts together match the dense feed-forward."""
        active = self.active_experts or min(2, self.experts)
        share = -(-hidden // (active + self.shared_experts))
        usual = USUAL_BALANCE_LOSS if self.router == "softmax" else 0.0
        return {
            "active_experts": active,
            "expert_width": self.expert_width or -(-share // 8) * 8,
            "balance_loss": usual if self.balance_loss is None else self.balance_loss,
        }

    @property
    def rotated_dim(self) -> int:
        """Width of the part of each head that rotary embeddings receive."""
        resolved = self.resolved
        return resolved.rotary_head_dim if self.attention == "latent" else resolved.head_dim

    def has_experts(self, layer: int) -> bool:
        """Return whether the feed-forward of a layer is a mixture of experts."""
        return bool(self.experts) and layer >= self.dense_layers

    def _default_embedding_scale(self) -> float:
        """Return the multiplier that the positional embedding expects, else sqrt(width).

        Source: Vaswani et al. 2017, section 3.4. It helps with every positional embedding:
        without it, word vectors of size 0.02 are small beside what the first layers add, and all
        models learn more slowly.
        """
        from ..positions import word_scale

        scale = word_scale(self.position, self.width) if self.kind == "transformer" else None
        return math.sqrt(self.width) if scale is None else scale

    @property
    def shape(self) -> ModelShape:
        """The sizes that a positional embedding depends on."""
        from ..positions import ModelShape  # imports torch, which parsing options must not

        resolved = self.resolved
        return ModelShape(
            resolved.heads,
            resolved.head_dim + resolved.rotary_head_dim,
            resolved.width,
            resolved.layers,
            resolved.trained_length,
            resolved.causal,
            EMBEDDING_STD * resolved.embedding_scale,
            decoupled_dim=resolved.rotary_head_dim,
        )

    def window(self, layer: int) -> int | None:
        """Return the sliding window of a layer, or None."""
        return (self.windows[layer % len(self.windows)] or None) if self.windows else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, and the generation of the position's defaults."""
        from ..positions.defaults import GENERATION  # imports torch, which parsing options must not

        return {**asdict(self), "windows": list(self.windows), "defaults": GENERATION}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the configuration of a dict from `to_dict`, of this version or an older one.

        The older version's defaults are written into the position's spec.

        Raises:
            BadInput: an unknown field, or a record of a newer version.
        """
        from ..positions.defaults import GENERATION, recorded

        values = dict(values)
        generation = values.pop("defaults", 1)
        if generation > GENERATION:
            raise BadInput(
                f"a newer version of wordorder wrote this record (defaults {generation}; this "
                f"version supports up to {GENERATION}): install that version",
                code="model.newer-record",
            )
        if "position" in values:
            values["position"] = recorded(values["position"], generation)
        if values.get("norm_placement") == "after":  # had no effect in older versions
            values["parallel_residual"] = False
        return from_record(cls, values, "model")


LATENT = ("latent_dim", "query_latent_dim", "rotary_head_dim", "value_head_dim")
EXPERTS = (
    "active_experts shared_experts expert_width dense_layers router balance_loss expert_groups "
    "active_groups normalized_routing routed_scale"
).split()


def check_latent(config: ModelConfig) -> None:
    """Raise if options of latent attention do not fit together.

    Raises:
        BadInput: an option without effect, or one that latent attention does not have.
    """
    if config.attention != "latent":
        if unused := [name for name in LATENT if getattr(config, name)]:
            raise BadInput(
                f"{option(unused[0])} is an option of --attention latent: leave it out, or add "
                "--attention latent",
                code="model.latent-option",
            )
        return
    if config.kind == "gru":
        raise BadInput("a GRU has no attention: leave out --attention", code="model.latent-gru")
    if config.key_value_heads not in (0, config.heads):
        raise BadInput(
            "latent attention computes keys and values of every head from the latent: leave out "
            "--key-value-heads, and choose the size of the cache with --latent-dim",
            code="model.latent-key-value-heads",
        )


def check_experts(config: ModelConfig) -> None:
    """Raise if options of a mixture of experts do not fit together.

    Raises:
        BadInput: an option without effect, or numbers that do not fit together.
    """
    defaults = {f.name: f.default for f in fields(ModelConfig)}
    if not config.experts:
        if unused := [n for n in EXPERTS if getattr(config, n) != defaults[n]]:
            raise BadInput(
                f"{option(unused[0])} is an option of a mixture of experts: leave it out, or set "
                "--experts",
                code="model.experts-option",
            )
        return
    if config.kind == "gru":
        raise BadInput("a GRU has no feed-forward: leave out --experts", code="model.experts-gru")
    if config.dense_layers >= config.layers:
        raise BadInput(
            f"with --dense-layers {config.dense_layers} none of the {config.layers} layers has "
            f"experts: use at most {config.layers - 1}",
            code="model.experts-in-no-layer",
        )
    _check_groups(config)


def _check_groups(config: ModelConfig) -> None:
    experts, groups, active = config.experts, config.expert_groups, config.active_groups
    if experts % groups or active > groups:
        raise BadInput(
            f"{experts} experts in {groups} groups, of which {active} are active: the number of "
            "groups must divide that of experts, and --active-groups must not exceed it",
            code="model.expert-groups",
        )
    most = experts // groups * active
    if config.active_experts > most:
        raise BadInput(
            f"--active-experts {config.active_experts} exceeds the {most} experts to choose from: "
            f"use at most {most}",
            code="model.active-experts",
        )
    if config.router == "sigmoid" and groups > 1 and experts // groups < 2:
        raise BadInput(
            "the sigmoid router compares groups by their best two experts, so each group needs "
            "two: use fewer --expert-groups",
            code="model.expert-group-size",
        )


def option(name: str) -> str:
    """Return the command-line spelling of a field."""
    return f"--{name.replace('_', '-')}"


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"width": 128, "layers": 4, "heads": 4, "trained_length": 128},
    "tiny": {"width": 192, "layers": 4, "heads": 6, "trained_length": 256},
    "mini": {"width": 256, "layers": 6, "heads": 8, "trained_length": 256},
    "small": {"width": 384, "layers": 6, "heads": 6, "trained_length": 512},
    "medium": {"width": 768, "layers": 12, "heads": 12, "trained_length": 1024},
}
