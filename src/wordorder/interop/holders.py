"""Which class or architecture of another program holds a model exactly, or why none does.

`wordorder export`, `train` and `positions` all read this one table. A holder is a stock class of
transformers, the class of a modelling file that an export carries, or an architecture of llama.cpp.
It holds a model that meets all its requirements; the first such holder of a program is used. A
holder may have features that a model lacks, such as biases, if zeros express their absence. ONNX
has no holders: see onnx/graph.py. This module imports none of these programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wordorder.errors import BadInput
from wordorder.model import ModelConfig

from .architecture import Architecture
from .onnx.graph import why_not_traced
from .requirements import (
    AFTER,
    ALIBI,
    ANY_GELU,
    BASE_BY_LAYER,
    BEFORE,
    BIDIRECTIONAL,
    DECOUPLED_ROTARY,
    DEEPSEEK,
    EMBEDDING_NORM,
    ENCODER,
    EVERY_ROTARY,
    EVERY_WINDOW,
    FIXED_PATTERN,
    FOUR_WIDTHS,
    GATED_BRANCH,
    GELU,
    GELU_TANH,
    GEMMA,
    GLOBAL_AT_THE_END,
    GLOBAL_EVERY,
    GPT,
    GPT_DECODER,
    GPT_OSS,
    INTERLEAVED_ROTARY,
    LOCAL_AND_GLOBAL,
    NO_BIASES,
    NO_EMBEDDING_NORM,
    NO_FIRST_NORM,
    NO_POSITION,
    NO_QK_NORM,
    NO_WINDOWS,
    ONE_WINDOW,
    PARTIAL_ROTARY,
    PATTERN,
    PLAIN_LOCAL_AND_GLOBAL,
    PLAIN_PARTIAL_ROTARY,
    PLAIN_ROTARY,
    QK_NORM,
    RMS_DECODER,
    ROTARY,
    ROTARY_WINDOWS,
    SEQUENTIAL,
    SIGMOID_EXPERTS,
    SINKS_DECODER,
    SOFTMAX_EXPERTS,
    STATIC_PATTERN,
    STATIC_ROTARY,
    TABLE,
    TWO_BASES,
    UNCAPPED_SCORES,
    UNGATED,
    Requirement,
)


@dataclass(frozen=True)
class Holder:
    """What of another program holds models, and what a model needs in order to fit it.

    Args:
        family: names its configuration and weight map.
        class_name: the class of transformers with its output layer, or llama.cpp's architecture.
        position: which positional embeddings it has.
        requirements: everything else.
        auto_class: the class of transformers that loads it.
        target: what `wordorder export --to` calls the program.
        has_code: the class is in a modelling file that the export carries.
    """

    family: str
    class_name: str
    position: Requirement
    requirements: tuple[Requirement, ...]
    auto_class: str = "AutoModelForCausalLM"
    target: str = "hf"
    has_code: bool = False

    def unmet(self, architecture: Architecture) -> list[Requirement]:
        """Return the requirements that an architecture does not meet, the position first."""
        every = (self.position, *self.requirements)
        return [each for each in every if not each.is_met(architecture)]


# The first that fits is taken: Llama before SmolLM3, which holds the same models and more, because
# more programs read Llama.
HOLDERS: tuple[Holder, ...] = (
    Holder("qwen3", "Qwen3ForCausalLM", ROTARY, (*RMS_DECODER, QK_NORM, NO_BIASES, ONE_WINDOW)),
    Holder("llama", "LlamaForCausalLM", EVERY_ROTARY, (*RMS_DECODER, NO_QK_NORM, NO_WINDOWS)),
    Holder(
        "mistral",
        "MistralForCausalLM",
        EVERY_ROTARY,
        (*RMS_DECODER, NO_QK_NORM, NO_BIASES, EVERY_WINDOW),
    ),
    Holder("smollm3", "SmolLM3ForCausalLM", PATTERN, (*RMS_DECODER, NO_QK_NORM, ONE_WINDOW)),
    Holder(
        "granite_swa",
        "GraniteSWAForCausalLM",
        BASE_BY_LAYER,
        (*SINKS_DECODER, NO_QK_NORM, ONE_WINDOW),
    ),
    Holder("gpt_oss", "GptOssForCausalLM", EVERY_ROTARY, (*GPT_OSS, NO_QK_NORM, ONE_WINDOW)),
    Holder("gemma3", "Gemma3ForCausalLM", LOCAL_AND_GLOBAL, (*GEMMA, UNCAPPED_SCORES, QK_NORM)),
    Holder("gemma2", "Gemma2ForCausalLM", ROTARY, (*GEMMA, NO_QK_NORM)),
    Holder("deepseek_v3", "DeepseekV3ForCausalLM", DECOUPLED_ROTARY, (*DEEPSEEK, SIGMOID_EXPERTS)),
    Holder(
        "deepseek_v2", "DeepseekV2ForCausalLM", INTERLEAVED_ROTARY, (*DEEPSEEK, SOFTMAX_EXPERTS)
    ),
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
    Holder(
        "modernbert",
        "ModernBertForMaskedLM",
        TWO_BASES,
        (
            *ENCODER,
            BIDIRECTIONAL,
            BEFORE,
            NO_FIRST_NORM,
            GATED_BRANCH,
            SEQUENTIAL,
            EMBEDDING_NORM,
            GLOBAL_EVERY,
        ),
        auto_class="AutoModelForMaskedLM",
    ),
)


LLAMA_CPP_ROWS = (
    ("qwen3", PLAIN_ROTARY, (*RMS_DECODER, QK_NORM, NO_BIASES, NO_WINDOWS)),
    ("llama", STATIC_ROTARY, (*RMS_DECODER, NO_QK_NORM, NO_WINDOWS)),
    ("granite", NO_POSITION, (*RMS_DECODER, NO_QK_NORM, NO_WINDOWS)),
    ("exaone-moe", FIXED_PATTERN, (*RMS_DECODER, QK_NORM, NO_BIASES, ROTARY_WINDOWS)),
    ("granite_swa", STATIC_PATTERN, (*SINKS_DECODER, NO_QK_NORM, ONE_WINDOW)),
    (
        "gemma3",
        PLAIN_LOCAL_AND_GLOBAL,
        (*GEMMA, UNCAPPED_SCORES, QK_NORM, GLOBAL_AT_THE_END),
    ),
    ("refact", ALIBI, (*RMS_DECODER, NO_QK_NORM, NO_WINDOWS, NO_BIASES)),
    ("gpt2", TABLE, (*GPT_DECODER, GELU_TANH, SEQUENTIAL, NO_EMBEDDING_NORM)),
    ("gptneox", PLAIN_PARTIAL_ROTARY, (*GPT_DECODER, GELU_TANH, NO_EMBEDDING_NORM)),
    ("bloom", ALIBI, (*GPT_DECODER, GELU_TANH, SEQUENTIAL, EMBEDDING_NORM)),
    ("mpt", ALIBI, (*GPT_DECODER, GELU_TANH, SEQUENTIAL, NO_EMBEDDING_NORM)),
)
HOLDERS += tuple(
    Holder(name, name, position, requirements, target="gguf")
    for name, position, requirements in LLAMA_CPP_ROWS
)

# The classes of the modelling file, which hold every transformer, by whether it is causal.
ANY = Requirement(lambda architecture: True, "any positional embedding", "")
OWN_CODE = {
    True: Holder("own_code", "WordorderForCausalLM", ANY, (), has_code=True),
    False: Holder(
        "own_code",
        "WordorderForMaskedLM",
        ANY,
        (),
        auto_class="AutoModelForMaskedLM",
        has_code=True,
    ),
}


@dataclass(frozen=True)
class HolderKind:
    """What a program calls its holders, for messages.

    Args:
        name: such as "stock class of transformers".
        positions: which positional embeddings they have, in words.
        tokenizers: kinds of tokenizers that the program has.
        perhaps: kinds of which it has some: an export tries.
    """

    name: str
    positions: str
    tokenizers: tuple[str, ...]
    perhaps: tuple[str, ...] = ()


KINDS = {
    "hf": HolderKind(
        "stock class of transformers",
        "rotary, also with several bases, none, a pattern of these, learned, sinusoidal and alibi",
        ("bpe", "bytes", "characters", "custom"),
    ),
    "gguf": HolderKind(
        "architecture of llama.cpp",
        "rotary (but scaling=dynamic, whose frequencies change with the text), none, a pattern of "
        "these two, learned, sinusoidal and alibi",
        ("bpe", "bytes"),
        ("custom",),
    ),
}


def stock_class(config: ModelConfig) -> Holder:
    """Return the stock class of transformers that holds a model; see `holder_of`."""
    return holder_of(config, "hf")


def architecture_of_llama_cpp(config: ModelConfig) -> Holder:
    """Return the architecture of llama.cpp that holds a model; see `holder_of`."""
    return holder_of(config, "gguf")


def exports(config: ModelConfig, tokenizer: str) -> str:
    """Return which exports hold a run, in words: "hf (Qwen3ForCausalLM), gguf (qwen3), onnx".

    Args:
        tokenizer: its kind.
    """
    if config.kind != "transformer":
        return "none"
    architecture = Architecture.from_config(config)
    perhaps = [target for target in KINDS if tokenizer in KINDS[target].perhaps]
    holding = [target for target in KINDS if tokenizer in KINDS[target].tokenizers] + perhaps
    rows = [holder for holder in HOLDERS if holder.target in holding]
    rows = [holder for holder in rows if not holder.unmet(architecture)]
    return _named(rows, architecture, perhaps)


def exports_of_position(config: ModelConfig) -> str:
    """Return the same of a positional embedding: the holders that need least else changed."""
    architecture = Architecture.from_config(config)
    unmet = {holder: holder.unmet(architecture) for holder in HOLDERS}
    having = [holder for holder in HOLDERS if holder.position not in unmet[holder]]
    return _named(sorted(having, key=lambda holder: len(unmet[holder])), architecture)


def _named(holders: list[Holder], architecture: Architecture, perhaps: Sequence[str] = ()) -> str:
    """Return the first holder of each program, and the exports that need none.

    Args:
        perhaps: programs that may not have the tokenizer.
    """
    names = {holder.target: holder.class_name for holder in reversed(holders)}
    named = {"hf": "own code", **names}
    for target in {*perhaps} & {*named}:
        named[target] += ", if it has the tokenizer"
    exports = [f"{target} ({named[target]})" for target in KINDS if target in named]
    return ", ".join(exports + ["onnx"] * (why_not_traced(architecture) is None))


def holder_of(config: ModelConfig, target: str) -> Holder:
    """Return what of another program holds a model.

    Args:
        target: what `wordorder export --to` calls the program.

    Raises:
        BadInput: there is none: which part of the model none holds, and what to change.
    """
    kind = KINDS[target]
    if config.kind != "transformer":
        raise BadInput(
            f"no {kind.name} holds --model {config.kind}: train a transformer",
            code="interop.no-class-for-kind",
        )
    architecture = Architecture.from_config(config)
    rows = [holder for holder in HOLDERS if holder.target == target]
    unmet = {holder.family: holder.unmet(architecture) for holder in rows}
    if exact := [holder for holder in rows if not unmet[holder.family]]:
        return exact[0]
    positioned = [h for h in rows if h.position not in unmet[h.family]]
    if not positioned:
        raise BadInput(
            f"no {kind.name} holds --position {config.position}: they hold {kind.positions}: train "
            "with --position rotary",
            code="interop.no-class-for-position",
        )
    nearest = min(positioned, key=lambda holder: len(unmet[holder.family]))
    lacking = unmet[nearest.family]
    raise BadInput(
        f"no {kind.name} holds this model: the closest, {nearest.class_name}, "
        f"needs {', '.join(each.description for each in lacking)}: train with "
        f"{' '.join(each.option for each in lacking)}",
        code="interop.no-class",
    )
