"""Reads the rotary settings of a config.json: a spec of rotary, or none.

Version 5 of transformers writes `rope_parameters`, version 4 `rope_theta` and `rope_scaling`; a
type or a setting that is not known is refused, because every other reading of it changes logits on
long texts only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.interop.rotary_layout import POSITION_FREE_FACTOR
from wordorder.settings import formatted

from .fields import Fields
from .rotary import OPTIONS

TYPES = ("default", *OPTIONS, "proportional")
# Settings with a default, by transformers' name.
DEFAULTS: dict[str, Any] = {"beta_fast": 32.0, "beta_slow": 1.0}
NOTHING: Mapping[str, Any] = {}


class RotarySettings(NamedTuple):
    """What a config.json says of positions.

    Args:
        spec: of the positional embedding.
        trained_length: tokens in one training sequence.
        score_factor: the factor of scores in addition to the spec's.
        attention_factor: the class's factor of queries and keys.
        usual_factor: the square root of the spec's factor of scores.
    """

    spec: str
    trained_length: int
    score_factor: float = 1.0
    attention_factor: float = 1.0
    usual_factor: float = 1.0


def read_rotary(
    fields: Fields,
    head_dim: int,
    *,
    base: float = 10_000.0,
    fraction: float | None = None,
    usual: Mapping[str, Any] = NOTHING,
) -> RotarySettings:
    """Return the positions of a family with one rotary embedding.

    Args:
        base: of the class, where the file has none.
        fraction: the part of each head that is turned, where the file does not say so; None: the
            class always turns whole heads.
        usual: settings of the class, where the file has none.

    Raises:
        BadInput: a type or a setting that is not known, or two that contradict each other.
    """
    settings = rope_settings_of(fields, base=base, usual=usual)
    if fraction is not None:
        settings.setdefault("partial_rotary_factor", fraction)
    where = f"the rotary settings in {fields.where}"
    length = fields.integer("max_position_embeddings")
    return rotary_spec(settings, where, head_dim, length, is_partial=fraction is not None)


def rope_settings_of(
    fields: Fields, *, base: float, usual: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    """Return the rotary settings of a config.json, named as in `rope_parameters`.

    Raises:
        BadInput: settings that contradict each other.
    """
    has_none = all(fields.values.get(name) is None for name in ("rope_parameters", "rope_scaling"))
    settings = {**(usual if has_none else NOTHING), **_merged(fields)}
    if (original := fields.get("original_max_position_embeddings")) is not None:
        settings["original_max_position_embeddings"] = original
    settings.setdefault("rope_theta", base)
    return settings


def _merged(fields: Fields) -> dict[str, Any]:
    """Return `rope_parameters` with the older keys.

    Raises:
        BadInput: they contradict each other.
    """
    merged: dict[str, Any] = {}
    older = {
        **({"rope_theta": theta} if (theta := fields.get("rope_theta")) is not None else {}),
        **fields.part("rope_scaling").values,
    }
    for settings in (fields.part("rope_parameters").values, older):
        for name, value in settings.items():
            key = "rope_type" if name == "type" else name
            if merged.setdefault(key, value) != value:
                raise BadInput(
                    f"{fields.where}: {name} is {formatted(value)} and {formatted(merged[key])}: "
                    "remove rope_parameters, or rope_theta and rope_scaling",
                    code="interop.rotary-settings-differ",
                )
    return merged


def rotary_spec(
    settings: dict[str, Any], where: str, head_dim: int, length: int, *, is_partial: bool = False
) -> RotarySettings:
    """Return the positions of one set of rotary settings, named as in `rope_parameters`.

    Args:
        where: names the settings in messages.
        length: `max_position_embeddings`.
        is_partial: whether the class can turn a part of each head.

    Raises:
        BadInput: a type or a setting that is not known.
    """
    fields = Fields(settings, where)
    kind = fields.choice("rope_type", dict(zip(TYPES, TYPES, strict=True)), "default")
    options: dict[str, Any] = {"base": fields.number("rope_theta")}
    if kind == "proportional" or is_partial:
        options["fraction"] = _fraction(fields, head_dim, is_even=is_partial)
    else:
        fields.fixed(partial_rotary_factor=1.0)
    given, usual = 1.0, 1.0
    if kind == "proportional":
        options |= {"proportional": True}
        if (factor := fields.number("factor", 1.0)) != 1:
            options |= {"scaling": "linear", "factor": factor}
    elif kind != "default":
        scaling = _scaling(fields, kind, length)
        given, usual = _attention_factors(fields, kind, scaling)
        options |= scaling if scaling.get("factor", 1.0) != 1 or kind != "linear" else {}
    fields.check_unread()
    if kind == "linear" and options.get("factor", 1.0) >= POSITION_FREE_FACTOR:
        return RotarySettings("none", length)
    written = ",".join(f"{name}={_written(value)}" for name, value in options.items())
    score_factor = 1.0 if given == usual else (given / usual) ** 2
    return RotarySettings(f"rotary:{written}", length, score_factor, given, usual)


def _fraction(fields: Fields, head_dim: int, *, is_even: bool) -> float:
    """Return the part of each head that is turned.

    Raises:
        BadInput: it leaves half a pair.
    """
    fraction = fields.number("partial_rotary_factor", 1.0)
    if fraction > 1 or (is_even and int(head_dim * fraction) % 2):
        raise BadInput(
            f"{fields.where}: partial_rotary_factor = {fraction:g} of a head of {head_dim} "
            "dimensions is not a number of pairs: restore the file",
            code="interop.rotary-fraction",
        )
    return fraction


def _scaling(fields: Fields, kind: str, length: int) -> dict[str, Any]:
    """Return the options of rotary for one type of scaling, in a model trained up to `length`."""
    values: dict[str, Any] = {"scaling": kind}
    original = length
    if "original_length" in OPTIONS[kind]:
        original = fields.integer(OPTIONS[kind]["original_length"], length)
    for ours, theirs in OPTIONS[kind].items():
        if ours == "original_length":
            values[ours] = original
        elif ours.endswith("_factors"):
            values[ours] = _divisors(fields, theirs)
        elif ours == "factor" and kind in ("yarn", "longrope"):
            values[ours] = fields.number(theirs, length / original)
        else:
            values[ours] = fields.number(theirs, DEFAULTS.get(theirs))
    if kind == "dynamic":
        values["original_length"] = length
    if kind == "yarn" and not fields.flag("truncate", True):
        values["truncate"] = False
    return values


def _divisors(fields: Fields, name: str) -> list[float]:
    values = fields.get(name)
    if not isinstance(values, list) or any(type(v) not in (int, float) for v in values):
        raise BadInput(
            f"{fields.where}: {name} must be a list of numbers: restore the file",
            code="interop.rotary-divisors",
        )
    return [float(value) for value in values]


def _attention_factors(fields: Fields, kind: str, scaling: dict[str, Any]) -> tuple[float, float]:
    """Return transformers' factor of queries and keys, and the usual one (wordorder's).

    A factor of queries and keys multiplies scores by its square.
    """
    if kind not in ("yarn", "longrope"):
        return 1.0, 1.0
    factor, original = scaling["factor"], scaling["original_length"]
    if kind == "yarn":
        usual = magnitude(factor)
        scales = [fields.get(name) for name in ("mscale", "mscale_all_dim")]
        default = usual
        if all(scales):
            default = magnitude(factor, scales[0]) / magnitude(factor, scales[1])
    else:
        usual = default = math.sqrt(1 + math.log(max(factor, 1)) / math.log(original))
    return fields.number("attention_factor", default), usual


def magnitude(factor: float, scale: float = 1.0) -> float:
    """Return YaRN's attention factor."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(repr, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
