"""Tables as rows: what each format holds, what is passed over, and every refusal by its text."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.text.chat_forms import FORM_NAMES
from wordorder.text.corpus import Corpus
from wordorder.text.hub import stream_dataset
from wordorder.text.load import load_corpus

ROWS = [
    {"id": 1, "text": 'The "soup", hot.\nWe came back.'},
    {"id": 2, "text": None},
    {"id": 3, "text": "  "},
    {"id": 4, "text": "Ein Käse; gut\t!"},
]
TEXTS = [ROWS[0]["text"], ROWS[3]["text"]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str | bytes], str]:
    monkeypatch.chdir(tmp_path)

    def write(name: str, data: str | bytes) -> str:
        Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    return write


Write = Callable[[str, str | bytes], str]


def as_csv(delimiter: str, ends: str = "\n") -> str:
    lines = ["id", "text"], *([str(row["id"]), row["text"] or ""] for row in ROWS)
    quoted = (delimiter.join('"' + each.replace('"', '""') + '"' for each in row) for row in lines)
    return ends.join(quoted) + ends


def as_parquet(tmp_path: Path) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "made"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path.read_bytes()


def read(name: str, **options: Any) -> Corpus:
    return load_corpus(name, **options)


def texts(name: str, **options: Any) -> list[str]:
    return [document.text for document in read(name, **options).documents]


def message(name: str, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load_corpus(name, **options)
    assert "\n" not in str(caught.value)
    return f"{caught.value.code}: {caught.value}"


FORMATS: dict[str, Callable[[], str]] = {
    "a.jsonl": lambda: "\n".join(map(json.dumps, ROWS)),
    "a.ndjson": lambda: "\n\n".join(map(json.dumps, ROWS)),
    "a.json": lambda: json.dumps(ROWS),
    "b.json": lambda: json.dumps({"version": 1, "data": ROWS}, indent=1),
    "c.json": lambda: "\n".join(map(json.dumps, ROWS)),
    "a.csv": lambda: as_csv(","),
    "mark.csv": lambda: "\ufeff" + as_csv(",", "\r\n"),
    "semicolons.csv": lambda: as_csv(";"),
    "a.tsv": lambda: as_csv("\t"),
}


@pytest.mark.parametrize("name", [*FORMATS, "a.parquet"])
@pytest.mark.parametrize("packed", [False, True])
def test_null_and_blank_rows_are_passed_over_alike(
    write: Write, tmp_path: Path, name: str, packed: bool
) -> None:
    data = as_parquet(tmp_path) if name == "a.parquet" else FORMATS[name]().encode()
    name = write(f"{name}.gz", gzip.compress(data)) if packed else write(name, data)
    called = "field" if "json" in name else "column"
    corpus = read(name)
    assert [document.text for document in corpus.documents] == TEXTS
    assert corpus.notes == (
        f"2 of 4 rows of {name} have no text in {called} 'text' (null or empty) and were skipped",
    )


def test_rows_of_a_dataset_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordorder.text.hub._open", lambda name: (ROWS, "x/y"))
    documents, notes = stream_dataset("x/y", "text")
    assert [document.text for document in documents] == TEXTS
    assert documents[1].source == "x/y, row 4"
    assert notes == (
        "2 of 4 rows of hf:x/y have no text in column 'text' (null or empty) and were skipped",
    )
    with pytest.raises(BadInput, match="hf:x/y has no column 'body'; its columns are 'id', 'text'"):
        stream_dataset("x/y", "body")


def test_a_dataset_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Any:
        yield ROWS[0]
        raise ConnectionError("the line\nwent dead")

    monkeypatch.setattr("wordorder.text.hub._open", lambda name: (rows(), "x/y"))
    with pytest.raises(BadInput, match=r"^cannot read hf:x/y after row 1: the line went dead$"):
        stream_dataset("x/y", "text")


def test_where_a_row_stands(write: Write) -> None:
    sources = [d.source for d in read(write("a.csv", as_csv(","))).documents]
    assert sources == ["a.csv, line 2", "a.csv, line 6"]
    sources = [d.source for d in read(write("a.json", json.dumps(ROWS))).documents]
    assert sources == ["a.json, row 1", "a.json, row 4"]


def test_json_of_plain_texts_and_of_one_object(write: Write) -> None:
    assert texts(write("a.json", '["one", "two"]'), field="body") == ["one", "two"]
    assert texts(write("a.json", '{"text": "one", "tags": ["a"]}')) == ["one"]


def test_line_ends_inside_of_strings(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "a\\r\\nb\\rc"}')) == ["a\nb\nc"]


def test_a_field_may_be_longer_than_the_csv_modules_limit(write: Write) -> None:
    before = csv.field_size_limit()
    long = "word " * 40_000
    assert texts(write("a.csv", f"text,n\n{long},1\n")) == [long]
    assert csv.field_size_limit() == before


def test_rows_shorter_and_longer_than_the_first_line(write: Write) -> None:
    assert texts(write("a.csv", "n,text\n1,one\n2\n\n3,three,,\n")) == ["one", "three"]
    assert message(write("a.csv", "n,text\n1,one\n2,two, and more\n")).startswith(
        "text.csv-too-many-fields: a.csv, line 3 has 3 fields, but the first line names 2 columns"
    )


def test_quotes(write: Write) -> None:
    assert texts(write("a.csv", 'n, text\n1, "one, two"\n2,3" wide\n')) == ["one, two", '3" wide']
    assert message(write("a.csv", 'n,text\n1,one\n2,"two\n3,three\n')).startswith(
        "text.not-csv: a.csv, line 3 is not CSV (unexpected end of data)"
    )
    # Many a .tsv has no quoting at all.
    assert texts(write("a.tsv", 'n\ttext\n1\t"Yes," he said\n2\t"no\n')) == [
        '"Yes," he said',
        '"no',
    ]


def test_the_one_column_of_text_is_named(write: Write) -> None:
    lines = "id,body,stars\n1,It was good.,5\n"
    line = message(write("a.csv", lines))
    assert line.startswith("text.missing-column: a.csv has no column 'text'")
    assert "'id', 'body', 'stars'" in line and ": name the text column with --field body; " in line
    assert line.endswith(f"; conversations have {FORM_NAMES}")
    assert texts("a.csv", field="body") == ["It was good."]
    line = message(write("b.csv", "1,It was good.,It was bad.\n2,It was bad.,x\n"))
    assert "if that is a row, add a line of column names before it" in line
    assert "name the text column with --field; conversations have " in line
    assert texts(write("b.csv", "n,text\n1,It was good.\n2,Bad.\n")) == ["It was good.", "Bad."]
    line = message(write("c.csv", "a,a\n1,2\n"))
    assert line.startswith("text.csv-repeated-column: c.csv, line 1: two columns have the name 'a'")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("[1]", "text.row-not-object: a.json, row 1 is a JSON int"),
        ("5", "text.json-not-rows: a.json is a JSON int"),
        ("[{]", "text.not-json: a.json, line 1, column 3 is not JSON (Expecting property name"),
        ("[" * 100_000, "text.json-too-deep: a.json: "),
        (
            "[" + "9" * 5000 + "]",
            "text.json-unreadable: a.json: the JSON cannot be read (Exceeds the limit",
        ),
        ("[]", "text.empty-file: a.json is empty"),
        (
            '{"text": null}',
            "text.empty-file: a.json is empty: it contains no text (1 of 1 rows",
        ),
        (
            '{"a": 1}\n{"a":',
            "text.missing-column: a.json, line 1 has no field 'text'; its fields are 'a'",
        ),
        ('{"text": "a"}\n{"text":', "text.jsonl-line: a.json, line 2, column 9 "),
    ],
)
def test_json_that_cannot_be_read(write: Write, data: str, told: str) -> None:
    assert message(write("a.json", data)).startswith(told)


@pytest.mark.parametrize("first", ["sep=;\nn;text", '"sep=|"\nn|text', "n|text", '"n";"text"'])
def test_delimiters_that_a_first_line_shows_or_names(write: Write, first: str) -> None:
    mark = first[-5] if first[-1] != '"' else ";"
    assert texts(write("a.csv", f"{first}\n1{mark}It was good, they said.\n")) == [
        "It was good, they said."
    ]


def test_a_comma_in_a_quoted_name_parts_nothing(write: Write) -> None:
    assert texts(write("a.csv", '"n";"text, en"\n1;a b\n'), field="text, en") == ["a b"]


@pytest.mark.parametrize("data", ['{"text": ["a", null, "b"]}', '{"text": {"0": "a", "1": "b"}}'])
def test_json_of_columns(write: Write, data: str) -> None:
    assert texts(write("a.json", data)) == ["a", "b"]


def test_plain_texts_and_nan_are_read_alike_in_json_and_jsonl(write: Write) -> None:
    assert texts(write("a.jsonl", '"a"\n{"text": NaN}\n"b"\n')) == ["a", "b"]
    assert texts(write("a.json", '["a", {"text": NaN}, "b"]')) == ["a", "b"]


def test_no_field_is_named_where_none_is_text(write: Write) -> None:
    line = message(write("a.json", '[{"p": {"text": "a"}}]'))
    assert line.startswith("text.missing-column: a.json, row 1 ") and "none of them is text" in line


def test_chats_are_made_text_by_the_command_that_is_named(write: Write) -> None:
    chats = [
        [{"role": "user", "content": 'It\'s "hot".'}, {"role": "model", "content": "Yes."}],
        [{"role": "user", "content": None}, {"role": "model", "content": "No."}],
        None,
    ]
    lines = (json.dumps({"messages": chat}) for chat in chats)
    told = message(write("my chat.jsonl", "\n".join(lines)), field="messages")
    assert told.startswith(
        "text.value-not-text: my chat.jsonl, line 1: field 'messages' is a list of messages"
    )
    subprocess.run(["bash", "-c", told.partition(" into one text with ")[2]], check=True)
    assert texts("my chat-text.jsonl") == ['It\'s "hot".\nYes.', "\nNo."]
    told = message(write("a.json", json.dumps([{"messages": ["a"]}])), field="messages")
    assert told.startswith("text.value-not-text: a.json, row 1: field 'messages' is list")
    assert "join its parts" in told


@pytest.mark.parametrize(
    ("name", "data", "place"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text":"first","text":"second"}', "line 2: the key 'text'"),
        ("a.jsonl", '{"te\\u0078t" : "first", "text" :"second"}', "line 1: the key 'text'"),
        ("a.jsonl", '{"text": "a", "m": [{"n": 1}, {"n": 1, "n": 2}]}', "line 1: the key 'n'"),
        ("a.ndjson", '{"text": "a", "a b": 1, "a b": 2}', "line 1: the key 'a b'"),
        ("a.json", '[{"text": "a"},\n {"text": "first",\n"text": "b"}]', "line 3: the key 'text'"),
        ("a.json", '{"text": "a"}\n{"text": "b", "text": "c"}', "line 2: the key 'text'"),
        ("a.json", '{"text": "b", "text": "c"}\n{"text": "a"}', "line 1: the key 'text'"),
    ],
)
def test_a_repeated_key_loses_no_text(write: Write, name: str, data: str, place: str) -> None:
    told = message(write(name, data))
    assert told.startswith(f"text.json-repeated-key: {name}, {place} occurs twice in one object")


def test_keys_that_are_not_of_one_object_are_no_repetition(write: Write) -> None:
    data = r'{"text": "\"text\": {", "a": {"text": [1]}, "b": [{"text": 1}, {"text": 2}]}'
    assert len(texts(write("a.jsonl", f"{data}\n{data}"))) == 2
    assert texts(write("a.json", f"[{data}]")) == ['"text": {']


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_a_damaged_page_is_named(tmp_path: Path, compression: str) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"row {number} of words" for number in range(500)]})
    parquet.write_table(table, path, compression=compression, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:20] = b"\xff" * 16
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"a\.parquet is not a complete Parquet file") as caught:
        read(str(path))
    assert "\n" not in str(caught.value)


def test_text_of_parquet_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    buffers = [
        None,
        pyarrow.py_buffer(bytes([0, 0, 0, 0, 4, 0, 0, 0])),
        pyarrow.py_buffer(b"caf\xe9"),
    ]
    column = pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers)
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="not UTF-8 in rows 1 to 1024") as caught:
        read(str(tmp_path / "a.parquet"))
    assert caught.value.code == "text.parquet-not-utf8"
