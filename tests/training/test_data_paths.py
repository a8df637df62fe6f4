"""Names of data, of which a run records absolute paths so that it can be read from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_config import TEXT, small_config

from wordorder.errors import BadInput
from wordorder.training.config import whole_paths
from wordorder.training.start import resume, train


def test_paths_are_absolute_and_other_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "python-docs").mkdir()  # the built-in text all the same
    read, write = os.pipe()
    try:
        given = ("a.txt", "a.txt=0.5", "python-docs", "hf:a/b", f"/dev/fd/{read}", "missing")
        text = str(tmp_path / "a.txt")
        assert whole_paths(given) == (text, f"{text}=0.5", *given[2:])
        assert whole_paths(("./python-docs",)) == (str(tmp_path / "python-docs"),)
    finally:
        os.close(read)
        os.close(write)


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    link = tmp_path / "loop.txt"
    link.symlink_to(link)
    with pytest.raises(BadInput, match=r"cannot read .*loop\.txt \(Too many levels"):
        train(small_config(link, tmp_path / "run"))


def test_a_run_in_the_folder_of_its_text_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    run = train(small_config(tmp_path, tmp_path / "run"))
    assert resume(run.folder).config["data"] == run.config["data"]
