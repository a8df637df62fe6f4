"""Other names of the embeddings in the catalogue, as papers and other libraries have them.

An alias is for typing alone: what is recorded, listed and reported is the catalogue's name.
Capitals and underscores do not matter: `RoPE` is rotary and `self_extend` is self-extend.
"""

import re

ALIASES: dict[str, str] = {
    "nope": "none",
    "no-position": "none",
    "sin": "sinusoidal",
    "sincos": "sinusoidal",
    "sinusoid": "sinusoidal",
    "absolute": "learned",
    "learned-absolute": "learned",
    "rope": "rotary",
    "axial-rope": "axial",
    "xl": "transformer-xl",
    "shaw-relative": "shaw",
    "relative-key": "shaw",  # Hugging Face's relative_key
    "disentangled": "deberta",
    "fox": "forgetting",
    "forgetting-transformer": "forgetting",
    "relative-bias": "t5",
    "relative-attention-bias": "t5",  # its name in Hugging Face's T5
    "t5-bias": "t5",
    "swin": "relative",
    "contextual": "cope",
    "path-attention": "path",
    "selective-rope": "selective",
}

# A name begins a spec, or follows a slash or a plus sign that is not within brackets.
_NAME = re.compile(r"(?P<before>^|[/+](?![^\[]*\]))(?P<blank>\s*)(?P<name>[^:/+\s]+)")


def canonical_name(name: str) -> str:
    """Return the catalogue's spelling of a name; a class of one's own (with a dot) as it is."""
    if "." in name:
        return name
    spelled = name.lower().replace("_", "-")
    return ALIASES.get(spelled, spelled)


def canonical(spec: str) -> str:
    """Return a spec with the catalogue's names: `rotary/none` for `RoPE/nope`.

    Nothing else of it changes, and nothing is checked: see `parse`.
    """
    return _NAME.sub(lambda m: m["before"] + m["blank"] + canonical_name(m["name"]), spec)
