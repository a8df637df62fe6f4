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


class DatasetStream:
    """The documents of a dataset, one by one.

    Args:
        name: `NAME[:CONFIG][:SPLIT]`; the split defaults to `train`. A single part after the name
            is a split if it is one of `SPLITS`, otherwise a configuration.
        field: the column that holds the text.
        most_bytes: stop after this many UTF-8 bytes of text; None: read all of it.
        rows: number of rows to skip, which an earlier stream has read.
        empty: how many of the skipped rows had no text.
        documents: how many documents the earlier stream returned.
        size: the UTF-8 bytes of those documents.

    Raises:
        BadInput: `datasets` is not installed, or the dataset cannot be read.
    """

    def __init__(
        self,
        name: str,
        field: str,
        most_bytes: int | None = MOST_STREAMED_BYTES,
        *,
        rows: int = 0,
        empty: int = 0,
        documents: int = 0,
        size: int = 0,
    ) -> None:
        self.name, self.most_bytes = name, most_bytes
        self.documents, self.size = documents, size
        self.column = Column(field, f"hf:{name}", rows=rows, empty=empty)

    def __iter__(self) -> Iterator[Document]:
        if self._is_full:
            return
        rows, path = _open(self.name)
        if (before := self.column.rows) > 0:
            rows = rows.skip(before)
        for document in documents_of(_rows(rows, self.name, path, before), self.column):
            self.documents += 1
            self.size += len(document.text.encode())
            yield document
            if self._is_full:
                return
        if not self.documents:
            reason = "".join(f" ({note})" for note in self.column.notes)
            raise BadInput(
                f"hf:{self.name} is empty: it contains no text{reason}",
                code="text.empty-dataset",
            )

    @property
    def _is_full(self) -> bool:
        return self.most_bytes is not None and self.size >= self.most_bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on what was read and skipped, complete after the last document."""
        if not self._is_full:
            return self.column.notes
        only = (
            f"only the first {self.size / 1e6:,.0f} MB of hf:{self.name} were read, in "
            f"{counted(self.documents, 'document')}: --most-bytes sets how much is read"
        )
        return (only, *self.column.notes)


def stream_dataset(
    name: str, field: str, most_bytes: int = MOST_STREAMED_BYTES
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Read the first documents of a dataset, as `DatasetStream` does; return them and notes."""
    stream = DatasetStream(name, field, most_bytes)
    return tuple(stream), stream.notes


def _rows(rows: Any, name: str, path: str, before: int = 0) -> Iterator[TableRow]:
    number = before
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
