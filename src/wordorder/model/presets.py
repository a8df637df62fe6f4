"""Presets by name: a size, or the architecture of a known family at a size, such as gpt2-nano.

A family sets everything that its class in transformers and other programs hard-codes, so that a
model can be exported exactly. What the class leaves configurable, such as grouped keys, keeps the
defaults. This module does not import torch, because `--help` needs the names.

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
    "mistral": {"position": "rotary", "qk_norm": False, "norm_epsilon": 1e-5},
    # Gemma 3 has five layers with a window before each layer without one; here it is three, because
    # the presets have few layers.
    "gemma3": {
        "position": "/".join([*["rotary:base=10000"] * 3, "rotary:base=1000000"]),
        "feed_forward": "geglu_tanh",
        "norm_placement": "both",
    },
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
    "modernbert": {
        **_LAYER_NORM,
        "position": "rotary:base=160000/rotary:base=10000/rotary:base=10000",
        "feed_forward": "geglu",
        "biases": False,
        "embedding_norm": True,
        "first_norm": False,
        "output_transform": True,
        "output_bias": True,
        "causal": False,
    },
}
# Sliding windows of each layer, as divisors of the trained length; 0: no window. A bidirectional
# one reaches as far to both sides.
WINDOWS = {"mistral": (2,), "gemma3": (8, 8, 8, 0), "modernbert": (0, 16, 16)}


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
    fields = {**PRESETS[size], **(FAMILIES[family] if hyphen else {})}
    if family in WINDOWS:
        length = fields["trained_length"]
        fields["windows"] = tuple(length // share if share else 0 for share in WINDOWS[family])
    return fields
