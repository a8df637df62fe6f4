"""No positional embedding, in all layers or in some."""

from __future__ import annotations

import pytest
import torch
from random_weights import filled

from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import (
    CATALOGUE,
    ModelShape,
    NoPosition,
    PositionError,
    Rotary,
    Selective,
    build,
)
from wordorder.positions.base import Position
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import ReferenceModel

SAME, APART = 1e-10, 1e-2  # float64 sums in another order; what no rounding explains
FLOAT32 = 1e-5  # likewise in float32


@pytest.mark.parametrize(
    "spec,layers",
    [
        ("rotary/none", [Rotary, NoPosition, Rotary, NoPosition, Rotary, NoPosition]),
        ("none/rotary", [NoPosition, Rotary, NoPosition, Rotary, NoPosition, Rotary]),
        ("rotary/rotary/rotary/none", [Rotary, Rotary, Rotary, NoPosition, Rotary, Rotary]),
    ],
)
def test_hybrids_build(spec: str, layers: list[type[Position]]) -> None:
    made = build(spec, ModelShape(6, 4, layers=6))
    assert [type(own.parts[0]) for own in made.sums] == layers
    assert len(made.instances) == 2 and not list(made.parameters())


@pytest.mark.parametrize(
    "spec",
    [
        "none/rotary",
        pytest.param("rotary/rotary/rotary/none", marks=pytest.mark.slow),
        "none/alibi+rotary",
    ],
)
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize("spec,blind", [("none", True), ("rotary/none", False)])
def test_words_in_another_order_are_read_alike(lab, spec: str, blind: bool) -> None:
    """A bidirectional model without positions is permutation-equivariant; a hybrid is not."""
    shape = ModelShape(4, 8, layers=2, causal=False)
    reader, x = ReferenceModel(build(spec, shape), 4), lab.numbers(1, 9, 32)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    apart = (reader.read(x[:, order]) - reader.read(x)[:, order]).abs().max()
    assert apart < SAME if blind else apart > APART


def test_position_leaks_through_the_causal_mask(lab) -> None:
    """The last token of one layer does not see the order before it; of two layers it does."""
    order = torch.tensor([3, 1, 0, 2, 4])
    x = lab.numbers(1, 5, 32)
    apart = []
    for layers in (1, 2):
        reader = ReferenceModel(build("none", ModelShape(4, 8, layers=layers)), 4)
        apart.append((reader.read(x[:, order]) - reader.read(x))[:, -1].abs().max())
    assert apart[0] < SAME and apart[1] > APART


def language_model(position: str, **options) -> LanguageModel:
    """Return a model with random weights, that sees both ways if nothing else is said."""
    given = {"causal": False, "layers": 2, **options}
    config = ModelConfig(position=position, vocabulary_size=40, width=32, heads=4, **given)
    return filled(LanguageModel(config)).eval()


@torch.no_grad()
def moved(model: LanguageModel) -> float:
    """How far logits are from moving along with their tokens: 0 without any sense of order."""
    tokens, order = torch.arange(10)[None], torch.tensor([3, 7, 0, 9, 1, 5, 2, 8, 6, 4])
    return float((model(tokens[:, order]) - model(tokens)[:, order]).abs().max())


@pytest.mark.parametrize("windows", [(), (10,), (3,), (0, 3)])
def test_position_leaks_through_windows(windows: tuple[int, ...]) -> None:
    """What is near is in the window and what is far is not, in whatever layer has one."""
    apart = moved(language_model("none", windows=windows))
    assert apart > APART if 3 in windows else apart < FLOAT32


LEAKING = [name for name, kind in CATALOGUE.items() if kind(ModelShape(4, 8)).order_leak]


def test_position_leaks_through_token_shift() -> None:
    """A convolution whose running sum is one token's own, and one whose is its neighbour's."""
    model = language_model("selective:taps=3")
    taps = {"own": [1.0, -1.0, 0.0], "neighbour": [0.0, 1.0, -1.0]}
    apart = {}
    for name, weights in taps.items():
        for part in model.position.instances:
            assert isinstance(part, Selective) and "order of 3 tokens" in part.order_leak
            with torch.no_grad():
                part.convolution.copy_(torch.tensor(weights)[:, None].expand_as(part.convolution))
        apart[name] = moved(model)
    assert apart["own"] < FLOAT32 and apart["neighbour"] > APART


@pytest.mark.parametrize("name", LEAKING)
def test_a_declared_leak_alone_tells_the_order(name: str) -> None:
    """Or the embedding is in no bidirectional model at all."""
    try:
        model = language_model(name)
    except PositionError as refused:
        assert refused.code.endswith("-bidirectional")
    else:
        assert moved(model) > APART


@pytest.mark.parametrize("name", [n for n in LEAKING if "taps" in CATALOGUE[n].options()])
@pytest.mark.parametrize("leaks", [True, False])
def test_a_declared_leak_reaches_past_a_window(name: str, leaks: bool) -> None:
    """Two tokens before the window change places: with taps a token of it tells."""
    spec = name if leaks else f"{name}:taps=1"
    model = language_model(spec, causal=True, layers=1, windows=(3,))
    assert bool(model.position.instances[0].order_leak) == leaks
    with torch.no_grad():
        one, other = (model(torch.tensor([[7, *two, 4, 5, 6]]))[0, -1] for two in ((1, 2), (2, 1)))
    apart = (one - other).abs().max()
    assert apart > APART if leaks else apart < FLOAT32
