"""Decodes tokens one by one, in whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from wordorder.text.tokenizer import BYTE_TOKEN, Tokenizer


class StreamDecoder:
    """Decodes token ids one by one into pieces of text, in whole characters.

    The pieces of `feed` and `finish` together are the text that `Tokenizer.decode` gives for all
    ids after `before`.

    Args:
        before: ids before the first one, decoded with it but not returned.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._spellings, self._special = tokenizer.spellings, set(tokenizer.special_ids)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        # For tokens whose text depends on neighbours: the last piece's ids, and those not returned.
        self._last = [int(token) for token in before]
        self._pending: list[int] = []

    def feed(self, token: int) -> str:
        """Return the text that this token completes; empty while a character is incomplete."""
        if self._spellings is not None:
            return self._utf8.decode(self._spellings[token])
        if token in self._special:
            return ""
        self._pending.append(int(token))
        piece = self._piece()
        if not piece or piece.endswith("\ufffd"):
            return ""
        self._last, self._pending = self._pending, []
        return piece

    def finish(self, *, ran_out: bool = False) -> str:
        """Return the rest of the text.

        Args:
            ran_out: drop an incomplete character; otherwise it becomes U+FFFD.
        """
        if self._spellings is not None:
            return "" if ran_out else self._utf8.decode(b"", final=True)
        piece = self._piece()
        names = [self._tokenizer.backend.id_to_token(token) or "" for token in self._pending]
        if not ran_out or not piece.endswith("\ufffd") or "\ufffd" in names[-1]:
            return piece
        if all(BYTE_TOKEN.fullmatch(name) for name in names):
            return self._utf8.decode(bytes(int(name[3:5], 16) for name in names))
        return piece[:-1]

    def _piece(self) -> str:
        """Return the text of the tokens not yet returned."""
        # Special tokens are included, because a space follows an unknown word too.
        whole, before = (
            self._tokenizer.backend.decode(ids, skip_special_tokens=False)
            for ids in ([*self._last, *self._pending], self._last)
        )
        return whole[len(before) :]
