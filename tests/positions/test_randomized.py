"""Randomized positions: what is drawn, for whom, and what is left alone."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from random_weights import filled
from torch import Tensor

from wordorder.batch import Batch
from wordorder.evaluation.loss import evaluate
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import (
    Composed,
    ModelShape,
    PositionError,
    Randomized,
    Rotary,
    TokenLayout,
    build,
)
from wordorder.positions.conformance import check
from wordorder.positions.rotary import Rotation
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import open_store
from wordorder.text.tokenizer import make_tokenizer
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig
from wordorder.training.loop import Training
from wordorder.training.training_data import TrainingData

SHAPE = ModelShape(6, 4, layers=2, trained_length=16)
PLAIN = torch.arange(16)[None]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("limit", [0, 16, 17, 100, 5000])
def test_sorted_distinct_positions_below_the_limit(limit: int) -> None:
    randomized = Randomized(SHAPE, limit=limit)
    for seed in range(20):
        fed = randomized.sample_positions(PLAIN, 1, generator(seed))
        assert fed.shape == PLAIN.shape and fed.dtype == torch.int64
        assert (fed.diff(dim=1) > 0).all()
        assert fed.min() >= 0 and fed.max() < (limit or 64)
    assert limit != 16 or torch.equal(fed, PLAIN)


def test_every_choice_of_positions_is_as_likely() -> None:
    randomized, drawn = Randomized(ModelShape(6, 4, trained_length=2), limit=5), Counter()
    times = 4000
    for seed in range(times):
        drawn[
            tuple(
                randomized.sample_positions(torch.arange(2)[None], 1, generator(seed))[0].tolist()
            )
        ] += 1
    assert set(drawn) == set(itertools.combinations(range(5), 2))
    # Ten pairs, 400 times each; five standard deviations.
    assert all(abs(count - 400) < 5 * (times * 0.1 * 0.9) ** 0.5 for count in drawn.values())


@pytest.mark.parametrize("rows", [PLAIN, PLAIN.repeat(3, 1)])
def test_one_draw_per_batch(rows: torch.Tensor) -> None:
    """All rows share it; one row that stands for all stays one."""
    randomized = Randomized(SHAPE, limit=200)
    fed = randomized.sample_positions(rows, 3, generator(1))
    assert fed.shape == rows.shape
    assert torch.equal(fed, randomized.sample_positions(PLAIN, 1, generator(1)).expand_as(fed))
    assert not torch.equal(fed, randomized.sample_positions(rows, 3, generator(2)))


def test_packed_documents_are_fed_what_they_would_be_alone() -> None:
    """Positions that restart take the draw from its start again, in every row."""
    randomized = Randomized(SHAPE, limit=200)
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 2, 0, 1, 2, 3, 4]])
    fed = randomized.sample_positions(packed, 2, generator(1))
    alone = randomized.sample_positions(torch.arange(5)[None], 1, generator(1))[0]
    assert torch.equal(fed, alone[packed])
    assert torch.equal(fed.diff(dim=1) > 0, packed.diff(dim=1) > 0)


ONE = "randomized:limit=2000+rotary"
SPECS = [ONE, f"{ONE}/randomized:limit=2000+rotary:base=500"]


def training_of(spec: str) -> Training:
    """Return a run of a small model with random weights, before its first step."""
    model = ModelConfig(
        position=spec, vocabulary_size=257, width=24, layers=2, heads=6, trained_length=16
    )
    corpus = Corpus("test", (Document("a bee sees the sea, the sea sees a bee " * 3, "test"),))
    tokenizer = make_tokenizer("bytes", corpus)
    store = open_store(corpus, tokenizer)
    made = filled(LanguageModel(model))
    return Training(
        TrainConfig(model, batch_size=2),
        Compute("cpu", 1),
        TrainingData(tokenizer, store, store, {}),
        made,
        steps=1,
    )


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The positions of every forward pass of a model."""
    seen: list[Tensor] = []
    prepare = Composed.prepare

    def recording(self: Composed, layout: TokenLayout, *given: bool) -> list:
        seen.extend((layout.query_positions, layout.key_positions))
        return prepare(self, layout, *given)

    monkeypatch.setattr(Composed, "prepare", recording)
    return seen


def test_evaluation_uses_plain_positions(fed: list[Tensor]) -> None:
    """Training draws them; its validation, and `evaluate` afterwards, are as without it."""
    training = training_of(ONE)
    training.gradient(0)
    assert fed and not any(torch.equal(each[:1], PLAIN) for each in fed)
    fed.clear()
    store = training.training_data.validation
    validation = training.validate(len(store))
    found = evaluate(training.model, store, context_length=16)
    assert fed and all(torch.equal(each[:1], PLAIN) for each in fed)
    assert validation["validation_loss"] == found.loss_nats
    plain = evaluate(training_of("rotary").model, store, context_length=16)
    assert found == plain


@pytest.mark.parametrize("spec", SPECS)
def test_queries_and_keys_of_all_layers_are_fed_the_same(
    monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    """However many layers name it, positions are drawn once."""
    seen: dict[str, list[tuple[Rotary, Rotation]]] = {"queries": [], "keys": []}

    def turning(name: str, side: int) -> None:
        turn = getattr(Rotary, f"transform_{name}")

        def recording(self: Rotary, x: Tensor, tables: tuple, state: object) -> Tensor:
            seen[name].append((self, tables[side]))
            return turn(self, x, tables, state)

        monkeypatch.setattr(Rotary, f"transform_{name}", recording)

    turning("queries", 0)
    turning("keys", 1)
    training_of(spec).gradient(0)
    placed = Randomized(SHAPE, limit=2000).sample_positions(
        PLAIN, 2, generator(0)
    )  # of seed 0 and batch 0
    for sides in seen.values():
        assert len(sides) == 2
        for rotary, table in sides:
            angles = placed[..., None] * rotary.resolved_base ** -(torch.arange(2).double() / 2)
            expected = angles.cos().float()[:, None].expand_as(table.cosine)
            torch.testing.assert_close(table.cosine, expected, rtol=0, atol=1e-6)


def test_beside_a_learned_table() -> None:
    made = build("randomized:limit=40+learned:length=40", SHAPE)
    assert made.max_position == 39
    assert all(int(made.sample_positions(PLAIN, 1, generator(s)).max()) <= 39 for s in range(50))


def test_refused() -> None:
    with pytest.raises(PositionError) as caught:
        Randomized(SHAPE, limit=15)
    assert caught.value.code == "positions.randomized-limit"
    assert str(caught.value).endswith("use at least 16")
    with pytest.raises(PositionError) as caught:
        Randomized(SHAPE, limit=20).sample_positions(torch.arange(21)[None], 1, generator(0))
    assert caught.value.code == "positions.randomized-too-many"
    assert str(caught.value).endswith("use limit=21 or more")


@pytest.mark.parametrize("spec", ["randomized:limit=48+learned", "randomized+fire"])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_kit_holds(spec: str, causal: bool) -> None:
    report = check(spec, causal=causal)
    assert report.holds, str(report)


def test_real_positions_are_uniform_sorted_and_shared() -> None:
    """Shimizu et al. 2026: any number between 0 and the last position, not whole ones alone."""
    randomized = Randomized(SHAPE, limit=200, real=True)
    fed = randomized.sample_positions(PLAIN.repeat(3, 1), 3, generator(1))
    assert fed.dtype == torch.float64 and torch.equal(fed[0], fed[2])
    assert (fed.diff(dim=1) > 0).all() and (fed != fed.round()).all()
    packed = torch.tensor([[0, 1, 2, 0, 1]])
    again = randomized.sample_positions(packed, 1, generator(1))[0]
    assert torch.equal(again[:2], again[3:])
    long = randomized.sample_positions(torch.arange(200)[None], 1, generator(1))[0]
    assert float(long.mean()) == pytest.approx(99.5, rel=0.1)
    assert 0 <= long.min() < 5 and 194 < long.max() <= 199


def test_a_model_learns_from_real_positions() -> None:
    """The loss and gradients of a batch fed with them; evaluation has plain ones."""
    config = ModelConfig(
        position="randomized:limit=64,real=true+rotary+t5",
        **{"width": 16, "heads": 4, "layers": 1, "vocabulary_size": 40, "trained_length": 16},
    )
    model = filled(LanguageModel(config))
    tokens = torch.randint(40, (2, 16), generator=generator(0))
    batch = Batch(tokens, tokens.roll(-1, 1))
    fed = model.sample_positions(batch, generator(1))
    assert fed.positions is not None and fed.positions.is_floating_point()
    loss = model(fed).mean()
    loss.backward()
    assert not torch.equal(loss, model(batch).mean())


def test_a_learned_table_has_no_real_positions() -> None:
    config = ModelConfig(
        position="randomized:limit=64,real=true+learned:length=64",
        **{"width": 16, "heads": 4, "layers": 1, "vocabulary_size": 40, "trained_length": 16},
    )
    model = LanguageModel(config)
    tokens = torch.zeros(1, 16, dtype=torch.int64)
    with pytest.raises(PositionError) as caught:
        model(model.sample_positions(Batch(tokens), generator(1)))
    assert caught.value.code == "positions.learned-fractional-position"
