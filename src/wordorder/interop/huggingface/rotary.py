"""The settings of rotary embeddings in a config.json of transformers."""

from __future__ import annotations

from typing import Any

from wordorder.interop.rotary_layout import POSITION_FREE_FACTOR
from wordorder.positions import Rotary

# Types whose frequencies change with the length of the text.
LENGTH_DEPENDENT = ("dynamic", "longrope")
# transformers' type of each scaling of the same name, and its names of the scaling's options.
OPTIONS = {
    "linear": {"factor": "factor"},
    "dynamic": {"factor": "factor"},
    "yarn": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
    },
    "longrope": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "short_factors": "short_factor",
        "long_factors": "long_factor",
    },
    "llama3": {
        "factor": "factor",
        "original_length": "original_max_position_embeddings",
        "low_frequency_factor": "low_freq_factor",
        "high_frequency_factor": "high_freq_factor",
    },
}


def rope_parameters(rotary: Rotary | None) -> dict[str, Any]:
    """Return transformers' settings of a rotary embedding; of None, settings that turn nothing."""
    if rotary is None:
        return {"rope_type": "linear", "factor": POSITION_FREE_FACTOR, "rope_theta": 10_000.0}
    base, options = rotary.resolved_base, rotary.rescale.keywords
    if rotary.proportional:
        return {
            "rope_type": "proportional",
            "rope_theta": base,
            "partial_rotary_factor": rotary.resolved_fraction,
            **({"factor": rotary.factor} if rotary.scaling == "linear" else {}),
        }
    if rotary.scaling == "ntk":  # is another base, with which it was published
        dimensions = 2 * rotary.pairs
        base *= rotary.factor ** (dimensions / max(dimensions - 2, 1))
    settings: dict[str, Any] = {"rope_type": rotary.scaling, "rope_theta": base}
    if rotary.scaling in ("none", "ntk"):
        return {**settings, "rope_type": "default"}
    settings |= {theirs: options[ours] for ours, theirs in OPTIONS[rotary.scaling].items()}
    if not rotary.truncate:
        settings["truncate"] = False
    if rotary.scaling == "longrope":
        settings["long_factor"] = list(rotary.long_factors)
        settings["short_factor"] = list(rotary.short_factors or [1.0] * rotary.pairs)
    return settings


def rope_settings(rotary: Rotary | None) -> dict[str, Any]:
    """Return the fields of config.json, as versions 5 and 4 of transformers read them.

    Version 4 reads `rope_theta` and `rope_scaling` and ignores `rope_parameters`: with these
    alone it would use its own default base.
    """
    settings = rope_parameters(rotary)
    scaling = {name: value for name, value in settings.items() if name != "rope_theta"}
    is_plain = settings["rope_type"] == "default"
    return {
        "rope_parameters": settings,
        "rope_theta": settings["rope_theta"],
        "rope_scaling": None if is_plain else scaling,
    }


def max_position_embeddings(rotary: Rotary | None, trained_length: int) -> int:
    """Return what transformers takes for the trained length; dynamic scaling divides by it."""
    if rotary is not None and rotary.scaling == "dynamic":
        return int(rotary.rescale.keywords["original_length"])
    return trained_length


def static_length(rotary: Rotary | None) -> int | None:
    """Return the length up to which cached keys stay exact; None: at any length.

    Past it the frequencies change with the length of the text, but transformers' cached keys keep
    those of the shorter text that they were computed in.
    """
    if rotary is None or rotary.static_rotation:
        return None
    return int(rotary.rescale.keywords["original_length"])
