"""What classes and architectures of other programs demand of a model, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wordorder.model.config import GATED
from wordorder.positions import Rotary

from .architecture import Architecture


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


def _has_stock_rotary(architecture: Architecture, *, partial: bool = False) -> bool:
    """Return whether one rotary embedding, or none, acts in all rotary layers.

    Args:
        partial: the class turns a leading part of each head, not only whole heads.
    """
    alone = _are_alone(architecture)
    rotaries = architecture.rotaries
    return alone and len(rotaries) < 2 and all(_is_stock(rotary, partial) for rotary in rotaries)


def _is_stock(rotary: Rotary, partial: bool) -> bool:
    """Return whether transformers has a rotary type with these frequencies."""
    if rotary.proportional:
        # transformers' type for these frequencies has no scaling but a factor of all of them.
        return rotary.scaling in ("none", "linear")
    if rotary.fraction == 1:
        return True
    # transformers sharpens the softmax of the turned dimensions alone, wordorder of all.
    return partial and rotary.softmax_scale is None


def _has_rotary(architecture: Architecture, *, scalings: frozenset[str]) -> bool:
    """Return whether one rotary embedding with such a scaling, or none, acts in each layer."""
    alone = _are_alone(architecture)
    rotaries = architecture.rotaries
    is_one = alone and len(rotaries) < 2 and architecture.config.head_dim % 2 == 0
    return is_one and all(rotary.scaling in scalings for rotary in rotaries)


def _has_plain_rotary(architecture: Architecture, *, partial: bool = False) -> bool:
    """Return whether llama.cpp's metadata alone expresses the rotary embedding of every layer.

    Args:
        partial: the architecture turns a leading part of each head, not only whole heads.
    """
    whole = all(r.fraction == 1 or (partial and not r.proportional) for r in architecture.rotaries)
    everywhere = architecture.is_position_free or all(architecture.layers)
    return whole and everywhere and _has_rotary(architecture, scalings=BY_METADATA)


def _windows_turn(architecture: Architecture) -> bool:
    """Return whether exactly the rotary layers have the window, or no layer has one."""
    config, windows = architecture.config, architecture.window_sizes
    turned = [architecture.rotary(i) is not None for i in range(config.layers)]
    limited = [config.window(i) is not None for i in range(config.layers)]
    return len(windows) < 2 and (not windows or turned == limited)


def _has_rotary_everywhere(architecture: Architecture) -> bool:
    return _has_stock_rotary(architecture) and (
        architecture.is_position_free or all(architecture.layers)
    )


def _are_alone(architecture: Architecture) -> bool:
    """Return whether each layer has a rotary embedding or none, and nothing else."""
    return all(
        len(layer) < 2 and all(isinstance(p, Rotary) for p in layer)
        for layer in architecture.layers
    )


def _is_plain(rotary: Rotary, scalings: frozenset[str]) -> bool:
    """Return whether whole heads are turned, with one of these scalings.

    Settings of one kind of layers alone have no YaRN without `truncate`: transformers ignores it.
    """
    is_whole = rotary.fraction == 1 and not rotary.proportional
    return is_whole and rotary.scaling in scalings and rotary.truncate


def _has_rotary_by_window(architecture: Architecture, *, of_full: frozenset[str]) -> bool:
    """Return whether layers with a window have one rotary embedding, and the others one or none.

    Args:
        of_full: the scalings that layers without a window may have.
    """
    config = architecture.config
    by_kind: dict[bool, list[Rotary | None]] = {True: [], False: []}
    for i in range(config.layers):
        by_kind[config.window(i) is not None].append(architecture.rotary(i))
    are_equal = all(len(set(map(repr, rotaries))) < 2 for rotaries in by_kind.values())
    sliding = [r for r in by_kind[True] if r is None or not _is_plain(r, PLAIN)]
    full = [r for r in by_kind[False] if r is not None and not _is_plain(r, of_full)]
    return _are_alone(architecture) and are_equal and not sliding and not full


def _are_full_every(architecture: Architecture) -> bool:
    """Return whether the layers without a window are the first and every N-th after it."""
    config = architecture.config
    limited = [config.window(i) is not None for i in range(config.layers)]
    if len(architecture.window_sizes) > 1 or limited[0]:
        return False
    period = next((i for i in range(1, len(limited)) if not limited[i]), len(limited))
    return all(is_limited == bool(i % period) for i, is_limited in enumerate(limited))


def _has_decoupled_rotary(architecture: Architecture) -> bool:
    """Return whether DeepSeek's classes rotate the decoupled part of heads in the same way.

    Of the scalings that sharpen the softmax, they do it for all dimensions in YaRN alone.
    """
    return _has_rotary_everywhere(architecture) and all(
        not rotary.proportional and (rotary.scaling == "yarn" or rotary.softmax_scale is None)
        for rotary in architecture.rotaries
    )


# llama.cpp reads these scalings as metadata, any fixed frequencies as a tensor of divisors, and
# longrope's two sets as two tensors. None of its frequencies changes with the text.
PLAIN = frozenset({"none", "ntk"})
BY_METADATA = frozenset({"none", "linear", "ntk"})
BY_DIVISORS = BY_METADATA | {"yarn", "llama3"}
BY_TWO_SETS = BY_DIVISORS | {"longrope"}

ROTARY = Requirement(
    _has_rotary_everywhere,
    "one rotary embedding of whole heads in every layer, or none in any",
    "--position rotary",
)
EVERY_ROTARY = Requirement(
    lambda a: _has_stock_rotary(a) and all(a.layers),
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
USUAL = (STANDARD, DENSE)
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
DECODER = (*USUAL, CAUSAL, BEFORE, FIRST_NORM, UNCAPPED_SCORES, UNCAPPED, PLAIN_OUTPUT)
RMS_DECODER = (*DECODER, RMS, SWIGLU, SEQUENTIAL, NO_EMBEDDING_NORM)

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
    _has_stock_rotary,
    "one rotary embedding of whole heads in some layers and none in the others",
    "--position rotary",
)
PARTIAL_ROTARY = Requirement(
    lambda a: _has_stock_rotary(a, partial=True) and (a.is_position_free or all(a.layers)),
    "one rotary embedding in every layer, of a part of each head too, or none in any",
    "--position rotary",
)
TABLE = Requirement(
    lambda a: a.is_absolute, "learned or sinusoidal positions", "--position learned"
)
ALIBI = Requirement(lambda a: a.is_alibi, "ALiBi", "--position alibi")
PLAIN_ROTARY = Requirement(
    _has_plain_rotary,
    "one rotary embedding of whole heads, without scaling or with linear or ntk, in every layer, "
    "or none in any",
    "--position rotary",
)
PLAIN_PARTIAL_ROTARY = Requirement(
    lambda a: _has_plain_rotary(a, partial=True),
    "one rotary embedding, without scaling or with linear or ntk, in every layer, or none in any",
    "--position rotary",
)
STATIC_ROTARY = Requirement(
    lambda a: _has_rotary(a, scalings=BY_TWO_SETS) and all(a.layers),
    "one rotary embedding with any scaling but dynamic in every layer",
    "--position rotary",
)
STATIC_PATTERN = Requirement(
    lambda a: _has_rotary(a, scalings=BY_TWO_SETS),
    "one rotary embedding with any scaling but dynamic in some layers and none in the others",
    "--position rotary",
)
FIXED_PATTERN = Requirement(
    lambda a: _has_rotary(a, scalings=BY_DIVISORS),
    "one rotary embedding with any scaling but dynamic and longrope in some layers and none in the "
    "others",
    "--position rotary",
)
LOCAL_AND_GLOBAL = Requirement(
    lambda a: _has_rotary_by_window(a, of_full=BY_DIVISORS),
    "one rotary embedding of whole heads in layers with a window, there without scaling, and one "
    "in the others",
    "--position rotary",
)
TWO_BASES = Requirement(
    lambda a: _has_rotary_by_window(a, of_full=PLAIN) and all(a.layers),
    "one rotary embedding of whole heads without scaling in layers with a window, and one in the "
    "others",
    "--position rotary",
)
BASE_BY_LAYER = Requirement(
    lambda a: _are_alone(a) and all(_is_plain(rotary, PLAIN) for rotary in a.rotaries),
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
    lambda a: _are_full_every(a),
    "sliding windows of one size in all layers but the first and every N-th after it, or none",
    "--windows 0",
)
NO_POSITION = Requirement(lambda a: a.is_position_free, "no positions", "--position none")
ROTARY_WINDOWS = Requirement(
    _windows_turn, "one sliding window in exactly the rotary layers, or in none", "--windows 0"
)
LATENT = Requirement(
    lambda a: a.config.attention == "latent", "latent attention", "--attention latent"
)
DECOUPLED_ROTARY = Requirement(
    _has_decoupled_rotary,
    "one rotary embedding in every layer, or none in any",
    "--position rotary",
)
INTERLEAVED_ROTARY = Requirement(
    lambda a: (
        _has_decoupled_rotary(a) and all(rotary.layout == "interleaved" for rotary in a.rotaries)
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
# A mixture of experts, or a dense feed-forward in V3.
DEEPSEEK = (
    LATENT,
    CAUSAL,
    BEFORE,
    FIRST_NORM,
    UNCAPPED_SCORES,
    UNCAPPED,
    PLAIN_OUTPUT,
    RMS,
    SWIGLU,
    SEQUENTIAL,
    NO_EMBEDDING_NORM,
    NO_WINDOWS,
    NO_BIASES,
    SHARED_EXPERT,
)
