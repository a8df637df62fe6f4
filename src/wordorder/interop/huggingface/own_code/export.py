"""Writes the modelling file and what it imports into an export's folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wordorder.model import ModelConfig

from .flatten import LICENSE
from .sources import requirements, source_files

FILES = (
    "configuration_wordorder.py",
    "modelling_wordorder.py",
    "wordorder_*.py",
    "own_*.py",
    LICENSE.name,
)


def write_code(folder: Path, config: ModelConfig) -> tuple[str, ...]:
    """Write the source files of a model; return what their user must know.

    Args:
        folder: temporary and renamed as a whole, so files need not be written atomically.

    Raises:
        BadInput: the file of a user's embedding has imports that cannot come along.
    """
    for name, text in source_files(config).items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copyfile(LICENSE, folder / LICENSE.name)
    packages = requirements(config)
    return (f"the code needs the packages {', '.join(packages)}",) if packages else ()


@contextmanager
def module_cache() -> Iterator[None]:
    """Let transformers copy a modelling file into a folder that is removed afterwards.

    transformers copies remote code into the user's cache and imports it from there; the folder
    that is compared has a temporary name, under which nothing will load it again.
    """
    remote: Any = import_module("transformers.dynamic_module_utils")

    users = remote.HF_MODULES_CACHE
    imported = set(sys.modules)
    with TemporaryDirectory(prefix="wordorder-") as folder:
        remote.HF_MODULES_CACHE = folder
        path = list(sys.path)
        try:
            yield
        finally:
            remote.HF_MODULES_CACHE = users
            sys.path[:] = path
            for name in set(sys.modules) - imported:
                if name.partition(".")[0] == remote.TRANSFORMERS_DYNAMIC_MODULE_NAME:
                    del sys.modules[name]
