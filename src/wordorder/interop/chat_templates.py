"""The chat template of an export: the tokens that training wrote, in Jinja.

Each conversation begins with the end of text, as in training. The template of an imported model
that was not trained on is written as it was read, but for names of tokens that differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from wordorder.errors import BadInput
from wordorder.interop.tokenizer_files import special_names
from wordorder.text.chat_template import (
    OPENING,
    PROBE,
    ChatTemplate,
    JinjaTemplate,
    recorded_template,
)
from wordorder.text.corpus import Turn
from wordorder.training.run import Run

SAMPLES = (
    PROBE,
    (Turn("user", "What colour is\n  snow?"), Turn("assistant", " White, naïve 東京. ")),
    (*PROBE, Turn("user", "And\tcoal?"), Turn("assistant", "Black.\n")),
    (Turn("system", "Be brief."), *PROBE),
)


def template_of(run: Run) -> ChatTemplate | None:
    """Return the template of a run's conversations; None if it has none."""
    return None if run.chat is None else recorded_template(run.chat)


def ends_of_answer(run: Run) -> list[int]:
    """Return the tokens that end what a run writes: those that end any text come first."""
    template, ends = template_of(run), run.tokenizer.ends_of_text
    others = set() if template is None else template.ends_of_answer(run.tokenizer) - {*ends}
    return [*ends, *sorted(others)]


def exported_template(run: Run) -> str | None:
    """Return the template for other programs, in Jinja; None without conversations."""
    template = template_of(run)
    if not isinstance(template, JinjaTemplate):
        return None if template is None else template.jinja
    special = special_names(run)
    others = {n: v for n, v in template.variables.items() if special.get(n) != v}
    settings = "".join(f"{{% set {n} = {json.dumps(v)} -%}}" for n, v in others.items())
    opening = OPENING if run.opens_conversations else ""
    return opening + settings + template.source.removeprefix(OPENING)


def samples(run: Run) -> Iterator[tuple[list[dict[str, str]], bool, list[int]]]:
    """Yield conversations, whether they end before an answer, and their tokens in wordorder."""
    template = template_of(run)
    assert template is not None
    start = [run.tokenizer.end_of_text] if run.opens_conversations else []
    for turns in SAMPLES:
        if not template.has_history and [turn.role for turn in turns] != ["user", "assistant"]:
            continue
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            whole, _ = template.encode(turns, run.tokenizer)
            before, _ = template.encode(turns[:-1], run.tokenizer, answering=True)
        except BadInput:  # an alphabet without a letter, or a template without this role
            continue
        yield messages, False, [*start, *whole.tolist()]
        yield messages[:-1], True, [*start, *before.tolist()]
