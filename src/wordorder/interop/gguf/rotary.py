"""Rotary embeddings in llama.cpp: the order of dimensions, metadata and factors of frequencies.

llama.cpp pairs dimensions (0, 1), (2, 3), ... in some architectures, as wordorder does, and
dimension i with i + half of the turned ones in others. Some read a tensor of divisors of the
frequencies, with which any frequencies are exact; the others have no more than metadata.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wordorder.interop.rotary_layout import POSITION_FREE_FACTOR, TURNED
from wordorder.positions import Rotary

# Scalings that metadata expresses: as another base, a divisor of all frequencies, or YaRN's ramp.
BY_METADATA = ("none", "linear", "ntk", "yarn")


@dataclass(frozen=True)
class RopeSettings:
    """What a file says of one rotary embedding.

    Args:
        metadata: keys after the architecture's name.
        tensors: divisors of the frequencies, (pairs,) float32, by tensor name.
        query_factor: what queries are multiplied by, where the scaling sharpens the softmax.
    """

    metadata: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    query_factor: float = 1.0


def order(rotary: Rotary, head_dim: int, *, halves: bool, whole: bool) -> list[int]:
    """Return which of our dimensions stands at each place of a head in a file.

    Args:
        halves: pairs are (i, i + half); otherwise (2i, 2i + 1).
        whole: unturned dimensions are pairs too, of frequency 0, so that half is head_dim / 2.
    """
    pairs = len(rotary.frequencies())
    first, step = (range(pairs), pairs) if rotary.layout == "half" else (range(0, 2 * pairs, 2), 1)
    turned = [(i, i + step) for i in first]
    rest = list(range(2 * pairs, head_dim))
    if whole:
        turned += zip(rest[::2], rest[1::2], strict=True)
        rest = []
    if halves:
        return [a for a, _ in turned] + [b for _, b in turned] + rest
    return [i for pair in turned for i in pair] + rest


def in_order(
    layer: dict[str, Tensor], rotary: Rotary | None, head_dim: int, *, halves: bool, whole: bool
) -> dict[str, Tensor]:
    """Return a layer's weights with whatever rotary turns in the order of a file."""
    if rotary is None:
        return layer
    places = order(rotary, head_dim, halves=halves, whole=whole)
    return {
        name: permuted(value, places) if name.startswith(TURNED) else value
        for name, value in layer.items()
    }


def permuted(rows: Tensor, places: list[int]) -> Tensor:
    """Return the rows of each head in another order; rows (heads * head_dim, ...)."""
    heads = rows.reshape(-1, len(places), *rows.shape[1:])
    return heads[:, places].reshape(rows.shape)


def sharpened(layer: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return a layer's weights with queries multiplied by a factor."""
    norm = "attention.query_norm."
    owner = norm if f"{norm}weight" in layer else "attention.query."
    return {n: v * factor if n.startswith(owner) else v for n, v in layer.items()}


def by_metadata(rotary: Rotary | None) -> RopeSettings:
    """Return the settings of an architecture that reads no divisors."""
    if rotary is None:  # an architecture that always turns: by angles of 0
        return RopeSettings(
            {"rope.scaling.type": "linear", "rope.scaling.factor": POSITION_FREE_FACTOR}
        )
    base, options = rotary.resolved_base, rotary.rescale.keywords
    if rotary.scaling == "ntk":  # is another base, with which it was published
        dimensions = 2 * rotary.pairs
        base *= rotary.factor ** (dimensions / max(dimensions - 2, 1))
    metadata: dict[str, Any] = {"rope.freq_base": base}
    if rotary.scaling in ("linear", "yarn"):
        metadata |= {"rope.scaling.type": rotary.scaling, "rope.scaling.factor": rotary.factor}
    if rotary.scaling == "yarn":
        metadata |= {
            "rope.scaling.original_context_length": int(options["original_length"]),
            "rope.scaling.yarn_beta_fast": float(options["beta_fast"]),
            "rope.scaling.yarn_beta_slow": float(options["beta_slow"]),
        }
    return RopeSettings(metadata)


def by_divisors(rotary: Rotary | None) -> RopeSettings:
    """Return the settings of an architecture that reads divisors of the frequencies."""
    if rotary is None:
        return RopeSettings({})
    is_plain = rotary.scaling in ("none", "linear", "ntk") and rotary.fraction == 1
    if is_plain:
        return by_metadata(rotary)
    metadata: dict[str, Any] = {"rope.freq_base": rotary.resolved_base}
    if rotary.static_rotation:
        tensors = {"rope_freqs.weight": _divisors(rotary, 0)}
    else:  # longrope: llama.cpp takes the long ones where its context is past the original length
        original = int(rotary.rescale.keywords["original_length"])
        metadata |= {
            "rope.scaling.type": "longrope",
            "rope.scaling.original_context_length": original,
        }
        tensors = {
            "rope_factors_long.weight": _divisors(rotary, original + 1),
            "rope_factors_short.weight": _divisors(rotary, original),
        }
    scale = rotary.softmax_scale
    factor = 1.0 if scale is None else scale * rotary.shape.head_dim**0.5
    return RopeSettings(metadata, tensors, factor)


def _divisors(rotary: Rotary, context_length: int) -> Tensor:
    """Return by what llama.cpp's frequencies, base^(-2i/head_dim), are divided."""
    pairs = rotary.shape.head_dim // 2
    theirs = rotary.resolved_base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    ours = torch.zeros(pairs, dtype=torch.float64)
    frequencies = rotary.frequencies(context_length)
    ours[: len(frequencies)] = frequencies
    divisors = torch.where(ours > 0, theirs / ours, POSITION_FREE_FACTOR)
    return divisors.float()
