"""A text in pieces ends before the first of the stop texts, wherever the pieces are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordorder.text.stop_texts import StopTexts

LETTERS = st.text("ab\n", max_size=12)


def written(pieces: list[str], stops: list[str]) -> tuple[str, str]:
    until, text = StopTexts(stops), ""
    for piece in pieces:
        text += until.feed(piece)
        if until.found:
            return text, until.found
    return text + until.rest(), ""


@given(st.lists(LETTERS), st.lists(LETTERS.filter(bool), max_size=3))
def test_pieces_change_nothing(pieces: list[str], stops: list[str]) -> None:
    """One letter after the other, the text ends where a stop text is complete."""
    whole = "".join(pieces)
    for end in range(len(whole) + 1):
        if complete := [stop for stop in stops if whole[:end].endswith(stop)]:
            longest = max(complete, key=len)
            assert written(pieces, stops) == (whole[: end - len(longest)], longest)
            return
    assert written(pieces, stops) == (whole, "")


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["one. ", "Q", ": two"], ["Q:"], "one. "),
        (["one. ", "Q", "uite"], ["Q:"], "one. Quite"),
        (["one\n", "\ntwo"], ["\n\n"], "one"),
        (["one\n"], ["\n\n"], "one\n"),
        (["a b c"], ["c", "b"], "a "),
    ],
)
def test_a_stop_may_begin_and_end_within_a_piece(
    pieces: list[str], stops: list[str], text: str
) -> None:
    assert written(pieces, stops)[0] == text


def test_what_cannot_be_part_of_a_stop_is_shown_at_once() -> None:
    until = StopTexts(["Q:"])
    assert [until.feed(piece) for piece in ("one ", "Q", "u", "Q")] == ["one ", "", "Qu", ""]
    assert until.rest() == "Q"
