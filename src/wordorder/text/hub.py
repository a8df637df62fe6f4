"""Streams a Hugging Face dataset, `hf:NAME[:CONFIG][:SPLIT]`, of any size.

The prefix is required: otherwise a mistyped path would become a request to a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.chats import documents_of
from wordorder.text.corpus import Document
from wordorder.text.rows import Column, TableRow

MOST_STREAMED_BYTES = 200_000_000

SPLITS = ("train", "validation", "valid", "dev", "test")


def stream_dataset(
    name: str, field: str, most_bytes: int = MOST_STREAMED_BYTES
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Read the first documents of a dataset; return documents and notes.

    Args:
        name: `NAME[:CONFIG][:SPLIT]`; the split defaults to `train`. A single part after the name
            is a split if it is one of `SPLITS`, otherwise a configuration.
        field: the column that holds the text.
        most_bytes: stop after this many UTF-8 bytes of text.

    Raises:
        BadInput: `datasets` is not installed, the dataset cannot be read, or it has no text.
    """
    rows, path = _open(name)
    column = Column(field, f"hf:{name}")
    documents: list[Document] = []
    size = 0
    for document in documents_of(_rows(rows, name, path), column):
        documents.append(document)
        size += len(document.text.encode())
        if size >= most_bytes:
            only = (
                f"only the first {size / 1e6:,.0f} MB of hf:{name} were read, in "
                f"{counted(len(documents), 'document')}: --most-bytes sets how much is read"
            )
            return tuple(documents), (only, *column.notes)
    if not documents:
        reason = "".join(f" ({note})" for note in column.notes)
        raise BadInput(
            f"hf:{name} is empty: it contains no text to train on{reason}",
            code="text.empty-dataset",
        )
    return tuple(documents), column.notes


def _rows(rows: Any, name: str, path: str) -> Iterator[TableRow]:
    number = 0
    remaining = iter(rows)
    while True:
        try:
            values = next(remaining)
        except StopIteration:
            return
        except Exception as error:  # the library raises a dozen kinds, as in _open
            raise BadInput(
                f"cannot read hf:{name} after row {number}: {' '.join(str(error).split())[:300]}",
                code="text.dataset-row",
            ) from None
        number += 1
        yield TableRow(values, f"{path}, row {number}")


def _open(name: str) -> tuple[Any, str]:
    try:
        import datasets
    except ImportError:
        raise BadInput(
            f'reading hf:{name} needs the datasets package: pip install "wordorder[data]"',
            code="text.datasets-missing",
        ) from None
    path, *rest = name.split(":")
    if len(rest) > 2:
        raise BadInput(
            f"hf:{name} has too many parts: write hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT",
            code="text.dataset-name",
        )
    split = rest.pop() if len(rest) == 2 or (rest and rest[0] in SPLITS) else "train"
    config = rest[0] if rest else None
    try:
        return datasets.load_dataset(path, config, split=split, streaming=True), path
    except Exception as error:  # the library raises a dozen kinds: wrong name, split, network
        raise BadInput(
            f"cannot open hf:{name}: {' '.join(str(error).split())[:300]}",
            code="text.dataset-not-opened",
        ) from None
