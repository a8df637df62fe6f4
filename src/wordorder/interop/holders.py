"""Which stock class of transformers holds a model exactly, or which part none of them holds.

The one table that `wordorder export` reads. A class holds a model where all its requirements are
met; the first such class of the table is taken. What a class has and a model lacks is no obstacle
where zeros express it, such as biases. Imports no transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wordorder.errors import BadInput
from wordorder.model import ModelConfig
from wordorder.positions import Rotary

from .architecture import Architecture


@dataclass(frozen=True)
class Requirement:
    """One property that a class demands of a model.

    Args:
        is_met: whether an architecture has it.
        description: the property, after "needs".
        option: what to type at `wordorder train` to get it.
    """

    is_met: Callable[[Architecture], bool]
    description: str
    option: str


@dataclass(frozen=True)
class Holder:
    """A stock class of transformers and what a model needs in order to fit it.

    Args:
        family: names the file of its configuration and weight map.
        class_name: of the model with its output layer.
        position: which positional embeddings it has.
        requirements: everything else.
        auto_class: the class of transformers that loads it.
        has_code: the class is in a modelling file that the export carries.
    """

    family: str
    class_name: str
    position: Requirement
    requirements: tuple[Requirement, ...]
    auto_class: str = "AutoModelForCausalLM"
    has_code: bool = False

    def unmet(self, architecture: Architecture) -> list[Requirement]:
        """Return the requirements that an architecture does not meet, the position first."""
        every = (self.position, *self.requirements)
        return [each for each in every if not each.is_met(architecture)]


def _has_stock_rotary(architecture: Architecture, *, partial: bool = False) -> bool:
    """Return whether one rotary embedding, or none, acts in all rotary layers.

    Args:
        partial: the class turns a leading part of each head, not only whole heads.
    """
    alone = all(
        len(layer) < 2 and all(isinstance(p, Rotary) for p in layer)
        for layer in architecture.layers
    )
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


def _has_rotary_everywhere(architecture: Architecture) -> bool:
    return _has_stock_rotary(architecture) and (
        architecture.is_position_free or all(architecture.layers)
    )


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
DECODER = (CAUSAL, BEFORE, UNCAPPED)
RMS_DECODER = (*DECODER, RMS, SWIGLU, SEQUENTIAL, NO_EMBEDDING_NORM)

LAYER_NORM = Requirement(lambda a: a.config.norm == "layer", "LayerNorm", "--norm layer")
NO_QK_NORM = Requirement(lambda a: not a.config.qk_norm, "no QK-norm", "--no-qk-norm")
NO_WINDOWS = Requirement(lambda a: not a.window_sizes, "no sliding windows", "--windows 0")
EMBEDDING_NORM = Requirement(
    lambda a: a.config.embedding_norm, "a norm on the embeddings", "--embedding-norm"
)
UNGATED = Requirement(
    lambda a: a.config.feed_forward != "swiglu",
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
GPT = (UNCAPPED, LAYER_NORM, NO_QK_NORM, NO_WINDOWS, WHOLE_HEADS)
GPT_DECODER = (*GPT, CAUSAL, BEFORE)
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

# The first that fits is taken: Llama before SmolLM3, which holds the same models and more, because
# more programs read Llama.
HOLDERS: tuple[Holder, ...] = (
    Holder("qwen3", "Qwen3ForCausalLM", ROTARY, (*RMS_DECODER, QK_NORM, NO_BIASES, ONE_WINDOW)),
    Holder("llama", "LlamaForCausalLM", EVERY_ROTARY, (*RMS_DECODER, NO_QK_NORM, NO_WINDOWS)),
    Holder("smollm3", "SmolLM3ForCausalLM", PATTERN, (*RMS_DECODER, NO_QK_NORM, ONE_WINDOW)),
    Holder(
        "gpt2", "GPT2LMHeadModel", TABLE, (*GPT_DECODER, UNGATED, SEQUENTIAL, NO_EMBEDDING_NORM)
    ),
    Holder(
        "gpt_neox", "GPTNeoXForCausalLM", PARTIAL_ROTARY, (*GPT_DECODER, UNGATED, NO_EMBEDDING_NORM)
    ),
    Holder(
        "bloom",
        "BloomForCausalLM",
        ALIBI,
        (*GPT_DECODER, GELU_TANH, FOUR_WIDTHS, SEQUENTIAL, EMBEDDING_NORM),
    ),
    Holder(
        "mpt",
        "MptForCausalLM",
        ALIBI,
        (*GPT_DECODER, GELU, FOUR_WIDTHS, SEQUENTIAL, NO_EMBEDDING_NORM, NO_BIASES),
    ),
    Holder(
        "bert",
        "BertForMaskedLM",
        TABLE,
        (*GPT, BIDIRECTIONAL, AFTER, ANY_GELU, SEQUENTIAL, EMBEDDING_NORM),
        auto_class="AutoModelForMaskedLM",
    ),
)


def stock_class(config: ModelConfig) -> Holder:
    """Return the stock class of transformers that holds a model.

    Raises:
        BadInput: there is none: which part of the model none holds, and what to change.
    """
    if config.kind != "transformer":
        raise BadInput(
            f"no stock class of transformers holds --model {config.kind}: train a transformer",
            code="interop.no-class-for-kind",
        )
    architecture = Architecture.from_config(config)
    unmet = {holder.family: holder.unmet(architecture) for holder in HOLDERS}
    if exact := [holder for holder in HOLDERS if not unmet[holder.family]]:
        return exact[0]
    positioned = [h for h in HOLDERS if h.position not in unmet[h.family]]
    if not positioned:
        raise BadInput(
            f"no stock class of transformers holds --position {config.position}: they hold rotary, "
            "none, a pattern of these two, learned, sinusoidal and alibi: train with "
            "--position rotary",
            code="interop.no-class-for-position",
        )
    nearest = min(positioned, key=lambda holder: len(unmet[holder.family]))
    lacking = unmet[nearest.family]
    raise BadInput(
        f"no stock class of transformers holds this model: the closest, {nearest.class_name}, "
        f"needs {', '.join(each.description for each in lacking)}: train with "
        f"{' '.join(each.option for each in lacking)}",
        code="interop.no-class",
    )
