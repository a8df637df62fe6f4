"""A file is replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from wordorder.atomic import cannot_write, replacing, replacing_folder, write_text
from wordorder.errors import BadInput, Failed


def test_what_was_written_takes_the_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")
    with replacing(path) as beside:
        assert beside.parent.parent == tmp_path and beside.name == path.name
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_where_writing_fails_the_file_stays_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")
    with pytest.raises(OSError, match="full"), replacing(path) as beside:
        beside.write_text("half")
        raise OSError("the disk is full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "\u03b8 = 1")
    assert (tmp_path / "a.txt").read_bytes() == "\u03b8 = 1".encode()


def test_what_is_no_character_does_not_stop_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "bad\udcff.txt")
    assert (tmp_path / "a.txt").read_bytes() == rb"bad\udcff.txt"


@pytest.fixture(params=[0o022, 0o027, 0o002])
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode that a umask gives to a new file."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def test_a_file_has_the_mode_of_the_umask_whoever_wrote_it(tmp_path: Path, mode: int) -> None:
    with replacing(tmp_path / "weights") as beside:
        os.close(os.open(beside, os.O_CREAT, 0o600))  # as safetensors makes it
    with replacing_folder(tmp_path / "folder") as beside:
        os.close(os.open(beside / "tokens", os.O_CREAT, 0o600))
    for name in ("weights", "folder/tokens"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) & 0o666 == mode


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    with replacing_folder(folder) as beside:
        write_text(beside / "old", "1")
    with pytest.raises(OSError, match="full"), replacing_folder(folder) as beside:
        write_text(beside / "half", "2")
        raise OSError("the disk is full")
    assert os.listdir(folder) == ["old"]
    with replacing_folder(folder) as beside:
        write_text(beside / "new", "3")
    assert os.listdir(folder) == ["new"] and os.listdir(tmp_path) == ["entry"]


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, said in (("pipe", "File exists"), ("folder", "Is a directory")):
        with pytest.raises(OSError, match=said):
            write_text(tmp_path / name, "text")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_a_name_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 255), "here")
    with pytest.raises(OSError, match="File name too long") as caught:
        write_text(tmp_path / ("x" * 256), "nowhere")
    assert Path(caught.value.filename).parent == tmp_path


def test_no_room_is_no_bad_input() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = cannot_write("r", full, "choose another --out")
    assert isinstance(error, Failed)
    assert error.code == "atomic.no-space" and "No space left on device" in str(error)
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    error = cannot_write("r", denied, "choose another --out")
    assert isinstance(error, BadInput)
    assert str(error) == "cannot write r: Permission denied: choose another --out"
