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
    for answer in ("answer", "completion"):
        (document,) = load_corpus(write({"prompt": "a?\r\n", answer: "b."})).documents
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


def test_instructions_are_messages(write: Write) -> None:
    """As the same conversations written as messages, down to the hash of their content."""
    same: dict[str, list[dict[str, Any]]] = {
        "a?": [
            {"instruction": "a?", "output": "b.", "response": "c."},
            {"instruction": "a?", "input": "", "output": "b."},
            {"instruction": "a?", "input": None, "output": "b."},
            {"instruction": "a?", "input": float("nan"), "output": "b."},
            {"instruction": "a?", "context": " \n", "response": "b.", "category": "qa"},
        ],
        "a?\n\nIt is\nso.": [
            {"instruction": "a?", "input": "It is\r\nso.", "output": "b."},
            {"instruction": "a?", "context": "It is\nso.", "response": "b."},
            {"instruction": "a?", "input": "It is\nso.", "context": "c", "output": "b."},
            {"instruction": "a?", "input": "", "context": "It is\nso.", "output": "b."},
        ],
    }
    for question, rows in same.items():
        expected = load_corpus(write({"messages": [{**USER, "content": question}, ANSWER]}))
        assert expected.documents[0].turns == (Turn("user", question), Turn("assistant", "b."))
        for row in rows:
            corpus = load_corpus(write(row))
            assert corpus.documents == expected.documents
            assert corpus.content_hash == expected.content_hash


@pytest.mark.parametrize("user", ["human", "user"])
@pytest.mark.parametrize("assistant", ["gpt", "assistant"])
def test_sharegpt_is_messages(write: Write, user: str, assistant: str) -> None:
    expected = load_corpus(write({"messages": [SYSTEM, USER, ANSWER, USER, ANSWER]})).documents
    pair = [{"from": user, "value": "a?", "weight": 1}, {"from": assistant, "value": "b."}]
    turns = [{"from": "system", "value": "Be brief."}, *pair, *pair]
    assert load_corpus(write({"conversations": turns, "id": "1"})).documents == expected
    (document,) = load_corpus(
        write({"conversations": [{**turns[0], "value": ""}, *pair]})
    ).documents
    assert [turn.role for turn in document.turns] == ["user", "assistant"]


INSTRUCTION = {"instruction": "c?", "input": "", "output": "d."}
SHAREGPT = {"conversations": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b."}]}


def test_the_first_form_counts_and_text_before_all(write: Write) -> None:
    pair = {"prompt": "e?", "answer": "f."}

    def question(*rows: dict[str, Any], **options: Any) -> str:
        row = {name: value for part in rows for name, value in part.items()}
        document = load_corpus(write(row), **options).documents[0]
        return document.turns[0].content if document.turns else document.text

    message = {"messages": [{**USER, "content": "m?"}, ANSWER]}
    assert question(INSTRUCTION, pair, SHAREGPT, message) == "m?"
    assert question(INSTRUCTION, pair, SHAREGPT) == "a?"
    assert question(INSTRUCTION, pair) == "e?"
    assert question(INSTRUCTION, {"response": "g."}) == "c?"
    assert question(INSTRUCTION, SHAREGPT, {"text": "t"}) == "t"
    assert question(INSTRUCTION, field="output") == "d."


@pytest.mark.parametrize("row", [INSTRUCTION, SHAREGPT])
@pytest.mark.parametrize("name", ["a.json", "a.parquet", "a.csv"])
def test_other_tables_hold_them(write: Write, row: dict[str, Any], name: str) -> None:
    expected = load_corpus(write(row)).documents[0].turns
    if name == "a.parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist([row]), name)
    elif name == "a.json":
        write(json.dumps([row]), name=name)
    elif row is SHAREGPT:
        return  # a list is no value of a .csv
    else:
        write("instruction,input,output", "c?,,d.", name=name)
    assert [document.turns for document in load_corpus(name).documents] == [expected]


def test_a_file_of_one_conversation_is_read(write: Write) -> None:
    (document,) = load_corpus(write(GOOD, name="one.json")).documents
    assert document.turns == (Turn("user", "a?"), Turn("assistant", "b."))


def test_a_row_of_no_form_is_told_them(write: Write) -> None:
    with pytest.raises(BadInput) as caught:
        load_corpus(write({"instruction": "a?", "reply": "b."}))
    assert caught.value.code == "text.missing-column"
    assert "'messages', 'conversations', 'prompt' and 'answer'," in str(caught.value)
    assert "'instruction' and 'output', or 'instruction' and 'response'" in str(caught.value)


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


def shared(*turns: tuple[Any, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


OF_INSTRUCTIONS: dict[str, tuple[Any, str, str]] = {
    "no question": ({**INSTRUCTION, "instruction": " "}, "text.chat-empty-turn", "instruction is"),
    "no answer": ({**INSTRUCTION, "output": ""}, "text.chat-empty-turn", "line 2: the text of the"),
    "a null": ({**INSTRUCTION, "output": None}, "text.chat-not-text", "output is NoneType"),
    "a number": ({**INSTRUCTION, "instruction": 3}, "text.chat-not-text", "instruction is int"),
    "a list": ({**INSTRUCTION, "input": ["a"]}, "text.chat-not-text", "input is list"),
    "a surrogate": ({**INSTRUCTION, "input": "a\ud800"}, "text.chat-surrogate", "of the input has"),
    "another": ({"instruction": "a", "response": "b"}, "text.chat-mixed-forms", "'response', but"),
    "a column less": ({"instruction": "a"}, "text.chat-mixed-forms", "have 'instruction' and 'o"),
}
OF_SHAREGPT: dict[str, tuple[Any, str, str]] = {
    "no list": ({"conversations": {"from": "gpt"}}, "text.chat-not-a-list", "'from' and 'value'"),
    "other keys": ({"conversations": [USER]}, "text.chat-not-a-message", "'from' and 'value'"),
    "a role": (shared(("bing", "a")), "text.chat-unknown-role", "'bing': use system, human, user"),
    "no name": (
        shared((["gpt"], "a")),
        "text.chat-unknown-role",
        "message 1: unknown role ['gpt']",
    ),
    "empty": (shared(("human", "a"), ("gpt", "")), "text.chat-empty-turn", "message 2"),
    "no answer": (shared(("human", "a")), "text.chat-no-answer", "a.jsonl, line 2"),
    "an answer first": (shared(("gpt", "a"), ("human", "b")), "text.chat-role-order", "line 2"),
    "another": (GOOD, "text.chat-mixed-forms", "have 'conversations'"),
}


@pytest.mark.parametrize(
    "good,bad",
    [
        *((INSTRUCTION, bad) for bad in OF_INSTRUCTIONS.values()),
        *((SHAREGPT, bad) for bad in OF_SHAREGPT.values()),
    ],
)
def test_a_bad_row_of_the_other_forms_is_named(
    write: Write, good: Any, bad: tuple[Any, str, str]
) -> None:
    row, code, part = bad
    with pytest.raises(BadInput) as caught:
        load_corpus(write(good, row, good))
    assert caught.value.code == code
    assert "a.jsonl, line 2" in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize("answer", ["", None, 3])
def test_a_bad_answer_of_a_pair_is_named(write: Write, answer: Any) -> None:
    with pytest.raises(BadInput, match=r"a\.jsonl, line 1: the text of the answer is"):
        load_corpus(write({"prompt": "a", "answer": answer}))


def test_conversations_and_text_are_not_mixed(write: Write) -> None:
    Path("b.txt").write_text("text", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_corpus([write(GOOD), "b.txt"])
    assert caught.value.code == "text.chats-and-text" and "b.txt" in str(caught.value)
