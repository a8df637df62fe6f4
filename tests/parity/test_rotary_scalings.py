"""Every scaling of rotary against transformers as it is shipped, and against scalars.

Compared on its tables, on its temperature by itself, and on what attention gives, over head
sizes, bases and factors that released models have. And the comparison is tried on mistakes
that projects have shipped: each must fail it, and just where it is wrong.
"""

from __future__ import annotations

import inspect
import math
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.problem import AttentionProblem
from wordorder.positions import ModelShape, Rotary, Sum, TokenLayout
from wordorder.positions.rotary_scaling import SCALINGS, Scaled, parameters_of

transformers = pytest.importorskip("transformers")
llama = transformers.models.llama.modeling_llama

SIZES, BASES, FACTORS = (32, 64, 80, 128), (1e4, 5e5, 1e6), (2.0, 4.0, 8.0, 16.0, 40.0, 64.0)
ORIGINAL = 4096
# Past the original length, and then within it: what remembers the first is wrong for the second.
TEXTS = (0, 1, 2, 17, 300, 2047, 4095, 4096, 6000, 8999), (0, 1, 2, 17, 300, 2047, 4000)

# transformers works out frequencies and angles in float32. Powers and products round a few
# times over, by 3e-7 of an angle, and Llama 3's line between them is a difference of near
# numbers: 8e-7. At 8,999 radians that is 7e-3, of which 8e-4 was met.
PER_RADIAN, ROUNDED = 1e-6, 1e-6
# What it makes of attention: at most 4e-4.
THEIRS = 1e-3
# Against scalars there is our own rounding alone: of sines and cosines to float32, once, and
# of attention from it, 2e-7.
ONCE, CLOSE = 2.0**-24, 1e-6

FORMULAS = Path(__file__).parents[1] / "positions" / "formulas" / "rotary_scaling.py"
PAPER = SimpleNamespace(**runpy.run_path(str(FORMULAS)))


class Setting(NamedTuple):
    """A scaling of one head; texts are past the original length, or within it."""

    scaling: str
    size: int
    base: float
    factor: float

    @property
    def divisors(self) -> dict[str, tuple[float, ...]]:
        """LongRoPE's, which rise from 1 as searched ones do."""
        pairs = self.size // 2
        rise = [(i / (pairs - 1)) ** 2 for i in range(pairs)]
        return {
            "short_factors": tuple(1 + 0.5 * r for r in rise),
            "long_factors": tuple(1 + (self.factor - 1) * r for r in rise),
        }

    def rotary(self) -> Rotary:
        every = {"factor": self.factor, "original_length": ORIGINAL, **self.divisors}
        options = {
            name: value for name, value in every.items() if name in parameters_of(self.scaling)
        }
        shape = ModelShape(2, self.size)
        return Rotary(shape, base=self.base, scaling=self.scaling, layout="half", **options)


class Said(NamedTuple):
    """What a reference says: tables (time, pairs), temperature, attention (heads, time, size)."""

    cosine: Tensor
    sine: Tensor
    temperature: float
    attended: Tensor


@dataclass(frozen=True)
class Reference:
    """Whom to ask, and how exact its answer is."""

    says: Callable[[Setting, Tensor], Said]
    per_radian: float
    rounded: float
    attention: float


def numbers(size: int, time: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(3, 2, time, size, generator=generator, dtype=torch.float64)


def softmax_of(scores: Tensor, values: Tensor) -> Tensor:
    """Attention written out, the future hidden."""
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ values


def shipped(setting: Setting, positions: Tensor) -> Said:
    """transformers: its module's tables, its rotation, a plain softmax; new for each text.

    NTK-aware interpolation is there another base, which is how it was published.
    """
    rope: dict[str, Any] = {"rope_type": setting.scaling, "factor": setting.factor}
    base = setting.base
    if setting.scaling == "ntk":
        rope, base = {"rope_type": "default"}, _ntk_base(setting)
    longer = 1.0
    if setting.scaling in ("yarn", "longrope", "llama3"):
        rope["original_max_position_embeddings"], longer = ORIGINAL, setting.factor
    if setting.scaling == "longrope":
        rope["short_factor"] = list(setting.divisors["short_factors"])
        rope["long_factor"] = list(setting.divisors["long_factors"])
    if setting.scaling == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = transformers.LlamaConfig(
        hidden_size=2 * setting.size,
        num_attention_heads=2,
        head_dim=setting.size,
        max_position_embeddings=int(ORIGINAL * longer),
        rope_parameters={**rope, "rope_theta": base},
    )
    module = llama.LlamaRotaryEmbedding(config)
    q, k, v = numbers(setting.size, len(positions))
    cosine, sine = module(q[None].float(), positions[None])
    turned_q, turned_k = llama.apply_rotary_pos_emb(q[None], k[None], cosine, sine)
    attended = softmax_of(turned_q[0] @ turned_k[0].mT / setting.size**0.5, v)
    each, half = module.attention_scaling, setting.size // 2
    return Said(cosine[0, :, :half] / each, sine[0, :, :half] / each, each**2, attended)


def _ntk_base(setting: Setting) -> float:
    return setting.base * setting.factor ** (setting.size / (setting.size - 2))


def scalars(setting: Setting, positions: Tensor) -> Said:
    """The papers' formulas, pair by pair in float64; queries and keys are turned as pairs."""
    paper, (scaling, size, base, factor) = PAPER, setting
    long = int(positions.max()) + 1 > ORIGINAL
    divisors = setting.divisors["long_factors" if long else "short_factors"]
    given: dict[str, tuple] = {
        "dynamic": (factor, ORIGINAL, int(positions.max()) + 1),
        "longrope": (divisors,),
        "yarn": (factor, ORIGINAL),
        "llama3": (factor, ORIGINAL),
    }
    angle = getattr(paper, scaling)
    frequencies = [angle(i, size, base, *given.get(scaling, (factor,))) for i in range(size // 2)]
    angles = [[position * each for each in frequencies] for position in positions.tolist()]
    cosine, sine = (
        torch.tensor([[of(a) for a in row] for row in angles], dtype=torch.float64)
        for of in (math.cos, math.sin)
    )
    temperature = {"yarn": paper.yarn_scores(factor)}.get(scaling, 1.0)
    if scaling == "longrope":
        temperature = paper.longrope_scores(factor, ORIGINAL)
    q, k, v = numbers(size, len(positions))
    turned_q, turned_k = (
        torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)
        for a, b in (q.chunk(2, -1), k.chunk(2, -1))
    )
    attended = softmax_of(temperature * (turned_q @ turned_k.mT) / size**0.5, v)
    return Said(cosine, sine, temperature, attended)


REFERENCES = {
    "transformers": Reference(shipped, PER_RADIAN, ROUNDED, THEIRS),
    "scalars": Reference(scalars, 0.0, ONCE, CLOSE),
}


# -- what must agree -----------------------------------------------------------------------------


def tables_agree(rotary: Rotary, layout: TokenLayout, said: Said, reference: Reference) -> None:
    found = rotary.prepare(layout)[0]
    positions = layout.query_positions[0]
    angles = positions[:, None] * rotary.frequencies(layout.context_length)
    allowed = reference.rounded + reference.per_radian * angles
    for ours, theirs in ((found.cosine, said.cosine), (found.sine, said.sine)):
        assert ((ours[0, 0] - theirs).abs() <= allowed).all()


def temperature_agrees(
    rotary: Rotary, layout: TokenLayout, said: Said, reference: Reference
) -> None:
    size = rotary.shape.head_dim
    scale = rotary.softmax_scale or size**-0.5
    assert scale * size**0.5 == pytest.approx(said.temperature, rel=1e-12)


def attention_agrees(rotary: Rotary, layout: TokenLayout, said: Said, reference: Reference) -> None:
    q, k, v = (each[None] for each in numbers(rotary.shape.head_dim, len(layout.query_indices)))
    whole, tables = Sum(rotary.shape, (rotary,)), (rotary.prepare(layout),)
    q, k = (
        turn(x, tables, (None,))
        for turn, x in zip((whole.transform_queries, whole.transform_keys), (q, k), strict=True)
    )
    bias = AdditiveMask.of(whole, layout, None, torch.float64)
    found = attention(AttentionProblem.of(q, k, v, whole, tables, (None,), bias, kernel="plain"))
    torch.testing.assert_close(found[0], said.attended, rtol=0, atol=reference.attention)


CHECKS = {
    "tables": tables_agree,
    "temperature": temperature_agrees,
    "attention": attention_agrees,
}


def disagreements(setting: Setting, reference: Reference) -> set[str]:
    """Return what an embedding is found wrong in, over both texts, the longer one first."""
    rotary, wrong = setting.rotary(), set()
    for text in TEXTS:
        positions = torch.tensor(text)
        layout = TokenLayout.of(positions[None], context_length=text[-1] + 1)
        said = reference.says(setting, positions)
        for name, agree in CHECKS.items():
            try:
                agree(rotary, layout, said, reference)
            except AssertionError:
                wrong.add(name)
    return wrong


def settings_of(scaling: str, size: int) -> list[Setting]:
    """Every factor with one base, another one at each size."""
    first = SIZES.index(size)
    bases = [BASES[(first + i) % len(BASES)] for i in range(len(FACTORS))]
    return [Setting(scaling, size, *each) for each in zip(bases, FACTORS, strict=True)]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scaling", [s for s in SCALINGS if s != "none"])
def test_they_agree(scaling: str, size: int, reference: str) -> None:
    for setting in settings_of(scaling, size):
        assert disagreements(setting, REFERENCES[reference]) == set(), setting


# -- mistakes that must show ---------------------------------------------------------------------

Options = dict[str, Any]


def mutant(
    right: Callable[..., Scaled], wrong: Callable[[Tensor, Options], Scaled], *more: str
) -> Callable[..., Scaled]:
    """Return a scaling that takes what the right one takes, and more, and does something wrong."""

    def scaling(frequencies: Tensor, **options: Any) -> Scaled:
        return wrong(frequencies, options)

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    names = {*takes_of(right), *more}
    parameters = [inspect.Parameter("frequencies", kinds[0])]
    parameters += [inspect.Parameter(name, kinds[1]) for name in sorted(names)]
    scaling.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return scaling


def takes_of(scaling: Callable[..., Scaled]) -> tuple[str, ...]:
    return next(parameters_of(name) for name, each in SCALINGS.items() if each is scaling)


def ramp_inverted(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    """litgpt's: what should stay is divided, and the other way round."""

    def wrong(frequencies: Tensor, options: Options) -> Scaled:
        found, times = right(frequencies, **options)
        return frequencies + frequencies / options["factor"] - found, times

    return mutant(right, wrong)


def temperature_twice(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    """On queries and keys, and on the scores again (sglang #33558, vLLM #46280)."""

    def wrong(frequencies: Tensor, options: Options) -> Scaled:
        found, times = right(frequencies, **options)
        return found, times**2

    return mutant(right, wrong)


def temperature_forgotten(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    return mutant(right, lambda frequencies, options: (right(frequencies, **options)[0], 1.0))


def original_length_from_the_context(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    """The length of a text or a cache in place of what the model was trained at."""
    own = takes_of(right)

    def wrong(frequencies: Tensor, options: Options) -> Scaled:
        given = {**options, "original_length": max(2, options["context_length"])}
        return right(frequencies, **{name: given[name] for name in own})

    return mutant(right, wrong, "context_length")


def exponent_of_the_head(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    """The base times s^(d / d), not s^(d / (d - 2)): the slowest pair is not divided in full."""

    def wrong(frequencies: Tensor, options: Options) -> Scaled:
        pairs = len(frequencies)
        index = torch.arange(pairs, dtype=torch.float64)
        # The right one divides pair i by s^(i / (pairs - 1)).
        divided = frequencies / right(frequencies, **options)[0]
        return frequencies * divided[-1] ** (-index / pairs), 1.0

    return mutant(right, wrong)


def remembering(right: Callable[..., Scaled]) -> Callable[..., Scaled]:
    """The longest context so far, whatever this one is."""
    lengths = [0]

    def wrong(frequencies: Tensor, options: Options) -> Scaled:
        lengths.append(options["context_length"])
        return right(frequencies, **{**options, "context_length": max(lengths)})

    return mutant(right, wrong)


TURNS, TIMES = {"tables", "attention"}, {"temperature", "attention"}
MUTANTS: tuple[tuple[Callable[..., Any], str, set[str]], ...] = (
    (ramp_inverted, "yarn", TURNS),
    (temperature_twice, "yarn", TIMES),
    (temperature_twice, "longrope", TIMES),
    (temperature_forgotten, "yarn", TIMES),
    (temperature_forgotten, "longrope", TIMES),
    (original_length_from_the_context, "yarn", TURNS),
    (original_length_from_the_context, "llama3", TURNS),
    (original_length_from_the_context, "dynamic", TURNS),
    (original_length_from_the_context, "longrope", TURNS | TIMES),
    (exponent_of_the_head, "ntk", TURNS),
    (exponent_of_the_head, "dynamic", TURNS),
    (remembering, "dynamic", TURNS),
    (remembering, "longrope", TURNS),
)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("mutate,scaling,wrong", MUTANTS)
def test_a_mistake_shows_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[..., Any],
    scaling: str,
    wrong: set[str],
    reference: str,
) -> None:
    monkeypatch.setitem(SCALINGS, scaling, mutate(SCALINGS[scaling]))
    setting = Setting(scaling, 64, 1e4, 8.0)
    assert disagreements(setting, REFERENCES[reference]) == wrong


def test_the_ramp_of_litgpt(monkeypatch: pytest.MonkeyPatch) -> None:
    """At factor 40 and 4,096 tokens: its highest frequency falls to 0.025, its lowest stays."""

    def ends() -> tuple[float, float]:
        frequencies = Setting("yarn", 64, 1e4, 40.0).rotary().frequencies()
        return float(frequencies[0]), float(frequencies[-1])

    assert ends() == (1.0, pytest.approx(3.33e-6, rel=2e-3))
    monkeypatch.setitem(SCALINGS, "yarn", ramp_inverted(SCALINGS["yarn"]))
    assert ends() == (pytest.approx(0.025), pytest.approx(1.33e-4, rel=3e-3))
