"""What classes and architectures of other programs demand of a model, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wordorder.model.config import GATED

from .architecture import Architecture
from .rotary_kinds import (
    BY_DIVISORS,
    BY_METADATA,
    BY_TWO_SETS,
    PLAIN,
    are_alone,
    are_full_at_the_end,
    are_full_every,
    has_decoupled_rotary,
    has_plain_rotary,
    has_rotary,
    has_rotary_by_window,
    has_rotary_everywhere,
    has_stock_rotary,
    is_plain,
    windows_turn,
)


@dataclass(frozen=True)
class Requirement:
    """One property that a holder demands of a model.

    Args:
        is_met: whether an architecture has it.
        description: the property, after "needs".
        option: what to type at `wordorder train` to get it.
    """

    is_met: Callable[[Architecture], bool]
    description: str
    option: str


ROTARY = Requirement(
    has_rotary_everywhere,
    "one rotary embedding of whole heads in every layer, or none in any",
    "--position rotary",
)
EVERY_ROTARY = Requirement(
    lambda a: has_stock_rotary(a) and all(a.layers),
    "one rotary embedding of whole heads in every layer",
    "--position rotary",
)
BIDIRECTIONAL = Requirement(
    lambda a: not a.config.causal, "attention to the future", "--objective masked-token --no-causal"
)
AFTER = Requirement(
    lambda a: a.config.norm_placement == "after",
    "norms after each branch",
    "--norm-placement after",
)
CAUSAL = Requirement(lambda a: a.config.causal, "a causal mask", "--causal")
BEFORE = Requirement(
    lambda a: a.config.norm_placement == "before",
    "norms before each branch",
    "--norm-placement before",
)
RMS = Requirement(lambda a: a.config.norm == "rms", "RMSNorm", "--norm rms")
SWIGLU = Requirement(
    lambda a: a.config.feed_forward == "swiglu",
    "a SwiGLU feed-forward",
    "--feed-forward swiglu",
)
SEQUENTIAL = Requirement(
    lambda a: not a.config.parallel_residual,
    "attention before the feed-forward",
    "--no-parallel-residual",
)
QK_NORM = Requirement(lambda a: a.config.qk_norm, "QK-norm", "--qk-norm")
NO_BIASES = Requirement(lambda a: not a.config.biases, "no biases", "--no-biases")
NO_EMBEDDING_NORM = Requirement(
    lambda a: not a.config.embedding_norm,
    "no norm on the embeddings",
    "--no-embedding-norm",
)
UNCAPPED = Requirement(
    lambda a: not a.config.logit_softcap, "logits without a cap", "--logit-softcap 0"
)
ONE_WINDOW = Requirement(
    lambda a: len(a.window_sizes) < 2, "sliding windows of one size", "--windows 0"
)
STANDARD = Requirement(
    lambda a: a.config.attention == "standard", "standard attention", "--attention standard"
)
DENSE = Requirement(lambda a: not a.config.experts, "a dense feed-forward", "--experts 0")
NO_SINKS = Requirement(
    lambda a: not a.config.attention_sinks, "no attention sinks", "--no-attention-sinks"
)
USUAL = (STANDARD, DENSE, NO_SINKS)
PLAIN_OUTPUT = Requirement(
    lambda a: not (a.config.output_transform or a.config.output_bias),
    "an output layer alone, without biases",
    "--no-output-transform --no-output-bias",
)
FIRST_NORM = Requirement(
    lambda a: a.config.first_norm, "a norm before the first attention", "--first-norm"
)
UNCAPPED_SCORES = Requirement(
    lambda a: not a.config.attention_softcap,
    "attention scores without a cap",
    "--attention-softcap 0",
)
DECODER = (CAUSAL, BEFORE, FIRST_NORM, UNCAPPED_SCORES, UNCAPPED, PLAIN_OUTPUT)
RMS_BODY = (STANDARD, *DECODER, RMS, SEQUENTIAL, NO_EMBEDDING_NORM)
SINKS_DECODER = (DENSE, *RMS_BODY, SWIGLU)  # with sinks or without
RMS_DECODER = (*SINKS_DECODER, NO_SINKS)

LAYER_NORM = Requirement(lambda a: a.config.norm == "layer", "LayerNorm", "--norm layer")
NO_QK_NORM = Requirement(lambda a: not a.config.qk_norm, "no QK-norm", "--no-qk-norm")
NO_WINDOWS = Requirement(lambda a: not a.window_sizes, "no sliding windows", "--windows 0")
EMBEDDING_NORM = Requirement(
    lambda a: a.config.embedding_norm, "a norm on the embeddings", "--embedding-norm"
)
UNGATED = Requirement(
    lambda a: a.config.feed_forward not in GATED,
    "a feed-forward without a gate",
    "--feed-forward gelu",
)
GELU = Requirement(
    lambda a: a.config.feed_forward == "gelu", "a GELU feed-forward", "--feed-forward gelu"
)
GELU_TANH = Requirement(
    lambda a: a.config.feed_forward == "gelu_tanh",
    "a GELU feed-forward by the tanh formula",
    "--feed-forward gelu_tanh",
)
ANY_GELU = Requirement(
    lambda a: a.config.feed_forward in ("gelu", "gelu_tanh"),
    "a GELU feed-forward",
    "--feed-forward gelu",
)
FOUR_WIDTHS = Requirement(
    lambda a: a.config.feed_forward_width == 4 * a.config.width,
    "a feed-forward of four times the width",
    "--feed-forward-width 0",
)
WHOLE_HEADS = Requirement(
    lambda a: (
        a.config.heads == a.config.key_value_heads
        and a.config.heads * a.config.head_dim == a.config.width
    ),
    "as many key-value heads as heads, which share the width",
    "--key-value-heads 0 --head-dim 0",
)
ENCODER = (*USUAL, UNCAPPED_SCORES, UNCAPPED, LAYER_NORM, NO_QK_NORM, WHOLE_HEADS)
GPT = (*ENCODER, FIRST_NORM, NO_WINDOWS)
GPT_DECODER = (*GPT, CAUSAL, BEFORE, PLAIN_OUTPUT)
PATTERN = Requirement(
    has_stock_rotary,
    "one rotary embedding of whole heads in some layers and none in the others",
    "--position rotary",
)
PARTIAL_ROTARY = Requirement(
    lambda a: has_stock_rotary(a, partial=True) and (a.is_position_free or all(a.layers)),
    "one rotary embedding in every layer, of a part of each head too, or none in any",
    "--position rotary",
)
TABLE = Requirement(
    lambda a: a.is_absolute, "learned or sinusoidal positions", "--position learned"
)
ALIBI = Requirement(lambda a: a.is_alibi, "ALiBi", "--position alibi")
PLAIN_ROTARY = Requirement(
    has_plain_rotary,
    "one rotary embedding of whole heads, without scaling or with linear or ntk, in every layer, "
    "or none in any",
    "--position rotary",
)
PLAIN_PARTIAL_ROTARY = Requirement(
    lambda a: has_plain_rotary(a, partial=True),
    "one rotary embedding, without scaling or with linear or ntk, in every layer, or none in any",
    "--position rotary",
)
STATIC_ROTARY = Requirement(
    lambda a: has_rotary(a, scalings=BY_TWO_SETS) and all(a.layers),
    "one rotary embedding with any scaling but dynamic in every layer",
    "--position rotary",
)
STATIC_PATTERN = Requirement(
    lambda a: has_rotary(a, scalings=BY_TWO_SETS),
    "one rotary embedding with any scaling but dynamic in some layers and none in the others",
    "--position rotary",
)
FIXED_PATTERN = Requirement(
    lambda a: has_rotary(a, scalings=BY_DIVISORS),
    "one rotary embedding with any scaling but dynamic and longrope in some layers and none in the "
    "others",
    "--position rotary",
)
LOCAL_AND_GLOBAL = Requirement(
    lambda a: has_rotary_by_window(a, of_full=BY_DIVISORS),
    "one rotary embedding of whole heads in layers with a window, there without scaling, and one "
    "in the others",
    "--position rotary",
)
PLAIN_LOCAL_AND_GLOBAL = Requirement(
    lambda a: (
        has_rotary_by_window(a, of_full=BY_METADATA)
        and all(a.rotary(i) for i in range(a.config.layers) if a.config.window(i))
    ),
    "one rotary embedding of whole heads in layers with a window, there without scaling, and one "
    "in the others, without scaling or with linear or ntk",
    "--position rotary",
)
TWO_BASES = Requirement(
    lambda a: has_rotary_by_window(a, of_full=PLAIN) and all(a.layers),
    "one rotary embedding of whole heads without scaling in layers with a window, and one in the "
    "others",
    "--position rotary",
)
BASE_BY_LAYER = Requirement(
    lambda a: are_alone(a) and all(is_plain(rotary, PLAIN) for rotary in a.rotaries),
    "a rotary embedding of whole heads without scaling, or none, in each layer",
    "--position rotary",
)
EVERY_WINDOW = Requirement(
    lambda a: len({a.config.window(i) for i in range(a.config.layers)}) == 1,
    "one sliding window in every layer",
    "--windows 0",
)
BOTH = Requirement(
    lambda a: a.config.norm_placement == "both",
    "norms on both sides of each branch",
    "--norm-placement both",
)
GEGLU_TANH = Requirement(
    lambda a: a.config.feed_forward == "geglu_tanh",
    "a GEGLU feed-forward by the tanh formula",
    "--feed-forward geglu_tanh",
)
GEMMA = (
    *USUAL,
    CAUSAL,
    BOTH,
    FIRST_NORM,
    PLAIN_OUTPUT,
    RMS,
    GEGLU_TANH,
    SEQUENTIAL,
    NO_EMBEDDING_NORM,
    NO_BIASES,
    ONE_WINDOW,
)
GATED_BRANCH = Requirement(
    lambda a: a.config.feed_forward in GATED, "a gated feed-forward", "--feed-forward geglu"
)
NO_FIRST_NORM = Requirement(
    lambda a: not a.config.first_norm, "no norm before the first attention", "--no-first-norm"
)
GLOBAL_EVERY = Requirement(
    are_full_every,
    "sliding windows of one size in all layers but the first and every N-th after it, or none",
    "--windows 0",
)
GLOBAL_AT_THE_END = Requirement(
    are_full_at_the_end,
    "sliding windows of one size in all layers but every N-th, or in all, or none",
    "--windows 0",
)
NO_POSITION = Requirement(lambda a: a.is_position_free, "no positions", "--position none")
ROTARY_WINDOWS = Requirement(
    windows_turn, "one sliding window in exactly the rotary layers, or in none", "--windows 0"
)
LATENT = Requirement(
    lambda a: a.config.attention == "latent", "latent attention", "--attention latent"
)
DECOUPLED_ROTARY = Requirement(
    has_decoupled_rotary,
    "one rotary embedding in every layer, or none in any",
    "--position rotary",
)
INTERLEAVED_ROTARY = Requirement(
    lambda a: (
        has_decoupled_rotary(a) and all(rotary.layout == "interleaved" for rotary in a.rotaries)
    ),
    "one rotary embedding in interleaved pairs in every layer, or none in any",
    "--position rotary",
)
SHARED_EXPERT = Requirement(
    lambda a: not a.config.experts or a.config.shared_experts > 0,
    "a shared expert",
    "--shared-experts 1",
)
SIGMOID_EXPERTS = Requirement(
    lambda a: not a.config.experts or (a.config.router == "sigmoid" and a.config.experts > 1),
    "two or more experts that are chosen by sigmoid scores",
    "--router sigmoid",
)
SOFTMAX_EXPERTS = Requirement(
    lambda a: a.config.router == "softmax" and not a.config.normalized_routing,
    "experts that are chosen by softmax scores and weighed by them",
    "--router softmax --no-normalized-routing",
)
CLAMPED_EXPERTS = Requirement(
    lambda a: a.config.experts > 0 and a.config.feed_forward == "swiglu_clamped",
    "experts with a clamped SwiGLU",
    "--experts 8 --feed-forward swiglu_clamped",
)
EXPERTS_ALONE = Requirement(
    lambda a: (
        not a.config.dense_layers and not a.config.shared_experts and a.config.expert_groups == 1
    ),
    "experts in every layer, none of them shared, in one group",
    "--dense-layers 0 --shared-experts 0 --expert-groups 1",
)
NORMALIZED_SOFTMAX = Requirement(
    lambda a: (
        a.config.router == "softmax" and a.config.normalized_routing and a.config.routed_scale == 1
    ),
    "experts that are chosen by softmax scores, with weights that add up to 1",
    "--router softmax --normalized-routing --routed-scale 1",
)
GPT_OSS = (*RMS_BODY, CLAMPED_EXPERTS, EXPERTS_ALONE, NORMALIZED_SOFTMAX)
# A mixture of experts, or a dense feed-forward in V3.
DEEPSEEK = (
    LATENT,
    NO_SINKS,
    *DECODER,
    RMS,
    SWIGLU,
    SEQUENTIAL,
    NO_EMBEDDING_NORM,
    NO_WINDOWS,
    NO_BIASES,
    SHARED_EXPERT,
)
