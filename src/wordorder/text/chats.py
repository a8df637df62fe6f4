"""Reads the rows of a table: as conversations of one form, or as the text of a column.

The first row decides which of the two a file holds, and every other row must have the same form.
The forms are those of chat_forms.py; the first is

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from wordorder.errors import BadInput
from wordorder.text.chat_forms import PROMPT, ChatForm, form_of
from wordorder.text.corpus import Document
from wordorder.text.rows import Column, TableRow, listed


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
    if (form := form_of(first.values, column.name)) is not None:
        yield from _conversations(rows, form, column)
    else:
        yield from column.documents(rows)


def _conversations(rows: Iterable[TableRow], form: ChatForm, column: Column) -> Iterator[Document]:
    for values, where in rows:
        column.rows += 1
        if (other := form_of(values, column.name)) != form:
            fields = listed(values) if isinstance(values, Mapping) else type(values).__name__
            raise BadInput(
                f"{where} has {other or fields}, but the rows before it have {form}: give every "
                "row of a file the same fields",
                code="text.chat-mixed-forms",
            )
        turns = form.turns(values, where)
        named = turns[0].role != PROMPT
        parts = [f"{role}\n{content}" if named else content for role, content in turns]
        yield Document("\n".join(parts), where, turns)
