"""Reads `config.json`, the record of a run, which a user may have edited."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.numerals import first_of
from wordorder.settings import formatted

EXPORTS = {
    ".onnx": "onnxruntime reads it, as its README.md shows",
    ".gguf": "llama.cpp reads it, as wordorder generate --engine llama.cpp does",
}
MOST_NAMED = 6  # runs in one message
# Files that identify a run folder: an unrelated folder has none of them.
OF_A_RUN = ("config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "training")
PARTS = {"model": dict, "training": dict, "machine": dict, "data": dict, "plan": dict, "steps": int}


def check_run_folder(folder: Path) -> None:
    """Check that a folder exists, and is not a model for another program.

    Raises:
        BadInput: it does not exist, or is such a model; the message says how to use that.
    """
    if folder.is_file():
        raise BadInput(
            f"{folder} is a file: give the run folder that wordorder train wrote",
            code="training.run-is-a-file",
        )
    if not folder.is_dir():
        beside = [p.parent.name for p in folder.parent.glob("*/config.json")]
        near = difflib.get_close_matches(folder.name, beside, n=1)
        hint = f"train a run with wordorder train --out {shlex.quote(str(folder))}"
        if near:
            hint = f"did you mean {folder.with_name(near[0])}?"
        raise BadInput(f"no run folder {folder}: {hint}", code="training.no-run-folder")
    if (folder / "config.json").exists():
        _check_not_of_transformers(folder)
        return
    for suffix, use in EXPORTS.items():
        if any(folder.glob(f"*{suffix}")):
            raise BadInput(
                f"{folder} is a model exported to {suffix}, not a run: {use}, or give the run that "
                "it was exported from",
                code="training.exported-model",
            )


def check_has_run(folder: Path) -> None:
    """Check that a folder with a missing file is still recognisable as a run folder.

    Raises:
        BadInput: it holds several runs, or no file of a run.
    """
    runs = sorted(path.parent for path in folder.glob("runs/*/model.safetensors"))
    if runs:
        kind = "a comparison" if (folder / "comparison.json").exists() else "a folder of runs"
        raise BadInput(
            f"{folder} is {kind}, not a run: give one of its runs, {first_of(runs, MOST_NAMED)}",
            code="training.several-runs",
        )
    if not any((folder / name).exists() for name in OF_A_RUN):
        raise BadInput(
            f"{folder} is not a run: it has none of a run's files, such as config.json; give the "
            "folder that wordorder train wrote (by default in runs, otherwise --out)",
            code="training.not-a-run",
        )


def _check_not_of_transformers(folder: Path) -> None:
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return
    if not isinstance(record, dict) or "model_type" not in record or "model" in record:
        return
    use = f"make a run of it with wordorder import {shlex.quote(str(folder))}"
    if record["model_type"] == "wordorder":
        use = "give the run that it was exported from"
    raise BadInput(
        f"{folder} is a model of transformers (Hugging Face), not a run: {use}",
        code="training.transformers-model",
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
