"""Names of data, of which a run records absolute paths so that it can be read from elsewhere."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_config import TEXT, small_config

from wordorder.cli.main import main
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


def test_a_link_keeps_its_suffix(tmp_path: Path) -> None:
    """As in the cache of the Hugging Face Hub, whose files have no suffix."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "5f3a9c").write_text('{"text": "a story"}\n')
    (tmp_path / "train.jsonl").symlink_to(tmp_path / "blobs" / "5f3a9c")
    assert whole_paths((str(tmp_path / "train.jsonl"),)) == (str(tmp_path / "train.jsonl"),)
    (tmp_path / "folder").symlink_to(tmp_path / "blobs")
    assert whole_paths((str(tmp_path / "folder"),)) == (str(tmp_path / "blobs"),)


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    link = tmp_path / "loop.txt"
    link.symlink_to(link)
    with pytest.raises(BadInput, match=r"cannot read .*loop\.txt \(Too many levels"):
        train(small_config(link, tmp_path / "run"))


def test_a_run_in_the_folder_of_its_text_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    run = train(small_config(tmp_path, tmp_path / "run"))
    assert resume(run.folder).config["data"] == run.config["data"]


def test_a_run_whose_text_was_moved_is_resumed_with_its_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before/a.txt").write_text(TEXT, encoding="utf-8")
    train(small_config(tmp_path / "before/a.txt", tmp_path / "before/run"))
    (tmp_path / "before").rename(tmp_path / "after")
    monkeypatch.chdir(tmp_path / "after")
    assert main(["train", "--resume", "run"]) == 2
    no_longer = f"no longer at {tmp_path / 'before/a.txt'}: if it was moved, "
    command = "wordorder train --resume run --data NEWPATH"
    assert capsys.readouterr().err.endswith(f"{no_longer}say where it is: {command}\n")
    for measuring in (["eval", "run"], ["probe", "run"]):
        assert main(measuring) == 2
        assert f"{no_longer}let the run record where it is: {command}; or give any text with " in (
            capsys.readouterr().err
        )
    assert main(["extend", "run", "--to", "2x"]) == 2
    assert capsys.readouterr().err.endswith(f"{no_longer}add --data NEWPATH\n")
    (tmp_path / "after/other.txt").write_text(TEXT * 2, encoding="utf-8")
    assert main(["train", "--resume", "run", "--data", "other.txt"]) == 3
    assert "the text of" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--data", "a.txt"]) == 0
    record = json.loads((tmp_path / "after/run/config.json").read_text(encoding="utf-8"))
    assert record["training"]["data"] == [str(tmp_path / "after/a.txt")]
    assert main(["train", "--resume", "run"]) == 0  # which it has recorded


def test_a_moved_mixture_keeps_its_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name} {TEXT}", encoding="utf-8")
    config = small_config(tmp_path / "a.txt", tmp_path / "run")
    shares = (f"{tmp_path / 'a.txt'}=0.5", f"{tmp_path / 'b.txt'}=0.5")
    run = train(replace(config, data=shares, steps=4))
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    for other in ((shares[0],), (f"{tmp_path / 'a.txt'}=0.9", f"{tmp_path / 'c.txt'}=0.1")):
        with pytest.raises(BadInput, match="give the same number of names with the same weights"):
            resume(run.folder, texts={"data": other})
    with pytest.raises(BadInput, match="is no longer at") as caught:
        resume(run.folder)
    assert str(caught.value).endswith(f" --data {shares[0]} NEWPATH=0.5")
    moved = (shares[0], f"{tmp_path / 'c.txt'}=0.5")
    assert resume(run.folder, texts={"data": moved}).config["training"]["data"] == list(moved)
