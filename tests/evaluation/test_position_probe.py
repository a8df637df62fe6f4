"""Positions read from hidden states: counters made by hand, and states that hold no position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.position_probe import (
    PositionProbe,
    _halves,
    hidden_states,
    position_probe,
)
from wordorder.model import ModelConfig, Recorder, make_model
from wordorder.text.store import TokenStore

LENGTH, WIDTH = 32, 16


def random_store(tokens: int = 8000, documents: int = 40) -> TokenStore:
    ids = np.random.default_rng(0).integers(1, 40, tokens).astype(np.uint16)
    starts = np.arange(0, tokens, tokens // documents)
    ids[[*(starts[1:] - 1), -1]] = 0
    return TokenStore(ids, starts, tokens, 0, 40)


class Layer(nn.Module):
    """Adds something to the states it reads."""

    def __init__(self, added) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        return x + self.added(x)


class ByHand(nn.Module):
    """A model of layers made by hand; what goes in is a vector of each token."""

    def __init__(self, *layers) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(40, WIDTH, generator=generator))
        self.config = ModelConfig(trained_length=LENGTH)
        self.blocks = nn.ModuleList(Layer(layer) for layer in layers)
        self.final_norm = nn.Identity()
        self.read: list[Tensor] = []

    def hidden(self, batch: Tensor | Batch, recorder: Recorder | None = None) -> Tensor:
        batch = Batch.of(batch)
        tokens = batch.tokens
        assert not self.training
        self.read.append(tokens)
        x = self.table[tokens]
        for layer, block in enumerate(self.blocks):
            if recorder is not None:
                recorder.residual(layer, x)
            x = block(x)
        if recorder is not None:
            recorder.residual(len(self.blocks), x)
        return self.final_norm(x)


def count(x: Tensor) -> Tensor:
    """Writes the position into one number of each state, in place of what was there."""
    added = torch.zeros_like(x)
    added[..., -1] = 3 * torch.arange(x.shape[1]) - x[..., -1]
    return added


def nothing(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def labels(x: Tensor) -> Tensor:
    """A vector for every position that says nothing of where it is."""
    drawn = torch.randn(x.shape[1], WIDTH, generator=torch.Generator().manual_seed(1))
    return 20 * drawn


def probed(*layers, **options) -> PositionProbe:  # type: ignore[no-untyped-def]
    return position_probe(ByHand(*layers), random_store(), trained_length=LENGTH, **options)


def test_a_counter_is_read_exactly_from_where_it_counts_on() -> None:
    found = probed(nothing, count, nothing)
    assert [each.layer for each in found.layers] == [0, 1, 2, 3]
    assert found.chance == pytest.approx(LENGTH / 4)
    for each in found.layers[:2]:
        assert each.error == pytest.approx(found.chance, rel=0.05)
        assert abs(each.r_squared) < 0.05
    for each in found.layers[2:]:
        assert each.error < 1e-2
        assert each.r_squared > 0.99999


def test_positions_that_were_not_fitted_are_what_is_scored() -> None:
    """Labels without an order are learned by heart, which helps with no other position."""
    found = probed(labels)
    assert found.layers[1].error > 0.8 * found.chance


def test_documents_that_were_fitted_are_not_scored() -> None:
    model, store = ByHand(nothing), random_store()
    ids = np.arange(len(store), dtype=np.uint32)
    model.table = nn.Parameter(torch.randn(len(store), WIDTH))
    known = TokenStore(ids, store.starts, store.bytes, 0, len(store))
    position_probe(model, known, trained_length=LENGTH)  # type: ignore[arg-type]
    fitted, scored = (set(read.flatten().tolist()) for read in model.read)
    opening = {0}  # the end of text is read before either half
    assert max(fitted - opening) < 4000 <= min(scored - opening)


def signs(x: Tensor) -> Tensor:
    """One number is a sign that the token gives, another the position times that sign."""
    sign = torch.where(x[..., :1] > 0, 1.0, -1.0)
    place = torch.arange(x.shape[1])[:, None] - (x.shape[1] - 1) / 2
    return torch.cat([sign - x[..., :1], sign * place - x[..., 1:2], -x[..., 2:]], -1)


def test_a_network_reads_what_no_direction_holds() -> None:
    linear, network = (probed(signs, network=network) for network in (False, True))
    assert (linear.reader, network.reader) == ("linear", "network")
    assert linear.layers[1].error > 0.9 * linear.chance
    assert network.layers[1].error < 0.2 * network.chance


def test_the_same_seed_trains_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordorder.evaluation.position_probe.STEPS", 20)
    first, again, other = (probed(signs, network=True, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_errors_have_the_error_of_windows() -> None:
    found = probed(nothing).layers[1]
    assert 0 < found.standard_error < 0.1 * found.error


@pytest.mark.parametrize(
    "options",
    [
        {"position": "rotary"},
        {"position": "learned", "norm_placement": "after", "embedding_norm": True},
        {"kind": "gru"},
    ],
)
def test_states_are_those_of_the_layers(options: dict[str, object]) -> None:
    shape = {"width": 32, "heads": 4, "layers": 3, "trained_length": LENGTH, "vocabulary_size": 40}
    model = make_model(ModelConfig(**{**shape, **options})).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    tokens = torch.from_numpy(random_store().tokens[: 5 * LENGTH].astype(np.int64)).view(5, -1)
    states = hidden_states(model, tokens)
    assert model.training
    assert [each.shape for each in states] == [(5, LENGTH, 32)] * 4
    model.eval()
    with torch.no_grad():
        last, out = states[-1], model.hidden(tokens)
        assert torch.allclose(last if model.final_norm is None else model.final_norm(last), out)
        if options.get("kind") == "gru" or options["position"] == "rotary":
            assert torch.equal(states[0], model.word_vectors(tokens))
    assert not any(torch.allclose(states[i], states[i + 1]) for i in range(3))
    assert all(
        torch.equal(part, each[:, 1::2])
        for part, each in zip(hidden_states(model, tokens, slice(1, None, 2)), states, strict=True)
    )


def test_a_learned_table_is_read_and_a_word_is_not() -> None:
    """What goes in with a table that counts up shows positions; without one it shows none."""
    shape = {"width": 32, "heads": 4, "layers": 1, "trained_length": LENGTH, "vocabulary_size": 40}
    errors = {}
    for position in ("none", "learned"):
        model = make_model(ModelConfig(position=position, **shape))
        model.initialise(0)
        if position == "learned":
            with torch.no_grad():
                model.position.instances[0].weight.copy_(torch.arange(LENGTH)[:, None] / LENGTH)
        found = position_probe(model, random_store(), trained_length=LENGTH)
        errors[position] = found.layers[0].error / found.chance
    assert errors["none"] > 0.95
    assert errors["learned"] < 0.1


@pytest.mark.parametrize("documents", [1, 2, 40])
def test_a_text_is_halved_where_a_document_ends(documents: int) -> None:
    found = position_probe(
        ByHand(count),  # type: ignore[arg-type]
        random_store(documents=documents),
        trained_length=LENGTH,
    )
    assert (found.fitted, found.scored) == (125, 125)


def test_too_little_text_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        position_probe(ByHand(count), random_store(200, 2), trained_length=LENGTH)  # type: ignore[arg-type]
    assert caught.value.code == "evaluation.too-little-text-for-positions" and "3 windows" in str(
        caught.value
    )


def test_a_short_first_document_does_not_take_half_of_the_text() -> None:
    tokens = np.arange(400, dtype=np.uint16) % 40
    shared = {"bytes": 400, "end_of_text": 0, "vocabulary_size": 40, "lossless": True}
    for starts, cut in (([0, 6], 200), ([0], 200), ([0, 170], 170), ([0, 6, 230, 390], 230)):
        store = TokenStore(tokens=tokens, starts=np.array(starts), answers=None, **shared)
        assert [len(part) for part in _halves(store)] == [cut, 400 - cut]
