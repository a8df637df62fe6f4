"""BLiMP as a ready task of lm-evaluation-harness, from the JSON files of its repository.

The harness' own task downloads them from the Hugging Face Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from wordorder.atomic import write_text
from wordorder.errors import BadInput

NAME = "blimp"
SUFFIXES = (".jsonl", ".jsonl.gz")


@cache
def _template() -> dict[str, Any]:
    text = files(__package__).joinpath("blimp.yaml").read_text(encoding="utf-8")
    template: dict[str, Any] = yaml.safe_load(text)
    return template


def phenomena() -> dict[str, list[str]]:
    """Return the 12 phenomena with their paradigms, 67 in all."""
    table: dict[str, list[str]] = _template()["phenomena"]
    return table


def _paradigms() -> list[str]:
    return [paradigm for paradigms in phenomena().values() for paradigm in paradigms]


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of BLiMP in a folder by their paradigm."""
    return {
        paradigm: path
        for paradigm in _paradigms()
        for suffix in SUFFIXES
        if (path := folder / f"{paradigm}{suffix}").is_file()
    }


def check_complete(name: str, folder: Path) -> None:
    """Check that a folder has every file of a group of BLiMP's, by the name of its task.

    Raises:
        BadInput: it has some, but not all.
    """
    present = files_of(folder)
    groups = {NAME: _paradigms()}
    groups |= {f"{NAME}_{name}": paradigms for name, paradigms in phenomena().items()}
    missing = [paradigm for paradigm in groups.get(name, ()) if paradigm not in present]
    if present and missing:
        raise BadInput(
            f"{folder} lacks {len(missing)} of the {len(groups[name])} files of {name}, such as "
            f"{missing[0]}{SUFFIXES[0]}: add them, or score one paradigm with --tasks "
            f"{NAME}_{next(iter(present))}",
            code="interop.blimp-incomplete",
        )


def write_tasks(data: Path, out: Path, cache_folder: Path) -> None:
    """Write a task file of the harness for each file of BLiMP, and groups of those.

    Args:
        data: the folder with the files; nothing is copied.
        out: a folder for the task files, which the harness calls an include path.
        cache_folder: where the datasets library may put its Arrow files.
    """
    for name, config in _configurations(files_of(data), cache_folder):
        write_text(out / f"{name}.yaml", yaml.safe_dump(config, sort_keys=False))


def _configurations(
    paths: dict[str, Path], cache_folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    template = _template()
    for paradigm, path in paths.items():
        name = f"{NAME}_{paradigm}"
        source = {
            "data_files": {"train": str(path.resolve())},
            "cache_dir": str(cache_folder.resolve()),
        }
        yield name, {"task": name, **template["paradigm"], "dataset_kwargs": source}
    complete = []
    for phenomenon, paradigms in phenomena().items():
        if set(paradigms) <= set(paths):
            name = f"{NAME}_{phenomenon}"
            complete.append(name)
            tasks = [f"{NAME}_{paradigm}" for paradigm in paradigms]
            yield name, {"group": name, "task": tasks, **template["group"]}
    if len(complete) == len(phenomena()):
        yield NAME, {"group": NAME, "task": complete, **template["group"]}
