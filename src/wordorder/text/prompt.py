"""Tokenizes a prompt, with token healing at its end, and decodes the tokens after it.

Most tokenizers encode a word together with the space before it. A prompt that ends with a space
therefore ends inside a token: the model has rarely seen that space alone, and the next word has a
space of its own. So the trailing whitespace is removed from the tokens, and the first generated
tokens must start with it. The printed text is the prompt unchanged.

    prompt "the cat "    tokens  the| cat       held back  " "      allowed next  " sat", " ran"

Source: Lundberg 2023, "The Art of Prompt Design: Prompt Boundaries and Token Healing".

Not here: healing of a prompt that ends inside a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.text.stream import StreamDecoder
from wordorder.text.tokenizer import Tokenizer

CONTEXT = 4  # tokens that may affect how the next one is decoded: a character has up to 4 bytes


class Prompt:
    """A prompt, its tokens, and the tokens that may follow it.

    Args:
        text: the prompt; may be empty.

    Attributes:
        tokens: the token that begins a text, then the ids without `held_back`.
        ends: the tokens that end the text.
        held_back: trailing whitespace that the model must generate again, or "".
        note: a remark for the user, or "".

    Raises:
        BadInput: the tokenizer cannot encode the prompt.
    """

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text, self.tokenizer = text, tokenizer
        self.ends = frozenset(tokenizer.ends_of_text)
        self.held_back, self.note = "", ""
        self._dropped = False
        self._first: list[int] | None = None
        ids = tokenizer.encode(text)
        # With characters or bytes as tokens, no prompt ends inside a token.
        if text[-1:].isspace() and tokenizer.kind not in ("bytes", "characters"):
            ids = self._without_end(ids)
        self.tokens = [tokenizer.beginning_of_text, *ids]

    def allowed(self, written: Sequence[int]) -> list[int] | None:
        """Return the ids that may come next, until `held_back` has been generated.

        Args:
            written: the tokens generated so far.

        Returns:
            The allowed ids; None: any.
        """
        if not self.held_back:
            return None
        spellings = self.tokenizer.spellings
        if spellings is None:
            return None if written else self._first
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
        """Return a decoder for the tokens after this prompt."""
        return ContinuationDecoder(self)

    def _without_end(self, ids: list[int]) -> list[int]:
        """Hold back the trailing whitespace; return the ids of the rest."""
        text, encode = self.text, self.tokenizer.encode
        body = text.rstrip()
        if self.tokenizer.spellings is not None:
            self.held_back = text[len(body) :]
            return encode(body)
        # The text of a token depends on its neighbours, so candidates are decoded after the
        # prompt: hold back all of the whitespace, or only its last character.
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
                "the tokenizer drops the whitespace at the end of the prompt, so the model does "
                "not see it"
            )
        return ids

    def _tokens_that_begin_with(self, text: str, before: list[int]) -> list[int]:
        backend, near = self.tokenizer.backend, before[-CONTEXT:]
        start = len(backend.decode(near, skip_special_tokens=False))
        ids = sorted(backend.get_vocab(with_added_tokens=False).values())
        decoded = backend.decode_batch([[*near, token] for token in ids], skip_special_tokens=False)
        return [i for i, whole in zip(ids, decoded, strict=True) if whole[start:].startswith(text)]


class ContinuationDecoder:
    """Decodes the tokens after a prompt one by one, in whole characters.

    They are decoded together with the prompt, because some decoders strip the space before the
    first word, which would join it to the last word of the prompt.
    """

    def __init__(self, prompt: Prompt) -> None:
        self._stream = StreamDecoder(prompt.tokenizer, prompt.tokens[1:])
        self._shown = prompt.held_back
        self._dropped = prompt._dropped

    def feed(self, token: int) -> str:
        """Return the text that this token completes; empty while a character is incomplete."""
        return self._new(self._stream.feed(token))

    def finish(self, *, ran_out: bool) -> str:
        """Return the rest of the text.

        Args:
            ran_out: generation reached its token limit: an incomplete character is dropped. If
                False the model ended the text, and an incomplete character becomes U+FFFD.
        """
        return self._new(self._stream.finish(ran_out=ran_out))

    def _new(self, piece: str) -> str:
        """Return a piece without the whitespace that the prompt already ends with."""
        if self._dropped and piece:
            self._dropped, piece = False, piece.lstrip(" ")
        while self._shown and piece.startswith(self._shown[0]):
            self._shown, piece = self._shown[1:], piece[1:]
        return piece
