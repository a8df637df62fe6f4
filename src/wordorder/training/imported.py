"""A run folder whose model was trained elsewhere: its record, and its weights as they arrive."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from wordorder.atomic import cannot_write, flush, unfinished_folder, write_text
from wordorder.folders import check_free, replacing_contents
from wordorder.locks import held
from wordorder.model import ModelConfig
from wordorder.text.tokenizer import Tokenizer
from wordorder.training.config import TrainConfig
from wordorder.training.run import RUN
from wordorder.training.signature import signed
from wordorder.version import __version__

FLOAT_BYTES = 4


def write_record(
    folder: Path,
    model: ModelConfig,
    tokenizer: Tokenizer,
    entry: Mapping[str, Any],
    *,
    command: str | None,
    chat: Mapping[str, Any] | None = None,
) -> None:
    """Write `config.json` and the model card of an imported run.

    Args:
        entry: what was imported, as `import` in the record.
        command: the command line; None: imported from Python.
        chat: the record of the tokenizer's chat template; None: it has none.
    """
    training = TrainConfig(
        model=model,
        data=("unknown",),
        objective="next-token" if model.causal else "masked-token",
    )
    record = {
        "wordorder": __version__,
        "command": command,
        "import": dict(entry),
        "model": model.resolved.to_dict(),
        "training": {**training.to_dict(), "tokenizer": "imported"},
        "machine": {"dtype": "float32"},
        "steps": 0,
        "data": {
            "name": "unknown",
            "content_hash": "",
            "tokenizer": tokenizer.kind,
            **({"chat": dict(chat)} if chat else {}),
        },
    }
    write_text(folder / "config.json", json.dumps(record, indent=1) + "\n")
    card = (
        f"# {Path(str(entry['from'])).name}\n\nImported from `{entry['from']}` "
        f"({entry['class']}) by wordorder {__version__}: position `{model.position}`, sequences "
        f"of {model.trained_length:,} tokens.\n"
    )
    write_text(folder / "README.md", signed(card))


def write_weights(
    path: Path, shapes: Mapping[str, tuple[int, ...]], weights: Iterable[tuple[str, Tensor]]
) -> int:
    """Write a safetensors file of float32 tensors in any order, one in memory at a time.

    Args:
        shapes: of all tensors, by name.
        weights: each of them once.

    Returns:
        The number of bytes of the tensors.
    """
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + FLOAT_BYTES * _count(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)  # so that tensors are aligned
    missing = dict(shapes)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        for name, tensor in weights:
            if tuple(tensor.shape) != missing.pop(name):
                raise AssertionError(f"{name} has another shape")
            file.seek(8 + len(text) + header[name]["data_offsets"][0])
            file.write(tensor.contiguous().numpy().data)
    if missing:
        raise AssertionError(f"no values for {', '.join(missing)}")
    return end


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


@contextmanager
def new_run(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder whose files become the run at the end, unless an error occurs.

    Raises:
        BadInput: the folder holds a run and `overwrite` is not set, holds other files, or cannot
            be written.
        Refused: another process is writing to the folder.
    """
    remedy = "replace it with --overwrite, or choose another --out"
    with held(folder):
        check_free(folder, RUN, overwrite=overwrite, remedy=remedy)
        try:
            with unfinished_folder(folder) as unfinished:
                yield unfinished
                with replacing_contents(folder, RUN):
                    # The record first: it identifies the other files as ours.
                    for name in ("config.json", *(path.name for path in unfinished.iterdir())):
                        if (unfinished / name).exists():
                            flush(unfinished / name)
                            (unfinished / name).rename(folder / name)
                    flush(folder)
        except OSError as error:
            raise cannot_write(folder, error, "choose another --out") from None
