"""The positional embeddings of known models, by name: `recipe:llama3` is such a spec.

A recipe is the model's exact embedding, with the constants for its own context length. To train on
shorter sequences, write the spec without these constants; they are then computed from the trained
length. For example, `rotary/rotary/rotary/none` is SmolLM3's pattern at any length.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from .base import PositionError

PREFIX = "recipe:"


@dataclass(frozen=True)
class Recipe:
    """The positional embedding of a known model.

    Args:
        spec: the embedding of each layer, as a pattern that repeats.
        length: the longest context in tokens that the model was made for.
        source: the model, and where its values are published.
        windows: the model's sliding windows, in tokens for each layer of a pattern; 0: no window.
            They are an option of the model (`--windows`), not of the embedding.
    """

    spec: str
    length: int
    source: str
    windows: tuple[int, ...] = ()


def _pattern(local: str, layers: int, last: str) -> str:
    return "/".join([*[local] * layers, last])


_LOCAL = "rotary:base=10000"
_LLAMA3 = "rotary:base=500000,scaling=llama3,original_length=8192"
_YARN = "scaling=yarn,beta_fast=32,beta_slow=1"

RECIPES: dict[str, Recipe] = {
    "transformer": Recipe("sinusoidal", 512, "Vaswani et al. 2017, section 3.5"),
    "bert": Recipe("learned", 512, "Devlin et al. 2019, appendix A.2"),
    "gpt2": Recipe("learned", 1024, "Radford et al. 2019, section 2.3"),
    "t5": Recipe("t5:max_distance=128", 512, "Raffel et al. 2020, section 2.1"),
    "bloom": Recipe("alibi", 2048, "BigScience 2022, BLOOM, section 3.2.2"),
    "gpt-neox": Recipe("rotary:base=10000,fraction=0.25", 2048, "Black et al. 2022, section 2.1"),
    "llama2": Recipe("rotary:base=10000", 4096, "Touvron et al. 2023, section 2.2"),
    "llama3": Recipe("rotary:base=500000", 8192, "Grattafiori et al. 2024, table 3"),
    "llama3.1": Recipe(
        f"{_LLAMA3},factor=8", 131_072, "config.json of meta-llama/Llama-3.1-8B: rope_scaling"
    ),
    "llama3.2": Recipe(
        f"{_LLAMA3},factor=32", 131_072, "config.json of meta-llama/Llama-3.2-1B: rope_scaling"
    ),
    "mistral": Recipe("rotary:base=10000", 8192, "Jiang et al. 2023, table 1", (4096,)),
    "qwen3": Recipe("rotary:base=1000000", 32_768, "Qwen Team 2025, section 2"),
    "qwen3-yarn": Recipe(
        f"rotary:base=1000000,factor=4,original_length=32768,{_YARN}",
        131_072,
        "the model card of Qwen/Qwen3-8B: rope_scaling for long texts",
    ),
    "gemma2": Recipe("rotary:base=10000", 8192, "Gemma Team 2024, section 2", (4096, 0)),
    "gemma3": Recipe(
        _pattern(_LOCAL, 5, "rotary:base=1000000"),
        131_072,
        "Gemma Team 2025, section 2; without the factor of 8 of the larger models",
        (1024, 1024, 1024, 1024, 1024, 0),
    ),
    # A window counts the token itself, and a bidirectional one has as many on the other side.
    "modernbert": Recipe(
        "rotary:base=160000/rotary:base=10000/rotary:base=10000",
        8192,
        "Warner et al. 2024, section 2.1.2",
        (0, 65, 65),
    ),
    "smollm3": Recipe(
        _pattern("rotary:base=5000000", 3, "none"),
        65_536,
        "Bakouch et al. 2025; config.json of HuggingFaceTB/SmolLM3-3B",
    ),
    "olmo3": Recipe(
        "rotary:base=500000", 8192, "Olmo Team 2025, before its YaRN", (4096, 4096, 4096, 0)
    ),
    "gpt-oss": Recipe(
        f"rotary:base=150000,factor=32,original_length=4096,{_YARN},truncate=false",
        131_072,
        "OpenAI 2025, gpt-oss model card, section 2.3",
        (128, 0),
    ),
    "deepseek-v3": Recipe(
        f"rotary:base=10000,factor=40,original_length=4096,{_YARN}",
        163_840,
        "DeepSeek-AI 2024 (arXiv 2412.19437), section 4.3; on the decoupled part of each head "
        "(--attention latent)",
    ),
}


def expanded(spec: str) -> str:
    """Return the spec of a recipe such as `recipe:llama3`; any other spec as it is.

    Raises:
        PositionError: there is no such recipe.
    """
    found = re.search(rf"(?:^|[/+])\s*{PREFIX}", spec, re.IGNORECASE)
    if found is None:
        return spec
    before, name = spec[: found.end() - len(PREFIX)].strip(), spec[found.end() :].strip().lower()
    if before or re.search("[/+]", name):
        raise PositionError(
            f"{spec!r} combines a recipe, which is the embedding of a whole model: give "
            f"{PREFIX}NAME alone",
            code="positions.recipe-in-spec",
        )
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}? The recipes are" if near else "use one of"
        raise PositionError(
            f"{spec!r} is not a recipe: {hint} {', '.join(RECIPES)}",
            code="positions.unknown-recipe",
        )
    return RECIPES[name].spec
