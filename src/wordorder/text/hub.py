"""A Hugging Face dataset by name, streamed so that its size is not a matter.

Written `hf:NAME[:CONFIG][:SPLIT]`. The prefix is asked for on purpose: without it a misspelt path
would become a request to somebody's server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.corpus import Document
from wordorder.text.rows import Column, TableRow

# A dataset may have terabytes; this much is days of training for the models of this package.
MOST_STREAMED_BYTES = 200_000_000

SPLITS = ("train", "validation", "valid", "dev", "test")


def stream_dataset(
    name: str, field: str, most_bytes: int = MOST_STREAMED_BYTES
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Read a dataset's documents from its start; returns documents and notes.

    Args:
        name: `NAME[:CONFIG][:SPLIT]`; the split is `train` unless given, and one part alone is a
            split where it has the name of one.
        field: the column that holds the text.
        most_bytes: where to stop reading.
    """
    rows, path = _open(name)
    column = Column(field, f"hf:{name}")
    documents: list[Document] = []
    size = 0
    for document in column.documents(_rows(rows, name, path)):
        documents.append(document)
        size += len(document.text.encode())
        if size >= most_bytes:
            only = f"only the first {most_bytes / 1e6:.0f} MB of hf:{name} were read"
            return tuple(documents), (only, *column.notes)
    if not documents:
        why = "".join(f" ({note})" for note in column.notes)
        raise BadInput(f"hf:{name} is empty: it holds no text to learn from{why}")
    return tuple(documents), column.notes


def _rows(rows: Any, name: str, path: str) -> Iterator[TableRow]:
    number = 0
    each = iter(rows)
    while True:
        try:
            values = next(each)
        except StopIteration:
            return
        except Exception as error:  # as many kinds as for opening it
            raise BadInput(
                f"hf:{name} cannot be read after row {number}: {' '.join(str(error).split())[:300]}"
            ) from None
        number += 1
        yield TableRow(values, f"{path}, row {number}")


def _open(name: str) -> tuple[Any, str]:
    try:
        import datasets
    except ImportError:
        raise BadInput(
            f'hf:{name} needs datasets to be read: pip install "wordorder[data]"'
        ) from None
    path, *rest = name.split(":")
    if len(rest) > 2:
        raise BadInput(
            f"hf:{name} has too many parts: write hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT"
        )
    split = rest.pop() if len(rest) == 2 or (rest and rest[0] in SPLITS) else "train"
    config = rest[0] if rest else None
    try:
        return datasets.load_dataset(path, config, split=split, streaming=True), path
    except Exception as error:  # the library raises a dozen kinds for a name, a split, a network
        raise BadInput(
            f"hf:{name} cannot be opened: {' '.join(str(error).split())[:300]}"
        ) from None
