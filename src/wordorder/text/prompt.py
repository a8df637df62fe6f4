"""A prompt as a model reads it, and what is written after it as text.

Tokenizers spell a word together with the space before it, so a prompt that ends with a space ends
inside a token: the model has hardly ever read that space alone, and the word it writes next brings
its own. The whitespace at the end of a prompt is therefore kept back, and only tokens that go on
with it may come first ("token healing"). What is printed is the prompt as it was given.

Source: Lundberg 2023, "The Art of Prompt Design: Prompt Boundaries and Token Healing".

Not here: a prompt that ends inside a word is read as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.text.stream import StreamDecoder
from wordorder.text.tokenizer import Tokenizer

CONTEXT = 4  # tokens before one that decide how it is spelt; a character has at most 4 bytes


class Prompt:
    """A prompt, the tokens that a model reads of it, and those that may come next.

    Args:
        text: what the user gave; may be empty.

    Attributes:
        tokens: the end of text that opens a document, and the prompt's ids without `held_back`.
        held_back: whitespace at the end of the prompt that the model spells anew, or "".
        note: what a reader should know of it, or "".

    Raises:
        BadInput: what the tokenizer cannot encode.
    """

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text, self.tokenizer = text, tokenizer
        self.held_back, self.note = "", ""
        self._dropped = False
        self._first: list[int] | None = None
        ids = tokenizer.encode(text)
        # Where every token is a character or a byte, no prompt ends inside one.
        if text[-1:].isspace() and tokenizer.kind not in ("bytes", "characters"):
            ids = self._without_end(ids)
        self.tokens = [tokenizer.end_of_text, *ids]

    def allowed(self, written: Sequence[int]) -> list[int] | None:
        """Return the ids that may come next, as long as they are bound to what was held back.

        Args:
            written: the tokens after the prompt, so far.

        Returns:
            None where any may come.
        """
        if not self.held_back:
            return None
        if self._first is not None:
            return None if written else self._first
        spellings = self.tokenizer.spellings
        left = self.held_back.encode()
        for token in written:
            if len(spellings[token]) >= len(left):
                return None
            left = left[len(spellings[token]) :]
        return [
            token
            for token, spelling in enumerate(spellings)
            if spelling and (spelling.startswith(left) or left.startswith(spelling))
        ] or None

    def decoder(self) -> ContinuationDecoder:
        """Return what turns the tokens after this prompt into text."""
        return ContinuationDecoder(self)

    def _without_end(self, ids: list[int]) -> list[int]:
        """Hold back the whitespace at the end; return the ids of what is left."""
        text, encode = self.text, self.tokenizer.encode
        body = text.rstrip()
        if self.tokenizer.spellings is not None:
            self.held_back = text[len(body) :]
            return encode(body)
        # Tokens that are spelt by their neighbours: try all of it, then its last character.
        for begin in dict.fromkeys((len(body), len(text) - 1)):
            before = encode(text[:begin])
            self._first = self._tokens_that_begin_with(text[begin:], before) if before else None
            if self._first:
                self.held_back = text[begin:]
                return before
        self._first = None
        self._dropped = bool(ids) and encode(body) == ids
        if self._dropped:
            self.note = (
                "the tokenizer drops the whitespace at the end of the prompt: "
                "the model goes on as if it were not there"
            )
        return ids

    def _tokens_that_begin_with(self, text: str, before: list[int]) -> list[int]:
        backend, near = self.tokenizer.backend, before[-CONTEXT:]
        start = len(backend.decode(near, skip_special_tokens=False))
        ids = sorted(backend.get_vocab(with_added_tokens=False).values())
        decoded = backend.decode_batch([[*near, token] for token in ids], skip_special_tokens=False)
        return [i for i, whole in zip(ids, decoded, strict=True) if whole[start:].startswith(text)]


class ContinuationDecoder:
    """Tokens after a prompt to pieces of text, one by one: what is new, and never half a character.

    A continuation is decoded together with its prompt: decoders that strip the space before the
    first word would otherwise join it to the last word of the prompt.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._stream = StreamDecoder(prompt.tokenizer, prompt.tokens[1:])
        self._shown = prompt.held_back
        self._dropped = prompt._dropped

    def feed(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        return self._new(self._stream.feed(token))

    def finish(self, *, ran_out: bool) -> str:
        """What is left at the end.

        Args:
            ran_out: the text ended because no more tokens were to be written: a character that is
                incomplete is left out. Otherwise the model ended it, and it becomes U+FFFD.
        """
        return self._new(self._stream.finish(ran_out=ran_out))

    def _new(self, piece: str) -> str:
        """Leave out what the prompt shows already."""
        if self._dropped and piece:
            self._dropped, piece = False, piece.lstrip(" ")
        while self._shown and piece.startswith(self._shown[0]):
            self._shown, piece = self._shown[1:], piece[1:]
        return piece
