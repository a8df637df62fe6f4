"""The model card of an export: what it is, how to load it, and how exact it is."""

from __future__ import annotations

from collections.abc import Sequence

from wordorder.errors import BadInput
from wordorder.interop.comparison import LogitComparison, comparison_table
from wordorder.interop.holders import Holder
from wordorder.interop.tokenizer_files import tokenizer_sentence
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.run import Run
from wordorder.version import __version__

PROMPT = "The"
TRUST = ", trust_remote_code=True"
CAUSAL_CODE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{trust})
model = AutoModelForCausalLM.from_pretrained(folder{trust})
tokens = tokenizer({prompt!r}, return_tensors="pt")
print(tokenizer.decode(model.generate(**tokens)[0], skip_special_tokens=True))"""
MASKED_CODE = """\
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder = "."  # where this file is
tokenizer = AutoTokenizer.from_pretrained(folder{trust})
model = AutoModelForMaskedLM.from_pretrained(folder{trust})
tokens = tokenizer({prompt!r} + tokenizer.mask_token, return_tensors="pt")
mask = tokens["input_ids"][0].tolist().index(tokenizer.mask_token_id)
print(tokenizer.decode(model(**tokens).logits[0, mask].argmax()))"""


def model_card(
    name: str,
    run: Run,
    holder: Holder,
    comparisons: Sequence[LogitComparison],
    notes: Sequence[str],
) -> str:
    """Return README.md.

    Args:
        name: of the folder.
        comparisons: with the run's own model.
        notes: what a user of transformers must know, one sentence each.
    """
    config = run.model.config
    total = run.model.parameter_counts()["total"]
    is_masked = holder.auto_class == "AutoModelForMaskedLM"
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {'fill-mask' if is_masked else 'text-generation'}",
        "---",
        "",
        f"# {name}",
        "",
        f"A language model of {total:,} parameters with the positional embedding "
        f"`{config.position}`, {run.origin} and exported by wordorder "
        f"{__version__} as `{holder.class_name}`.",
        "",
        "```python",
        (MASKED_CODE if is_masked else CAUSAL_CODE).format(
            prompt=_prompt(run.tokenizer), trust=TRUST if holder.has_code else ""
        ),
        "```",
        "",
        tokenizer_sentence(run),
        *(f"\nNote: {note}." for note in notes),
        "",
        "Largest differences of logits from the model that was trained, in float32 "
        f"(at most {max(each.tolerance for each in comparisons):.2g} is allowed):",
        "",
        comparison_table(comparisons).markdown(),
    ]
    return "\n".join(lines) + "\n"


def _prompt(tokenizer: Tokenizer) -> str:
    """Return a prompt that the tokenizer can encode."""
    try:
        tokenizer.encode(PROMPT)
    except BadInput:  # an alphabet without one of its letters
        return tokenizer.decode(range(min(len(PROMPT), tokenizer.vocabulary_size)))
    return PROMPT
