"""Order probes: what is moved, what stays, and what models that know no order make of it."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from wordorder.errors import BadInput
from wordorder.evaluation.order import PROBES, OrderLosses, order_losses
from wordorder.model import ModelConfig, make_model
from wordorder.text.store import TokenStore

# Float32 sums in another order; and what is no rounding.
ROUNDING, APART = 1e-5, 1e-2
LENGTH = 32
ORDERED = ["rotary", "alibi", "t5", "sinusoidal"]


def random_store(tokens: int = 600, vocabulary: int = 40) -> TokenStore:
    ids = np.random.default_rng(0).integers(1, vocabulary, tokens).astype(np.uint16)
    starts = np.arange(0, tokens, 100)
    ids[[*(starts[1:] - 1), -1]] = 0
    return TokenStore(ids, starts, tokens, 0, vocabulary)


def random_model(position: str, **options: object):  # type: ignore[no-untyped-def]
    """A small model with no zero weight, or context would have no effect."""
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 40, **shape, **options})
    model = make_model(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter.shape[1] if parameter.dim() == 2 else 1
            parameter.copy_(noise * fan_in**-0.5)
    return model


def probed(model: nn.Module, **options: int) -> OrderLosses:
    return order_losses(model, random_store(), trained_length=LENGTH, **options)


def effects(found: OrderLosses) -> dict[str, float | None]:
    return {probe.name: probe.increase_nats for probe in found.probes}


class Recorder(nn.Module):
    """Remembers what it reads and is asked; its loss is the first token it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = ModelConfig()
        self.read: list[Tensor] = []
        self.asked: list[Tensor] = []
        self.positions: list[Tensor | None] = []

    def hidden(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        assert not self.training
        self.read.append(tokens)
        self.positions.append(positions)
        return tokens[:, :1, None].expand(*tokens.shape, 1).double()

    def losses_of(self, hidden: Tensor, targets: Tensor) -> Tensor:
        self.asked.append(targets)
        return hidden.squeeze(-1)


@pytest.mark.parametrize("name", PROBES)
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(rows=st.integers(1, 4), time=st.integers(0, 40), seed=st.integers(0, 1000))
def test_a_probe_moves_tokens_and_changes_none(name: str, rows: int, time: int, seed: int) -> None:
    tokens = torch.randint(20, (rows, time), generator=Generator().manual_seed(seed))
    before = tokens.clone()
    moved = PROBES[name].change(tokens, Generator().manual_seed(seed))
    assert torch.equal(tokens, before)
    assert torch.equal(moved.sort(1).values, tokens.sort(1).values)
    assert torch.equal(moved, PROBES[name].change(tokens, Generator().manual_seed(seed)))


def test_probes_are_what_they_say() -> None:
    tokens = torch.arange(21)[None].repeat(3, 1)

    def changed(name: str) -> Tensor:
        return PROBES[name].change(tokens, Generator().manual_seed(0))

    assert changed("swapped")[0].tolist()[:6] == [1, 0, 3, 2, 5, 4]
    assert changed("swapped")[0].tolist()[-3:] == [19, 18, 20]
    assert changed("reversed")[0].tolist() == list(range(20, -1, -1))
    near = changed("shuffled-near")
    assert torch.equal(near // 8, tokens // 8)
    assert (near != tokens).float().mean() > 0.5
    far = changed("shuffled")
    assert (far // 8 != tokens // 8).float().mean() > 0.4
    for shuffled in (near, far):
        assert not torch.equal(shuffled[0], shuffled[1])


def test_targets_and_what_they_follow_stay_in_place() -> None:
    model = Recorder()
    found = probed(model)  # type: ignore[arg-type]
    plain = model.read[0]
    assert plain.shape[1] == LENGTH
    assert all(torch.equal(asked, model.asked[0]) for asked in model.asked)
    assert torch.equal(plain[:, -7:], model.asked[0][:, :-1])
    for read in model.read:
        assert torch.equal(read[:, -8:], plain[:, -8:])
        assert torch.equal(read.sort(1).values, plain.sort(1).values)
    moved = [not torch.equal(read, plain) for read in model.read]
    assert moved == [False, *[True] * len(PROBES), False]
    assert found.targets == found.windows * 8 == model.asked[0].numel()


def test_every_token_is_asked_for_once() -> None:
    model = Recorder()
    probed(model)  # type: ignore[arg-type]
    store = random_store()
    asked = model.asked[0].flatten().tolist()
    assert asked == store.tokens[LENGTH - 8 : LENGTH - 8 + len(asked)].tolist()


def test_increases_are_paired_and_have_the_error_of_windows() -> None:
    """This model's loss is the first token it reads, so that the increase is known."""
    model = Recorder()
    found = probed(model)  # type: ignore[arg-type]
    first = torch.stack([read[:, 0].double() for read in model.read])
    assert found.loss_nats == pytest.approx(float(first[0].mean()))
    for probe, own in zip(found.probes, first[1:], strict=True):
        increase = own - first[0]
        assert probe.loss_nats == pytest.approx(float(own.mean()))
        assert probe.increase_nats == pytest.approx(float(increase.mean()))
        error = float(increase.std()) / len(increase) ** 0.5
        assert probe.standard_error == pytest.approx(error)


def test_every_model_reads_the_same_permutations() -> None:
    reads = []
    for seed in (0, 0, 1):
        model = Recorder()
        probed(model, seed=seed)  # type: ignore[arg-type]
        reads.append(model.read)
    assert all(map(torch.equal, reads[0], reads[1]))
    assert not all(map(torch.equal, reads[0], reads[2]))


@pytest.mark.parametrize(("layers", "sees"), [(1, False), (2, True)])
def test_without_positions_order_is_seen_from_the_second_layer_on(layers: int, sees: bool) -> None:
    """Haviv et al. 2022: the mask alone tells order, but one layer reads a bag of words."""
    found = effects(probed(random_model("none", layers=layers)))
    for name in PROBES:
        assert abs(found[name]) > ROUNDING * 10 if sees else abs(found[name]) < ROUNDING
    assert found["shifted"] == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("position", ORDERED)
def test_a_position_tells_the_order_to_one_layer(position: str) -> None:
    model, store = random_model(position, layers=1), random_store()
    plain = order_losses(model, store, trained_length=LENGTH)
    assert abs(effects(plain)["shuffled"]) > ROUNDING * 10


@pytest.mark.parametrize("position", ["rotary", "alibi", "t5", "none"])
def test_a_shift_costs_a_relative_embedding_nothing(position: str) -> None:
    assert effects(probed(random_model(position)))["shifted"] == pytest.approx(0, abs=ROUNDING)


def test_a_shift_costs_an_absolute_embedding_something() -> None:
    assert abs(effects(probed(random_model("sinusoidal")))["shifted"]) > APART


def test_positions_are_shifted_by_the_trained_length_or_what_is_asked() -> None:
    for options, by in (({}, LENGTH), ({"shift": 5}, 5)):
        model = Recorder()
        probed(model, **options)  # type: ignore[arg-type]
        assert model.positions[:-1] == [None] * (len(PROBES) + 1)
        assert model.positions[-1].tolist() == [list(range(by, LENGTH + by))]


def test_a_table_cannot_be_shifted_past_its_end() -> None:
    shifted = probed(random_model("learned")).probes[-1]
    assert (shifted.loss_nats, shifted.increase_nats, shifted.standard_error) == (None, None, None)
    assert shifted.cannot == (
        "position 63 is past the longest that --position learned can represent (31): "
        "use a shorter text, or train with --position rotary"
    )
    assert all(probe.cannot is None for probe in probed(random_model("learned")).probes[:-1])


def test_a_gru_reads_in_order_and_takes_no_notice_of_positions() -> None:
    found = effects(probed(random_model("none", kind="gru", layers=1)))
    assert all(abs(found[name]) > ROUNDING * 10 for name in ("swapped", "shuffled", "reversed"))
    assert found["shifted"] == 0


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        order_losses(Recorder(), random_store(200), trained_length=256)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "the text is 200 tokens, shorter than one window of 256: give more text"
    )


def test_a_window_of_one_token_has_no_context_to_change() -> None:
    found = order_losses(random_model("rotary"), random_store(), trained_length=1)
    assert all(abs(each) < ROUNDING for each in effects(found).values() if each is not None)
