"""The chat template of an export: the tokens that training wrote, in Jinja.

Each conversation begins with the end of text, as in training. The template of an imported model
that was not trained on is written as it was read, but for names of tokens that differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from wordorder.errors import BadInput
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
    """Return the tokens that end what a run writes, the end of text first."""
    template, end = template_of(run), run.tokenizer.end_of_text
    others = set() if template is None else template.ends_of_answer(run.tokenizer) - {end}
    return [end, *sorted(others)]


def exported_template(run: Run) -> str | None:
    """Return the template for other programs, in Jinja; None without conversations."""
    template = template_of(run)
    if not isinstance(template, JinjaTemplate):
        return None if template is None else template.jinja
    names = run.tokenizer.backend.id_to_token
    end = str(names(run.tokenizer.end_of_text))
    special = {
        "bos_token": str(names(run.tokenizer.beginning_of_text)),
        "eos_token": end,
        "pad_token": end,
    }
    others = {n: v for n, v in template.variables.items() if special.get(n) != v}
    settings = "".join(f"{{% set {n} = {json.dumps(v)} -%}}" for n, v in others.items())
    is_as_read = run.source is not None and not template.source.startswith(OPENING)
    opening = "" if is_as_read else OPENING
    return opening + settings + template.source.removeprefix(OPENING)


def samples(run: Run) -> Iterator[tuple[list[dict[str, str]], bool, list[int]]]:
    """Yield conversations, whether they end before an answer, and their tokens in wordorder."""
    template, source = template_of(run), exported_template(run)
    assert template is not None and source is not None
    start = [run.tokenizer.end_of_text] if source.startswith(OPENING) else []
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
