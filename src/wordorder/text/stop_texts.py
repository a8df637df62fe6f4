"""Ends a generated text before the first of given texts, which it may reach within a token."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Finds where a text that arrives in pieces reaches one of several texts.

    Args:
        texts: the texts, none of them empty.

    Attributes:
        found: the text that was reached; "" before that.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts, self.found = tuple(texts), ""
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return the text that certainly precedes any stop text; hold back the rest."""
        text = self._held + piece
        # If stop texts overlap, the first complete one counts, however the text is cut into pieces.
        ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in self.texts]
        ends = [each for each in ends if each[2] in text]
        if ends:
            end, _, self.found = min(ends)
            self._held = ""
            return text[: end - len(self.found)]
        held = max((_overlap(text, stop) for stop in self.texts), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """Return what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest suffix of a text that is a prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
