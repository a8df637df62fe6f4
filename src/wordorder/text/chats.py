"""Reads conversations from the rows of a table.

A row is a conversation if it has no text column, and has either

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"prompt": "...", "answer": "..."}

The first row decides which of the two a file holds, and every other row must have the same fields.
How roles are written for a model is not decided here, see chat_template.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.corpus import Document, Turn
from wordorder.text.rows import Column, TableRow, listed
from wordorder.text.user_text import is_blank

MESSAGES, PAIR = "messages", ("prompt", "answer")
ROLES = ("system", "user", "assistant")
ANSWERS = ("assistant", "answer")  # roles whose text is learnt


def documents_of(rows: Iterable[TableRow], column: Column) -> Iterator[Document]:
    """Yield the documents of a table: conversations, or the text of a column.

    Raises:
        BadInput: a row is malformed, or is not of the form of the first one.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    rows = chain([first], rows)
    if (form := _form(first.values, column.name)) is not None:
        yield from _conversations(rows, form, column.name)
    else:
        yield from column.documents(rows)


def _form(values: Any, field: str) -> str | None:
    """Return the form of the conversation in a row; None if it has text, or none of the forms."""
    if not isinstance(values, Mapping) or field in values:
        return None
    if MESSAGES in values:
        return repr(MESSAGES)
    return "'prompt' and 'answer'" if all(name in values for name in PAIR) else None


def _conversations(rows: Iterable[TableRow], form: str, field: str) -> Iterator[Document]:
    for row in rows:
        values, where = row
        if (other := _form(values, field)) != form:
            fields = listed(values) if isinstance(values, Mapping) else type(values).__name__
            raise BadInput(
                f"{where} has {other or fields}, but the rows before it have {form}: give every "
                "row of a file the same fields",
                code="text.chat-mixed-forms",
            )
        if form == repr(MESSAGES):
            turns = _turns(values[MESSAGES], where)
            text = "\n".join(f"{role}\n{content}" for role, content in turns)
        else:
            turns = tuple(Turn(role, _content(values[role], role, where)) for role in PAIR)
            text = "\n".join(content for _, content in turns)
        yield Document(text, where, turns)


def _turns(messages: Any, where: str) -> tuple[Turn, ...]:
    """Return the turns of a list of messages.

    Raises:
        BadInput: the list is malformed, or the roles are not in order.
    """
    if not isinstance(messages, list):
        raise BadInput(
            f"{where}: 'messages' is {type(messages).__name__}: it must be a list of objects with "
            "a role and a content",
            code="text.chat-not-a-list",
        )
    turns = []
    for number, message in enumerate(messages, start=1):
        place = f"{where}, message {number}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise BadInput(
                f"{place}: it must be an object with a role and a content",
                code="text.chat-not-a-message",
            )
        role = message["role"]
        if role not in ROLES:
            raise BadInput(
                f"{place}: unknown role {role!r}: use {', '.join(ROLES)}",
                code="text.chat-unknown-role",
            )
        if role == "system" and number == 1 and is_blank(str(message["content"] or "")):
            continue  # many datasets have an empty one in each row
        turns.append(Turn(role, _content(message["content"], role, place)))
    _check_order([turn.role for turn in turns], where)
    return tuple(turns)


def _check_order(roles: list[str], where: str) -> None:
    """Check that a user and the assistant take turns, and that the assistant has the last one.

    Raises:
        BadInput: they do not, or there is no answer.
    """
    if "assistant" not in roles:
        raise BadInput(
            f"{where} has no assistant turn, so there is nothing to learn: add one, or remove it",
            code="text.chat-no-answer",
        )
    spoken = roles[1:] if roles[0] == "system" else roles
    expected = [ROLES[1 + number % 2] for number in range(len(spoken))]
    if spoken != expected or len(spoken) % 2:
        raise BadInput(
            f"{where} has the roles {', '.join(roles)}: after one system turn at most, user and "
            "assistant must take turns, and the last turn must be the assistant's",
            code="text.chat-role-order",
        )


def _content(text: Any, role: str, where: str) -> str:
    """Return the text of a turn, with line ends as newlines.

    Raises:
        BadInput: it is not text, is empty, or cannot be encoded.
    """
    if not isinstance(text, str):
        raise BadInput(
            f"{where}: the text of the {role} is {type(text).__name__}: it must be a string",
            code="text.chat-not-text",
        )
    if is_blank(text):
        raise BadInput(
            f"{where}: the text of the {role} is empty: write it, or remove the conversation",
            code="text.chat-empty-turn",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{where}: the text of the {role} has a lone surrogate at character {error.start}, "
            "which cannot be encoded in UTF-8: repair or remove it",
            code="text.chat-surrogate",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
