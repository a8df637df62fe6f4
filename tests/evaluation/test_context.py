"""The same tokens with growing context: over models whose losses are known by formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numbered_store import END, store_of
from random_weights import filled
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.context import context_gain, context_losses, measurable
from wordorder.evaluation.intervals import Estimate, mean_of
from wordorder.evaluation.windows import cut_windows
from wordorder.model import ModelConfig, make_model
from wordorder.model.additive_mask import AdditiveMask

ROUNDING = 1e-5  # float32 sums in another order


class Echo(nn.Module):
    """Gives what it reads as hidden states, and remembers what it is asked."""

    def __init__(self, causal: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = ModelConfig(causal=causal)
        self.read: list[Tensor] = []
        self.asked: list[Tensor] = []

    def hidden(self, batch: Tensor | Batch) -> Tensor:
        batch = Batch.of(batch)
        tokens, positions = batch.tokens, batch.positions
        assert not self.training
        assert positions is None
        self.read.append(tokens)
        return torch.arange(tokens.shape[1]).expand_as(tokens)[..., None].float()

    def target_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        self.asked.append(targets)
        return self.formula(hidden.squeeze(-1), targets)

    def formula(self, places: Tensor, targets: Tensor) -> Tensor:
        return torch.ones_like(places)


class NeedsFarBack(Echo):
    """Predicts a target, at no loss, where it has at least so many tokens before it."""

    def __init__(self, far: int) -> None:
        super().__init__()
        self.far = far

    def formula(self, places: Tensor, targets: Tensor) -> Tensor:
        return (places + 1 < self.far).float()


def random_model(position: str = "rotary", **options: object):  # type: ignore[no-untyped-def]
    """A small model with no zero weight, or context would have no effect."""
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": 8, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 301, **shape, **options})
    return filled(make_model(config))


def test_the_targets_are_the_same_at_every_length_and_the_context_grows() -> None:
    model = Echo()
    found = context_losses(model, store_of(100, 90, 20), [8, 16, 64], trained_length=8)
    by_length = asked_by_length(model)
    assert torch.equal(by_length[8][1], by_length[16][1])
    assert torch.equal(by_length[8][1], by_length[64][1])
    assert torch.equal(by_length[64][0][:, -8:], by_length[8][0])
    assert found.targets == by_length[8][1].numel() == 4 * (10 + 7)
    assert found.documents == 2


def asked_by_length(model: Echo) -> dict[int, tuple[Tensor, Tensor]]:
    """What was read, and what asked for, at each length."""
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for read, asked in zip(model.read, model.asked, strict=True):
        found.setdefault(read.shape[1], []).append((read, asked))
    return {length: tuple(map(torch.cat, zip(*p, strict=True))) for length, p in found.items()}


def test_targets_follow_what_is_read_and_no_token_is_asked_twice() -> None:
    model = Echo()
    context_losses(model, store_of(100, 90), [16], trained_length=8)
    read, asked = asked_by_length(model)[16]
    assert torch.equal(read[:, -3:], asked[:, :-1])
    ordinary = asked[asked != END].tolist()
    assert len(ordinary) == len(set(ordinary))


def test_windows_cross_no_document_and_open_with_the_end_of_text() -> None:
    """A token's value is its place, so that a window inside a document counts up by one."""
    model = Echo()
    context_losses(model, store_of(40, 33, 31, 8), [32], trained_length=8)
    read, asked = asked_by_length(model)[32]
    windows = torch.cat([read, asked[:, -1:]], 1)
    assert windows[:, 1].tolist() == [1, 5, 9, 41]
    assert (windows[:, 0] == torch.tensor([END, 4, 8, END])).all()
    inside = windows[:, 1:-1]
    assert (inside.diff(dim=1) == 1).all()
    assert windows[:, -1].tolist() == [32, 36, END, 72]


def test_windows_may_cross_documents_where_asked() -> None:
    model = Echo()
    found = context_losses(model, store_of(*[8] * 8), [32], trained_length=8, across_documents=True)
    read, asked = asked_by_length(model)[32]
    assert read[:, 0].tolist() == [END, 4, END, 12, END, 20, END, 28, END]
    assert (found.targets, found.documents) == (36, 5)
    assert asked[-1].tolist() == [61, 62, 63, END]


@pytest.mark.parametrize(("far", "losses"), [(5, [0, 0, 0]), (7, [0.5, 0, 0]), (20, [1, 1, 0])])
def test_a_model_that_needs_so_much_context_falls_where_it_has_it(
    far: int, losses: list[float]
) -> None:
    """At 8 tokens the four targets have 5, 6, 7 and 8 tokens before them."""
    found = context_losses(NeedsFarBack(far), store_of(90, 90), [32, 8, 16], trained_length=8)
    assert [each.context_length for each in found.lengths] == [8, 16, 32]
    assert [each.loss_nats for each in found.lengths] == pytest.approx(losses)


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_losses_are_those_of_each_text_read_alone(kind: str) -> None:
    """Window by window, with the model's own loss: at the trained length, and at four times it."""
    model, store = random_model(kind=kind), store_of(100, 120, 80)
    found = context_losses(model, store, [8, 32], trained_length=8)
    tokens = cut_windows(store, 32, 4).tokens
    for length, each in zip((8, 32), found.lengths, strict=True):
        expected = []
        for window in tokens[:, -length - 1 :]:
            with torch.no_grad():
                losses = model.eval()(Batch(window[None, :-1], window[None, 1:]))
            expected.append(float(losses[0, -4:].mean()))
        assert each.window_losses == pytest.approx(expected, abs=ROUNDING)
        assert each.loss_nats == pytest.approx(np.mean(expected), abs=ROUNDING)
    assert found.lengths[0].loss_nats != pytest.approx(found.lengths[1].loss_nats, abs=0.001)


def loss_of_each_target(model, window: Tensor, targets: int, length: int) -> list[float]:  # type: ignore[no-untyped-def]
    """Read one prefix for each target: as far back as the last target of its group may read.

    A group has all targets if the context is at least twice as long, else half a context of them.
    """
    first, size = len(window) - targets, targets if length >= 2 * targets else max(1, length // 2)
    losses = []
    for target in range(first, len(window)):
        last = min(first + (target - first) // size * size + size, len(window)) - 1
        read = window[max(0, last - length) : target]
        with torch.no_grad():
            loss = model.eval()(
                Batch(read[None], window[target - len(read) + 1 : target + 1][None])
            )
        losses.append(float(loss[0, -1]))
    return losses


@pytest.mark.parametrize(
    ("lengths", "targets"),
    [((8, 32), 24), ((16,), 12), ((8, 16), 16), ((20, 32), 32), ((1, 5, 7), 7), ((9, 32), 3)],
)
def test_any_number_of_targets_that_a_window_holds_has_its_loss(
    lengths: tuple[int, ...], targets: int
) -> None:
    """The first targets of many have no more before them than their window."""
    model, store = random_model("alibi", layers=1), store_of(50, 60, 40)
    found = context_losses(model, store, lengths, trained_length=32, targets=targets)
    windows = cut_windows(store, lengths[-1], targets).tokens
    assert [each.context_length for each in found.lengths] == list(lengths)
    for each in found.lengths:
        assert each.cannot is None
        expected = [
            np.mean(loss_of_each_target(model, window, targets, each.context_length))
            for window in windows
        ]
        assert each.window_losses == pytest.approx(expected, abs=ROUNDING)


def test_lengths_may_be_an_array() -> None:
    found = context_losses(Echo(), store_of(90, 90), np.array([32, 8]), trained_length=8)
    assert [each.context_length for each in found.lengths] == [8, 32]


@pytest.mark.parametrize(
    ("lengths", "targets", "code"),
    [
        ((16,), 40, "evaluation.targets-out-of-range"),
        ((16,), -3, "evaluation.targets-out-of-range"),
        ((0, 32), 0, "evaluation.context-length-below-one"),
    ],
)
def test_what_no_window_holds_is_refused(lengths: tuple[int, ...], targets: int, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        context_losses(Echo(), store_of(90), lengths, trained_length=32, targets=targets)
    assert caught.value.code == code


def test_a_length_past_the_table_cannot_be_and_has_no_number() -> None:
    found = context_losses(random_model("learned"), store_of(90, 90), [8, 16], trained_length=8)
    inside, beyond = found.lengths
    assert inside.cannot is None
    assert inside.loss_nats is not None
    assert (beyond.loss_nats, beyond.standard_error, beyond.window_losses) == (None, None, ())
    assert beyond.cannot == (
        "position 15 is past the largest that --position learned can represent (7): "
        "use a shorter text, or train with --position rotary"
    )


def test_what_is_not_finite_is_no_number() -> None:
    class Overflows(Echo):
        def formula(self, places: Tensor, targets: Tensor) -> Tensor:
            return places.where(places < 9, torch.inf)

    found = context_losses(Overflows(), store_of(90, 90), [8, 16], trained_length=8)
    assert found.lengths[0].loss_nats is not None
    assert found.lengths[1].loss_nats is None
    assert found.lengths[1].cannot == "the loss is NaN or infinite"


def test_one_long_document_is_measured_in_blocks_and_said_once() -> None:
    found = measurable(store_of(6000), [16, 64, 128, 256], trained_length=64)
    assert found.lengths == (16, 64, 128, 256)
    assert found.left_out == ()
    assert found.note == (
        "1 document of the text reaches 256 tokens: intervals are over blocks of this text and do "
        "not cover other texts"
    )
    losses = context_losses(Echo(), store_of(6000), [64, 256], trained_length=64)  # type: ignore[arg-type]
    assert losses.documents == 1
    assert losses.in_blocks
    assert losses.lengths[0].degrees_of_freedom == pytest.approx(15)


def test_short_contexts_ask_for_the_same_targets_with_no_more_before_them() -> None:
    """Each target is asked for once at each length, and read from c/2 + 1 to c tokens."""
    model = Echo()
    found = context_losses(model, store_of(100, 90, 80, 70), [2, 6, 16, 64], trained_length=16)  # type: ignore[arg-type]
    by_length: dict[int, list[int]] = {}
    before: dict[int, set[int]] = {}
    for read, asked in zip(model.read, model.asked, strict=True):
        by_length.setdefault(read.shape[1], []).extend(asked.flatten().tolist())
        known = range(read.shape[1] - asked.shape[1] + 1, read.shape[1] + 1)
        before.setdefault(read.shape[1], set()).update(known)
    assert found.targets == len(by_length[64])
    for length in (2, 6, 16):
        assert sorted(by_length[length]) == sorted(by_length[64])
    assert before == {2: {2}, 6: {4, 5, 6}, 16: set(range(9, 17)), 64: set(range(57, 65))}


def test_the_gain_of_the_last_doubling_is_what_the_context_between_is_worth() -> None:
    """This model needs 12 tokens: with 8 before it none has them, with 16 five of eight do."""
    store = store_of(*[60] * 6)
    found = context_gain(NeedsFarBack(12), store, trained_length=16)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(5 / 8)
    assert (found.low, found.high) == pytest.approx((5 / 8, 5 / 8))
    assert (found.windows, found.documents) == (6 * 6, 6)
    nothing = context_gain(NeedsFarBack(3), store, trained_length=16)  # type: ignore[arg-type]
    assert nothing.mean == 0


def test_a_gain_that_cannot_be_measured_says_so() -> None:
    with pytest.raises(BadInput) as caught:
        context_gain(Echo(), store_of(9, 9, 9, 9), trained_length=16)  # type: ignore[arg-type]
    assert caught.value.code == "evaluation.no-document-so-long" and "16 tokens" in str(
        caught.value
    )


def test_the_error_is_that_of_documents() -> None:
    """Documents with windows 1, 1 and 3, 3 have mean 2 and error 1; as windows they look surer."""
    losses = torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64)
    assert vars(mean_of(losses, np.array([4, 4, 7, 7]))) == pytest.approx(
        {"mean": 2, "standard_error": 1, "degrees_of_freedom": 1}
    )
    assert mean_of(losses).standard_error == pytest.approx(1 / 3**0.5)
    assert mean_of(losses, np.array([4, 4, 4, 4])) == Estimate(2.0)


def test_a_length_has_the_error_of_its_documents() -> None:
    """The loss is the first token of the window: four documents, four windows of each."""

    class First(Echo):
        def hidden(self, batch: Tensor | Batch) -> Tensor:
            batch = Batch.of(batch)
            tokens = batch.tokens
            return tokens[:, :1, None].expand(*tokens.shape, 1).double()

        def formula(self, places: Tensor, targets: Tensor) -> Tensor:
            return places

    store = store_of(28, 28, 28, 28)
    found = context_losses(First(), store, [16], trained_length=8).lengths[0]
    assert found.window_losses[:8] == (0, 4, 8, 12, 0, 32, 36, 40)
    means = [6, 27, 48, 69]  # without the first, which opens with the end of text, 28 apart
    assert found.standard_error == pytest.approx(np.std(means, ddof=1) / 2)
    assert found.degrees_of_freedom == pytest.approx(3)


def test_biases_of_long_contexts_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One matrix for 16,384 tokens would take 4 GiB: past a size there is none, and it is equal."""
    model, store = random_model("t5"), store_of(100, 100)
    expected = context_losses(model, store, [8, 16, 64], trained_length=8)
    whole, lengths = AdditiveMask.whole, set()

    def recorded(additive: AdditiveMask) -> Tensor | None:
        lengths.add(additive.mask.keys)
        return whole(additive)

    monkeypatch.setattr(AdditiveMask, "whole", recorded)
    monkeypatch.setattr("wordorder.model.fused_attention.LARGEST_MATRIX", 4 * 16 * 16)
    found = context_losses(model, store, [8, 16, 64], trained_length=8)
    assert lengths == {8, 16}
    for each, other in zip(found.lengths, expected.lengths, strict=True):
        assert each.window_losses == pytest.approx(other.window_losses, abs=ROUNDING)


def test_the_model_is_left_training_and_progress_reaches_the_end() -> None:
    model, shares = Echo().train(), []
    context_losses(model, store_of(90, 90), [8, 16], trained_length=8, progress=shares.append)
    assert model.training
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_batches_are_bounded_by_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordorder.evaluation.windows.TOKENS_PER_BATCH", 40)
    model = Echo()
    context_losses(model, store_of(100, 100), [8, 64], trained_length=8)
    assert {tuple(each.shape) for each in model.read} == {(5, 8), (1, 64)}


@pytest.mark.parametrize(
    ("lengths", "code"),
    [([], "evaluation.no-context-length"), ([64], "evaluation.no-document-so-long")],
)
def test_lengths_that_are_none_are_refused(lengths: list[int], code: str) -> None:
    with pytest.raises(BadInput) as caught:
        context_losses(Echo(), store_of(20, 20), lengths, trained_length=8)
    assert caught.value.code == code


def test_a_model_that_sees_its_targets_has_no_loss() -> None:
    found = context_losses(Echo(causal=False), store_of(20, 20), [8], trained_length=8)
    assert (found.lengths[0].cannot or "").startswith("a bidirectional model sees the tokens")


def test_one_trained_token_is_enough() -> None:
    store = store_of(9, 9)
    found = context_losses(Echo(), store, [1, 16], trained_length=1, across_documents=True)
    assert found.targets == 3


def test_a_gain_of_few_targets_is_theirs_with_nearly_all_of_the_context() -> None:
    """This model needs 12 tokens: the last target of a window has 16 before it, or 8."""
    store = store_of(*[60] * 6)
    found = context_gain(NeedsFarBack(12), store, trained_length=16, targets=1)  # type: ignore[arg-type]
    assert found.mean == 1
    few = context_gain(NeedsFarBack(12), store, trained_length=16, targets=1, most_targets=12)  # type: ignore[arg-type]
    assert (few.windows, few.documents) == (12, 6)
