"""Reading files, and every message of one that cannot be read, by its text."""

import builtins
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.text.large_files import text_lines
from wordorder.text.load import load_corpus


def texts(path: Path, **options: Any) -> list[str]:
    return [document.text for document in load_corpus(str(path), **options).documents]


def message(path: Path | str, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load_corpus(str(path), **options)
    assert "\n" not in str(caught.value)
    return f"{caught.value.code}: {caught.value}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    def write(name: str, data: bytes | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


Write = Callable[[str, bytes | str], Path]


def test_one_text_is_unchanged(write: Write) -> None:
    assert texts(write("a.txt", "\n  one\r\ntwo\rthree\n\n")) == ["\n  one\ntwo\nthree\n\n"]


def test_byte_order_mark_is_left_out(write: Write) -> None:
    assert texts(write("a.txt", b"\xef\xbb\xbfhello")) == ["hello"]


@pytest.mark.parametrize("separator", ["\f", "\n\f\n", "<|endoftext|>", "\n<|endoftext|>\n"])
def test_separators_part_documents(write: Write, separator: str) -> None:
    text = f"one{separator}two words{separator}{separator}three{separator}"
    assert texts(write("a.txt", text)) == ["one", "two words", "three"]


def test_separators_are_ordinary_elsewhere(write: Write) -> None:
    assert texts(write("a.md", "a<|endoftext|>b")) == ["a<|endoftext|>b"]


@pytest.mark.parametrize("suffix", ["txt", "md", "py", "rst", ""])
def test_plain_and_compressed(write: Write, suffix: str) -> None:
    name = f"a.{suffix}".rstrip(".")
    assert texts(write(name, "plain")) == ["plain"]
    assert texts(write(f"{name}.gz", gzip.compress(b"packed", mtime=0))) == ["packed"]


def test_folder_is_read_in_sorted_order_with_a_note(write: Write, tmp_path: Path) -> None:
    write("b/two.md", "two")
    write("a/one.txt", "one")
    write("c/three.txt.gz", gzip.compress(b"three", mtime=0))
    write("c/empty.txt", "")
    write("c/picture.png", b"\0")
    write(".hidden/x.txt", "no")
    corpus = load_corpus(str(tmp_path))
    assert [d.text for d in corpus.documents] == ["one", "two", "three"]
    assert corpus.documents[1].source == str(tmp_path / "b/two.md")
    assert corpus.notes == (
        f"1 of 5 files in {tmp_path} has another suffix and was skipped",
        f"left out, because it has no text: {tmp_path / 'c/empty.txt'}",
    )


@pytest.mark.parametrize("packed", [False, True])
def test_jsonl(write: Write, packed: bool) -> None:
    lines = [json.dumps({"text": t, "n": 1}, ensure_ascii=False) for t in ("one", "\u2028x", "")]
    data = ("\n".join(lines) + "\n\n").encode()
    path = write("a.jsonl.gz", gzip.compress(data, mtime=0)) if packed else write("a.jsonl", data)
    assert texts(path) == ["one", "\u2028x"]


def test_jsonl_other_field(write: Write) -> None:
    assert texts(write("a.jsonl", '{"story": "s"}\n'), field="story") == ["s"]


def test_parquet(write: Write, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"body": ["one", None, "two"], "n": [1, 2, 3]})
    parquet.write_table(table, path)
    assert texts(path, field="body") == ["one", "two"]
    packed = write("b.parquet.gz", gzip.compress(path.read_bytes(), mtime=0))
    assert texts(packed, field="body") == ["one", "two"]
    assert message(path).startswith(f"text.missing-column: {path} has no column 'text'")
    assert "'body', 'n'" in message(path) and " with --field body; " in message(path)
    assert message(path, field="n").startswith("text.value-not-text: ")
    damaged = write("c.parquet", path.read_bytes()[:-9])
    assert message(damaged).startswith(f"text.damaged-parquet: {damaged} ")


def test_parquet_without_the_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("pyarrow", "datasets"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    path = write("a.parquet", b"PAR1")
    assert message(path).startswith(f"text.pyarrow-missing: reading {path} needs")
    assert message("hf:x/y").startswith("text.datasets-missing: reading hf:x/y needs")
    assert message(path).endswith('pip install "wordorder[data]"')


def test_no_such_file() -> None:
    assert message("nowhere.txt").startswith("text.no-such-file: no such file or folder: nowhere")
    assert message("roneneldan/TinyStories").endswith(
        ", or write hf:roneneldan/TinyStories for a Hugging Face dataset"
    )


@pytest.mark.parametrize("data", ["", "\ufeff", " \n\n", "\f\n<|endoftext|>"])
def test_empty_file(write: Write, data: str) -> None:
    path = write("a.txt", data)
    assert message(path).startswith(f"text.empty-file: {path} is empty")


def test_folder_without_text(write: Write, tmp_path: Path) -> None:
    write("a.png", b"\0")
    assert message(tmp_path).startswith(f"text.empty-folder: {tmp_path} contains no text: 0 of 1 ")


def test_binary_file(write: Write) -> None:
    path = write("a.txt", b"abc\0def")
    assert message(path).startswith(f"text.binary: {path} ") and "offset 3" in message(path)


def test_utf16_with_its_mark(write: Write) -> None:
    assert texts(write("a.txt", "hello\r\n".encode("utf-16"))) == ["hello\n"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_undecodable_byte(write: Write, mark: bytes) -> None:
    path = write("a.txt", mark + "one\ncafé\n".encode("latin1"))
    line = message(path)
    assert line.startswith(f"text.other-encoding: {path} ")
    assert f"byte 0xe9 at offset {7 + len(mark)} (line 2)" in line
    assert line.endswith(
        "as Windows-1252 it is 'café': iconv -f CP1252 -t utf-8 "
        f"{path} > {path.with_name('a-utf-8.txt')}"
    )


JSONL = {
    '{"text": "a"}\n{"text": \n': ("text.jsonl-line", "line 2, column 10 "),
    '{"text": "a"}\n\n{"body": "b", "n": 1}\n': ("text.missing-column", "line 3 "),
    '["text"]\n["a"]': ("text.row-not-object", "line 1 "),
    '{"text": 5}': ("text.value-not-text", "line 1: field 'text' is int"),
    '{"text": "\\ud83d"}': ("text.row-surrogate", "line 1: field 'text' "),
}


def test_an_array_in_jsonl_is_read_where_its_name_ends_in_json(write: Write) -> None:
    path = write("a.jsonl", '[\n{"text": "a"}]\n')
    assert message(path).startswith(f"text.jsonl-is-array: {path} ")

    assert texts(write("a.json", '[\n{"text": "a"}]\n')) == ["a"]


@pytest.mark.parametrize("data", JSONL)
def test_bad_jsonl(write: Write, data: str) -> None:
    path = write("a.jsonl", data)
    code, place = JSONL[data]
    assert message(path).startswith(f"{code}: {path}, {place}")


def test_every_reader_has_a_known_suffix_in_the_message(tmp_path: Path) -> None:
    from wordorder.text.files import TABLES, TEXTS

    assert ", ".join((*TEXTS, *TABLES)) in message(tmp_path)


def test_an_unknown_suffix_and_a_field_without_use_are_said(write: Write) -> None:
    path = write("a.dat", "id,text\n1,one\n")
    assert load_corpus(str(path)).notes == (
        f"{path} is read as plain text, because .dat is not a known format",
    )
    assert load_corpus(str(write("a.txt", "one"))).notes == ()
    assert load_corpus(str(write("a", "one"))).notes == ()
    assert load_corpus(str(write("a.txt.gz", gzip.compress(b"one"))), field="body").notes == (
        "--field body has no effect: the data has no table or dataset",
    )


def test_a_table_in_a_folder_is_read_where_it_has_the_column(write: Write, tmp_path: Path) -> None:
    write("a.txt", "one")
    write("b.csv", "text\ntwo\n")
    write("labels.csv", "file,label\na.txt,good\n")
    write("settings.json", '{"width": 3}')
    write("broken.json", "{")
    corpus = load_corpus(str(tmp_path))
    assert [document.text for document in corpus.documents] == ["one", "two"]
    assert corpus.notes == (
        f"skipped 3 of 5 files in {tmp_path} without a readable column 'text' (broken.json, ...): "
        "name the column with --field, or give a file of conversations by itself",
    )
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.csv").unlink()
    assert "without a readable column 'text'" in message(tmp_path)


def test_names_that_are_no_text(write: Write, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_text("one")
    corpus = load_corpus(str(path))
    assert corpus.name == corpus.documents[0].source == f"{tmp_path}/caf\\xe9.txt"
    assert load_corpus(str(tmp_path)).documents[0].source == corpus.name
    path.write_bytes("“one”".encode("cp1252"))
    assert f"iconv -f CP1252 -t utf-8 $'{tmp_path}/caf\\xe9.txt' > $'" in message(path)


def test_files_that_are_none(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "again").symlink_to(".")
    told = message(tmp_path)
    assert told.startswith("text.empty-folder: ") and " and 1 more are not files and were" in told
    write("a.txt", "one")
    assert texts(tmp_path) == ["one"]
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    notes = load_corpus(str(tmp_path)).notes
    assert notes[-1].startswith(
        f"{tmp_path / 'gone.txt'} and 2 more are not files and were skipped"
    )
    assert message(tmp_path / "pipe").startswith("text.not-a-regular-file: ")
    assert message(tmp_path / "loop").startswith("text.cannot-read: ")
    assert message("").startswith("text.no-data: ")


def test_what_wordorder_wrote_in_a_folder_is_no_text(write: Write, tmp_path: Path) -> None:
    write("books/a.txt", "one")
    write("books/run/config.json", json.dumps({"wordorder": "0.1.0", "training": {}}))
    write("books/run/metrics.jsonl", '{"step": 1}\n')
    write("books/run/README.md", "a model card")
    write("books/notes/config.json", json.dumps({"font": "serif"}))
    write("books/notes/b.txt", "two")
    corpus = load_corpus(str(tmp_path / "books"))
    assert [document.text for document in corpus.documents] == ["one", "two"]
    left_out = f"left out, because wordorder wrote it: {tmp_path / 'books' / 'run'}"
    assert left_out in corpus.notes


def test_links_to_folders_are_not_followed_and_said(write: Write, tmp_path: Path) -> None:
    write("books/a.txt", "one")
    write("far/b.txt", "two")
    (tmp_path / "books" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "books" / "back").symlink_to(tmp_path / "books")
    corpus = load_corpus(str(tmp_path / "books"))
    assert [document.text for document in corpus.documents] == ["one"]
    (note,) = corpus.notes
    assert f"not followed: {tmp_path / 'books' / 'back'} and 1 more" in note


def test_a_folder_that_cannot_be_listed_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("texts/a.txt", "some text")
    write("texts/closed/b.txt", "more text")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    shown = message(tmp_path / "texts")
    assert shown.startswith("text.folder-unreadable: cannot read ")
    assert "closed (Permission denied): check its permissions" in shown


def test_lines_are_those_of_split_wherever_blocks_end() -> None:
    text = "\none\n\ntwo lines\nlast"
    for size in range(1, len(text) + 1):
        blocks = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(text_lines(blocks)) == text.split("\n")
    assert list(text_lines([])) == [""]


def test_a_folder_that_can_be_listed_and_not_entered_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("texts/a.txt", "some text")
    stat = Path.stat

    def refusing(path: Path, *, follow_symlinks: bool = True) -> Any:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refusing)
    assert message(tmp_path / "texts").startswith("text.folder-unreadable: cannot read ")
