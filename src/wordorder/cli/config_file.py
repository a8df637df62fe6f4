"""Reads a --config file: options by name, in YAML.

Two faults that PyYAML accepts silently raise an error: a repeated key, and a file without a
mapping.
"""

from __future__ import annotations

from typing import Any

import yaml

from wordorder.errors import BadInput
from wordorder.settings import formatted
from wordorder.text.user_text import printable, read_text, user_path


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with an error for repeated keys."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = [key for number, key in enumerate(keys) if key in keys[:number]]
    if repeated:
        line = node.start_mark.line + 1
        raise yaml.constructor.ConstructorError(
            None, None, f"{formatted(repeated[0])} is repeated in the mapping from line {line}"
        )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_config_file(name: str) -> dict[str, Any]:
    """Return the options of a YAML file, by field name.

    Raises:
        BadInput: the file is missing, not YAML, or not a mapping of option names.
    """
    text = read_text(user_path(name), f"--config {printable(name)}: no such file; check the path")
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2026-13-45
        raise BadInput(
            f"--config {name} is not valid YAML: {' '.join(str(error).split())}",
            code="cli.config-not-yaml",
        ) from None
    if not isinstance(values, dict):
        raise BadInput(
            f"--config {name} is not a mapping: it must set options by name, such as "
            "trained_length: 128",
            code="cli.config-not-mapping",
        )
    if invalid := [key for key in values if not isinstance(key, str)]:
        raise BadInput(
            f"--config {name}: the key {formatted(invalid[0])} is not an option name such as "
            "trained_length",
            code="cli.config-key",
        )
    names = [key.removeprefix("--").replace("-", "_") for key in values]
    if repeated := [key for number, key in enumerate(names) if key in names[:number]]:
        raise BadInput(
            f"--config {name} sets {repeated[0]} twice: set it once", code="cli.config-repeated"
        )
    return dict(zip(names, values.values(), strict=True))
