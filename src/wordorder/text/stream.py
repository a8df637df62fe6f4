"""Tokens to text as they come, never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from wordorder.text.tokenizer import BYTE_TOKEN, Tokenizer


class StreamDecoder:
    """Ids one at a time to pieces of text, never half a character.

    `"".join(feed(id) for each id) + finish()` equals `decode` of all, after what comes before.

    Args:
        before: ids that stand before the first one and are decoded with it, but not returned.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._spellings, self._special = tokenizer.spellings, set(tokenizer.special_ids)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        # Tokens spelt by their neighbours: those of the last piece, and those not yet returned.
        self._last, self._pending = [int(token) for token in before], []

    def feed(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
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
        """What is left at the end.

        Args:
            ran_out: leave out a character of which some bytes are still to come; otherwise it is
                U+FFFD.
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
        """The text of the tokens not yet returned."""
        # Special tokens stand before: after an unknown word, too, comes a space.
        whole, before = (
            self._tokenizer.backend.decode(ids, skip_special_tokens=False)
            for ids in ([*self._last, *self._pending], self._last)
        )
        return whole[len(before) :]
