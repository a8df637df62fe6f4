"""A long text in chunks is the text in one piece: over every embedding, and the GRU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.streaming import hidden_chunks, last_hidden
from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.positions import CATALOGUE

TIME, TRAINED = 45, 16
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
    model = make_model(config).double()
    model.compute_dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter.shape[1] if parameter.dim() == 2 else 1
            parameter.copy_(noise * fan_in**-0.5)
    return model.eval()


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
        whole = model.hidden(read, positions)
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
        def hidden(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
            return tokens[..., None]

    read = tokens()
    ((first, hidden),) = hidden_chunks(NoCache(), read, chunk=TIME)  # type: ignore[arg-type]
    assert first == 0 and torch.equal(hidden[..., 0], read)


def test_a_position_too_far_is_told_before_anything_is_read() -> None:
    model = random_model("learned")
    with pytest.raises(BadInput, match="position 44 is past the longest that --position learned"):
        next(hidden_chunks(model, tokens(), chunk=8))


def test_nothing_is_kept_for_a_backward_pass() -> None:
    for _, hidden in hidden_chunks(random_model("t5"), tokens(), chunk=8):
        assert not hidden.requires_grad
