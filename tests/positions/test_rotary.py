"""Rotary against its paper's formula, other implementations, and the traps its users hit."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
import transformers
from random_weights import filled
from torch import Tensor
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import ModelShape, PositionError, Rotary, TokenLayout, parse
from wordorder.positions.conformance import check
from wordorder.positions.rotary import rotate

# Sines and cosines are float32, so scores of size 1 to 5 are off by a few 1e-7.
CLOSE = 2e-6
# Half the distance of float32 numbers just below 1 is 2^-25; angles add far less.
ROUNDED_ONCE = 2.0**-24
# References take their angles in float32: 5e-8 of the position.
THEIRS = 2e-4
APART = 0.1

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "base": {"base": 500.0},
    "partial": {"fraction": 0.5},
    "odd-partial": {"fraction": 0.9},
    "proportional": {"fraction": 0.5, "proportional": True},
    "half": {"layout": "half"},
    "half-partial": {"layout": "half", "fraction": 0.5},
    "half-proportional": {"layout": "half", "fraction": 0.5, "proportional": True},
}
QUICK = {"odd-partial", "half-proportional"}  # of the kit; the catalogue has the plain one


def made(**options: Any) -> Rotary:
    return Rotary(ModelShape(1, 8), **options)


def tables(rotary: Rotary, positions: Tensor, context_length: int = 0) -> tuple[Tensor, Tensor]:
    rotation = rotary.prepare(TokenLayout.of(positions, context_length=context_length))[0]
    return rotation.cosine[:, 0], rotation.sine[:, 0]


def turned(rotary: Rotary, x: Tensor, start: int = 0) -> Tensor:
    """Return x (batch, heads, time, head_dim) turned at consecutive positions."""
    positions = torch.arange(start, start + x.shape[2])[None]
    return rotary.transform_queries(x, rotary.prepare(TokenLayout.of(positions)), None)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("heads", [1, 6, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(
    formula, lab, options: dict[str, Any], heads: int, causal: bool, plainly: bool
) -> None:
    rotary = Rotary(ModelShape(heads, 8, causal=causal), **options)
    theirs = formula("rotary")
    q, k, v = (lab.numbers(heads, 5, 8, seed=seed) for seed in range(3))
    fraction, over = options.get("fraction", 1), None
    dims = 2 * int(8 * fraction / 2)
    if options.get("proportional"):
        over = 8
    pairs = theirs.dimensions(options.get("layout", "interleaved"), dims, over)
    base = options.get("base", 10000.0)
    angles = [theirs.angle(i, dims, base, over) for i in range(dims // 2)]

    def score(h: int, i: int, j: int) -> float:
        return theirs.product(q[h][i].tolist(), k[h][j].tolist(), i, j, angles, pairs) / 8**0.5

    expected = lab.softmax_rows(score, v.tolist(), causal)
    for start in (0, 1000, 100_000):
        found = lab.attended(rotary, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in OPTIONS]
)
def test_it_conforms(name: str) -> None:
    report = check(Rotary, **OPTIONS[name])
    assert report.holds, str(report)


# -- other implementations -----------------------------------------------------------------


def llama_config(head_dim: int, **rope: Any) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        head_dim=head_dim,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, **rope},
    )


@pytest.mark.parametrize("start", [0, 1000])
def test_half_is_llama(lab, start: int) -> None:
    x = lab.numbers(1, 2, 9, 64).float()
    module = modeling_llama.LlamaRotaryEmbedding(llama_config(64))
    cosine, sine = module(x, torch.arange(start, start + 9)[None])
    expected = modeling_llama.apply_rotary_pos_emb(x, x, cosine, sine)[0]
    found = turned(Rotary(ModelShape(2, 64), layout="half"), x, start)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


def test_interleaved_is_gpt_j(lab) -> None:
    x = lab.numbers(1, 2, 9, 32).float()
    sine, cosine = modeling_gptj.create_sinusoidal_positions(9, 32)[None].chunk(2, dim=-1)
    expected = modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sine, cosine).transpose(1, 2)
    found = turned(Rotary(ModelShape(2, 32)), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


def test_partial_halves_are_gpt_neox(lab) -> None:
    x = lab.numbers(1, 2, 9, 32).float()
    config = transformers.GPTNeoXConfig(
        hidden_size=64,
        num_attention_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
    )
    cosine, sine = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)(x, torch.arange(9)[None])
    expected = modeling_gpt_neox.apply_rotary_pos_emb(x, x, cosine, sine)[0]
    found = turned(Rotary(ModelShape(2, 32), layout="half", fraction=0.25), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


def test_interleaved_is_rotary_embedding_torch(lab) -> None:
    """In float32: it makes positions in the queries' dtype, so that bfloat16 gets a bad table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("rotary_embedding_torch")
    x = lab.numbers(1, 2, 9, 32).float()
    expected = there.RotaryEmbedding(dim=16).rotate_queries_or_keys(x)
    found = turned(Rotary(ModelShape(2, 32), fraction=0.5), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=THEIRS)


# -- traps ------------------------------------------------------------------------------------


def test_layouts_are_one_embedding_with_other_rows(lab) -> None:
    """Permuted they agree; unpermuted, products are others, and no error says so."""
    for fraction, span in ((1.0, 8), (0.5, 4)):
        halves = torch.arange(span).view(2, -1).T.flatten()  # row of the half layout for each
        halves = torch.cat((halves, torch.arange(span, 8)))
        q, k = lab.numbers(2, 1, 1, 40, 8).unbind()
        half = made(layout="half", fraction=fraction)
        neighbours = made(fraction=fraction)
        expected = turned(half, q) @ turned(half, k).mT
        permuted = turned(neighbours, q[..., halves]) @ turned(neighbours, k[..., halves]).mT
        torch.testing.assert_close(permuted, expected, rtol=0, atol=CLOSE)
        mixed = turned(neighbours, q) @ turned(neighbours, k).mT
        own = (mixed - expected).diagonal(0, 2, 3)
        assert own.abs().max() < CLOSE  # at distance 0 the layout does not show
        assert (mixed - expected).abs().max() > APART


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_frequencies_survive_half_and_to(layout: str) -> None:
    rotary, positions = made(layout=layout, scaling="linear", factor=3.0), torch.tensor([[3001]])
    assert not list(rotary.buffers()) and not list(rotary.parameters())
    expected = tables(rotary, positions)
    for moved in (
        copy.deepcopy(rotary).half(),
        copy.deepcopy(rotary).to(torch.bfloat16),
        copy.deepcopy(rotary).double().half().float(),
    ):
        assert all(map(torch.equal, tables(moved, positions), expected))


def test_positions_above_256_stay_whole_in_bfloat16(lab) -> None:
    x = lab.numbers(1, 1, 1, 8).expand(1, 1, 8, 8)
    found = turned(made().to(torch.bfloat16), x.bfloat16(), start=256)
    expected = turned(made(), x.bfloat16().float(), start=256).bfloat16()
    assert torch.equal(found, expected)
    assert all((found[:, :, i] - found[:, :, i + 1]).abs().max() > APART for i in range(7))


def test_made_on_the_meta_device_it_is_the_same() -> None:
    positions = torch.arange(9)[None]
    with torch.device("meta"):
        rotary = made(scaling="yarn", factor=4.0)
    rotary = rotary.to_empty(device="cpu")
    expected = tables(made(scaling="yarn", factor=4.0), positions)
    assert all(map(torch.equal, tables(rotary, positions), expected))


SCALED: dict[str, dict[str, Any]] = {
    "none": {},
    "proportional": {"fraction": 0.5, "proportional": True},
    "linear": {"factor": 2.0},
    "ntk": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0},
    "longrope": {"factor": 2.0, "short_factors": (1.0,) * 4, "long_factors": (1.0, 2.0, 3.0, 4.0)},
    "llama3": {"factor": 2.0},
}


@pytest.mark.parametrize("name", SCALED)
def test_no_cache_is_built_on_the_wrong_device(name: str) -> None:
    """Tables are where positions are, whatever the default device when they are made."""
    scaling = name if name != "proportional" else "none"
    positions = torch.tensor([[0, 1, 5, 3001]])
    expected = tables(made(scaling=scaling, **SCALED[name]), positions, 2048)
    with torch.device("meta"):
        rotary = made(scaling=scaling, **SCALED[name])
        found = tables(rotary, positions, 2048)
    assert all(table.device == positions.device for table in found)
    assert all(map(torch.equal, found, expected))


def test_bfloat16_callers_leave_no_bad_table_for_float32_ones() -> None:
    """rotary-embedding-torch makes positions in the queries' dtype, and keeps their table.

    In bfloat16 it turns position 511 as 512, and 2,044 as 2,048.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = pytest.importorskip("rotary_embedding_torch")
    for time, worst in ((512, 1.35), (2048, 2.5)):  # pairs are 1.41 long, so 2.83 is opposite
        theirs, ours = there.RotaryEmbedding(dim=16), Rotary(ModelShape(1, 16))
        x = torch.ones(1, 1, time, 16)
        exact = turned(Rotary(ModelShape(1, 16)), x)
        for dtype in (torch.bfloat16, torch.float32):  # in this order
            found = theirs.rotate_queries_or_keys(x.to(dtype)).float()
            assert (found - exact).unflatten(-1, (-1, 2)).norm(dim=-1).max() > worst
            rounding = 2.0**-8 if dtype is torch.bfloat16 else 0
            assert (turned(ours, x.to(dtype)).float() - exact).abs().max() <= rounding


def test_transformers_rounds_inv_freq_with_the_model() -> None:
    """After model.to(bfloat16) its cosine is off by 0.33 at position 3,001; ours is as it was."""
    positions, x = torch.tensor([[3001]]), torch.zeros(1, 1, 32)
    theirs = modeling_llama.LlamaRotaryEmbedding(llama_config(32))
    exact, rounded = theirs(x, positions)[0], theirs.to(torch.bfloat16)(x, positions)[0]
    assert (rounded - exact).abs().max() == pytest.approx(0.33, abs=0.01)
    ours = Rotary(ModelShape(1, 32), layout="half")
    frequencies = [10000.0 ** (-i / 16) for i in range(16)]
    cosine = torch.tensor([math.cos(3001 * each) for each in frequencies], dtype=torch.float64)
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        found = tables(ours.to(dtype), positions)[0][0, 0].double()
        assert (found - cosine).abs().max() < ROUNDED_ONCE


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_no_cache_grows_inside_torch_compile() -> None:
    """A longer text after a shorter one, and one that goes on far from both."""
    config = ModelConfig(vocabulary_size=40, width=16, layers=1, heads=2, trained_length=64)
    model = filled(LanguageModel(config)).eval()
    model.attention_kernel = "fused"
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for start, time in ((0, 9), (0, 100), (5000, 33), (0, 9)):
            tokens = torch.arange(time)[None] % 40
            given = {"positions": torch.arange(start, start + time)[None], "consecutive": True}
            found = compiled(Batch(tokens, **given))
            torch.testing.assert_close(found, model(Batch(tokens, **given)), rtol=0, atol=1e-5)
    torch._dynamo.reset()


def test_the_denominator_of_partial_rotary(formula) -> None:
    """Over the turned dimensions in GPT-NeoX, over the head in p-RoPE."""
    angle = formula("rotary").angle
    shape = ModelShape(1, 80)
    own = Rotary(shape, fraction=0.25).frequencies()
    head = Rotary(shape, fraction=0.25, proportional=True).frequencies()
    torch.testing.assert_close(own.tolist(), [angle(i, 20, 1e4) for i in range(10)])
    expected = [angle(i, 20, 1e4, 80) for i in range(10)] + [0.0] * 30
    torch.testing.assert_close(head.tolist(), expected)
    torch.testing.assert_close(head[:10], Rotary(shape).frequencies()[:10])
    assert (own[1:] / head[1:10]).max() < 0.6


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("scaling", ["none", "yarn"])
def test_a_million_positions(layout: str, scaling: str) -> None:
    """Sines and cosines are those of float64, rounded once."""
    factor = 1.0 if scaling == "none" else 8.0
    rotary = Rotary(ModelShape(1, 64), layout=layout, scaling=scaling, factor=factor)
    positions = torch.cat((torch.arange(999_000, 1_000_001), torch.arange(0, 1_000_000, 4999)))
    cosine, sine = tables(rotary, positions[None])
    worst = 0.0
    for i, frequency in enumerate(rotary.frequencies().tolist()):
        for at, position in enumerate(positions.tolist()):
            angle = position * frequency
            worst = max(
                worst,
                abs(float(cosine[0, at, i]) - math.cos(angle)),
                abs(float(sine[0, at, i]) - math.sin(angle)),
            )
    assert worst < ROUNDED_ONCE


def test_angles_in_float32_would_fail_the_test_above() -> None:
    frequencies = Rotary(ModelShape(1, 64)).frequencies()
    positions = torch.arange(999_000, 1_000_000)[:, None]
    coarse = (positions.float() * frequencies.float()).cos()
    assert (coarse - (positions * frequencies).cos()).abs().max() > 0.01


def test_a_real_rotation_is_the_complex_one(lab) -> None:
    """What a GPU and a compiled model take, against what eager mode takes on a CPU."""
    x = lab.numbers(2, 3, 9, 8).float()
    for fraction in (1.0, 0.5):
        rotation = made(fraction=fraction).prepare(TokenLayout.of(torch.arange(9)[None]))[0]
        assert rotation.unit is not None
        found = rotate(x, rotation._replace(unit=None))
        torch.testing.assert_close(found, rotate(x, rotation), rtol=0, atol=CLOSE)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize(
    "options",
    [{"scaling": "yarn", "factor": 4.0}, {"layout": "half", "scaling": "dynamic"}],
    ids=["interleaved", "half"],
)
def test_compiled_it_turns_the_same(lab, options: dict[str, Any]) -> None:
    """Also for a longer text than the first: no table grows inside the graph."""
    rotary = made(**options)

    def turn(x: Tensor, positions: Tensor) -> Tensor:
        layout = TokenLayout.of(positions, context_length=4096)
        return rotary.transform_queries(x, rotary.prepare(layout), None)

    compiled = torch.compile(turn, fullgraph=True)
    for start, time in ((0, 9), (5, 9), (100_000, 33)):
        x, positions = lab.numbers(1, 2, time, 8).float(), torch.arange(time)[None] + start
        torch.testing.assert_close(compiled(x, positions), turn(x, positions), rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("options", "code", "value"),
    [
        ({"base": -1.0}, "base", "base=-1.0"),
        ({"fraction": 0.0}, "fraction", "fraction=0.0"),
        ({"fraction": 0.1}, "no-pair", "fraction=0.1 .* 0.25"),
        ({"layout": "llama"}, "layout", "'llama': .*interleaved or half"),
        ({"scaling": "yam"}, "scaling", "'yam': .*none, linear, ntk, dynamic, yarn"),
        ({"factor": 4.0}, "unused-option", "scaling=none .* factor: .* scaling=linear or"),
        ({"scaling": "linear"}, "factor", "linear .* 1:"),
        ({"scaling": "dynamic", "factor": 0.5}, "dynamic-factor", "0.5"),
        ({"scaling": "ntk", "factor": 2.0, "beta_fast": 8.0}, "unused-option", "scaling=yarn"),
        (
            {"scaling": "yarn", "factor": 2.0, "beta_fast": 1.0},
            "yarn-ramp",
            "beta_fast=1 .* beta_slow=1",
        ),
        ({"scaling": "yarn", "factor": 2.0, "original_length": -1}, "original-length", " -1"),
        ({"scaling": "longrope", "factor": 2.0}, "long-factors", " 4 pairs, not 0 "),
        (
            {"scaling": "longrope", "factor": 2.0, "long_factors": (1,) * 4, "short_factors": (1,)},
            "short-factors",
            " 4 pairs, .* not 1 ",
        ),
        (
            {"scaling": "longrope", "factor": 2.0, "long_factors": (1, 1, 1, -2.0)},
            "divisors-not-positive",
            "not -2",
        ),
        (
            {"scaling": "llama3", "factor": 2.0, "high_frequency_factor": 1.0},
            "llama3-ramp",
            "high_frequency_factor=1 .* low_frequency_factor=1",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], code: str, value: str) -> None:
    with pytest.raises(PositionError, match=value) as caught:
        made(**options)
    assert caught.value.code == f"positions.rotary-{code}"
    assert "\n" not in str(caught.value)


def test_an_odd_head_is_refused() -> None:
    with pytest.raises(PositionError, match="head size 7 ") as caught:
        Rotary(ModelShape(1, 7))
    assert caught.value.code == "positions.rotary-head-size"


@pytest.mark.parametrize("base", [1e4, 1e6, 1.5e20, 1e-7, 1 / 3])
def test_a_spec_is_written_as_it_can_be_read(base: float) -> None:
    spec = parse(f"rotary:base={base!r}".replace("e+", "e"))
    assert parse(str(spec)) == spec
    assert dict(spec.layers[0][0].options)["base"] == base
