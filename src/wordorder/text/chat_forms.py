"""The forms in which the rows of a table hold conversations, and how their turns are read.

How roles are written for a model is not decided here, see chat_template.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.text.corpus import Turn
from wordorder.text.user_text import is_blank

ROLES = ("system", "user", "assistant")
PROMPT = "prompt"  # the role of a question that has no name in the text
ANSWERS = ("assistant", "answer")  # roles whose text is learnt
CONTEXTS = ("input", "context")  # columns that may go with an instruction


@dataclass(frozen=True)
class ChatForm:
    """One form of conversations.

    Args:
        columns: the columns that a row must have.
        turns: returns the turns of a row; the second argument names the row in messages.
    """

    columns: tuple[str, ...]
    turns: Callable[[Mapping[str, Any], str], tuple[Turn, ...]]

    def __str__(self) -> str:
        return " and ".join(map(repr, self.columns))


class MessageKeys(NamedTuple):
    """How the messages of a list are written.

    Args:
        role: the key of the role.
        content: the key of the text.
        roles: the names of roles, with the role that each means.
    """

    role: str
    content: str
    roles: dict[str, str]


OPENAI = MessageKeys("role", "content", {role: role for role in ROLES})
SHAREGPT = MessageKeys(
    "from",
    "value",
    {
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "assistant": "assistant",
    },
)


def form_of(values: Any, field: str) -> ChatForm | None:
    """Return the form of the conversation in a row; None if it has text, or none of the forms.

    Args:
        values: the row.
        field: the column of text; a row that has it is text.
    """
    if not isinstance(values, Mapping) or field in values:
        return None
    return next((form for form in FORMS if all(name in values for name in form.columns)), None)


def _listed_turns(
    column: str, keys: MessageKeys, values: Mapping[str, Any], where: str
) -> tuple[Turn, ...]:
    """Return the turns of a list of messages.

    Raises:
        BadInput: the list is malformed, or the roles are not in order.
    """
    messages = values[column]
    if not isinstance(messages, list):
        raise BadInput(
            f"{where}: {column!r} is {type(messages).__name__}: it must be a list of objects with "
            f"{keys.role!r} and {keys.content!r}",
            code="text.chat-not-a-list",
        )
    turns = []
    for number, message in enumerate(messages, start=1):
        place = f"{where}, message {number}"
        if not isinstance(message, Mapping) or not {keys.role, keys.content} <= set(message):
            raise BadInput(
                f"{place}: it must be an object with {keys.role!r} and {keys.content!r}",
                code="text.chat-not-a-message",
            )
        name, content = message[keys.role], message[keys.content]
        if not isinstance(name, str) or name not in keys.roles:
            raise BadInput(
                f"{place}: unknown role {name!r}: use {', '.join(keys.roles)}",
                code="text.chat-unknown-role",
            )
        role = keys.roles[name]
        if role == "system" and number == 1 and is_blank(str(content or "")):
            continue  # many datasets have an empty one in each row
        turns.append(Turn(role, _content(content, role, place)))
    _check_order([turn.role for turn in turns], where)
    return tuple(turns)


def _check_order(roles: list[str], where: str) -> None:
    """Check that a user and the assistant take turns, and that the assistant has the last one.

    Raises:
        BadInput: they do not, or there is no answer.
    """
    if "assistant" not in roles:
        raise BadInput(
            f"{where} has no assistant turn, so there is nothing to learn: add one, or remove the "
            "conversation",
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


def _pair_turns(answer: str, values: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    """Return the turns of a prompt and its answer.

    Args:
        answer: the column of the answer.
    """
    columns = {PROMPT: PROMPT, "answer": answer}
    return tuple(Turn(role, _content(values[at], at, where)) for role, at in columns.items())


def _instruction_turns(answer: str, values: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    """Return the turns of an instruction, with its input after a blank line, and the answer.

    Args:
        answer: the column of the answer.
    """
    question = _content(values["instruction"], "instruction", where)
    column = next((name for name in CONTEXTS if not _is_missing(values.get(name))), None)
    if column is not None:
        question += "\n\n" + _content(values[column], column, where)
    return Turn("user", question), Turn("assistant", _content(values[answer], answer, where))


def _is_missing(value: Any) -> bool:
    """Return whether a cell has nothing; pandas writes missing values as NaN."""
    return value is None or value != value or (isinstance(value, str) and is_blank(value))


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


# A row that has the columns of several has the first of these forms.
FORMS = (
    ChatForm(("messages",), partial(_listed_turns, "messages", OPENAI)),
    ChatForm(("conversations",), partial(_listed_turns, "conversations", SHAREGPT)),
    ChatForm(("prompt", "answer"), partial(_pair_turns, "answer")),
    ChatForm(("prompt", "completion"), partial(_pair_turns, "completion")),
    ChatForm(("instruction", "output"), partial(_instruction_turns, "output")),
    ChatForm(("instruction", "response"), partial(_instruction_turns, "response")),
)
FORM_NAMES = f"{', '.join(map(str, FORMS[:-1]))}, or {FORMS[-1]}"
