"""How a conversation is written for a model, and which of its tokens are learnt.

    plain      prompt, newline, |answer|
    chatml     <|im_start|> user, newline, prompt <|im_end|> newline
               <|im_start|> assistant, newline, |answer <|im_end|>| newline
    tokenizer  the Jinja template of an imported model

Only the tokens between bars are targets, and the end-of-text token after the conversation. Special
tokens are written by a template alone: text that spells one is encoded as characters.

Source of chatml: OpenAI 2023, "Chat Markup Language"; Qwen and SmolLM2 use it.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.text.chat_forms import ANSWERS, FORM_NAMES, PROMPT
from wordorder.text.corpus import Corpus, Turn
from wordorder.text.objective import TemplateName
from wordorder.text.tokenizer import Tokenizer

START, END = "<|im_start|>", "<|im_end|>"
# Puts the end-of-text token before a conversation, in templates for other programs. Here the caller
# puts it there, so a template that begins with it is read without it.
OPENING = "{{ eos_token }}"
ROLE_OF = {"prompt": "user", "answer": "assistant"}
DAY = date(2025, 1, 1)  # "today" in templates: tokens must not depend on the clock
# Tags of transformers around what an assistant writes; they have no output.
GENERATION = re.compile(r"{%(-?)\s*(end)?generation\s*(-?)%}")
PROBE = (Turn("user", "a"), Turn("assistant", "b"))


class Piece(NamedTuple):
    """A piece of a written conversation.

    Args:
        text: the text, or the name of a special token.
        special: whether it is a special token.
        counted: whether its tokens are targets.
    """

    text: str
    special: bool = False
    counted: bool = False


class ChatTemplate(ABC):
    """Writes conversations as tokens.

    Attributes:
        name: the value of --chat-template.
        special_tokens: names of special tokens that the tokenizer must have.
        has_history: whether an answer may depend on earlier turns.
    """

    name: str
    special_tokens: tuple[str, ...] = ()
    has_history = True

    @property
    @abstractmethod
    def jinja(self) -> str:
        """The same template in Jinja, for other programs; it begins with the end of text."""

    @abstractmethod
    def pieces(self, turns: Sequence[Turn], *, answering: bool = False) -> list[Piece]:
        """Return a conversation in pieces.

        Args:
            turns: system, user and assistant; or prompt and answer.
            answering: end with what comes before an answer, because the last turn is a user's.
        """

    @property
    def words(self) -> str:
        """What the template itself writes, such as the names of roles, without special tokens."""
        roles = ("system", "user", "assistant") if self.has_history else ("prompt", "answer")
        pieces = self.pieces([Turn(role, "") for role in roles])
        return "".join(piece.text for piece in pieces if not piece.special)

    def record(self) -> dict[str, Any]:
        """Return the template as JSON, from which `recorded_template` makes it again."""
        return {"template": self.name}

    @property
    def content_hash(self) -> str:
        """A hash of everything that affects the tokens."""
        data = json.dumps(self.record(), sort_keys=True).encode()
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    def encode(
        self, turns: Sequence[Turn], tokenizer: Tokenizer, *, answering: bool = False
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Return the ids of a conversation and whether each is a target, both (tokens,)."""
        ids, counted = [np.empty(0, np.uint32)], [np.empty(0, np.bool_)]
        groups = groupby(self.pieces(turns, answering=answering), lambda p: (p.special, p.counted))
        for (special, is_counted), pieces in groups:
            texts = [piece.text for piece in pieces]
            if special:
                part = np.array([tokenizer.special_id(text) for text in texts], np.uint32)
            else:
                part = tokenizer.encode_array("".join(texts))
            ids.append(part)
            counted.append(np.full(len(part), is_counted))
        return np.concatenate(ids), np.concatenate(counted)

    def ends_of_answer(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Return the tokens that end an answer, those that end any text included."""
        pieces = [piece for piece in self.pieces(PROBE) if piece.counted]
        # A template may count what opens an answer as well: its end is what follows the text.
        places = (i for i, p in enumerate(pieces) if not p.special and PROBE[1].content in p.text)
        answer = next(places, 0)
        first = [piece.text for piece in pieces[answer:] if piece.special][:1]
        ends = {tokenizer.special_id(text) for text in first}
        return frozenset({*tokenizer.ends_of_text, *ends})


class Plain(ChatTemplate):
    """A prompt, a newline and its answer; it has no roles, so a text holds one answer."""

    name = "plain"
    has_history = False

    @property
    def jinja(self) -> str:
        return (
            OPENING
            + "{% if messages | length > 2 or messages[0]['role'] != 'user' %}"
            + "{{ raise_exception('this model has learnt single answers: give one user message') }}"
            + "{% endif %}{{ messages[0]['content'] + '\\n' }}"
            + "{% if messages | length > 1 %}{{ messages[1]['content'] }}{% endif %}"
        )

    def pieces(self, turns: Sequence[Turn], *, answering: bool = False) -> list[Piece]:
        prompt, *answer = (turn.content for turn in turns)
        return [Piece(f"{prompt}\n"), *(Piece(text, counted=True) for text in answer)]


class ChatML(ChatTemplate):
    """Turns between two special tokens, each after the name of its role."""

    name = "chatml"
    special_tokens = (START, END)

    @property
    def jinja(self) -> str:
        return (
            OPENING
            + "{% for message in messages %}"
            + f"{{{{ '{START}' + message['role'] + '\\n' + message['content'] + '{END}\\n' }}}}"
            + "{% endfor %}"
            + f"{{% if add_generation_prompt %}}{{{{ '{START}assistant\\n' }}}}{{% endif %}}"
        )

    def pieces(self, turns: Sequence[Turn], *, answering: bool = False) -> list[Piece]:
        pieces = []
        for role, content in turns:
            counted = role in ANSWERS
            pieces += [
                Piece(START, special=True),
                Piece(f"{ROLE_OF.get(role, role)}\n"),
                Piece(content, counted=counted),
                Piece(END, special=True, counted=counted),
                Piece("\n"),
            ]
        if answering:
            pieces += [Piece(START, special=True), Piece("assistant\n")]
        return pieces


class JinjaTemplate(ChatTemplate):
    """The template of an imported model's tokenizer, in Jinja.

    Args:
        source: the template.
        special_tokens: names of all special tokens of the tokenizer.
        variables: `bos_token`, `eos_token` and so on, which the template may use.

    Raises:
        BadInput: the template is not valid, or fails on a question and its answer.
    """

    name = "tokenizer"

    def __init__(
        self, source: str, special_tokens: Iterable[str], variables: Mapping[str, str]
    ) -> None:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.source, self.variables = source, dict(variables)
        self.special_tokens = tuple(special_tokens)
        self._special = _any_of(self.special_tokens)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = DAY.strftime
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        try:
            read = GENERATION.sub(_as_block, source.removeprefix(OPENING))
            self._template = environment.from_string(read)
        except TemplateError as error:
            raise _failed(error) from None
        self.pieces(PROBE)

    @property
    def jinja(self) -> str:
        return OPENING + self.source.removeprefix(OPENING)

    def record(self) -> dict[str, Any]:
        return {
            "template": self.name,
            "jinja": self.source,
            "special_tokens": list(self.special_tokens),
            "variables": self.variables,
        }

    def pieces(self, turns: Sequence[Turn], *, answering: bool = False) -> list[Piece]:
        protected, mark = self._protected(turns)
        whole = self._rendered(protected, answering=answering)
        pieces: list[Piece] = []
        begin = 0
        for number, (role, _) in enumerate(protected):
            if role not in ANSWERS:
                continue
            before = self._rendered(protected[:number], answering=True)
            after = self._rendered(protected[: number + 1])
            if not (whole.startswith(before) and whole.startswith(after)):
                raise BadInput(
                    "the chat template of the tokenizer writes a turn differently when others "
                    "follow it, so answers cannot be told from prompts: use --chat-template chatml",
                    code="text.chat-template-rewrites",
                )
            pieces += self._split(whole[begin : len(before)], mark)
            pieces += self._split(whole[len(before) : len(after)], mark, counted=True)
            begin = len(after)
        return pieces + self._split(whole[begin:], mark)

    def _protected(self, turns: Sequence[Turn]) -> tuple[list[Turn], str]:
        """Return the turns with a mark inside each spelling of a special token, and the mark."""
        text = "".join(content for _, content in turns)
        mark = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in text)
        return [
            Turn(
                ROLE_OF.get(role, role),
                self._special.sub(lambda match: match[0][:1] + mark + match[0][1:], content),
            )
            for role, content in turns
        ], mark

    def _rendered(self, turns: Sequence[Turn], *, answering: bool = False) -> str:
        try:
            return self._template.render(
                messages=[{"role": role, "content": content} for role, content in turns],
                add_generation_prompt=answering,
                tools=None,  # as transformers passes them
                documents=None,
                **self.variables,
            )
        except Exception as error:  # a template runs any expression
            raise _failed(error) from None

    def _split(self, text: str, mark: str, *, counted: bool = False) -> list[Piece]:
        """Return rendered text in pieces: special tokens, and the text between them."""
        pieces, begin = [], 0
        for match in self._special.finditer(text):
            pieces += [Piece(text[begin : match.start()], counted=counted)]
            pieces += [Piece(match[0], special=True, counted=counted)]
            begin = match.end()
        pieces.append(Piece(text[begin:], counted=counted))
        return [piece._replace(text=piece.text.replace(mark, "")) for piece in pieces if piece.text]


def _as_block(tag: re.Match[str]) -> str:
    """Return a tag of Jinja's own in place of a `generation` tag."""
    return f"{{%{tag[1]} {'endif' if tag[2] else 'if true'} {tag[3]}%}}"


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _raise_exception(message: str) -> None:
    """Raise the error of a template; templates call this name."""
    raise ValueError(message)


def _failed(error: Exception) -> BadInput:
    return BadInput(
        f"the chat template of the tokenizer fails: {' '.join(str(error).split())[:200]}: use "
        "--chat-template chatml",
        code="text.chat-template-fails",
    )


def check_no_template(name: TemplateName, data: str) -> None:
    """Raise BadInput if a template is chosen for text.

    Args:
        data: the name of the text.
    """
    if name != "auto":
        raise BadInput(
            f"--chat-template {name} needs conversations, and {data} is text: give rows with "
            f"{FORM_NAMES}",
            code="text.chat-template-without-chats",
        )


def recorded_template(record: Mapping[str, Any]) -> ChatTemplate:
    """Return the template that `ChatTemplate.record` described.

    Raises:
        BadInput: a Jinja template is not valid.
    """
    if record["template"] == JinjaTemplate.name:
        names, variables = record["special_tokens"], record["variables"]
        return JinjaTemplate(record["jinja"], names, variables)
    return Plain() if record["template"] == Plain.name else ChatML()


def template_for(
    corpus: Corpus, name: TemplateName = "auto", record: Mapping[str, Any] | None = None
) -> ChatTemplate:
    """Return the template for the conversations of a corpus.

    Args:
        name: `auto` takes the recorded template; without one, plain for prompts and answers, and
            chatml for other conversations.
        record: the template of the run that is fine-tuned or resumed.

    Raises:
        BadInput: `tokenizer` without a recorded Jinja template, or `plain` for turns with roles.
    """
    only_pairs = all(document.turns[0].role == PROMPT for document in corpus.documents)
    known = recorded_template(record) if record else None
    if name == JinjaTemplate.name:
        if known is None or known.name != name:
            raise BadInput(
                "--chat-template tokenizer needs a tokenizer with a template: use --init with a "
                "run that wordorder import wrote from a chat model, or --chat-template chatml",
                code="text.chat-no-template",
            )
        return known
    if name == Plain.name and not only_pairs:
        raise BadInput(
            "--chat-template plain has no roles, and the data has a user and an assistant: use "
            "chatml, or rows with 'prompt' and 'answer'",
            code="text.chat-plain-messages",
        )
    if name == "auto" and known is not None and (known.has_history or only_pairs):
        return known
    return Plain() if name == Plain.name or (name == "auto" and only_pairs) else ChatML()
