"""Reading a run's record, `config.json`, which someone may have edited since it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.settings import formatted

PARTS = {"model": dict, "training": dict, "machine": dict, "data": dict, "plan": dict, "steps": int}


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Have whatever is raised over the contents of a file say which file it is.

    Raises:
        BadInput: the contents are not what was written.
    """
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except KeyError as error:
        raise BadInput(f"{path} is damaged: {error} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is damaged: {error}") from None


def read_recorded(folder: Path, *needed: str) -> dict[str, Any]:
    """Return what `config.json` of a run says, each part of its type.

    Args:
        needed: parts that must be there.

    Raises:
        BadInput: it is damaged.
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
                what = "a JSON object" if kind is dict else "a whole number"
                raise ValueError(f"{name} is {formatted(record[name])} and not {what}")
        if "data" in needed and not isinstance(record["data"].get("content_hash"), str):
            raise KeyError("content_hash")
    return record
