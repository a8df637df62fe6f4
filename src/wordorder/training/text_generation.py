"""What a model writes after a prompt, as text: the one way for commands, samples and Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.model.decoding import Sampling, generate
from wordorder.numerals import counted
from wordorder.text.prompt import Prompt


def generate_text(
    model: TokenModel, prompt: Prompt, sampling: Sampling, **reading: Any
) -> Iterator[str]:
    """Yield a piece of text for each token that is written, "" in mid-character, and one more.

    Args:
        reading: how the text is read on, as `wordorder.model.decoding.generate` takes it.

    Raises:
        BadInput: as `generate` does, before anything is yielded.
    """
    stop = prompt.tokenizer.end_of_text
    written = generate(model, prompt.tokens, sampling, stop=stop, allowed=prompt.allowed, **reading)
    return _pieces(written, prompt, sampling)


def remaining_positions(model: TokenModel, prompt: Prompt) -> int | None:
    """Return how many tokens a model has positions for after a prompt; None: any number.

    Raises:
        BadInput: a prompt that leaves none.
    """
    tokens, left = len(prompt.tokens), model.room(len(prompt.tokens))
    if left == 0:
        position, positions = model.config.position, model.position.max_position + 1
        raise BadInput(
            f"the prompt is {counted(tokens, 'token')}, the end of text that opens it included, "
            f"and {position} has positions for {positions:,}: shorten it by "
            f"{counted(tokens - positions, 'token')}, or take a run with --position rotary"
        )
    return left


def _pieces(written: Iterator[int], prompt: Prompt, sampling: Sampling) -> Iterator[str]:
    decoder, tokens = prompt.decoder(), 0
    for token in written:
        tokens += 1
        yield decoder.feed(token)
    yield decoder.finish(ran_out=tokens == sampling.max_tokens)
