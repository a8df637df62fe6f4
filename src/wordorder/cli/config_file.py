"""Reads a --config file: options by name, in YAML.

Two faults that PyYAML accepts silently raise an error: a repeated key, and a file without a
mapping. Numbers are those of YAML 1.2: PyYAML reads 010 as 8, and 190:20:30 in base 60.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from wordorder.errors import BadInput
from wordorder.settings import formatted
from wordorder.text.user_text import printable, read_text, user_path

INTEGER, FLOAT, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "merge"))
# An underscore between digits is of YAML 1.1, and means nothing else.
INTEGERS = re.compile(r"[-+]?([0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$")
FLOATS = re.compile(
    r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
BASES = {"0o": 8, "0x": 16, "0b": 2}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the numbers of YAML 1.2 and an error for repeated keys."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in known if tag not in (INTEGER, FLOAT)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _MergeKey(Exception):
    """Raised with the line of a merge key."""


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    return int(text, BASES.get(text.lstrip("+-")[:2], 10))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    for key, _ in node.value:
        if key.tag == MERGE:
            raise _MergeKey(key.start_mark.line + 1)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = [key for number, key in enumerate(keys) if key in keys[:number]]
    if repeated:
        line = node.start_mark.line + 1
        raise yaml.constructor.ConstructorError(
            None, None, f"{formatted(repeated[0])} is repeated in the mapping from line {line}"
        )
    return loader.construct_mapping(node, deep=True)


_Loader.add_implicit_resolver(INTEGER, INTEGERS, list("-+0123456789"))
_Loader.add_implicit_resolver(FLOAT, FLOATS, list("-+.0123456789"))
_Loader.add_constructor(INTEGER, _integer)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_config_file(name: str) -> dict[str, Any]:
    """Return the options of a YAML file, by field name.

    Raises:
        BadInput: the file is missing, not YAML, or not a mapping of option names.
    """
    text = read_text(user_path(name), f"--config {printable(name)}: no such file; check the path")
    try:
        values = yaml.load(text, _Loader)
    except _MergeKey as error:
        raise BadInput(
            f"--config {name}, line {error}: the merge key << has no use in a file of options, "
            "which is one mapping: write the options themselves",
            code="cli.config-merge-key",
        ) from None
    # Values whose tag does not fit raise all of these, such as the date 2026-13-45 or !!bool maybe.
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
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
