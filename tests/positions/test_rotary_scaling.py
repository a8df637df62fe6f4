"""Every scaling of rotary against its formula, transformers, and the traps its users hit."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import modeling_rope_utils
from transformers.models.llama import modeling_llama

from wordorder.positions import ModelShape, Rotary, TokenLayout
from wordorder.positions.composed import Composed
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import ReferenceCache, ReferenceModel
from wordorder.positions.rotary_scaling import SCALINGS, parameters_of
from wordorder.positions.spec import Part, Spec

# Frequencies are float64 on both sides.
EXACT = 1e-12
# As in test_rotary: sines and cosines are float32.
CLOSE = 2e-6
APART = 1e-2

SIZES, BASES, FACTORS = (32, 64, 80, 128), (1e4, 5e5, 1e6), (2.0, 4.0, 8.0, 16.0, 40.0, 64.0)
LENGTHS = (128, 4096, 8192)


def searched(pairs: int, most: float) -> tuple[float, ...]:
    """Return divisors that rise from 1, as searched ones do."""
    return tuple(1 + (most - 1) * (i / max(pairs - 1, 1)) ** 2 for i in range(pairs))


def options_of(scaling: str, pairs: int, factor: float = 4.0, length: int = 0) -> dict[str, Any]:
    """Return options for a scaling, the paper's where it has some."""
    options: dict[str, Any] = {"scaling": scaling}
    if "factor" in parameters_of(scaling):
        options["factor"] = factor
    if "original_length" in parameters_of(scaling):
        options["original_length"] = length
    if scaling == "yarn":
        options["beta_fast"] = 32.0
    if scaling == "longrope":
        options["short_factors"] = searched(pairs, 1.5)
        options["long_factors"] = searched(pairs, factor)
    return options


def expected_angle(theirs: SimpleNamespace, scaling: str, i: int, dim: int, base: float,
                   factor: float, original: int, length: int) -> float:  # fmt: skip
    if scaling == "none":
        return base ** (-2 * i / dim)
    if scaling in ("linear", "ntk"):
        return getattr(theirs, scaling)(i, dim, base, factor)
    if scaling == "dynamic":
        return theirs.dynamic(i, dim, base, factor, original, length)
    if scaling == "longrope":
        most = factor if length > original else 1.5
        return theirs.longrope(i, dim, base, searched(dim // 2, most))
    return getattr(theirs, scaling)(i, dim, base, factor, original)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_the_papers(formula, scaling: str, size: int) -> None:
    theirs = formula("rotary_scaling")
    for base in BASES:
        for factor in FACTORS:
            for original in LENGTHS:
                options = options_of(scaling, size // 2, factor, original)
                rotary = Rotary(ModelShape(1, size), base=base, **options)
                for length in (original // 2, original, original + 1, 4 * original):
                    expected = [
                        expected_angle(theirs, scaling, i, size, base, factor, original, length)
                        for i in range(size // 2)
                    ]
                    found = rotary.frequencies(length)
                    expected = torch.tensor(expected, dtype=torch.float64)
                    torch.testing.assert_close(found, expected, rtol=EXACT, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_yarn_between_ends_that_are_not_rounded(formula, size: int) -> None:
    theirs = formula("rotary_scaling")
    for base in BASES:
        for original in LENGTHS:
            options = {**options_of("yarn", size // 2, 8.0, original), "truncate": False}
            frequencies = Rotary(ModelShape(1, size), base=base, **options).frequencies()
            expected = [
                theirs.yarn(i, size, base, 8.0, original, truncate=False) for i in range(size // 2)
            ]
            expected = torch.tensor(expected, dtype=torch.float64)
            torch.testing.assert_close(frequencies, expected, rtol=EXACT, atol=0)


class InDoublePrecision:
    """torch, for a module that writes float32 out where this asks for float64."""

    float = float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.mark.parametrize(
    "scaling", ["linear", "dynamic", "yarn", "yarn, not truncated", "longrope", "llama3"]
)
@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_transformers(
    monkeypatch: pytest.MonkeyPatch, scaling: str, size: int
) -> None:
    """Its tables are float32, so its code is run here in float64.

    All but LongRoPE's, which asks for float32 in a way that cannot be turned round.
    """
    monkeypatch.setattr(modeling_rope_utils, "torch", InDoublePrecision())
    scaling, _, ends = scaling.partition(", ")
    tolerance = 3e-6 if scaling == "longrope" else EXACT
    theirs = modeling_rope_utils.ROPE_INIT_FUNCTIONS[scaling]
    for base in BASES:
        for factor in FACTORS:
            options = options_of(scaling, size // 2, factor, 4096)
            options |= {"truncate": False} if ends else {}
            rotary = Rotary(ModelShape(1, size), base=base, **options)
            config = llama_config(size, base, options)
            for length in (2048, 4096, 4097, 30_000):
                expected, each = theirs(config, seq_len=length)
                found = rotary.frequencies(length)
                torch.testing.assert_close(found, expected.double(), rtol=tolerance, atol=0)
                scale = rotary.softmax_scale or size**-0.5
                assert scale == pytest.approx(each**2 * size**-0.5, rel=EXACT)


def llama_config(size: int, base: float, options: dict[str, Any]) -> transformers.LlamaConfig:
    """Return the configuration that means the same to transformers."""
    rope = {"rope_type": options["scaling"], "rope_theta": base, "factor": options["factor"]}
    if options["scaling"] in ("yarn", "longrope", "llama3"):
        rope["original_max_position_embeddings"] = options["original_length"]
    if "truncate" in options:
        rope["truncate"] = options["truncate"]
    if options["scaling"] == "longrope":
        rope["short_factor"] = list(options["short_factors"])
        rope["long_factor"] = list(options["long_factors"])
    if options["scaling"] == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return transformers.LlamaConfig(
        hidden_size=size,
        num_attention_heads=1,
        head_dim=size,
        max_position_embeddings=4096,
        rope_parameters=rope,
    )


def test_proportional_is_transformers() -> None:
    rope = {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}
    config = transformers.LlamaConfig(
        hidden_size=80, num_attention_heads=1, head_dim=80, rope_parameters=rope
    )
    expected, _ = modeling_rope_utils.ROPE_INIT_FUNCTIONS["proportional"](config)
    rotary = Rotary(ModelShape(1, 80), base=1e6, fraction=0.25, proportional=True)
    torch.testing.assert_close(rotary.frequencies().float(), expected, rtol=3e-6, atol=0)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, scaling: str, heads: int, plainly: bool) -> None:
    """Five tokens, past an original length of three: scores, and what they are multiplied by."""
    theirs, rotary = formula("rotary_scaling"), formula("rotary")
    q, k, v = (lab.numbers(heads, 5, 8, seed=seed) for seed in range(3))
    times = {"yarn": theirs.yarn_scores(4), "longrope": theirs.longrope_scores(4, 3)}
    original = 300 if scaling == "yarn" else 3  # within three tokens no pair turns once
    made = Rotary(ModelShape(heads, 8), base=50.0, **options_of(scaling, 4, 4.0, original))
    angles = [expected_angle(theirs, scaling, i, 8, 50.0, 4.0, original, 5) for i in range(4)]
    pairs = rotary.dimensions("interleaved", 8)

    def score(h: int, i: int, j: int) -> float:
        product = rotary.product(q[h][i].tolist(), k[h][j].tolist(), i, j, angles, pairs)
        return times.get(scaling, 1.0) * product / 8**0.5

    expected = lab.softmax_rows(score, v.tolist(), True)
    for start in (0, 1000, 100_000):
        found = lab.attended(made, q, k, v, start=start, plainly=plainly)
        torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


# A temperature, frequencies that follow the context, and divisors in lists.
MECHANISMS = {"yarn", "dynamic", "longrope"}
SCALED = [
    pytest.param(name, marks=[] if name in MECHANISMS else pytest.mark.slow) for name in SCALINGS
]


@pytest.mark.parametrize("scaling", SCALED)
@pytest.mark.parametrize("original", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_it_conforms(scaling: str, original: int) -> None:
    """Within the original length, and with a context of 48 past it."""
    report = check(Rotary, **options_of(scaling, 4, 4.0, original))
    assert report.holds, str(report)


@pytest.mark.parametrize(
    "scaling",
    [pytest.param(s, marks=[] if s == "dynamic" else pytest.mark.slow) for s in SCALINGS],
)
@pytest.mark.parametrize(
    ("options", "pairs", "causal"),
    [
        pytest.param({"layout": "half"}, 4, True, marks=pytest.mark.slow),
        pytest.param({"fraction": 0.5, "proportional": True}, 2, True, marks=pytest.mark.slow),
        ({"layout": "half", "fraction": 0.5, "proportional": True}, 2, False),
    ],
)
def test_it_conforms_in_other_layouts(
    scaling: str, options: dict[str, Any], pairs: int, causal: bool
) -> None:
    report = check(Rotary, causal=causal, **options, **options_of(scaling, pairs, 4.0, 8))
    assert report.holds, str(report)


# -- traps ------------------------------------------------------------------------------------


def test_yarns_ramp_is_the_right_way_round(formula) -> None:
    """The highest frequency stays and the lowest is divided; one library has it turned over."""
    rotary = Rotary(ModelShape(1, 64), scaling="yarn", factor=40.0, original_length=4096)
    found = rotary.frequencies()
    assert found[0] == 1.0
    assert float(found[-1]) == pytest.approx(3.33e-6, rel=2e-3)
    # The ends agree with the ramp as the paper prints it. Its middle is another one: there
    # the code, which released models were tuned with, divides less.
    printed = [formula("rotary_scaling").yarn_by_turns(i, 64, 1e4, 40.0, 4096) for i in range(32)]
    printed = torch.tensor(printed, dtype=torch.float64)
    for end in (slice(0, 10), slice(23, 32)):
        torch.testing.assert_close(found[end], printed[end], rtol=EXACT, atol=0)
    assert 4 < (found / printed).max() < 4.5
    assert (found / printed).min() > 1 - EXACT


def test_yarns_temperature_counts_once(lab) -> None:
    """In the scores, not in queries and keys; transformers' roots of it give the same scores."""
    q, k = lab.numbers(2, 1, 2, 9, 64).float().unbind()
    options = {"scaling": "yarn", "factor": 16.0, "original_length": 4096}
    rotary = Rotary(ModelShape(2, 64), layout="half", **options)
    tables = rotary.prepare(TokenLayout.of(torch.arange(9)[None]))
    turned = rotary.transform_queries(q, tables, None)
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))
    found = turned @ rotary.transform_keys(k, tables, None).mT * rotary.softmax_scale
    module = modeling_llama.LlamaRotaryEmbedding(llama_config(64, 1e4, options))
    theirs = modeling_llama.apply_rotary_pos_emb(q, k, *module(q, torch.arange(9)[None]))
    expected = theirs[0] @ theirs[1].mT / 8
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert rotary.softmax_scale == pytest.approx((1 + 0.1 * math.log(16)) ** 2 / 8)


@pytest.mark.parametrize("scaling", ["none", "linear", "ntk", "dynamic", "llama3"])
def test_only_a_temperature_changes_the_scale(scaling: str) -> None:
    assert Rotary(ModelShape(1, 8), **options_of(scaling, 4)).softmax_scale is None


@pytest.mark.parametrize("scaling", [s for s in SCALINGS if "original_length" in parameters_of(s)])
def test_the_original_length_is_no_caches(scaling: str) -> None:
    """0 is the trained length; a longer context changes what asks for it, nothing else."""
    shape = ModelShape(1, 64, trained_length=512)
    own = Rotary(shape, **options_of(scaling, 32))
    given = Rotary(shape, **options_of(scaling, 32, length=512))
    other = Rotary(shape, **options_of(scaling, 32, length=4096))
    for length in (0, 512, 600, 100_000):
        assert torch.equal(own.frequencies(length), given.frequencies(length))
        same = torch.equal(own.frequencies(length), own.frequencies())
        assert same == (own.static_rotation or length <= 512)
    assert not torch.equal(own.frequencies(600), other.frequencies(600))


def test_yarn_of_a_short_original_length() -> None:
    """beta_fast=32 presumes 4,096: at 128 no pair turns so often, and only the first stays."""
    shape = ModelShape(1, 64, trained_length=128)
    plain = Rotary(shape, base=1e4).frequencies()
    kept = {}
    for beta in (32.0, 8.0):
        found = Rotary(shape, base=1e4, scaling="yarn", factor=4.0, beta_fast=beta).frequencies()
        kept[beta] = int((found == plain).sum())
    assert kept == {32.0: 1, 8.0: 4}
    # So short that none turns once: transformers' ends cross there, and divide nothing.
    yarn = {"scaling": "yarn", "factor": 4.0, "original_length": 3, "beta_fast": 32.0}
    short = Rotary(shape, base=1e4, **yarn).frequencies()
    torch.testing.assert_close(short[1:], plain[1:] / 4, rtol=EXACT, atol=0)


@pytest.mark.parametrize(
    "original,size,beta,stay,between,divided",
    [
        (256, 32, 32.0, 1, 6, 9),
        (256, 32, 8.0, 3, 4, 9),
        (256, 32, 2.0, 6, 1, 9),
        (4096, 32, 32.0, 6, 6, 4),
        (4096, 128, 32.0, 21, 25, 18),
    ],
)
def test_yarns_ramp_in_pairs(
    original: int, size: int, beta: float, stay: int, between: int, divided: int
) -> None:
    """How many of a head's pairs stay, lie between and are divided in full.

    The ramp was made for 4,096 tokens and heads of 128, a third of whose pairs stay. At 256
    tokens the fastest pair turns 41 times and the second 23: with 32 one stays. The nine that
    turn less than once are divided whatever the other end is.
    """
    shape = ModelShape(1, size, trained_length=original)
    plain = Rotary(shape, base=1e4).frequencies()
    found = Rotary(shape, base=1e4, scaling="yarn", factor=4.0, beta_fast=beta).frequencies()
    share = (1 - found / plain) / (1 - 1 / 4)  # 0 as it was, 1 divided in full
    steps = torch.arange(1, between + 1, dtype=torch.float64) / (between + 1)
    expected = torch.cat((torch.zeros(stay), steps, torch.ones(divided)))
    torch.testing.assert_close(share, expected, rtol=0, atol=EXACT)


def reader(**options: Any) -> ReferenceModel:
    shape = ModelShape(2, 8, layers=2, trained_length=8)
    spec = Spec(((Part("rotary", tuple(options.items())),),))
    return ReferenceModel(Composed(list(spec.layers) * 2, shape, {"rotary": Rotary}), 2)


def read(model: ReferenceModel, x: Tensor, *cuts: int, context_length: int) -> Tensor:
    past = ReferenceCache()
    pieces = x.tensor_split(cuts, 1)
    return torch.cat([model.read(p, cache=past, context_length=context_length) for p in pieces], 1)


@pytest.mark.parametrize("scaling", ["dynamic", "longrope"])
def test_keys_are_not_kept_turned_at_older_frequencies(lab, scaling: str) -> None:
    """Token by token past the original length, all that was read is what is read at once.

    So nothing switches in the middle of a generation: the context length is fixed before it.
    """
    model = reader(**options_of(scaling, 4, 2.0))
    assert not model.position.sums[0].static_rotation
    x = lab.numbers(1, 20, 16)
    for length in (8, 16, 64):
        found = read(model, x, *range(1, 20), context_length=length)
        expected = model.read(x, context_length=length)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    short, long = (model.read(x, context_length=length) for length in (8, 64))
    assert (short - long).abs().max() > APART


@pytest.mark.parametrize("scaling", ["dynamic", "longrope"])
def test_far_positions_are_no_long_context(lab, scaling: str) -> None:
    """What is divided by is declared; the largest position says nothing, now or later."""
    model, x = reader(**options_of(scaling, 4, 2.0)), lab.numbers(1, 5, 16)
    near = model.read(x, context_length=8)
    far = model.read(x, torch.arange(5)[None] + 5000, context_length=8)
    torch.testing.assert_close(far, near, rtol=0, atol=2e-5)
    model.read(lab.numbers(1, 40, 16), context_length=40)
    assert torch.equal(model.read(x, context_length=8), near)


def test_longropes_sets_are_chosen_by_the_context() -> None:
    options = options_of("longrope", 4, 8.0, 100)
    rotary, plain = Rotary(ModelShape(1, 8), **options), Rotary(ModelShape(1, 8)).frequencies()
    for length, most in ((0, 1.5), (100, 1.5), (101, 8.0), (5000, 8.0)):
        expected = plain / torch.tensor(searched(4, most), dtype=torch.float64)
        torch.testing.assert_close(rotary.frequencies(length), expected, rtol=EXACT, atol=0)
    options["short_factors"] = ()
    assert torch.equal(Rotary(ModelShape(1, 8), **options).frequencies(100), plain)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_turns_is_scaled_and_what_stands_stays(scaling: str) -> None:
    """With p-RoPE, also in the half layout: pairs of the head that do not turn are 0."""
    options = {"fraction": 0.5, "proportional": True, "layout": "half"}
    rotary = Rotary(ModelShape(1, 16), **options, **options_of(scaling, 4, 4.0, 64))
    found = rotary.frequencies(128)
    assert found.isfinite().all() and (found[:4] > 0).all()
    assert found[4:].tolist() == [0.0] * 4
