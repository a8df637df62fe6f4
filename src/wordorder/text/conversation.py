"""A conversation with a model: its turns, as the prompt of the next answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wordorder.text.chat_template import ChatTemplate
from wordorder.text.corpus import Turn
from wordorder.text.stream import StreamDecoder
from wordorder.text.tokenizer import Tokenizer


class ChatPrompt:
    """What a model reads before an answer, with the interface of `Prompt`.

    Args:
        text: what is shown before the answer.
        ids: the tokens of the conversation, without the token before it.
        ends: the tokens that end the answer.
        opens: whether the end-of-text token stands before the conversation.
    """

    held_back, note = "", ""

    def __init__(
        self,
        text: str,
        ids: Sequence[int],
        ends: frozenset[int],
        tokenizer: Tokenizer,
        *,
        opens: bool = True,
    ) -> None:
        self.text, self.tokenizer, self.ends, self.ids = text, tokenizer, ends, ids
        self.tokens = [tokenizer.end_of_text, *ids] if opens else list(ids)

    def allowed(self, written: Sequence[int]) -> list[int] | None:
        """Return None: any token may come next."""
        return None

    def decoder(self) -> StreamDecoder:
        """Return a decoder for the tokens of the answer."""
        return StreamDecoder(self.tokenizer, self.ids)


class Conversation:
    """The turns so far; the oldest are dropped where they no longer fit.

    Args:
        template: how the turns are written.
        tokenizer: the tokenizer of the model.
        system: the system prompt, before the first turn and never dropped; None: none.
        opens: whether the end-of-text token stands before a conversation, as in training.

    Raises:
        BadInput: the template refuses a system prompt.
    """

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        system: str | None = None,
        *,
        opens: bool = True,
    ) -> None:
        self.template, self.tokenizer, self.opens = template, tokenizer, opens
        self.system = [] if system is None else [Turn("system", system)]
        if self.system:
            template.pieces([*self.system, Turn("user", "a")], answering=True)
        self.ends = template.ends_of_answer(tokenizer)
        self.turns: list[Turn] = []

    def ask(self, text: str, most_tokens: int) -> tuple[ChatPrompt | None, int]:
        """Add a user's turn; return the prompt of its answer and how many turns were dropped.

        Args:
            most_tokens: the largest prompt. A prompt that exceeds it with this turn alone is None,
                and the conversation is unchanged.

        Raises:
            BadInput: the tokenizer cannot encode the text; the conversation is unchanged.
        """
        before = list(self.turns) if self.template.has_history else []
        asked = Turn("user", text)
        for dropped in range(0, len(before) + 1, 2):
            turns = [*before[dropped:], asked]
            ids = self._read_before_an_answer(turns)
            if len(ids) < most_tokens:
                self.turns = turns
                prompt = ChatPrompt("", ids, self.ends, self.tokenizer, opens=self.opens)
                return prompt, dropped
        return None, 0

    def least_tokens(self) -> int:
        """Return the size of the prompt of an empty turn."""
        return len(self._read_before_an_answer([Turn("user", "")]))

    def _read_before_an_answer(self, turns: list[Turn]) -> list[int]:
        read, _ = self.template.encode([*self.system, *turns], self.tokenizer, answering=True)
        ids: list[int] = read.tolist()
        return ids

    def answered(self, text: str) -> None:
        """Add the model's turn; without text the user's turn is removed."""
        if text:
            self.turns.append(Turn("assistant", text))
        else:
            self.turns.pop()


def question(
    text: str,
    tokens: NDArray[np.unsignedinteger],
    answers: NDArray[np.bool_],
    conversation: Conversation,
) -> ChatPrompt:
    """Return the prompt before the first answer of a stored conversation, or of a given text.

    Args:
        text: a user's turn; empty: the conversation's.
        tokens: the tokens of a conversation.
        answers: which of them are targets.
    """
    tokenizer = conversation.tokenizer
    if text:
        turns = [Turn("user", text)]
        ids = conversation.template.encode(turns, tokenizer, answering=True)[0].tolist()
    else:
        ids = list(map(int, tokens[: int(np.argmax(answers))]))
    return ChatPrompt(tokenizer.decode(ids), ids, conversation.ends, tokenizer)
