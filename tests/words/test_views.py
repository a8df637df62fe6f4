"""What `wordorder words` prints of texts and words that others wrote."""

from __future__ import annotations

import pytest
from rich.console import Console

from wordorder.words.views import show


@pytest.mark.parametrize(
    "answers",
    [
        {"first": ["a\x1b[31m"]},
        {"neighbours": {"a": [{"word": "b\x1b[31m", "score": 1.0}]}},
    ],
)
def test_words_are_printed_without_control_characters(
    answers: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    show(Console(), "table", {"words": 2, "dimensions": 3, **answers})
    out = capsys.readouterr().out
    assert "\\x1b[31m" in out and "\x1b" not in out
