"""Reading one's own files into documents, and saying exactly where one cannot be read.

Formats are told by suffix, never guessed from content: what a file is read as must not change when
its first line does. A path that is named is always read (an unknown suffix as plain text); in a
folder only the known suffixes are.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wordorder.errors import BadInput
from wordorder.text.corpus import BUILT_IN, END_OF_TEXT, HUB_PREFIX, Document

# Form feeds part the books of a collection, the second the stories of TinyStories.
SEPARATOR = re.compile("\f|" + re.escape(END_OF_TEXT))

Reader = Callable[[bytes, str, str], Iterator[Document]]


def read_path(name: str, field: str) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Read a file, or every known file of a folder; returns documents and notes.

    Raises:
        BadInput: naming the file and the place in it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _read_folder(path, field)
    if not path.exists():
        raise BadInput(_missing(name))
    documents = _read_file(path, field)
    if not documents:
        raise BadInput(f"{path} is empty: it holds no text to learn from")
    return documents, ()


def _missing(name: str) -> str:
    known = f"give a file, a folder or {BUILT_IN}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix:
        known += f", or write {HUB_PREFIX}{name} for a Hugging Face dataset"
    return f"no such file or folder: {name}; {known}"


def _read_folder(folder: Path, field: str) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    inside = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not _hidden(path.relative_to(folder))
    )
    known = [path for path in inside if _format(path) in READERS]
    documents = tuple(document for path in known for document in _read_file(path, field))
    if not documents:
        raise BadInput(
            f"{folder} holds no text: of {len(inside)} files {len(known)} end in "
            f"{', '.join(READERS)} (also .gz) and none of these has text in it"
        )
    passed_over = len(inside) - len(known)
    note = f"{passed_over} of {len(inside)} files in {folder} have another suffix and were left out"
    return documents, (note,) if passed_over else ()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _format(path: Path) -> str:
    """The suffix that decides the reader, without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _read_file(path: Path, field: str) -> tuple[Document, ...]:
    try:
        data = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(
            f"{path} is not a whole gzip file ({error}): fetch or compress it again"
        ) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    reader = READERS.get(_format(path), _read_text)
    return tuple(document for document in reader(data, str(path), field) if document.text.strip())


def _decode(data: bytes, source: str) -> str:
    """UTF-8 with or without a byte order mark; line ends become \\n."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{source} is UTF-16, not UTF-8: convert it with iconv -f utf-16 -t utf-8")
    zero = data.find(b"\0")
    if zero >= 0:
        raise BadInput(
            f"{source} is a binary file (a zero byte at offset {zero}): give text in UTF-8"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The signature's own decoder counts from behind the mark.
        offset = error.start + 3 * data.startswith(b"\xef\xbb\xbf")
        line = data.count(b"\n", 0, offset) + 1
        raise BadInput(
            f"{source} is not UTF-8: byte 0x{data[offset]:02x} at offset {offset} (line {line}); "
            "convert it with iconv -f latin1 -t utf-8, or give another file"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_whole(data: bytes, source: str, field: str) -> Iterator[Document]:
    yield Document(_decode(data, source), source)


def _read_text(data: bytes, source: str, field: str) -> Iterator[Document]:
    text = _decode(data, source)
    if not SEPARATOR.search(text):
        # Unchanged to the last newline: a benchmark's character count must come out.
        yield Document(text, source)
        return
    for number, part in enumerate(SEPARATOR.split(text), start=1):
        yield Document(part.strip(), f"{source}, document {number}")


def _read_jsonl(data: bytes, source: str, field: str) -> Iterator[Document]:
    # Not splitlines(): JSON strings may hold U+2028 as it is.
    for number, line in enumerate(_decode(data, source).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{where}, column {error.colno}: not JSON ({error.msg}); "
                "a .jsonl file has one JSON object a line"
            ) from None
        except RecursionError:
            raise BadInput(f"{where}: JSON nested too deep to read") from None
        yield Document(_text_of(record, where, field), where)


def _text_of(record: Any, where: str, field: str) -> str:
    if not isinstance(record, dict):
        raise BadInput(
            f"{where}: a JSON {type(record).__name__}, not an object with a field {field!r}"
        )
    if field not in record:
        raise BadInput(
            f"{where}: no field {field!r}; its fields are {_listed(record)}: name one with --field"
        )
    text = record[field]
    if not isinstance(text, str):
        raise BadInput(
            f"{where}: field {field!r} is {type(text).__name__}, not text: "
            "name another with --field"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{where}: field {field!r} holds half a surrogate pair at character {error.start}, "
            "which is not text in UTF-8: repair or remove this line"
        ) from None
    return text


def _read_parquet(data: bytes, source: str, field: str) -> Iterator[Document]:
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
        if field not in names:
            raise BadInput(
                f"{source}: no column {field!r}; its columns are {_listed(names)}: "
                "name one with --field"
            )
        row = 0
        for batch in table.iter_batches(columns=[field]):
            for text in batch.column(0).to_pylist():
                row += 1
                if text is not None:
                    where = f"{source}, row {row}"
                    yield Document(_text_of({field: text}, where, field), where)
    except pyarrow.ArrowException as error:
        what = str(error).splitlines()[0]
        raise BadInput(f"{source} is not a whole Parquet file ({what}): fetch it again") from None


def _listed(names: Any) -> str:
    return ", ".join(repr(str(name)) for name in names) or "none"


READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".md": _read_whole,
    ".py": _read_whole,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
