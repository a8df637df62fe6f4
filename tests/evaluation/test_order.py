"""Order probes: what is moved, what stays, and what models that know no order make of it."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from random_weights import filled
from torch import Generator, Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.order import (
    ALL_PROBES,
    PROBES,
    OrderLosses,
    losses_shuffled_at,
    order_losses,
    order_reach,
)
from wordorder.evaluation.windows import cut_windows, target_losses
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
    shape["embedding_scale"] = 1.0  # words drawn as large as sines are not multiplied
    config = ModelConfig(position=position, **{"vocabulary_size": 40, **shape, **options})
    return filled(make_model(config))


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

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens, positions = batch.tokens, batch.positions
        assert not self.training
        self.read.append(tokens)
        self.positions.append(positions)
        return tokens[:, :1, None].expand(*tokens.shape, 1).double()

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        self.asked.append(targets)
        return hidden.squeeze(-1)


@pytest.mark.parametrize("name", ALL_PROBES | PROBES)
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(rows=st.integers(1, 4), time=st.integers(0, 40), seed=st.integers(0, 1000))
def test_a_probe_moves_tokens_and_changes_none(name: str, rows: int, time: int, seed: int) -> None:
    tokens = torch.randint(20, (rows, time), generator=Generator().manual_seed(seed))
    before = tokens.clone()
    change = (ALL_PROBES | PROBES)[name].change
    moved = change(tokens, Generator().manual_seed(seed))
    assert torch.equal(tokens, before)
    assert torch.equal(moved.sort(1).values, tokens.sort(1).values)
    assert torch.equal(moved, change(tokens, Generator().manual_seed(seed)))


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


def test_increases_are_paired_and_have_the_error_of_documents() -> None:
    """This model's loss is the first token it reads, so that the increase is known."""
    model = Recorder()
    found = probed(model)  # type: ignore[arg-type]
    first = torch.stack([read[:, 0].double() for read in model.read])
    assert found.loss_nats == pytest.approx(float(first[0].mean()))
    for probe, own in zip(found.probes, first[1:], strict=True):
        increase = own - first[0]
        assert probe.loss_nats == pytest.approx(float(own.mean()))
        assert probe.increase_nats == pytest.approx(float(increase.mean()))
        begins = np.arange(LENGTH - 8, LENGTH - 8 + 8 * len(increase), 8)  # of the targets
        sums = np.bincount(begins // 100, increase.numpy())
        sizes = np.bincount(begins // 100)
        without = (sums.sum() - sums) / (sizes.sum() - sizes)
        spread = ((without - float(increase.mean())) ** 2).sum()
        assert probe.standard_error == pytest.approx(math.sqrt(5 / 6 * spread))
        assert probe.degrees_of_freedom == pytest.approx(sizes.sum() ** 2 / (sizes @ sizes) - 1)


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
        "position 63 is past the largest that --position learned can represent (31): "
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
    assert caught.value.code == "evaluation.text-shorter-than-probe"


def test_a_window_of_one_token_has_no_context_to_change() -> None:
    found = order_losses(random_model("rotary"), random_store(), trained_length=1)
    assert all(abs(each) < ROUNDING for each in effects(found).values() if each is not None)


class Known(nn.Module):
    """A model whose loss is a formula: what it reads of the tokens so far, and a table."""

    def __init__(self) -> None:
        super().__init__()
        generator = Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(40, 40, generator=generator, dtype=torch.float64))
        self.config = ModelConfig(trained_length=LENGTH)

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return hidden.gather(-1, targets[..., None]).squeeze(-1)


class BagOfWords(Known):
    """What it makes of a target depends on which tokens were read, not on where they stood."""

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens = batch.tokens
        return self.weight[tokens].cumsum(1)


class LooksBack(Known):
    """What it makes of a target depends on one token, so many before it."""

    def __init__(self, distance: int) -> None:
        super().__init__()
        self.distance = distance

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens = batch.tokens
        return self.weight[tokens.roll(self.distance - 1, 1)]


def test_the_order_of_a_bag_of_words_is_worth_nothing() -> None:
    model = BagOfWords()
    found = order_losses(model, random_store(), trained_length=LENGTH, probes=ALL_PROBES)  # type: ignore[arg-type]
    reach = order_reach(model, random_store(), trained_length=LENGTH)  # type: ignore[arg-type]
    assert reach.loss_nats != 0
    told = [each for each in (*found.probes, *reach.probes) if each.cannot is None]
    assert all(abs(each.increase_nats) < 1e-12 for each in told)
    assert [each.name for each in found.probes if each.cannot] == ["shuffled-64"]


@pytest.mark.parametrize("distance", [1, 2, 3, 9, 16])
def test_order_reaches_as_far_back_as_a_model_looks(distance: int) -> None:
    """A model of neighbours loses where its neighbour moves and nowhere else, and so on."""
    model = LooksBack(distance)
    found = order_reach(model, random_store(), trained_length=LENGTH)  # type: ignore[arg-type]
    assert [each.name for each in found.probes] == [f"beyond-{n}" for n in (0, 1, 2, 4, 8, 16)]
    for each, kept in zip(found.probes, (0, 1, 2, 4, 8, 16), strict=True):
        assert (abs(each.increase_nats) > 1e-3) == (distance > kept), each.name


@pytest.mark.parametrize("distance", [1, 9, 12, 20])
def test_neighbours_of_the_targets_stay_and_what_is_farther_moves(distance: int) -> None:
    """Of 8 targets the first d - 1 look at what was moved, where d is how far back they look."""
    found = effects(probed(LooksBack(distance)))
    moved = {name for name in PROBES if abs(found[name]) > 1e-3}
    assert moved == (set(PROBES) if distance > 1 else set())


def test_what_is_shuffled_lies_at_the_distances_asked_for() -> None:
    tokens = torch.arange(41)[None].repeat(50, 1)
    for nearest, farthest, moved in (
        (1, 20, range(20, 40)),
        (31, None, range(10)),
        (5, 99, range(36)),
    ):
        model = Recorder()
        losses_shuffled_at(model, tokens, nearest, farthest)  # type: ignore[arg-type]
        (read,) = model.read
        assert (read != tokens[:, :-1]).any(0).nonzero().flatten().tolist() == [*moved]
        assert torch.equal(model.asked[0], tokens[:, -1:])


def test_losses_of_what_is_shuffled_pair_with_those_of_what_is_not() -> None:
    windows = cut_windows(random_store(), LENGTH, 1, across_documents=True, most_targets=64)
    for distance, near, far in ((3, False, True), (30, True, False)):
        model = LooksBack(distance)
        plain = target_losses(model, windows.tokens, 1)  # type: ignore[arg-type]
        within = losses_shuffled_at(model, windows.tokens, 1, 20)  # type: ignore[arg-type]
        beyond = losses_shuffled_at(model, windows.tokens, 21)  # type: ignore[arg-type]
        assert plain.shape == within.shape == beyond.shape == (64,)
        assert torch.equal(within, plain) == near
        assert torch.equal(beyond, plain) == far


@pytest.mark.parametrize("nearest", [0, 32, 40])
def test_a_window_too_short_to_shuffle_is_refused(nearest: int) -> None:
    with pytest.raises(BadInput) as caught:
        losses_shuffled_at(Recorder(), torch.zeros(3, 33, dtype=torch.int64), nearest)  # type: ignore[arg-type]
    assert caught.value.code == "evaluation.too-few-to-shuffle"
    assert f"from {nearest} on" in str(caught.value)


def test_blocks_move_whole() -> None:
    tokens = torch.arange(40)[None].repeat(5, 1)
    moved = ALL_PROBES["blocks"].change(tokens, Generator().manual_seed(0)).view(5, 8, 5)
    assert (moved.diff(dim=2) == 1).all()
    assert (moved % 5 == torch.arange(5)).all()
    order = moved[:, :, 0] // 5
    assert not torch.equal(order[0], order[1])
    assert (order != torch.arange(8)).float().mean() > 0.5


@pytest.mark.parametrize("size", [8, 20, 64])
def test_stretches_keep_their_tokens(size: int) -> None:
    tokens = torch.arange(150)[None].repeat(3, 1)
    moved = ALL_PROBES[f"shuffled-{size}"].change(tokens, Generator().manual_seed(0))
    assert torch.equal(moved // size, tokens // size)
    assert (moved != tokens).float().mean() > 0.5


def test_a_context_too_short_for_a_change_is_said() -> None:
    found = order_losses(Recorder(), random_store(), trained_length=LENGTH, probes=ALL_PROBES)  # type: ignore[arg-type]
    said = {each.name: each.cannot for each in found.probes if each.cannot}
    assert list(said) == ["shuffled-64"]
    assert said["shuffled-64"].startswith("only 24 of the 32 tokens before the last")


def test_a_gap_lies_between_the_context_and_what_follows_it() -> None:
    model = Recorder()
    found = probed(model, shift=5, gap=100)
    assert [each.name for each in found.probes[-2:]] == ["shifted", "gap"]
    assert model.positions[-1].tolist() == [[*range(24), *range(124, 132)]]


@pytest.mark.parametrize(("position", "costs"), [("none", False), ("rotary", True)])
def test_a_gap_costs_what_looks_at_positions_something(position: str, costs: bool) -> None:
    found = effects(probed(random_model(position), gap=8))
    assert (abs(found["gap"]) > ROUNDING * 10) == costs


def test_bits_per_byte_are_over_the_bytes_of_the_targets() -> None:
    """Token 7 has three bytes, the end none, the others one."""
    sizes = np.ones(40)
    sizes[[0, 7]] = 0, 3
    model = Recorder()
    found = order_losses(model, random_store(), trained_length=LENGTH, bytes_per_token=sizes)  # type: ignore[arg-type]
    asked = model.asked[0]
    assert found.bytes == int((asked != 0).sum() + 2 * (asked == 7).sum())
    for each in found.probes:
        bits = each.increase_nats * found.targets / np.log(2) / found.bytes
        assert each.increase_bits_per_byte == pytest.approx(bits)
    assert probed(Recorder()).probes[0].increase_bits_per_byte is None
