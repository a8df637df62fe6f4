"""Generates text after a prompt, for the command line, training samples and Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.model.decoding import Sampling, generate
from wordorder.numerals import counted
from wordorder.text.chat_template import ChatTemplate
from wordorder.text.conversation import ChatPrompt, Conversation, question
from wordorder.text.prompt import Prompt
from wordorder.text.stop_texts import StopTexts
from wordorder.training.training_data import TrainingData, choosing_text


def generate_text(
    model: TokenModel,
    prompt: Prompt | ChatPrompt,
    sampling: Sampling,
    stop_texts: StopTexts | None = None,
    **options: Any,
) -> Iterator[str]:
    """Yield a piece of text for each generated token, and a last one.

    A piece is empty while a character is incomplete.

    Args:
        stop_texts: the text ends before them.
        options: passed on to `wordorder.model.decoding.generate`.

    Raises:
        BadInput: as `generate` does, before the first piece.
    """
    stop = prompt.tokenizer.end_of_text
    tokens = generate(model, prompt.tokens, sampling, stop=stop, allowed=prompt.allowed, **options)
    return decoded(tokens, prompt, sampling, stop_texts)


def remaining_positions(model: TokenModel, prompt: Prompt) -> int | None:
    """Return for how many tokens after a prompt a model has positions; None: any number.

    Raises:
        BadInput: the prompt leaves no position for another token.
    """
    tokens = len(prompt.tokens)
    positions = model.room(1)  # the last token that is generated needs none
    if positions is not None and tokens > positions:
        raise BadInput(
            f"the prompt has {counted(tokens, 'token')}, the end-of-text token before it included, "
            f"but {model.config.position} has only {positions:,} positions: shorten it by "
            f"{counted(tokens - positions, 'token')}, or use a run trained with --position rotary",
            code="training.prompt-too-long",
        )
    return model.room(tokens)


def decoded(
    tokens: Iterator[int],
    prompt: Prompt | ChatPrompt,
    sampling: Sampling,
    stop_texts: StopTexts | None = None,
) -> Iterator[str]:
    """Yield a piece of text for each token after a prompt, and a last one."""
    decoder, count, until = prompt.decoder(), 0, stop_texts or StopTexts()
    for token in tokens:
        if token in prompt.ends:
            break
        count += 1
        yield until.feed(decoder.feed(token))
        if until.found:
            yield ""
            return
    last = until.feed(decoder.finish(ran_out=count == sampling.max_tokens))
    yield last + until.rest()


def sample_prompt(text: str, training_data: TrainingData) -> Prompt | ChatPrompt:
    """Return the prompt of samples in training: a text, or a question that was held out."""
    template: ChatTemplate | None = getattr(training_data, "template", None)
    if template is None:
        return Prompt(text, training_data.tokenizer)
    store = choosing_text(training_data)
    assert store.answers is not None
    first = slice(0, int(store.sizes[0]))
    conversation = Conversation(template, training_data.tokenizer)
    return question(text, store.tokens[first], store.answers[first], conversation)
