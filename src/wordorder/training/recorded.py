"""Reads `config.json`, the record of a run, which a user may have edited."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.settings import formatted

PARTS = {"model": dict, "training": dict, "machine": dict, "data": dict, "plan": dict, "steps": int}


def no_run_folder(folder: Path) -> BadInput:
    """Return the error for a run folder that does not exist."""
    return BadInput(
        f"no run folder {folder}: train a run with wordorder train --out {folder}",
        code="training.no-run-folder",
    )


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Add the path of a file to errors about its contents.

    Raises:
        BadInput: the contents are invalid.
    """
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}", code="training.invalid-record") from None
    except KeyError as error:
        raise BadInput(
            f"{path} is damaged: {error} is missing; restore the file",
            code="training.incomplete-record",
        ) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{path} is damaged: {error}; restore the file", code="training.damaged-record"
        ) from None


def read_recorded(folder: Path, *needed: str) -> dict[str, Any]:
    """Return the contents of `config.json` of a run, with checked types.

    Args:
        needed: names of parts that must exist.

    Raises:
        BadInput: the file is damaged.
    """
    path = folder / "config.json"
    with naming_damage(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
        for name in needed:
            if name not in record:
                raise KeyError(name)
        for name, kind in PARTS.items():
            if name in record and type(record[name]) is not kind:
                expected = "a JSON object" if kind is dict else "a whole number"
                raise ValueError(f"{name} is {formatted(record[name])}, not {expected}")
        if "data" in needed and not isinstance(record["data"].get("content_hash"), str):
            raise KeyError("content_hash")
    return record
