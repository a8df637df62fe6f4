"""What Gemma 3 and ModernBERT share: rotary with other settings in sliding and in full layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wordorder.errors import BadInput
from wordorder.interop.architecture import Architecture
from wordorder.interop.huggingface.fields import Fields, pattern
from wordorder.interop.huggingface.rope_fields import RotarySettings, rotary_spec
from wordorder.interop.huggingface.rotary import rope_parameters

from . import rms_decoder

SLIDING, FULL = rms_decoder.KINDS


def layer_types(architecture: Architecture) -> list[str]:
    """Return the kind of each layer."""
    config = architecture.config
    return [SLIDING if config.window(i) else FULL for i in range(config.layers)]


def rope_by_kind(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """Return `rope_parameters`: the settings of each kind; an unused kind gets the other's."""
    kinds = layer_types(architecture)
    first = {kind: kinds.index(kind) for kind in kinds}
    layers = {kind: first.get(kind, 0) for kind in rms_decoder.KINDS}
    return {kind: rope_parameters(architecture.rotary(layer)) for kind, layer in layers.items()}


def positions(
    fields: Fields,
    kinds: Sequence[str],
    bases: Mapping[str, tuple[str, float]],
    head_dim: int,
    *,
    scaled: Sequence[str],
) -> tuple[str, int]:
    """Return the spec of the positions and the trained length.

    Args:
        kinds: of each layer.
        bases: the field of older files and the class's base, by the kind of a layer.
        scaled: kinds whose scaling older files have as `rope_scaling`.
    """
    rotary = {
        kind: _rotary(fields, kind, bases[kind], head_dim, is_scaled=kind in scaled)
        for kind in dict.fromkeys(kinds)
    }
    for kind in set(rms_decoder.KINDS) - set(rotary):  # of a kind that no layer is
        fields.get(bases[kind][0])
    spec = "/".join(pattern([rotary[kind].spec for kind in kinds]))
    return spec, min(each.trained_length for each in rotary.values())


def _rotary(
    fields: Fields, kind: str, base: tuple[str, float], head_dim: int, *, is_scaled: bool
) -> RotarySettings:
    """Return the positions of the layers of one kind."""
    nested = fields.part("rope_parameters").part(kind).values
    older = fields.part("rope_scaling").values if is_scaled else {}
    settings = {"rope_theta": fields.number(*base), **older, **nested}
    if "type" in settings:
        settings.setdefault("rope_type", settings.pop("type"))
    length = fields.integer("max_position_embeddings")
    if settings.get("truncate", True) is not True:  # the classes ignore it there
        raise BadInput(
            f"{fields.where}: truncate of {kind} cannot be imported: transformers ignores it "
            "there, so remove it",
            code="interop.nested-truncate",
        )
    rotary = rotary_spec(settings, f"{kind} of {fields.where}", head_dim, length)
    if rotary.score_factor != 1:  # queries of other layers have another factor
        raise BadInput(
            f"{fields.where}: attention_factor of {kind} cannot be imported: it must be the usual "
            "one of its rope_type",
            code="interop.attention-factor",
        )
    return rotary
