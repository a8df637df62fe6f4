"""A file is replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordorder.atomic import replacing, write_text


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
