"""Conversations are read from rows, and a bad row is named with what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.text.corpus import Turn
from wordorder.text.load import load_corpus
from wordorder.text.split import split_corpus

Write = Callable[..., str]
USER, ANSWER = {"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}
SYSTEM = {"role": "system", "content": "Be brief."}
GOOD = {"messages": [USER, ANSWER]}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(*rows: Any, name: str = "a.jsonl") -> str:
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        Path(name).write_text("\n".join(lines), encoding="utf-8")
        return name

    return write


def test_messages_and_pairs_are_conversations(write: Write) -> None:
    (document,) = load_corpus(write({"messages": [SYSTEM, USER, ANSWER], "id": 1})).documents
    assert document.turns == (
        Turn("system", "Be brief."),
        Turn("user", "a?"),
        Turn("assistant", "b."),
    )
    assert document.text == "system\nBe brief.\nuser\na?\nassistant\nb."
    (document,) = load_corpus(write({"prompt": "a?\r\n", "answer": "b."})).documents
    assert document.turns == (Turn("prompt", "a?\n"), Turn("answer", "b."))
    assert document.text == "a?\n\nb." and document.source == "a.jsonl, line 1"


def test_text_beside_messages_stays_text(write: Write) -> None:
    corpus = load_corpus(write({"text": "c", **GOOD}))
    assert not corpus.is_chat and corpus.documents[0].text == "c"


def test_an_empty_system_turn_is_left_out(write: Write) -> None:
    messages = [{"role": "system", "content": ""}, USER, ANSWER]
    (document,) = load_corpus(write({"messages": messages})).documents
    assert [turn.role for turn in document.turns] == ["user", "assistant"]


def test_the_hash_of_the_content_depends_on_the_roles(write: Write) -> None:
    text = "user\na?\nassistant\nb."
    other = {"prompt": "user\na?\nassistant", "answer": "b."}
    rows = ({"text": text}, GOOD, other)
    hashes = {load_corpus(write(row)).content_hash for row in rows}
    assert [load_corpus(write(row)).documents[0].text for row in rows] == [text] * 3
    assert len(hashes) == 3


def test_few_conversations_are_split_whole(write: Write) -> None:
    rows = [{"prompt": f"{n}?", "answer": f"{n}, that is the answer."} for n in range(6)]
    split = split_corpus(load_corpus(write(*rows)), 0.2, 0.1)
    assert split.development is not None
    parts = [split.training, split.development, split.validation]
    turns = [document.turns for part in parts for document in part.documents]
    assert sorted(turn[0].content for turn in turns) == [f"{n}?" for n in range(6)]
    assert all(turn[1].content.endswith("answer.") for turn in turns)


BAD: dict[str, tuple[Any, str, str]] = {
    "not JSON": ("{", "text.jsonl-line", "a.jsonl, line 2"),
    "no list": ({"messages": "a"}, "text.chat-not-a-list", "a.jsonl, line 2"),
    "no message": ({"messages": [USER, "b"]}, "text.chat-not-a-message", "line 2, message 2"),
    "no content": ({"messages": [{"role": "user"}]}, "text.chat-not-a-message", "message 1"),
    "a role": (
        {"messages": [{"role": "tool", "content": "a"}]},
        "text.chat-unknown-role",
        "'tool': use system, user, assistant",
    ),
    "an empty answer": (
        {"messages": [USER, {**ANSWER, "content": " "}]},
        "text.chat-empty-turn",
        "line 2, message 2: the text of the assistant is empty",
    ),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}, ANSWER]},
        "text.chat-not-text",
        "line 2, message 1",
    ),
    "a surrogate": (
        {"messages": [{"role": "user", "content": "a\ud800"}, ANSWER]},
        "text.chat-surrogate",
        "character 1",
    ),
    "no answer": ({"messages": [USER]}, "text.chat-no-answer", "a.jsonl, line 2"),
    "nothing": ({"messages": []}, "text.chat-no-answer", "a.jsonl, line 2"),
    "an answer first": ({"messages": [ANSWER, USER]}, "text.chat-role-order", "assistant, user"),
    "a question last": (
        {"messages": [USER, ANSWER, USER]},
        "text.chat-role-order",
        "user, assistant, user",
    ),
    "a system turn later": ({"messages": [USER, SYSTEM, ANSWER]}, "text.chat-role-order", "system"),
    "another form": ({"prompt": "a", "answer": "b"}, "text.chat-mixed-forms", "a.jsonl, line 2"),
    "text": ({"text": "a"}, "text.chat-mixed-forms", "a.jsonl, line 2"),
    "no object": ("3", "text.chat-mixed-forms", "a.jsonl, line 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(write: Write, name: str) -> None:
    row, code, part = BAD[name]
    with pytest.raises(BadInput) as caught:
        load_corpus(write(GOOD, row, GOOD))
    assert caught.value.code == code
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", ["", None, 3])
def test_a_bad_answer_of_a_pair_is_named(write: Write, answer: Any) -> None:
    with pytest.raises(BadInput, match=r"a\.jsonl, line 1: the text of the answer is"):
        load_corpus(write({"prompt": "a", "answer": answer}))


def test_conversations_and_text_are_not_mixed(write: Write) -> None:
    Path("b.txt").write_text("text", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_corpus([write(GOOD), "b.txt"])
    assert caught.value.code == "text.chats-and-text" and "b.txt" in str(caught.value)
