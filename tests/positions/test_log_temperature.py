"""Log-n temperature against Scalable-Softmax, transformers' Inkling, and its users' traps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import (
    LogTemperature,
    ModelShape,
    PositionError,
    Rotary,
    TokenLayout,
    build,
)
from wordorder.positions.conformance import check
from wordorder.positions.log_temperature import key_counts

# Everything is float64, except for logarithms and factors, which are float32.
CLOSE = 1e-6
# transformers computes in float32.
FLOAT32 = 5e-6


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def rows_of(formula, s: list[float], q, k, v, causal: bool, least: int) -> Tensor:
    """Return attention in scalars, by the formula's weights."""
    heads, time, width = v.shape
    rows = torch.zeros(heads, time, width, dtype=torch.float64)
    for h in range(heads):
        for i in range(time):
            keys = range(i + 1 if causal else time)
            scores = [dot(q[h][i].tolist(), k[h][j].tolist()) / math.sqrt(width) for j in keys]
            weights = formula("log_temperature").weights(s[h], scores, least)
            rows[h, i] = sum(w * v[h, j] for j, w in enumerate(weights))
    return rows


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("options", [{}, {"least": 4}, {"learned": False, "scale": 0.7}])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_scalable_softmax(formula, lab, causal, options, plainly) -> None:
    position = lab.filled(LogTemperature(ModelShape(3, 4, causal=causal), **options))
    q, k, v = (lab.numbers(3, 7, 4, seed=seed) for seed in range(3))
    s = position.scales.tolist() if position.learned else [0.7] * 3
    expected = rows_of(formula, s, q, k, v, causal, position.least)
    for given in (None, torch.arange(7) * 1000 + 5):  # positions have no part in it
        output = lab.attended(position, q, k, v, positions=given, plainly=plainly)
        torch.testing.assert_close(output, expected, rtol=0, atol=CLOSE)


# What is promised of products that another embedding computes.
OF_PRODUCTS = ("has effect", "cached", "packed", "padded", "masked", "shifted", "positions alone")
OF_PRODUCTS += ("pair by pair", "causal", "windowed", "low precision", "gradients", "facts")


def test_sums_with_path_scale_its_products_too(lab) -> None:
    report = check("path+log-temperature", only=OF_PRODUCTS)
    assert report.holds, str(report)


@pytest.mark.parametrize(
    "spec", ["rotary/none+log-temperature", "log-temperature:learned=false,least=5"]
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_conforms(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


def test_with_a_floor_it_is_inklings_logarithmic_scaling(lab) -> None:
    """Theirs is 1 + a ln(max(1, n / floor)), ours with a = s = 1 / ln(floor) the same."""
    inkling = pytest.importorskip("transformers.models.inkling.modeling_inkling")
    from transformers import InklingTextConfig

    heads, width, time, floor = 2, 8, 30, 6
    config = InklingTextConfig(
        hidden_size=heads * width,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width,
        num_hidden_layers=1,
        layer_types=["hybrid"],
        log_scaling_n_floor=floor,
        log_scaling_alpha=1 / math.log(floor),
        attn_implementation="eager",
    )
    theirs = inkling.InklingAttention(config, 0)
    assert not theirs.is_sliding
    theirs.k_sconv = theirs.v_sconv = _Unconvolved()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
        theirs.rel_logits_proj.proj.zero_()
        theirs.o_proj.weight.copy_(torch.eye(heads * width))
        x = lab.numbers(1, time, heads * width).float()
        mask = torch.full((time, time), -torch.inf).triu(1)[None, None]
        expected = theirs(x, mask)[0][0].unflatten(-1, (heads, width)).transpose(0, 1)
        q, k, v = (
            layer(x)[0].unflatten(-1, (heads, width)).transpose(0, 1)
            for layer in (theirs.q_proj, theirs.k_proj, theirs.v_proj)
        )
        q, k = theirs.q_norm(q) * width**-0.5, theirs.k_norm(k)
        position = LogTemperature(
            ModelShape(heads, width), learned=False, least=floor, scale=1 / math.log(floor)
        )
        output = lab.attended(position, q, k, v)
    torch.testing.assert_close(output, expected, rtol=0, atol=FLOAT32)


class _Unconvolved(torch.nn.Module):
    def forward(self, x: Tensor, **_: object) -> Tensor:
        return x


# -- traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
def test_keys_are_counted_by_document_and_without_padding(causal: bool) -> None:
    """In whatever order: what a mask lets through is what is counted."""
    generator = torch.Generator().manual_seed(0)
    documents = torch.randint(-1, 4, (5, 40), generator=generator)
    layout = TokenLayout.of(torch.arange(40)[None], documents, causal=causal)
    allowed = layout.may_attend()[:, 0].sum(-1)
    real = documents >= 0
    assert torch.equal(key_counts(layout)[real], allowed[real])
    single = TokenLayout.of(torch.arange(40)[None], causal=causal)
    assert torch.equal(key_counts(single), single.may_attend()[:, 0].sum(-1))


def test_a_cache_counts_on() -> None:
    layout = TokenLayout(torch.tensor([[9]]), torch.arange(10)[None], torch.tensor([9]))
    assert key_counts(layout).tolist() == [[10]]


def test_positions_do_not_count() -> None:
    """Positions that are interpolated, or drawn from a larger range, leave n as it is."""
    position = LogTemperature(ModelShape(2, 4))
    plain = position.prepare(TokenLayout.of(torch.arange(9)[None]))
    for other in (torch.arange(9) / 4, torch.arange(9) * 100 + 7):
        assert torch.equal(position.prepare(TokenLayout.of(other[None])), plain)


def test_attention_starts_as_usual_at_the_end_of_a_training_sequence() -> None:
    position = LogTemperature(ModelShape(2, 4, trained_length=64))
    tables = position.prepare(TokenLayout.of(torch.arange(64)[None]))
    factors = position.transform_queries(torch.ones(1, 2, 64, 4), tables, None)
    torch.testing.assert_close(factors[:, :, -1], torch.ones(1, 2, 4))
    assert (factors[:, :, :-1] < 1).all()
    assert len(build("log-temperature", ModelShape(2, 4, layers=3)).instances) == 3
    fixed = build("log-temperature:learned=false", ModelShape(2, 4, layers=3))
    assert len(fixed.instances) == 1 and not list(fixed.parameters())


def test_sharp_attention_stays_sharp() -> None:
    """One key above many equal ones: softmax loses it, ours gives it the same weight."""

    def weight(scale: float, n: int) -> float:
        scores = torch.zeros(n, dtype=torch.float64)
        scores[0] = 8.0
        return float((scores * scale).softmax(0)[0])

    position = LogTemperature(ModelShape(1, 4, trained_length=256))
    counts = [256, 65_536]
    layout = TokenLayout.of(torch.arange(counts[1])[None])
    factors = position.prepare(layout)[0, 0, :, 0] * position.resolved_scale
    assert weight(1, counts[0]) > 0.9 > 0.05 > weight(1, counts[1])
    for n in counts:
        assert weight(float(factors[n - 1]), n) > 0.9


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"scale": -1.0}, "positions.log-temperature-scale"),
        ({"scale": math.nan}, "positions.log-temperature-scale"),
        ({"least": 0}, "positions.log-temperature-least"),
    ],
)
def test_bad_options_are_refused(options: dict, code: str) -> None:
    with pytest.raises(PositionError) as caught:
        LogTemperature(ModelShape(2, 4), **options)
    assert caught.value.code == code


def test_latent_attention_is_refused() -> None:
    config = ModelConfig(
        width=32, heads=4, layers=1, position="rotary+log-temperature", attention="latent"
    )
    with pytest.raises(PositionError) as caught:
        LanguageModel(config)
    assert caught.value.code == "positions.log-temperature-latent"


def test_an_order_that_is_denied_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rotary, "tells_order", False)
    (finding,) = check("rotary", only=("facts",)).findings
    assert finding.holds is False and "tells_order = False" in finding.detail
    assert check("rotary+alibi", only=("facts",)).holds  # alibi tells it
