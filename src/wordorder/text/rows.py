"""Reads the text column of tables: .csv, .tsv, .json and .jsonl; .parquet is in parquet.py.

In every format a row is a mapping from column to value. Rows without text (null or whitespace) are
skipped and counted. A missing column, or a value that is not text, raises an error that names the
row and a remedy.
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
from wordorder.text.chat_forms import FORM_NAMES
from wordorder.text.corpus import Document
from wordorder.text.json_text import parse_json
from wordorder.text.user_text import is_blank

LONGEST_FIELD = (1 << 31) - 1  # characters; the csv module's own limit is 131,072
QUOTED = re.compile(r'"[^"]*"')
NAMED_DELIMITER = re.compile(r'"?sep=(.)"?\n')  # Excel's first line
CONTENT = ("content", "value", "text")  # keys of the text in lists of chat messages


class TableRow(NamedTuple):
    """One row of a table.

    Args:
        values: values by column; any other JSON value if the row is malformed.
        where: file and line, for messages.
    """

    values: Any
    where: str


@dataclass
class Column:
    """The text column of a table; counts the rows without text.

    Args:
        name: the column.
        source: the table, for messages.
        noun: `column`, or `field` in JSON, for messages.
    """

    name: str
    source: str
    noun: str = "column"
    rows: int = 0
    empty: int = 0

    def documents(self, rows: Iterable[TableRow]) -> Iterator[Document]:
        """Yield a document for each row with text.

        Raises:
            BadInput: a malformed row, a row without the column, or a value that is not text.
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
        """A sentence about skipped rows; empty if there are none."""
        if not self.empty:
            return ()
        verb, was = ("has", "was") if self.empty == 1 else ("have", "were")
        return (
            f"{self.empty:,} of {self.rows:,} rows of {self.source} {verb} no text in "
            f"{self.noun} {self.name!r} (null or empty) and {was} skipped",
        )

    def _text(self, row: TableRow) -> str | None:
        values, where = row
        if isinstance(values, str):
            values = {self.name: values}
        if not isinstance(values, Mapping):
            raise BadInput(
                f"{where} is a JSON {type(values).__name__}: it must be an object with a field "
                f"{self.name!r}",
                code="text.row-not-object",
            )
        if self.name not in values:
            raise self._missing(values, where)
        text = values[self.name]
        if text is None or text != text:  # pandas writes missing values as NaN
            return None
        if not isinstance(text, str):
            raise self._not_text(text, where)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{where}: {self.noun} {self.name!r} has a lone surrogate at character "
                f"{error.start}, which cannot be encoded in UTF-8: repair or remove this line",
                code="text.row-surrogate",
            ) from None
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _missing(self, values: Mapping[str, Any], where: str) -> BadInput:
        """Return the error for a row without the column."""
        likely = [name for name, value in values.items() if _is_prose(value)]
        candidate = f" {shlex.quote(likely[0])}" if len(likely) == 1 else ""
        remedy = f"name the text {self.noun} with --field{candidate}"
        if not any(value is None or isinstance(value, str) for value in values.values()):
            remedy = f"none of them is text; give each object its text in a field {self.name!r}"
        elif self.noun == "column" and any(map(_is_value, values)):
            remedy = f"if that is a row, add a line of column names before it, otherwise {remedy}"
        # All rows of a table have the same columns, so no line is named.
        where = self.source if self.noun == "column" else where
        return BadInput(
            f"{where} has no {self.noun} {self.name!r}; its {self.noun}s are {listed(values)}: "
            f"{remedy}; conversations have {FORM_NAMES}",
            code="text.missing-column",
        )

    def _not_text(self, value: Any, where: str) -> BadInput:
        """Return the error for a value that is not text."""
        key = _content_of(value)
        kind = type(value).__name__ if key is None else "a list of messages"
        path = where.rpartition(", line ")[0]
        remedy = "write it as text, or name another with --field"
        if isinstance(value, list):
            remedy = "join its parts into one text, or name another with --field"
        if key is not None and path.endswith(".jsonl"):
            remedy = f"join its messages into one text with {self._joining(path, key)}"
        return BadInput(
            f"{where}: {self.noun} {self.name!r} is {kind}, not text: {remedy}",
            code="text.value-not-text",
        )

    def _joining(self, path: str, key: str) -> str:
        """Return a shell command that joins the messages of each line into one text."""
        key, name = json.dumps(key), json.dumps(self.name)
        program = (
            'import json, sys; [print(json.dumps({"text": "\\n".join(str(m.get('
            f'{key}) or "") for m in json.loads(line)[{name}] or [])}})) '
            "for line in sys.stdin if line.strip()]"
        )
        out = f"{path.removesuffix('.jsonl')}-text.jsonl"
        return f"python3 -c {shlex.quote(program)} < {shlex.quote(path)} > {shlex.quote(out)}"


def listed(names: Iterable[Any]) -> str:
    """Return names in quotes, separated by commas."""
    return ", ".join(repr(str(name)) for name in names) or "none"


def check_not_array(text: str, source: str) -> None:
    """Raise BadInput if a .jsonl file is one JSON array."""
    if text.lstrip().startswith("[") and _is_json(text):
        raise BadInput(
            f"{source} is one JSON array, not one object per line: rename it to end in .json",
            code="text.jsonl-is-array",
        )


def rows_of_jsonl(lines: Iterable[str], source: str) -> Iterator[TableRow]:
    """Yield a row for each line that is not empty.

    Args:
        lines: split at newlines only, because JSON strings may hold U+2028 as it is.

    Raises:
        BadInput: a line that is not JSON.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            yield TableRow(parse_json(line, source, number), where)
        except BadInput:  # is a ValueError
            raise
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{where}, column {error.colno} is not JSON ({error.msg}): a .jsonl file must have "
                "one JSON object per line",
                code="text.jsonl-line",
            ) from None
        except (RecursionError, ValueError) as error:
            raise _unreadable(where, error) from None


def rows_of_json(text: str, source: str, column: str) -> Iterator[TableRow]:
    """Yield the rows of a JSON file.

    The file holds an array of rows, an object with one such array, or an object of columns. A row
    is an object, or text. A column is an array, or an object by row index, as pandas writes it. A
    file with one object per line is read as .jsonl.

    Raises:
        BadInput: the file is not JSON, or has none of these forms.
    """
    try:
        whole = parse_json(text, source)
    except BadInput:  # is a ValueError
        raise
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            check_not_array(text, source)
            yield from rows_of_jsonl(text.split("\n"), source)
            return
        raise BadInput(
            f"{source}, line {error.lineno}, column {error.colno} is not JSON ({error.msg}): "
            "repair the file",
            code="text.not-json",
        ) from None
    except (RecursionError, ValueError) as error:
        raise _unreadable(source, error) from None
    if isinstance(whole, dict) and isinstance(values := whole.get(column), list | dict):
        values = values.values() if isinstance(values, dict) else values
        whole = [{column: value} for value in values]
    elif isinstance(whole, dict):
        lists = [value for value in whole.values() if isinstance(value, list)]
        holds_rows = len(lists) == 1 and column not in whole and not _is_conversation(lists[0])
        whole = lists[0] if holds_rows else [whole]
    if not isinstance(whole, list):
        raise BadInput(
            f"{source} is a JSON {type(whole).__name__}: it must be an array of objects with a "
            f"field {column!r}",
            code="text.json-not-rows",
        )
    for number, values in enumerate(whole, start=1):
        yield TableRow(values, f"{source}, row {number}")


def _is_conversation(values: list[Any]) -> bool:
    """Return whether a list is of turns, as in `{"messages": [{"role": "user", ...}, ...]}`."""
    return bool(values) and all(isinstance(v, dict) and {"role", "from"} & set(v) for v in values)


def rows_of_csv(text: str, source: str, delimiter: str) -> Iterator[TableRow]:
    """Yield the rows of a table whose first line names its columns.

    A field in double quotes may contain delimiters, line ends and doubled quotes. Rows shorter
    than the first line have null in the remaining columns.

    Args:
        delimiter: the default delimiter; if the first line has no comma, a semicolon, tab or bar
            in it is used instead. A line `sep=;` (Excel) names the delimiter.

    Raises:
        BadInput: the file is not CSV, or a row has more fields than the first line.
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
                    f"{where} has {len(fields)} fields, but the first line names "
                    f"{counted(len(names), 'column')}: "
                    "put a field that contains a delimiter in double quotes",
                    code="text.csv-too-many-fields",
                )
            fields += [""] * (len(names) - len(fields))
            yield TableRow({n: f or None for n, f in zip(names, fields, strict=False)}, where)
    except csv.Error as error:
        raise BadInput(
            f"{source}, line {begin + 1} is not CSV ({error}): a double quote that opens a field "
            "must close it, and must be doubled inside it",
            code="text.not-csv",
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
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise BadInput(
            f"{where}: two columns have the name {repeated!r}: rename one",
            code="text.csv-repeated-column",
        )
    return names


def _quotes_close(text: str, delimiter: str) -> bool:
    """Return whether double quotes enclose fields; in some .tsv files they are plain characters."""
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


def _is_prose(value: Any) -> bool:
    """Return whether a value may be text to train on: text that is not a number."""
    return isinstance(value, str) and bool(re.search(r"[^\W\d_]", value))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
        return True
    except (RecursionError, ValueError):
        return False


def _is_value(name: str) -> bool:
    """Return whether a column name is rather a value: a number or a sentence."""
    return name.count(" ") > 2 or bool(name and not _is_prose(name))


def _content_of(value: Any) -> str | None:
    """Return the key of the text in a list of chat messages; None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(m, dict) for m in value):
        return None
    return next((key for key in CONTENT if all(key in message for message in value)), None)


def _unreadable(where: str, error: Exception) -> BadInput:
    """Return the error for valid JSON that Python cannot read."""
    if isinstance(error, RecursionError):
        return BadInput(
            f"{where}: the JSON is nested too deeply to read: flatten it", code="text.json-too-deep"
        )
    return BadInput(
        f"{where}: the JSON cannot be read ({error}): repair it", code="text.json-unreadable"
    )
