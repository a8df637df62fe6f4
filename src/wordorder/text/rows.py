"""Tables as rows: .csv, .tsv, .json, .jsonl and .parquet, and the text of one column.

Whatever the format, a row is its values by column. A row without text (null, or nothing but
whitespace) is passed over and counted; a missing column, and a value that is no text, are refused
with the place and what to do.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from wordorder.errors import BadInput
from wordorder.numerals import counted
from wordorder.text.corpus import Document
from wordorder.text.user_text import is_blank

LONGEST_FIELD = (1 << 31) - 1  # characters; the csv module's own limit is 131,072
QUOTED = re.compile(r'"[^"]*"')
NAMED_DELIMITER = re.compile(r'"?sep=(.)"?\n')  # a first line that Excel writes and reads
CONTENT = ("content", "value", "text")  # where lists of chat messages keep what was said


class TableRow(NamedTuple):
    """Values by column, or what else stands where a row should; and where it stands."""

    values: Any
    where: str


@dataclass
class Column:
    """The text of one column, and how many rows were passed over.

    Args:
        name: of the column.
        source: of the rows, for the note.
        called: what a message calls a column: `column`, or `field` in JSON.
    """

    name: str
    source: str
    called: str = "column"
    rows: int = 0
    empty: int = 0

    def documents(self, rows: Iterable[TableRow]) -> Iterator[Document]:
        """Yield the text of each row that has some.

        Raises:
            BadInput: something other than a row, a row without the column, or a value that is not
                text.
        """
        for row in rows:
            self.rows += 1
            text = self._text(row)
            if text is None or is_blank(text):
                self.empty += 1
            else:
                yield Document(text, row.where)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over, in a sentence; none where nothing was."""
        if not self.empty:
            return ()
        verb, was = ("holds", "was") if self.empty == 1 else ("hold", "were")
        return (
            f"{self.empty:,} of {self.rows:,} rows of {self.source} {verb} no text in "
            f"{self.called} {self.name!r} (null or empty) and {was} left out",
        )

    def _text(self, row: TableRow) -> str | None:
        values, where = row
        if isinstance(values, str):
            values = {self.name: values}
        if not isinstance(values, Mapping):
            raise BadInput(
                f"{where}: a JSON {type(values).__name__}, not an object with a field {self.name!r}"
            )
        if self.name not in values:
            raise BadInput(self._missing(values, where))
        text = values[self.name]
        if text is None or text != text:  # NaN, as pandas writes what is missing
            return None
        if not isinstance(text, str):
            raise BadInput(self._no_text(text, where))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{where}: {self.called} {self.name!r} holds half a surrogate pair at character "
                f"{error.start}, which is not text in UTF-8: repair or remove this line"
            ) from None
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _missing(self, values: Mapping[str, Any], where: str) -> str:
        likely = [name for name, value in values.items() if _is_prose(value)]
        such = f" {shlex.quote(likely[0])}" if len(likely) == 1 else ""
        remedy = f"name one with --field{such}"
        if not any(value is None or isinstance(value, str) for value in values.values()):
            remedy = f"none of them is text; give each object its text in a field {self.name!r}"
        elif self.called == "column" and any(map(_is_no_name, values)):
            remedy = f"if that is a row, put a line of names before it, or else {remedy}"
        # The columns of a table are those of all its rows.
        where = self.source if self.called == "column" else where
        names = f"its {self.called}s are {listed(values)}"
        return f"{where}: no {self.called} {self.name!r}; {names}: {remedy}"

    def _no_text(self, value: Any, where: str) -> str:
        key = _content_of(value)
        what = type(value).__name__ if key is None else "a list of messages"
        told = f"{where}: {self.called} {self.name!r} is {what}, not text"
        path = where.rpartition(", line ")[0]
        if key is not None and path.endswith(".jsonl"):
            return f"{told}: make one text of its messages with {self._joining(path, key)}"
        if isinstance(value, list):
            return f"{told}: join its parts into one text, or name another with --field"
        return f"{told}: write it as text, or name another with --field"

    def _joining(self, path: str, key: str) -> str:
        """Return a command that writes a file with a text for each list of messages."""
        key, name = json.dumps(key), json.dumps(self.name)
        program = (
            'import json, sys; [print(json.dumps({"text": "\\n".join(str(m.get('
            f'{key}) or "") for m in json.loads(line)[{name}] or [])}})) '
            "for line in sys.stdin if line.strip()]"
        )
        out = f"{path.removesuffix('.jsonl')}-text.jsonl"
        return f"python3 -c {shlex.quote(program)} < {shlex.quote(path)} > {shlex.quote(out)}"


def listed(names: Iterable[Any]) -> str:
    """Return names as a message lists them."""
    return ", ".join(repr(str(name)) for name in names) or "none"


def rows_of_jsonl(text: str, source: str) -> Iterator[TableRow]:
    """Yield a row for each line that holds something."""
    if text.lstrip().startswith("[") and _is_json(text):
        raise BadInput(
            f"{source} is one JSON array, not one object a line: let its name end in .json"
        )
    # Not splitlines(): JSON strings may hold U+2028 as it is.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            yield TableRow(json.loads(line), where)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{where}, column {error.colno}: not JSON ({error.msg}); "
                "a .jsonl file has one JSON object a line"
            ) from None
        except (RecursionError, ValueError) as error:
            raise BadInput(f"{where}: {_unreadable(error)}") from None


def rows_of_json(text: str, source: str, column: str) -> Iterator[TableRow]:
    """Yield the rows of an array, of the one array that an object holds, or of an object's column.

    Rows are objects or plain texts. A file of one object a line is read as .jsonl is. A column is
    an array, or an object by row, as pandas writes it.
    """
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from rows_of_jsonl(text, source)
            return
        raise BadInput(
            f"{source}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})"
        ) from None
    except (RecursionError, ValueError) as error:
        raise BadInput(f"{source}: {_unreadable(error)}") from None
    if isinstance(whole, dict) and isinstance(values := whole.get(column), list | dict):
        values = values.values() if isinstance(values, dict) else values
        whole = [{column: value} for value in values]
    elif isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        whole = lists[0] if len(lists) == 1 and column not in whole else [whole]
    if not isinstance(whole, list):
        raise BadInput(
            f"{source} holds a JSON {type(whole).__name__}: "
            f"give an array of objects with a field {column!r}"
        )
    for number, values in enumerate(whole, start=1):
        yield TableRow(values, f"{source}, row {number}")


def rows_of_csv(text: str, source: str, delimiter: str) -> Iterator[TableRow]:
    """Yield the rows of a table whose first line names its columns.

    A field in double quotes may hold delimiters, line ends and doubled quotes. A row that is
    shorter than the first line has null in its last columns.

    Args:
        delimiter: what parts fields; a first line without a comma may have another instead, or
            name it as Excel does.
    """
    first = QUOTED.sub("", text.lstrip("\n").partition("\n")[0])
    if named := NAMED_DELIMITER.match(text):
        delimiter, text = named[1], text[named.end() - 1 :]
    elif delimiter == "," and "," not in first:
        delimiter = next((mark for mark in ";\t|" if mark in first), delimiter)
    if delimiter == "\t" and not _quotes_close(text, delimiter):
        yield from _rows(text, source, delimiter, csv.QUOTE_NONE)
    else:
        yield from _rows(text, source, delimiter, csv.QUOTE_MINIMAL)


def _rows(text: str, source: str, delimiter: str, quoting: int) -> Iterator[TableRow]:
    names: list[str] | None = None
    begin = 0
    reader = _reader(text, delimiter, quoting)
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        for fields in reader:
            where, begin = f"{source}, line {begin + 1}", reader.line_num
            if not fields:
                continue
            if names is None:
                names = _names(fields, where)
                continue
            if any(field.strip() for field in fields[len(names) :]):
                raise BadInput(
                    f"{where}: {len(fields)} fields, where the first line names "
                    f"{counted(len(names), 'column')}: "
                    "put a field that holds a delimiter in double quotes"
                )
            fields += [""] * (len(names) - len(fields))
            yield TableRow({n: f or None for n, f in zip(names, fields, strict=False)}, where)
    except csv.Error as error:
        raise BadInput(
            f"{source}, line {begin + 1}: not CSV ({error}): a double quote that opens a field "
            "must close it, and be doubled inside it"
        ) from None
    finally:
        csv.field_size_limit(before)


def _reader(text: str, delimiter: str, quoting: int) -> Any:
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=quoting,  # type: ignore[arg-type]
        skipinitialspace=delimiter != "\t",
        strict=True,
    )


def _names(fields: list[str], where: str) -> list[str]:
    names = [field.strip() for field in fields]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{where}: two columns are called {twice!r}: give each a name of its own")
    return names


def _quotes_close(text: str, delimiter: str) -> bool:
    """Return whether double quotes enclose fields, which not every writer of .tsv means by them."""
    if '"' not in text:
        return True
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        for _ in _reader(text, delimiter, csv.QUOTE_MINIMAL):
            pass
        return True
    except csv.Error:
        return False
    finally:
        csv.field_size_limit(before)


def rows_of_parquet(data: bytes, source: str, column: str) -> Iterator[TableRow]:
    """Yield the rows of a Parquet file, of the one column where it has it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            f'{source} needs pyarrow to be read: pip install "wordorder[data]"'
        ) from None
    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        names = table.schema_arrow.names
        number = 0
        # Where the column is missing, the first row of all of them shows which it may be.
        for batch in table.iter_batches(columns=[column] if column in names else None):
            for values in batch.to_pylist():
                number += 1
                yield TableRow(values, f"{source}, row {number}")
    except pyarrow.ArrowException as error:
        what = str(error).splitlines()[0]
        raise BadInput(f"{source} is not a whole Parquet file ({what}): fetch it again") from None


def _is_prose(value: Any) -> bool:
    """Whether a value may be what someone wants to train on: text, and no number."""
    return isinstance(value, str) and bool(re.search(r"[^\W\d_]", value))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
        return True
    except (RecursionError, ValueError):
        return False


def _is_no_name(name: str) -> bool:
    """Whether what stands in place of a column's name is a value: a number, a sentence."""
    return name.count(" ") > 2 or bool(name and not _is_prose(name))


def _content_of(value: Any) -> str | None:
    """Return where the messages of a chat keep what was said; None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(m, dict) for m in value):
        return None
    return next((key for key in CONTENT if all(key in message for message in value)), None)


def _unreadable(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "JSON nested too deep to read"
    return f"not JSON that can be read ({error})"
