"""A --config file: options by name, in YAML.

YAML is read as it is, but for two things that it passes over in silence: a key that stands twice,
and a file that holds no mapping.
"""

from __future__ import annotations

from typing import Any

import yaml

from wordorder.errors import BadInput
from wordorder.settings import formatted
from wordorder.text.user_text import printable, read_text, user_path


class _Loader(yaml.SafeLoader):
    """PyYAML's loader of plain values, which keeps a mapping's keys as they stand."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = [key for number, key in enumerate(seen) if key in seen[:number]]
    if twice:
        line = node.start_mark.line + 1
        raise yaml.constructor.ConstructorError(
            None, None, f"{formatted(twice[0])} stands twice in the mapping from line {line}"
        )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_config_file(name: str) -> dict[str, Any]:
    """Return the options of a YAML file, by the names of their fields.

    Raises:
        BadInput: no file, no YAML, or no options by name.
    """
    text = read_text(user_path(name), f"--config {printable(name)}: no such file")
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2026-13-45
        raise BadInput(f"--config {name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"--config {name} must hold options by name, as trained_length: 128")
    if odd := [key for key in values if not isinstance(key, str)]:
        raise BadInput(
            f"--config {name}: the key {formatted(odd[0])} is no name of an option: names are as "
            "trained_length"
        )
    named = [key.removeprefix("--").replace("-", "_") for key in values]
    if twice := [key for number, key in enumerate(named) if key in named[:number]]:
        raise BadInput(f"--config {name} gives {twice[0]} twice: give it once")
    return dict(zip(named, values.values(), strict=True))
