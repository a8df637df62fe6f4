"""Pictures of embeddings: attention to identical tokens, tables, rotations, scalings."""

from __future__ import annotations

import torch

from wordorder.positions import CATALOGUE, Alibi, Learned, ModelShape, Rotary
from wordorder.positions.picture import (
    attention_of_copies,
    picture_of,
    scaled_frequencies,
    weights_of_copies,
)

SHAPE = ModelShape(4, 8, trained_length=20)  # more tokens than a head is wide


def test_attention_of_more_tokens_than_a_head_is_wide() -> None:
    weights = attention_of_copies(Alibi(SHAPE), 20)
    slopes = Alibi(SHAPE).slopes()
    assert weights is not None and slopes is not None
    distance = torch.arange(20)[:, None] - torch.arange(20)
    scores = (-slopes[:, None, None] * distance).masked_fill(distance < 0, -torch.inf)
    torch.testing.assert_close(weights, scores.softmax(-1))


def test_the_last_of_copies_is_the_last_row() -> None:
    shape = ModelShape(4, 64, trained_length=48)
    whole = attention_of_copies(Rotary(shape), 48)
    last = weights_of_copies(Rotary, 48)
    assert whole is not None and last is not None and torch.equal(whole[:, -1], last)


def test_a_trained_embedding_is_left_as_it_is() -> None:
    for name in ("learned", "t5", "fire", "dape", "path"):
        position = CATALOGUE[name](SHAPE)
        with torch.no_grad():
            for parameter in position.parameters():
                parameter.fill_(0.25)
        attention_of_copies(position, 20)
        assert all(bool((p == 0.25).all()) for p in position.parameters()), name


def test_each_kind_of_picture() -> None:
    learned = Learned(SHAPE)
    table = picture_of(learned, 50)  # only as many positions as there are
    assert table is not None and table.kind == "table" and torch.equal(table.values, learned.weight)
    rotary = Rotary(SHAPE)
    rotation = picture_of(rotary, 6)
    assert rotation is not None and rotation.kind == "rotation"
    angles = torch.arange(6)[:, None] * rotary.frequencies()
    torch.testing.assert_close(rotation.values, angles.cos().float())
    bias = picture_of(Alibi(SHAPE), 5, head=2)
    slopes = Alibi(SHAPE).slopes()
    assert bias is not None and bias.kind == "bias" and slopes is not None
    assert bias.values[4, 1] == -3 * slopes[2] and bias.values[1, 4] == -torch.inf
    kinds = {name: picture_of(kind(SHAPE), 8) for name, kind in CATALOGUE.items()}
    assert {name for name, each in kinds.items() if each is None} == {"shaw-values"}


def test_scalings_are_those_of_rotary() -> None:
    options = {"base": 500.0, "fraction": 0.5}
    scaled = scaled_frequencies(Rotary(SHAPE, scaling="yarn", factor=2, **options), 4)
    assert "longrope" not in scaled
    for scaling in ("linear", "ntk", "yarn", "llama3"):
        expected = Rotary(SHAPE, scaling=scaling, factor=4, **options).frequencies()
        assert torch.equal(scaled[scaling], expected)
    searched = Rotary(SHAPE, scaling="longrope", factor=4, long_factors=(1, 2, 3, 4))
    long = scaled_frequencies(searched, 4)["longrope"]
    torch.testing.assert_close(
        Rotary(SHAPE).frequencies() / long, torch.tensor([1.0, 2, 3, 4]).double()
    )
