"""A cache that slides, and keeps the first tokens or not: against readings of what it keeps."""

from __future__ import annotations

import pytest
import torch
from random_weights import filled

from wordorder.errors import BadInput
from wordorder.evaluation.streaming_llm import streamed_losses
from wordorder.evaluation.windows import target_losses
from wordorder.model import LanguageModel, ModelConfig

WINDOW = 8
TOKENS = torch.randint(30, (3, 21), generator=torch.Generator().manual_seed(1))


def random_model(position: str = "rotary", layers: int = 1) -> LanguageModel:
    sizes = {"vocabulary_size": 30, "width": 16, "heads": 2, "trained_length": WINDOW}
    model = LanguageModel(ModelConfig(**sizes, layers=layers, position=position))
    return filled(model).eval()


@pytest.mark.parametrize("position", ["rotary", "alibi", "t5", "none"])
@pytest.mark.parametrize("sinks", [0, 1, 3])
def test_last_token_of_one_layer_sees_the_first_and_the_newest(position: str, sinks: int) -> None:
    """With one layer a key depends on its own token alone: the rest may as well not be there."""
    model = random_model(position)
    found = streamed_losses(model, TOKENS, 1, window=WINDOW, sinks=sinks)
    kept = torch.cat((TOKENS[:, :sinks], TOKENS[:, -(WINDOW - sinks) - 1 :]), 1)
    torch.testing.assert_close(found, target_losses(model, kept, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [20, 40])
def test_a_window_that_holds_everything_is_an_ordinary_reading(window: int) -> None:
    model = random_model(layers=2)
    found = streamed_losses(model, TOKENS, 5, window=window, sinks=2)
    torch.testing.assert_close(found, target_losses(model, TOKENS, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("targets", [1, 6, 16, 20])
def test_targets_may_lie_in_the_first_window_too(targets: int) -> None:
    model = random_model(layers=2)
    every = streamed_losses(model, TOKENS, 20, window=WINDOW, sinks=1) * 20
    fewer = streamed_losses(model, TOKENS, targets, window=WINDOW, sinks=1) * targets
    if targets < 20:
        before = TOKENS[:, : 21 - targets]
        left = streamed_losses(model, before, 20 - targets, window=WINDOW, sinks=1)
        fewer = fewer + left * (20 - targets)
    torch.testing.assert_close(fewer, every, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_moved_or_has_no_room_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        streamed_losses(random_model(), TOKENS, 1, window=WINDOW, sinks=7)
    assert caught.value.code == "evaluation.no-room-for-sinks"
    with pytest.raises(BadInput, match="sinusoidal"):
        streamed_losses(random_model("sinusoidal"), TOKENS, 1, window=WINDOW, sinks=0)
