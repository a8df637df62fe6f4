"""Attention by distance: heads whose weights are known, and the model's own code for the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_weights import filled

from wordorder.errors import BadInput
from wordorder.evaluation.attention_mass import (
    AttentionMass,
    attention_mass,
    attention_weights,
    distance_buckets,
)
from wordorder.model import AttentionRecord, ModelConfig, Recorder, TokenModel, make_model
from wordorder.positions import CATALOGUE, Position
from wordorder.text.store import TokenStore

LENGTH = 32
ROUNDING = 1e-5


def random_model(position: str, **options: object) -> TokenModel:
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": LENGTH, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 40, **shape, **options})
    return filled(make_model(config)).eval()


def random_store(tokens: int = 600) -> TokenStore:
    ids = np.random.default_rng(0).integers(1, 40, tokens).astype(np.uint16)
    starts = np.arange(0, tokens, 100)
    ids[[*(starts[1:] - 1), -1]] = 0
    return TokenStore(ids, starts, tokens, 0, 40)


def measured(model: TokenModel, **options: int) -> AttentionMass:
    return attention_mass(model, random_store(), trained_length=LENGTH, **options)


def looking_back(distances: tuple[int, ...]) -> TokenModel:
    """A layer made by hand: each head sees nothing but the token so far back.

    Keys are zero, and a trained bias of T5 is large at one distance alone.
    """
    model = random_model("t5", layers=1, heads=len(distances), qk_norm=False)
    with torch.no_grad():
        rows = model.blocks[0].attention.input.parts["key"]
        model.blocks[0].attention.input.weight[rows] = 0
        table = model.position.instances[0].weight
        table.zero_()
        for head, distance in enumerate(distances):
            table[head, distance] = 100
    return model


def test_a_head_that_looks_one_back_has_all_its_mass_there() -> None:
    found = measured(looking_back((1, 0, 3, 6)))
    assert found.buckets == ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31))
    assert [(head.layer, head.head) for head in found.heads] == [(1, n) for n in (1, 2, 3, 4)]
    for head, distance, bucket in zip(found.heads, (1, 0, 3, 6), (1, 0, 2, 3), strict=True):
        expected = [float(n == bucket) for n in range(6)]
        assert head.by_distance == pytest.approx(expected, abs=ROUNDING)
        assert head.mean_distance == pytest.approx(distance, abs=1e-3)
        assert head.first_token == pytest.approx(0, abs=ROUNDING)


def test_attention_without_any_preference_is_even() -> None:
    model = random_model("none", layers=1)
    with torch.no_grad():
        model.blocks[0].attention.query_norm.weight.zero_()
    found = measured(model)
    rows = range(24, 32)  # the last quarter; row i sees i + 1 tokens, the first one among them
    for number, (nearest, farthest) in enumerate(found.buckets):
        share = np.mean(
            [sum(nearest <= d <= farthest for d in range(i + 1)) / (i + 1) for i in rows]
        )
        assert found.even[number] == pytest.approx(share)
        for head in found.heads:
            assert head.by_distance[number] == pytest.approx(share, abs=ROUNDING)
    assert found.heads[0].first_token == pytest.approx(np.mean([1 / (i + 1) for i in rows]))
    assert found.heads[0].mean_distance == pytest.approx(np.mean([i / 2 for i in rows]))


def test_a_head_that_looks_at_the_first_token_is_a_sink() -> None:
    """One window, which the end of text opens; it alone has a large key."""
    model = random_model("none", layers=1, heads=1, qk_norm=False)
    ids = np.random.default_rng(0).integers(1, 40, LENGTH).astype(np.uint16)
    ids[-1] = 0
    with torch.no_grad():
        weight, parts = (
            model.blocks[0].attention.input.weight,
            model.blocks[0].attention.input.parts,
        )
        weight.zero_()
        weight[parts["query"].start, 0] = weight[parts["key"].start, 0] = 10
        model.blocks[0].attention_norm.weight.fill_(1)
        model.embedding.weight[:, 0] = 0.5
        model.embedding.weight[0, 0] = 50
    store = TokenStore(ids, np.zeros(1, np.int64), LENGTH, 0, 40)
    found = attention_mass(model, store, trained_length=LENGTH)
    (head,) = found.heads
    assert found.windows == 1
    assert head.first_token == pytest.approx(1, abs=1e-3)
    assert head.mean_distance == pytest.approx(np.mean(range(24, 32)), abs=0.05)


WINDOWED = {"key_value_heads": 2, "windows": (8, 0)}
SUMS = ["learned+alibi", "path+forgetting", "fire/none"]
# One for each kind of attention is quick in windows; every embedding is without them.
IN_WINDOWS = ["none", "rotary", "alibi", "t5", "deberta", "cope", "path", "selective", *SUMS]


@pytest.mark.parametrize(
    ("position", "options"),
    [
        *((name, {}) for name in (*CATALOGUE, *SUMS)),
        *((name, WINDOWED) for name in IN_WINDOWS),
        ("rotary", {"attention_sinks": True}),
        *(
            pytest.param(name, WINDOWED, marks=pytest.mark.slow)
            for name in CATALOGUE
            if name not in IN_WINDOWS
        ),
    ],
)
def test_weights_of_any_embedding_give_its_output_again(
    position: str, options: dict[str, object]
) -> None:
    """What was not a mixture of values would be said: the check is part of the measure."""
    found = measured(random_model(position, **options))
    assert found.cannot == ()
    assert len(found.heads) == 8
    leaves_some = position == "stick-breaking" or "attention_sinks" in options  # to no key
    for head in found.heads:
        total = sum(head.by_distance)
        assert 0 < total < 1 if leaves_some else total == pytest.approx(1, abs=1e-4)
        # The mean distance is that of the attention that there is.
        pairs = list(zip(found.buckets, head.by_distance, strict=True))
        nearest, farthest = (sum(ends[n] * share for ends, share in pairs) / total for n in (0, 1))
        assert nearest - 1e-4 <= head.mean_distance <= farthest + 1e-4
        if "windows" in options and head.layer == 1:
            assert sum(head.by_distance[4:]) == 0  # 8 tokens and farther are hidden


@torch.no_grad()
def test_weights_are_those_of_the_definition() -> None:
    model = random_model("alibi", layers=1).double()
    model.compute_dtype = torch.float64
    tokens = torch.from_numpy(random_store().tokens[None, :LENGTH].astype(np.int64))
    records = []

    class Kept(Recorder):
        def attention(self, record: AttentionRecord) -> None:
            records.append(record)

    model.hidden(tokens, recorder=Kept())
    weights = attention_weights(records[0])
    queries, keys = records[0].raw_queries, records[0].raw_keys
    distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    slopes = torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8], dtype=torch.float64)
    scores = queries @ keys.mT / 8**0.5 - slopes[:, None, None] * distance
    expected = scores.masked_fill(distance < 0, float("-inf")).softmax(-1)
    assert (weights - expected).abs().max() < 1e-9


def test_what_is_no_mixture_of_values_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bent(Position):
        """Mixes ones and zeros as it should, and nothing larger."""

        door = "row"

        def attend(self, queries, keys, values, tables, state, visible, score, slots):  # type: ignore[no-untyped-def]
            scores = (queries @ keys.mT).masked_fill(~visible, float("-inf"))
            return scores.softmax(-1) @ values.clamp(max=1)

    class Double(Bent):
        def attend(self, *given):  # type: ignore[no-untyped-def]
            queries, keys, values, _, _, visible, _, _ = given
            scores = (queries @ keys.mT).masked_fill(~visible, float("-inf"))
            return 2 * scores.softmax(-1) @ values

    for name, kind in (("bent", Bent), ("double", Double)):
        monkeypatch.setitem(CATALOGUE, name, kind)
        found = measured(random_model(f"{name}/none"))
        assert len(found.cannot) == 1 and found.cannot[0].startswith("layer 1: its output is not a")
        assert {head.layer for head in found.heads} == {2}


def test_a_model_without_attention_is_told() -> None:
    with pytest.raises(BadInput) as caught:
        measured(random_model("none", kind="gru"))
    assert caught.value.code == "evaluation.no-attention"


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        attention_mass(random_model("none"), random_store(20), trained_length=LENGTH)
    assert caught.value.code == "evaluation.text-shorter-than-attention-window"


def test_windows_come_in_parts_and_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(random_model("rotary"), windows=12)
    monkeypatch.setattr("wordorder.evaluation.attention_mass.WEIGHTS_AT_ONCE", 5 * 4 * LENGTH**2)
    shares: list[float] = []
    model = random_model("rotary").train()
    parts = attention_mass(
        model, random_store(), trained_length=LENGTH, windows=12, progress=shares.append
    )
    assert len(shares) == 3 and shares[-1] == 1.0
    assert model.training and not model.blocks[0].attention._forward_hooks
    assert parts.windows == whole.windows == 12
    for one, two in zip(whole.heads, parts.heads, strict=True):
        assert one.by_distance == pytest.approx(two.by_distance, abs=ROUNDING)


def test_buckets_double_and_end_with_the_window() -> None:
    assert distance_buckets(1) == ((0, 0),)
    assert distance_buckets(2) == ((0, 0), (1, 1))
    assert distance_buckets(6) == ((0, 0), (1, 1), (2, 3), (4, 5))
    assert distance_buckets(256)[-2:] == ((64, 127), (128, 255))
