"""Other names of the catalogue's embeddings, used in papers and other libraries.

Aliases are accepted in specs only: records, lists and reports use the catalogue's name.
Case and underscores do not matter: `RoPE` is rotary and `self_extend` is self-extend.
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
    "fourier": "fope",
    "fox": "forgetting",
    "forgetting-transformer": "forgetting",
    "relative-bias": "t5",
    "relative-attention-bias": "t5",  # its name in Hugging Face's T5
    "t5-bias": "t5",
    "swin": "relative",
    "contextual": "cope",
    "position-coupling": "coupled",
    "path-attention": "path",
    "selective-rope": "selective",
    "inkling-bias": "inkling",
    "relative-projection": "inkling",
    "partial-key-offset": "key-offset",
    "ssmax": "log-temperature",
    "scalable-softmax": "log-temperature",
}

# A name begins a spec, or follows a slash or a plus sign outside of brackets.
_NAME = re.compile(r"(?P<before>^|[/+](?![^\[]*\]))(?P<space>\s*)(?P<name>[^:/+\s]+)")


def canonical_name(name: str) -> str:
    """Return the catalogue's name for a name or alias; a dotted class name is unchanged."""
    if "." in name:
        return name
    spelled = name.lower().replace("_", "-")
    return ALIASES.get(spelled, spelled)


def canonical(spec: str) -> str:
    """Return a spec with aliases replaced: `rotary/none` for `RoPE/nope`.

    Nothing else changes, and nothing is validated: `parse` does that.
    """
    return _NAME.sub(lambda m: m["before"] + m["space"] + canonical_name(m["name"]), spec)
