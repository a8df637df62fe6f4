"""An embedding taken out: the model is then the one that never had it, with the same weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_weights import filled
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.ablation import ablation_losses, without_position
from wordorder.evaluation.order import order_losses
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.positions import CATALOGUE
from wordorder.text.store import TokenStore

ROUNDING, APART = 1e-5, 1e-3
LENGTH = 32
# These say which positions training is fed, and do nothing by themselves.
IDLE = ("none", "randomized", "offset", "coupled")
# By themselves these tell no order: they count keys, or place equal tokens alike.
ORDERLESS = ("log-temperature", "repo")
AT_THE_INPUT = ("sinusoidal", "learned")
TOKENS = torch.from_numpy(np.random.default_rng(1).permutation(40)[None, :LENGTH])


def random_model(position: str, **options: object) -> TokenModel:
    """A small model in float64 with no zero weight, or context would have no effect."""
    shape = {"width": 32, "heads": 4, "layers": 3, "trained_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 40, **shape, **options})
    model = filled(make_model(config))
    model.compute_dtype = torch.float64
    return model.double().eval()


def random_store(tokens: int = 600) -> TokenStore:
    ids = np.random.default_rng(0).integers(1, 40, tokens).astype(np.uint16)
    starts = np.arange(0, tokens, 100)
    ids[[*(starts[1:] - 1), -1]] = 0
    return TokenStore(ids, starts, tokens, 0, 40)


@torch.no_grad()
def read(model: TokenModel, tokens: Tensor = TOKENS) -> Tensor:
    return model.hidden(tokens)


def prefix_moves(model: TokenModel) -> float:
    """How far the last token's output moves when those before it change places."""
    mixed = torch.cat([TOKENS[:, :-1].flip(1), TOKENS[:, -1:]], 1)
    return float((read(model)[:, -1] - read(model, mixed)[:, -1]).abs().max())


@pytest.mark.parametrize("position", [n for n in CATALOGUE if n not in (*IDLE, *ORDERLESS)])
def test_without_it_one_layer_is_blind_to_order(position: str) -> None:
    """By construction: one causal layer without positions reads a bag of words."""
    model = random_model(position, layers=1)
    assert prefix_moves(model) > APART
    assert prefix_moves(without_position(model)) < ROUNDING


@pytest.mark.parametrize(
    "position", ["sinusoidal", "rotary", "alibi", "t5", "cope", "learned+fire"]
)
def test_what_is_left_is_the_model_that_never_had_it(position: str) -> None:
    model = random_model(position)
    never = random_model("none")
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("position.")}
    never.load_state_dict(weights)
    assert torch.equal(read(without_position(model)), read(never))
    assert (read(model) - read(never)).abs().max() > APART


@pytest.mark.parametrize(
    "position", [name for name in CATALOGUE if name not in (*IDLE, *AT_THE_INPUT)]
)
def test_out_of_one_layer_the_others_keep_it(position: str) -> None:
    """Out of one layer after another it is out of all, and each of them is heard of."""
    model = random_model(position)
    one = [without_position(model, layer) for layer in (1, 2, 3)]
    for number, other in enumerate(one):
        assert (read(other) - read(model)).abs().max() > APART
        for layer, (left, own) in enumerate(
            zip(other.position.sums, model.position.sums, strict=True)
        ):
            kept = [p for part in left.parts for p in part.parameters()]
            had = [p for part in own.parts for p in part.parameters()]
            same = len(kept) == len(had) and all(map(torch.equal, kept, had))
            assert same == (layer != number or not had)
    gone = without_position(without_position(one[0], 2), 3)
    assert torch.equal(read(gone), read(without_position(model)))


def test_the_place_of_what_is_kept_does_not_matter() -> None:
    """Two layers without embedding share one `none`, so numbers of instances move."""
    model = random_model("fire/none/kerple/fire", layers=4)
    other = without_position(model, 3)
    assert other.config.position == "fire/none/none/fire"
    fires = [other.position.sums[i].parts[0] for i in (0, 3)]
    for fire, own in zip(fires, [model.position.sums[i].parts[0] for i in (0, 3)], strict=True):
        assert all(map(torch.equal, fire.parameters(), own.parameters()))
    assert not torch.equal(fires[0].into, fires[1].into)


def test_what_comes_in_at_the_input_stays_where_one_layer_loses_the_rest() -> None:
    model = random_model("learned+alibi")
    other = without_position(model, 2)
    assert other.config.position == "learned+alibi/learned/learned+alibi"
    assert torch.equal(other.position.instances[0].weight, model.position.instances[0].weight)
    assert (read(other) - read(model)).abs().max() > APART


def test_the_softmax_scale_stays() -> None:
    """A table of zeros adds nothing, so taking it out changes nothing; the scale is the model's."""
    model = random_model("t5:scaled=false")
    with torch.no_grad():
        model.position.instances[0].weight.zero_()
    for layer in (None, 1, 3):
        assert (read(without_position(model, layer)) - read(model)).abs().max() < ROUNDING
    never = make_model(replace(model.config, position="none")).double()
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("position.")}
    never.load_state_dict(weights)
    never.compute_dtype = torch.float64
    assert (read(never) - read(model)).abs().max() > APART


def test_options_are_kept() -> None:
    model = random_model("rotary:base=1000000/rotary:base=123.5,fraction=0.5/alibi")
    for layer, gone in enumerate(("base=1e06", "base=123.5,fraction=0.5", "alibi"), start=1):
        assert gone not in without_position(model, layer).config.position
    bases = [s.parts[0].base for s in without_position(model, 3).position.sums[:2]]
    assert bases == [1e6, 123.5]


def test_weights_are_shared_and_the_model_is_left_alone() -> None:
    model = random_model("fire").train()
    before = read(model.eval())
    model.train()
    other = without_position(model, 1)
    assert other.embedding.weight.data_ptr() == model.embedding.weight.data_ptr()
    assert model.training and not other.training
    assert (other.compute_dtype, other.attention_kernel) == (torch.float64, "auto")
    assert model.config.position == "fire"
    assert torch.equal(read(model.eval()), before)


@pytest.mark.parametrize(
    ("position", "layer", "code"),
    [
        ("none", None, "evaluation.no-embedding-in-model"),
        ("offset", None, "evaluation.no-embedding-in-model"),
        ("rotary/none/alibi", 2, "evaluation.no-embedding-in-layer"),
        ("learned", 1, "evaluation.embedding-at-input"),
    ],
)
def test_what_is_not_there_cannot_be_removed(position: str, layer: int | None, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        without_position(random_model(position), layer)
    assert caught.value.code == code


def test_a_gru_has_none() -> None:
    with pytest.raises(BadInput) as caught:
        without_position(random_model("rotary", kind="gru"))
    assert caught.value.code == "evaluation.gru-without-embedding"


def test_losses_are_those_of_the_same_targets() -> None:
    model, store = random_model("rotary"), random_store()
    found = ablation_losses(model, store, trained_length=LENGTH)
    plain = order_losses(model, store, trained_length=LENGTH)
    assert (found.targets, found.loss_nats) == (plain.targets, plain.loss_nats)
    assert [each.name for each in found.probes] == ["removed", *(f"removed-{n}" for n in (1, 2, 3))]
    for each, layer in zip(found.probes, (None, 1, 2, 3), strict=True):
        other = order_losses(without_position(model, layer), store, trained_length=LENGTH)
        assert each.loss_nats == pytest.approx(other.loss_nats, abs=1e-9)
        assert each.increase_nats == pytest.approx(other.loss_nats - plain.loss_nats, abs=1e-9)
        assert abs(each.increase_nats) > ROUNDING


def test_what_does_nothing_costs_nothing() -> None:
    model = random_model("t5")
    with torch.no_grad():
        model.position.instances[0].weight.zero_()
    found = ablation_losses(model, random_store(), trained_length=LENGTH)
    assert [each.increase_nats for each in found.probes] == pytest.approx([0.0] * 4, abs=ROUNDING)


def test_the_input_is_no_layer() -> None:
    found = ablation_losses(random_model("sinusoidal"), random_store(), trained_length=LENGTH)
    whole, one = found.probes
    assert (whole.name, one.name, one.meaning) == (
        "removed",
        "removed-one",
        "no embedding in one layer",
    )
    assert abs(whole.increase_nats) > ROUNDING
    assert one.cannot == "the embedding acts at the input, before all layers"


def test_progress_reaches_the_end() -> None:
    shares: list[float] = []
    ablation_losses(
        random_model("alibi"), random_store(), trained_length=LENGTH, progress=shares.append
    )
    assert shares == sorted(shares) and shares[-1] == 1.0
