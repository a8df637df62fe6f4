"""Reads the rows of a Parquet file, some at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.rows import TableRow

ROWS_AT_ONCE = 1024


def rows_of_parquet(opened: Path | io.BytesIO, source: str, column: str) -> Iterator[TableRow]:
    """Yield the rows of a Parquet file with one column; with all columns if it is missing.

    Raises:
        BadInput: pyarrow is not installed, or the file is damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            f'reading {source} needs the pyarrow package: pip install "wordorder[data]"',
            code="text.pyarrow-missing",
        ) from None
    number = 0
    try:
        table = pyarrow.parquet.ParquetFile(opened, pre_buffer=False)
        names = table.schema_arrow.names
        # If the column is missing, the error lists the columns of the first row.
        for batch in table.iter_batches(
            ROWS_AT_ONCE, columns=[column] if column in names else None
        ):
            for values in batch.to_pylist():
                number += 1
                yield TableRow(values, f"{source}, row {number}")
    except UnicodeDecodeError:
        raise BadInput(
            f"{source} has text that is not UTF-8 in rows {number + 1} to "
            f"{number + ROWS_AT_ONCE}: write the file again, with its text decoded",
            code="text.parquet-not-utf8",
        ) from None
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not a fault of the contents
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{source} is not a complete Parquet file ({reason}): download it again",
            code="text.damaged-parquet",
        ) from None
