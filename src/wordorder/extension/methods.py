"""Methods of context extension: each rewrites the spec of a model's embedding.

A method replaces one part of a spec by another and leaves all weights unchanged. The formulas are
those of the embeddings (`positions/rotary_scaling.py`, `self_extend.py`, `learned.py`); this module
computes their options from the old length and the new one. Every method resamples learned tables,
because a sequence cannot be longer than the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wordorder.errors import BadInput
from wordorder.extension.base_bound import smallest_base
from wordorder.model import ModelConfig
from wordorder.positions import ModelShape, Part, Spec, build, find, parse
from wordorder.positions.defaults import YARN_TURNS, yarn_turns

ROTARY_OPTIONS = ("base", "fraction", "proportional", "layout")


@dataclass(frozen=True)
class Stretch:
    """The lengths of an extension, and the arguments of single methods.

    Args:
        original_length: the length that the parent was trained at before any scaling.
        length: the new length in tokens.
        head_dim: width of one attention head, or of its part for rotary positions.
        base: for `base`; 0: the smallest that supports the new length.
        neighbours: for `self-extend`, the number of tokens at exact distances; 0: half of the
            original length.
        long_factors: for `longrope`, the result of the search.
    """

    original_length: int
    length: int
    head_dim: int
    base: float = 0.0
    neighbours: int = 0
    long_factors: tuple[float, ...] = ()

    @property
    def factor(self) -> float:
        """The new length divided by the original one."""
        return self.length / self.original_length

    @property
    def beta_fast(self) -> float:
        """Rotations within the original length from which YaRN leaves a pair unscaled."""
        return yarn_turns(self.original_length)


Respell = Callable[[Part, Stretch], Part]


@dataclass(frozen=True)
class Method:
    """A method of context extension.

    Args:
        acts_on: the embeddings that it replaces; empty: any.
        respell: returns the new part of a spec for an old one.
        does: a short description.
        source: paper, section, equation.
    """

    acts_on: tuple[str, ...]
    respell: Respell
    does: str
    source: str


def unscaled(part: Part) -> Part:
    """Return a rotary part without scaling."""
    return Part("rotary", tuple((k, v) for k, v in part.options if k in ROTARY_OPTIONS))


def _scaled(scaling: str, *names: str, **fixed: float) -> Respell:
    """Return a function that replaces the scaling of a rotary part.

    Args:
        names: options that are attributes of `Stretch`.
        fixed: options with constant values.
    """

    def respell(part: Part, stretch: Stretch) -> Part:
        computed = ((name, getattr(stretch, name)) for name in names)
        options = (("scaling", scaling), *computed, *fixed.items())
        return Part("rotary", (*unscaled(part).options, *options))

    return respell


def _base(part: Part, stretch: Stretch) -> Part:
    plain = dict(unscaled(part).options)
    plain["base"] = stretch.base or larger_base(part, stretch)
    return Part("rotary", tuple(plain.items()))


def larger_base(part: Part, stretch: Stretch) -> float:
    """Return the base for the new length: the smallest that supports it, or factor times the old.

    The larger of the two, so that a base above the bound grows too.
    """
    bound = 0.0
    if not dict(part.options).get("proportional"):  # its frequencies are others
        bound = smallest_base(stretch.length, turning_pairs(part, stretch.head_dim)) or 0.0
    return float(f"{max(bound, base_of(part) * stretch.factor):.6g}")


def turning_pairs(part: Part, head_dim: int) -> int:
    """Return the number of pairs of a head that a rotary part rotates."""
    return int(head_dim * dict(part.options).get("fraction", 1.0)) // 2


def _drop(part: Part, stretch: Stretch) -> Part:
    return Part("none")


def _self_extend(part: Part, stretch: Stretch) -> Part:
    near = stretch.neighbours or stretch.original_length // 2
    if near >= stretch.original_length:
        raise BadInput(
            f"--neighbours {near} leaves no tokens of the trained {stretch.original_length} to "
            f"group: use at most {stretch.original_length - 1}",
            code="extension.too-many-neighbours",
        )
    group = math.ceil((stretch.length - near) / (stretch.original_length - near))
    return Part("self-extend", (*unscaled(part).options, ("group", group), ("neighbours", near)))


def _resample(part: Part, stretch: Stretch) -> Part:
    options = dict(part.options)
    if part.name == "sinusoidal":
        options["factor"] = options.get("factor", 1.0) * stretch.factor
    return Part(part.name, tuple(options.items()))


def _unchanged(part: Part, stretch: Stretch) -> Part:
    return part


METHODS: dict[str, Method] = {
    "unchanged": Method((), _unchanged, "the embedding as it was trained", "-"),
    "interpolate": Method(
        ("rotary",),
        _scaled("linear", "factor"),
        "every position divided by the factor",
        "Chen et al. 2023, section 2.3, equation 4",
    ),
    "ntk": Method(
        ("rotary",),
        _scaled("ntk", "factor"),
        "low frequencies divided, the highest unchanged: a larger base",
        "bloc97 2023; Peng et al. 2023, equations 15 and 16",
    ),
    "dynamic-ntk": Method(
        ("rotary",),
        _scaled("dynamic", "original_length"),
        "NTK scaling by the actual length of each text",
        "Peng et al. 2023, section 3.3",
    ),
    "yarn": Method(
        ("rotary",),
        _scaled("yarn", "factor", "original_length", "beta_fast"),
        "low frequencies divided, high ones unchanged, softmax scaled; ramp fitted to the length",
        "Peng et al. 2023, section 3.4, equations 17 to 22",
    ),
    "yarn-published": Method(
        ("rotary",),
        _scaled("yarn", "factor", "original_length", beta_fast=YARN_TURNS),
        "YaRN with the published ramp, for 4,096 tokens",
        "Peng et al. 2023, section 3.4",
    ),
    "longrope": Method(
        ("rotary",),
        _scaled("longrope", "factor", "original_length", "long_factors"),
        "one divisor for each pair, found by search",
        "Ding et al. 2024, section 3, algorithm 1",
    ),
    "llama3": Method(
        ("rotary",),
        _scaled("llama3", "factor", "original_length"),
        "low frequencies divided, high ones unchanged, by rotations within the length",
        "the code released with Llama 3.1",
    ),
    "base": Method(
        ("rotary",),
        _base,
        "a larger base: one that supports the new length, or --base",
        "Xiong et al. 2023, section 4.1; Men et al. 2024",
    ),
    "drop": Method(
        ("rotary",),
        _drop,
        "the embedding removed; needs a fine-tune",
        "Gelberg et al. 2025 (DroPE), section 4",
    ),
    "self-extend": Method(
        ("rotary",),
        _self_extend,
        "distant tokens share the distance of their group",
        "Jin et al. 2024, section 3",
    ),
    "resample": Method(
        ("learned", "sinusoidal"),
        _resample,
        "the table resampled to the new length",
        "as for images: Dosovitskiy et al. 2021, section 3.2",
    ),
}


def fitting(spec: Spec) -> list[str]:
    """Return the methods that apply to an embedding."""
    names = {part.name for part in spec.parts}
    is_table = "learned" in names
    return [
        name
        for name, method in METHODS.items()
        if (names & set(method.acts_on)) or (not method.acts_on and not is_table)
    ]


def check_fits(method: str, spec: Spec) -> None:
    """Check that a method applies to an embedding.

    Raises:
        BadInput: it does not; the message lists the methods that do.
    """
    if method not in METHODS:
        raise BadInput(
            f"unknown method {method!r}: choose from auto, {', '.join(METHODS)}",
            code="extension.unknown-method",
        )
    if method not in (fits := fitting(spec)):
        acts_on = " and ".join(METHODS[method].acts_on) or "embeddings without a table"
        raise BadInput(
            f"--method {method} applies to {acts_on}, and the run has {spec}: choose from "
            f"{', '.join(fits)}",
            code="extension.method-does-not-apply",
        )


def respelled(method: str, model: ModelConfig, stretch: Stretch) -> str:
    """Return the spec of a model's embedding after a method, with explicit lengths.

    Args:
        model: the configuration that the model was trained with.
    """
    kind = METHODS[method]

    def respell(layer: tuple[Part, ...]) -> tuple[Part, ...]:
        parts = tuple(with_lengths(part, model.shape, stretch.length) for part in layer)
        if method != "unchanged" and any(part.name == "learned" for part in parts):
            parts = _with_rows(parts, replace(model.shape, trained_length=stretch.length))
        acts_on = kind.acts_on or {part.name for part in parts}
        return tuple(kind.respell(p, stretch) if p.name in acts_on else p for p in parts)

    return str(Spec(tuple(respell(layer) for layer in parse(model.position).layers)))


def _with_rows(layer: tuple[Part, ...], shape: ModelShape) -> tuple[Part, ...]:
    """Return a layer whose learned tables have a row for each position that training may feed."""
    others = tuple(part for part in layer if part.name != "learned") or (Part("none"),)
    rows = build(Spec((others,)), shape).max_training_position + 1

    def resized(part: Part) -> Part:
        options = dict(part.options)
        options["length"] = max(rows, int(options.get("rank", 0)))
        return Part(part.name, tuple(options.items()))

    return tuple(resized(part) if part.name == "learned" else part for part in layer)


def with_lengths(part: Part, shape: ModelShape, length: int) -> Part:
    """Return a part with every option explicit, and tables that cover `length`."""
    options = dict(part.options)
    options.update(find(part.name)(shape, **options).resolved_options())
    for name in ("length", "limit"):  # rows of a table; the largest position sampled in training
        if name in options:
            options[name] = max(int(options[name]), length)
    return Part(part.name, tuple(options.items()))


def original_length(model: ModelConfig) -> int:
    """Return the length that a model was trained at before its rotary embedding was scaled."""
    parts = [dict(part.options) for part in parse(model.position).parts if part.name == "rotary"]
    return min(
        (_original_length(options, model) for options in parts), default=model.trained_length
    )


def _original_length(options: Mapping[str, Any], model: ModelConfig) -> int:
    if options.get("original_length"):
        return int(options["original_length"])
    # Linear and NTK scaling do not record an original length, so divide by their factor. A second
    # extension replaces the factor, so the factor is always relative to the original length.
    divided = options.get("scaling") in ("linear", "ntk")
    return round(model.trained_length / float(options.get("factor", 1.0) if divided else 1.0))


def rotary_part(model: ModelConfig) -> Part | None:
    """Return the first rotary part of a model's embedding with an explicit base, or None."""
    parts = parse(model.position).parts
    part = next((part for part in parts if part.name == "rotary"), None)
    return part and with_lengths(part, model.shape, model.trained_length)


def base_of(part: Part) -> float:
    """Return the explicit base of a rotary part."""
    return float(dict(part.options)["base"])
