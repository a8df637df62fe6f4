"""Every error has a code of its own, and one page shows all messages."""

from __future__ import annotations

import re
from collections import Counter

import write_messages


def test_every_error_has_a_code_of_its_own() -> None:
    found = write_messages.messages()
    nameless = [m.where for m in found if not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", m.code)]
    assert nameless == []
    assert [code for code, count in Counter(m.code for m in found).items() if count > 1] == []


def test_the_page_of_messages_is_up_to_date() -> None:
    """After a change, `python tests/write_messages.py` writes it anew: read what it says."""
    page = (write_messages.ROOT / "tests/messages.md").read_text(encoding="utf-8")
    assert page == write_messages.page()
