"""One decoder: what comes in, what is refused, and that each remedy works where it is named."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordorder.errors import BadInput
from wordorder.text.user_text import (
    decode,
    decode_argument,
    is_blank,
    printable,
    read_bytes,
    read_text,
    user_path,
)

ENGLISH = "The cat saw the key.\nA dog lost it.\n"
UKRAINIAN = "Стара жінка знайшла ключ.\nПес загубив його.\n" * 20
needs_iconv = pytest.mark.skipif(not shutil.which("iconv"), reason="iconv is not installed")


def message(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return f"{caught.value.code}: {caught.value}"


def followed(told: str, path: Path, command: str) -> str:
    """Run the command that a message names, and read what it wrote."""
    line = told[told.index(command) :].partition(";")[0]
    subprocess.run(["bash", "-c", line], check=False, stderr=subprocess.DEVNULL)
    return read_text(path.with_name(f"{path.name.split('.')[0]}-utf-8.txt"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le-mark", "utf-16-be-mark"]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_are_no_part_of_the_text(encoding: str, ends: str) -> None:
    text = UKRAINIAN.replace("\n", ends)
    if encoding.endswith("-mark"):
        data = f"\ufeff{text}".encode(encoding.removesuffix("-mark"))
    else:
        data = text.encode(encoding)
    assert decode(data, "a") == UKRAINIAN


def test_nothing_else_is_changed() -> None:
    text = " e\u0301 \u00e9 \ufeff \u2028 \u0085 \v\f\n\n"
    assert decode(text.encode(), "a") == text


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff\xfe\0\0"])
def test_nothing_but_a_mark_is_no_text(data: bytes) -> None:
    assert decode(data, "a") == ""


@needs_iconv
def test_a_stray_byte_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a b.txt"
    data = UKRAINIAN.encode()
    place = data.index(b"\n") + 1
    path.write_bytes(data[:place] + b"\xff" + data[place:])
    told = message(read_text, path)
    assert told.startswith(
        f"text.stray-bytes: 1 byte of {len(data) + 1:,} in {path} is not UTF-8, "
        f"the first at offset {place} "
        "(line 2): remove it with iconv -f utf-8 -t utf-8 -c "
    )
    assert followed(told, path, "iconv") == UKRAINIAN


@needs_iconv
def test_stray_bytes_of_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\xfe" + UKRAINIAN.encode() + b"\xff", mtime=0))
    told = message(read_text, path)
    assert told.startswith("text.stray-bytes: 2 bytes of ") and "are not UTF-8" in told
    assert followed(told, path, "gunzip") == UKRAINIAN


def test_a_cut_end_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(UKRAINIAN.encode()[:-3])  # half of the last letter
    told = message(read_text, path)
    assert told.startswith("text.truncated: ")
    assert followed(told, path, "head") == UKRAINIAN[:-3]


@needs_iconv
@pytest.mark.parametrize(
    ("encoding", "called", "text"),
    [
        ("gb18030", "GB18030", "那天晚上，老人坐在门前，看着远处的山。\n他想起年轻的时候。\n"),
        ("cp932", "Shift_JIS", "その晩、老人は門の前に座っていた。\n若いころを思い出した。\n"),
        ("koi8_r", "KOI8-R", "В тот вечер старик сидел у ворот.\nОн вспомнил молодость.\n"),
        ("cp1252", "Windows-1252", "“It’s late,” he said.\nCafé déjà fermé.\n"),
    ],
)
def test_another_encoding_is_named_shown_and_converted(
    tmp_path: Path, encoding: str, called: str, text: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    told = message(read_text, path)
    assert "latin1" not in told
    assert told.index(f"as {called}") < told.index(f"it is {text.splitlines()[0]!r}")
    assert followed(told, path, "iconv") == text


@needs_iconv
def test_a_broken_byte_does_not_hide_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "那天晚上，老人坐在门前，看着远处的山。\n" * 20
    path.write_bytes(text.encode("gb18030") + b"\xff\n" + text.encode("gb18030"))
    told = message(read_text, path)
    assert "as GB18030 (GBK) it is " in told and "except 1 character:" in told
    assert followed(told, path, "iconv") == f"{text}\n{text}"


@needs_iconv
def test_utf16_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(UKRAINIAN.encode("utf-16-le"))
    told = message(read_text, path)
    assert told.startswith(
        f"text.no-byte-order-mark: {path} is UTF-16LE without a byte order mark: convert it"
    )
    assert followed(told, path, "iconv") == UKRAINIAN


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"abc\0def", "text.binary: a is a binary file (a zero byte at offset 3)"),
        (b"\xff\xfea\0\0\0", "text.binary: "),
        (b"\xff\xfea", "text.damaged-wide-text: "),
        (
            bytes(range(128, 256)) + bytes(range(1, 32)) * 4,
            "text.unknown-encoding: a is not UTF-8: byte 0x80 at offset 0 (line 1); it is a binary",
        ),
        (gzip.compress(b"x", mtime=0), "text.known-binary-format: a is compressed with gzip"),
        (b"PK\x03\x04\0\0", "text.known-binary-format: a is a zip archive"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "text.known-binary-format: a is a PDF"),
    ],
)
def test_what_is_no_text(data: bytes, told: str) -> None:
    assert told in message(decode, data, "a")


def test_a_letter_at_the_end_is_no_cut_where_no_other_is_utf8() -> None:
    assert "as Windows-1252 it is 'café'" in message(decode, "café".encode("cp1252"), "a")
    assert message(decode, "plain ’".encode()[:-1], "a").startswith("text.truncated: ")


def test_files_of_two_encodings_that_were_joined() -> None:
    chinese = "那天晚上，老人坐在门前。".encode("gb18030") * 60
    for data in (UKRAINIAN.encode() + chinese, chinese + UKRAINIAN.encode()):
        told = message(decode, data, "a")
        assert (
            told.startswith("text.mixed-encodings: a mixes UTF-8 and GB18030 (GBK)")
            and "iconv" not in told
        )


def test_a_bad_byte_of_a_long_text_is_found_in_a_moment() -> None:
    data = ("那天晚上，老人坐在门前。" * 400_000).encode("gb18030")
    start = time.process_time()
    assert "GB18030" in message(decode, data, "a")
    assert time.process_time() - start < 10  # seconds, for 10 MB; byte by byte it took minutes


def test_arguments_are_decoded_as_files_are() -> None:
    assert decode_argument("\ufeffa\r\nb\rc", "the prompt") == "a\nb\nc"
    # In the C locale Python hands on UTF-8 undecoded.
    assert decode_argument(os.fsencode("天").decode("ascii", "surrogateescape"), "it") == "天"
    typed = "天亮".encode("gb18030").decode("ascii", "surrogateescape")
    told = message(decode_argument, typed, "the prompt")
    assert (
        told.startswith("text.argument-encoding: the prompt is not UTF-8 at byte 0")
        and "'天亮'" in told
    )
    cut = "天亮".encode()[:5].decode("utf-8", "surrogateescape")
    assert message(decode_argument, cut, "the prompt").startswith(
        "text.argument-encoding: the prompt is not UTF-8 at byte 3: it ends in the middle"
    )
    assert message(decode_argument, "a\ud83d", "it").startswith("text.argument-surrogate: ")


def test_names_are_printable() -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    assert printable(name) == "caf\\xe9.txt"
    assert printable("café") == "café"
    assert printable("a\x1b[31m b.txt") == "a\\x1b[31m b.txt"
    assert printable("\ud83d") == "\\ud83d"
    assert str(user_path("~no-such-user-here/a")) == "~no-such-user-here/a"


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, code in (
        (tmp_path / "pipe", "text.not-a-regular-file"),
        (Path(os.devnull), "text.not-a-regular-file"),
        (tmp_path, "text.is-a-folder"),
        (tmp_path / "loop", "text.cannot-read"),
        (tmp_path / ("x" * 300), "text.cannot-read"),
        (Path("a\0b"), "text.invalid-file-name"),
        (Path("nowhere"), "text.no-such-file"),
    ):
        assert message(read_bytes, path).startswith(f"{code}: ")
    missing = message(read_bytes, Path("nowhere"), "there is no {}")
    assert missing == "text.no-such-file: there is no {}"

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert message(read_bytes, tmp_path / "a.txt").endswith(
        "a.txt (Permission denied): check its permissions"
    )


def test_what_a_shell_pipes_in_is_read() -> None:
    program = (
        "import sys; from wordorder.text.user_text import read_text; print(read_text(sys.argv[1]))"
    )
    line = f'{os.sys.executable} -c "{program}" <(printf "piped\\r\\n")'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("piped\n\n", "")


@pytest.mark.parametrize("text", ["", " \n\t", "\ufeff", " \ufeff\n\ufeff "])
def test_blank_text(text: str) -> None:
    assert is_blank(text) and not is_blank(f"{text}a")


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["", "utf-16", "gb18030"]))
def test_any_bytes_are_text_or_one_line(data: bytes, encoding: str) -> None:
    if encoding:
        data = data.decode("latin1").encode(encoding)
    try:
        text = decode(data, "a", path=Path("a b.txt"))
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert "\r" not in text and "\0" not in text
        text.encode()
