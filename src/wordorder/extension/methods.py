"""Ways to make a trained model's embedding reach further: each spells it anew.

A method turns one part of a spec into another, and leaves every weight as it is. Which formula
that brings in is the embedding's own business (`positions/rotary_scaling.py`, `self_extend.py`,
`learned.py`); here is what each takes from the old length and the new one. Tables that end are
stretched with any method, since no text goes past them otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from wordorder.errors import BadInput
from wordorder.extension.base_bound import smallest_base
from wordorder.model import ModelConfig
from wordorder.positions import ModelShape, Part, Spec, find, parse
from wordorder.positions.defaults import YARN_TURNS, yarn_turns

KEPT_OF_ROTARY = ("base", "fraction", "proportional", "layout")


@dataclass(frozen=True)
class Stretch:
    """From which length to which, and what single methods need beside.

    Args:
        original_length: what scaling divides by: the length that the parent was trained at before
            anything was scaled.
        length: tokens to be reached.
        head_dim: width of one attention head.
        base: for `base`; 0: the smallest that serves the new length.
        neighbours: for `self-extend`, tokens that are seen at their own distance; 0: half of the
            original length.
        long_factors: for `longrope`, what the search found.
    """

    original_length: int
    length: int
    head_dim: int
    base: float = 0.0
    neighbours: int = 0
    long_factors: tuple[float, ...] = ()

    @property
    def factor(self) -> float:
        """How many times longer texts get."""
        return self.length / self.original_length

    @property
    def beta_fast(self) -> float:
        """How often a pair must turn within the original length for YaRN to leave it alone."""
        return yarn_turns(self.original_length)


Respell = Callable[[Part, Stretch], Part]


@dataclass(frozen=True)
class Method:
    """A way to reach further.

    Args:
        acts_on: names of the embeddings that it turns into others; empty: on any.
        respell: from such a part of a spec to what takes its place.
        does: what it does, in a few words.
        source: paper, section, equation.
    """

    acts_on: tuple[str, ...]
    respell: Respell
    does: str
    source: str


def unscaled(part: Part) -> Part:
    """Return a rotary part without its scaling."""
    return Part("rotary", tuple((k, v) for k, v in part.options if k in KEPT_OF_ROTARY))


def _scaled(scaling: str, *names: str, **fixed: float) -> Respell:
    """Return what gives a rotary part a scaling in place of its own.

    Args:
        names: options that are the stretch's.
        fixed: options that are the same for all.
    """

    def respell(part: Part, stretch: Stretch) -> Part:
        given = ((name, getattr(stretch, name)) for name in names)
        options = (("scaling", scaling), *given, *fixed.items())
        return Part("rotary", (*unscaled(part).options, *options))

    return respell


def _base(part: Part, stretch: Stretch) -> Part:
    plain = dict(unscaled(part).options)
    plain["base"] = stretch.base or larger_base(part, stretch)
    return Part("rotary", tuple(plain.items()))


def larger_base(part: Part, stretch: Stretch) -> float:
    """Return the base for a longer text: the smallest that serves it, or the factor times the old.

    The second where it is larger, so that a base that is above the bound already grows too.
    """
    bound = smallest_base(stretch.length, turning_pairs(part, stretch.head_dim)) or 0.0
    return float(f"{max(bound, base_of(part) * stretch.factor):.6g}")


def turning_pairs(part: Part, head_dim: int) -> int:
    """Return how many pairs of a head a rotary part turns."""
    return int(head_dim * dict(part.options).get("fraction", 1.0)) // 2


def _drop(part: Part, stretch: Stretch) -> Part:
    return Part("none")


def _self_extend(part: Part, stretch: Stretch) -> Part:
    near = stretch.neighbours or stretch.original_length // 2
    if near >= stretch.original_length:
        raise BadInput(
            f"--neighbours {near} leaves nothing of the trained {stretch.original_length} to "
            f"group: use at most {stretch.original_length - 1}"
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
    "unchanged": Method((), _unchanged, "the embedding as it is", "-"),
    "interpolate": Method(
        ("rotary",),
        _scaled("linear", "factor"),
        "every position divided by the factor",
        "Chen et al. 2023, section 2.3, equation 4",
    ),
    "ntk": Method(
        ("rotary",),
        _scaled("ntk", "factor"),
        "slow pairs divided, the fastest kept: another base",
        "bloc97 2023; Peng et al. 2023, equations 15 and 16",
    ),
    "dynamic-ntk": Method(
        ("rotary",),
        _scaled("dynamic", "original_length"),
        "NTK by as much as this text is longer",
        "Peng et al. 2023, section 3.3",
    ),
    "yarn": Method(
        ("rotary",),
        _scaled("yarn", "factor", "original_length", "beta_fast"),
        "slow pairs divided, fast ones kept, the softmax sharpened; the ramp fitted to the length",
        "Peng et al. 2023, section 3.4, equations 17 to 22",
    ),
    "yarn-published": Method(
        ("rotary",),
        _scaled("yarn", "factor", "original_length", beta_fast=YARN_TURNS),
        "YaRN with the ramp made for 4,096 tokens",
        "Peng et al. 2023, section 3.4",
    ),
    "longrope": Method(
        ("rotary",),
        _scaled("longrope", "factor", "original_length", "long_factors"),
        "a divisor of its own for each pair, searched",
        "Ding et al. 2024, section 3, algorithm 1",
    ),
    "llama3": Method(
        ("rotary",),
        _scaled("llama3", "factor", "original_length"),
        "slow pairs divided, fast ones kept, by turns within the length",
        "the code released with Llama 3.1",
    ),
    "base": Method(
        ("rotary",),
        _base,
        "a larger base: the smallest that serves the new length",
        "Xiong et al. 2023, section 4.1; Men et al. 2024",
    ),
    "drop": Method(
        ("rotary",),
        _drop,
        "no positions any more; needs a fine-tune",
        "Gelberg et al. 2025 (DroPE), section 4",
    ),
    "self-extend": Method(
        ("rotary",),
        _self_extend,
        "far tokens at the distance of their group",
        "Jin et al. 2024, section 3",
    ),
    "resample": Method(
        ("learned", "sinusoidal"),
        _resample,
        "the table stretched over the new length",
        "as images' tables are: Dosovitskiy et al. 2021, section 3.2",
    ),
}


def fitting(spec: Spec) -> list[str]:
    """Return the methods that fit an embedding."""
    names = {part.name for part in spec.parts}
    ends = "learned" in names
    return [
        name
        for name, method in METHODS.items()
        if (names & set(method.acts_on)) or (not method.acts_on and not ends)
    ]


def check_fits(method: str, spec: Spec) -> None:
    """Raise where a method does not fit.

    Raises:
        BadInput: with those that do.
    """
    if method not in METHODS:
        raise BadInput(f"no method {method!r}: choose from auto, {', '.join(METHODS)}")
    if method not in (fits := fitting(spec)):
        acts_on = " and ".join(METHODS[method].acts_on) or "what has no end"
        raise BadInput(
            f"--method {method} acts on {acts_on}, and the run has {spec}: "
            f"those that fit are {', '.join(fits)}"
        )


def respelled(method: str, model: ModelConfig, stretch: Stretch) -> str:
    """Return the spec of a model's embedding after a method, its lengths written out.

    Args:
        model: as it was trained.
    """
    kind = METHODS[method]

    def of(part: Part) -> Part:
        part = with_lengths(part, model.shape, stretch.length)
        acts = part.name in kind.acts_on or not kind.acts_on
        return kind.respell(part, stretch) if acts else part

    layers = parse(model.position).layers
    return str(Spec(tuple(tuple(of(part) for part in layer) for layer in layers)))


def with_lengths(part: Part, shape: ModelShape, length: int) -> Part:
    """Return a part that no longer depends on the trained length; tables reach the new one."""
    options = dict(part.options)
    options.update(find(part.name)(shape, **options).resolved_options())
    for name in ("length", "limit"):  # a table's rows, the numbers that positions are drawn from
        if name in options:
            options[name] = max(int(options[name]), length)
    return Part(part.name, tuple(options.items()))


def original_length(model: ModelConfig) -> int:
    """Return the length that a model was trained at before its rotary embedding was scaled."""
    parts = parse(model.position).parts
    scaled = [dict(part.options) for part in parts if part.name == "rotary"]
    lengths = [int(o["original_length"]) for o in scaled if o.get("original_length")]
    return min(lengths, default=model.trained_length)


def rotary_part(model: ModelConfig) -> Part | None:
    """Return the first rotary part of a model's embedding, its base written out, or None."""
    parts = parse(model.position).parts
    part = next((part for part in parts if part.name == "rotary"), None)
    return part and with_lengths(part, model.shape, model.trained_length)


def base_of(part: Part) -> float:
    """Return the base of a rotary part that has it written out."""
    return float(dict(part.options)["base"])
