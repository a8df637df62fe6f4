"""Presets by name: a size, or the architecture of a known family at a size, such as gpt2-nano.

A family sets what its class in transformers and other programs fixes, so that they hold the model
exactly; everything else, such as grouped keys, is a choice that the class leaves, and has the
defaults. Imports no torch: `--help` needs the names.

Source: the released configurations of Llama, Qwen3, SmolLM3, GPT-2, GPT-NeoX, BLOOM, MPT and BERT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .config import PRESETS

_LAYER_NORM = {"norm": "layer", "norm_epsilon": 1e-5, "biases": True, "qk_norm": False}
_GPT = {**_LAYER_NORM, "feed_forward": "gelu_tanh"}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"position": "rotary", "qk_norm": False, "norm_epsilon": 1e-5},
    "qwen3": {"position": "rotary"},
    "smollm3": {"position": "rotary/rotary/rotary/none", "qk_norm": False},
    "gpt2": {**_GPT, "position": "learned"},
    "neox": {
        **_LAYER_NORM,
        "position": "rotary:fraction=0.25",
        "feed_forward": "gelu",
        "parallel_residual": True,
        "tied_embeddings": False,
    },
    "bloom": {**_GPT, "position": "alibi", "embedding_norm": True},
    "mpt": {**_LAYER_NORM, "position": "alibi", "feed_forward": "gelu", "biases": False},
    "bert": {
        **_LAYER_NORM,
        "position": "learned",
        "feed_forward": "gelu",
        "norm_epsilon": 1e-12,
        "norm_placement": "after",
        "embedding_norm": True,
        "causal": False,
    },
}


def preset_names() -> Iterator[str]:
    """Yield the name of every preset, the sizes first."""
    yield from PRESETS
    for family in FAMILIES:
        yield from (f"{family}-{size}" for size in PRESETS)


def preset_fields(name: str) -> dict[str, Any]:
    """Return the fields of ModelConfig that a preset sets.

    Raises:
        KeyError: there is no such preset.
    """
    family, hyphen, size = name.rpartition("-")
    return {**PRESETS[size], **(FAMILIES[family] if hyphen else {})}
