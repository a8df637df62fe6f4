"""A long text in chunks is the text in one piece: over every embedding, and the GRU."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from random_weights import filled
from torch import Tensor

from wordorder.batch import Batch
from wordorder.errors import BadInput
from wordorder.evaluation.chunked import chunked_losses, hidden_chunks, last_hidden
from wordorder.evaluation.loss import _batch_losses, evaluate
from wordorder.evaluation.windows import target_losses
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.model.decoding import Sampling, generate
from wordorder.positions import CATALOGUE, PositionError
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import TokenStore, open_store
from wordorder.text.tokenizer import make_tokenizer

TIME, TRAINED, CHUNK = 45, 16, 128
# Products of other shapes are summed in another order; of float64 that is the rest.
ROUNDING = 1e-10
# xpos grows from the middle of the queries at hand, which moves, in tables of float32.
OF_FLOAT32 = {"xpos": 1e-5}
LONG = ",".join(str(1 + pair / 2) for pair in range(4))
BY_LENGTH = ("rotary:scaling=dynamic", f"rotary:scaling=longrope,factor=4,long_factors=[{LONG}]")
POSITIONS = (
    *CATALOGUE,
    *BY_LENGTH,
    "rotary:scaling=yarn,factor=4",
    "sinusoidal+alibi",
    "rotary/none",
    "t5+forgetting",
)


def random_model(position: str, **options: object) -> TokenModel:
    """A model in float64 with no zero weight, or context would have no effect."""
    shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": TRAINED, "dropout": 0.0}
    config = ModelConfig(position=position, **{"vocabulary_size": 40, **shape, **options})
    model = filled(make_model(config).double())
    model.compute_dtype = torch.float64
    return model.eval()


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of `CHUNK` tokens, whoever reads."""
    for module in ("chunked", "loss"):
        monkeypatch.setattr(f"wordorder.evaluation.{module}.CHUNK", CHUNK)


def tokens(time: int = TIME, batch: int = 2) -> Tensor:
    return torch.randint(40, (batch, time), generator=torch.Generator().manual_seed(1))


def whole_and_joined(model: TokenModel, read: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        whole = model.hidden(read)
    firsts, parts = zip(*hidden_chunks(model, read, chunk=chunk), strict=True)
    assert firsts == tuple(range(0, read.shape[1], chunk))
    return whole, torch.cat(parts, 1)


@pytest.mark.parametrize("position", POSITIONS)
def test_chunks_are_the_whole(position: str) -> None:
    model = random_model(position, trained_length=64 if "learned" in position else TRAINED)
    whole, joined = whole_and_joined(model, tokens(), 16)
    tolerance = OF_FLOAT32.get(position, ROUNDING)
    torch.testing.assert_close(joined, whole, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "options", [{"kind": "gru"}, {"key_value_heads": 2, "windows": (8, 0)}], ids=["gru", "windows"]
)
def test_chunks_are_the_whole_of_other_models(options: dict[str, object]) -> None:
    whole, joined = whole_and_joined(random_model("rotary", **options), tokens(), 7)
    torch.testing.assert_close(joined, whole, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("position", BY_LENGTH)
def test_the_length_of_the_whole_text_is_what_scaling_divides_by(position: str) -> None:
    """The first chunk, read alone, is another: it is shorter than the original length."""
    model, read = random_model(position), tokens()
    first = next(hidden_chunks(model, read, chunk=8))[1]
    with torch.no_grad():
        alone = model.hidden(read[:, :8])
    assert (first - alone).abs().max() > 1e-3


def test_positions_may_be_given() -> None:
    model, read = random_model("rotary"), tokens()
    positions = 3 * torch.arange(TIME)[None]
    with torch.no_grad():
        whole = model.hidden(Batch(read, positions=positions))
    joined = torch.cat([h for _, h in hidden_chunks(model, read, chunk=9, positions=positions)], 1)
    torch.testing.assert_close(joined, whole, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("last", "chunk"), [(1, 8), (5, 8), (6, 40), (13, 8), (45, 8), (4, 45)])
def test_the_last_states_are_those_of_the_last_tokens(last: int, chunk: int) -> None:
    model, read = random_model("rotary"), tokens()
    with torch.no_grad():
        whole = model.hidden(read)
    found = last_hidden(model, read, last, chunk=chunk)
    torch.testing.assert_close(found, whole[:, -last:], rtol=0, atol=ROUNDING)


def test_a_text_of_one_chunk_takes_no_cache() -> None:
    """The road of every shorter text stays the one it was, to the bit."""

    class NoCache:
        def hidden(self, batch: Tensor | Batch) -> Tensor:
            batch = Batch.of(batch)
            tokens = batch.tokens
            return tokens[..., None]

    read = tokens()
    ((first, hidden),) = hidden_chunks(NoCache(), read, chunk=TIME)  # type: ignore[arg-type]
    assert first == 0 and torch.equal(hidden[..., 0], read)


def test_a_position_too_far_is_told_before_anything_is_read() -> None:
    model = random_model("learned")
    with pytest.raises(BadInput, match="position 44 is past the largest that --position learned"):
        next(hidden_chunks(model, tokens(), chunk=8))


def test_nothing_is_kept_for_a_backward_pass() -> None:
    for _, hidden in hidden_chunks(random_model("t5"), tokens(), chunk=8):
        assert not hidden.requires_grad


def test_losses_of_chunks_are_those_of_the_whole() -> None:
    model, read = random_model("t5"), tokens()
    targets = tokens().roll(-1, 1)
    targets[:, 40:] = -1
    with torch.no_grad():
        whole = model(Batch(read, targets))
    found = chunked_losses(model, read, targets, chunk=16)
    torch.testing.assert_close(found, whole, rtol=0, atol=ROUNDING)
    assert (found[:, 40:] == 0).all() and (found[:, :40] > 0).all()


@pytest.mark.usefixtures("short_chunks")
def test_the_last_losses_of_long_windows_are_those_of_the_whole() -> None:
    model, read = random_model("rotary:scaling=dynamic"), tokens(CHUNK + 80)
    with torch.no_grad():
        hidden = model.hidden(read[:, :-1])[:, -100:]  # from both sides of the chunks' border
        expected = model.target_losses(hidden, read[:, -100:]).mean(1)
    assert target_losses(model, read, 100).tolist() == pytest.approx(expected.tolist())


@pytest.mark.usefixtures("short_chunks")
def test_windows_past_a_chunk_are_read_in_chunks_and_score_what_they_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No others are: not shorter ones, and not those whose documents are kept apart."""
    model = random_model("rotary:scaling=dynamic", vocabulary_size=257, layers=1)
    store, hidden, read = words_of(CHUNK + 50), model.hidden, []
    monkeypatch.setattr(
        model,
        "hidden",
        lambda t, *a, **k: read.append(Batch.of(t).tokens.shape[1]) or hidden(t, *a, **k),
    )
    with monkeypatch.context() as patch:
        patch.setattr("wordorder.evaluation.loss.CHUNK", CHUNK + 40)
        whole = evaluate(model, store, context_length=CHUNK + 40)
    found = evaluate(model, store, context_length=CHUNK + 40)
    assert [asdict(part) for part in found.by_position] == [
        pytest.approx(asdict(part), abs=ROUNDING) for part in whole.by_position
    ]
    evaluate(model, store, context_length=CHUNK)
    evaluate(model, store, context_length=CHUNK + 40, isolate_documents=True)
    assert read == [CHUNK + 40, CHUNK, 40, CHUNK, CHUNK + 40]


@pytest.mark.usefixtures("short_chunks")
def test_a_model_that_sees_both_ways_is_read_in_one_piece() -> None:
    model = random_model("rotary", causal=False, vocabulary_size=258)
    found = evaluate(
        model, words_of(CHUNK + 8), context_length=CHUNK + 8, objective="masked-token", mask_id=257
    )
    assert found.windows == 1


def words_of(tokens: int) -> TokenStore:
    """A text of so many tokens."""
    text = ("in words and in order, one after another; " * tokens)[: tokens - 1]
    corpus = Corpus("test", (Document(text, "test"),))
    return open_store(corpus, make_tokenizer("bytes", corpus))


def test_where_queries_may_not_span_a_whole_text_it_is_read_in_pieces() -> None:
    """By losses and by generation, at the default options of both."""
    model, scored = random_model("xpos:scale_base=0.5"), tokens(batch=1)
    longest = model.longest_pass
    longer = scored.repeat(1, 4)
    assert longest is not None and longest < longer.shape[1]
    with pytest.raises(PositionError) as caught:
        model.hidden(longer)
    assert caught.value.code == "positions.xpos-span"
    cache = model.new_cache(context_length=longer.shape[1])
    singly = torch.cat([model.hidden(piece, cache) for piece in longer.split(1, 1)], 1)
    ((_, first), *rest) = hidden_chunks(model, longer)
    assert first.shape[1] == longest
    joined = torch.cat([first, *(hidden for _, hidden in rest)], 1)
    torch.testing.assert_close(joined, singly, rtol=0, atol=1e-5)
    batch = Batch(longer[:, :-1], longer[:, 1:])
    losses = _batch_losses(model, batch)[0]
    expected = chunked_losses(model, batch.tokens, batch.targets, chunk=1)
    torch.testing.assert_close(losses, expected.double(), rtol=0, atol=1e-5)
    (token,) = generate(model, longer[0].tolist(), Sampling(temperature=0, max_tokens=1))
    assert token == int(model.logits(singly[:, -1])[0].argmax())
