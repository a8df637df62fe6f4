"""A store that is prepared again: after it was stopped, and in the place of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.text.load import load_corpus
from wordorder.text.sharded import prepare
from wordorder.text.sharded.folder import open_sharded
from wordorder.text.sharded.prepare import StoreConfig

from .conftest import stop_while_reading

SMALL = {"chunk_bytes": 1500, "vocabulary_size": 300}


def test_conversations_of_a_dataset_are_read_on_from_the_row_that_was_reached(
    tmp_path: Path,
) -> None:
    pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    rows = [{"prompt": f"question {n} " * 20, "answer": "yes"} for n in range(60)]
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "set" / "train-00000-of-00001.parquet")
    config = StoreConfig((f"hf:{tmp_path / 'set'}",), **SMALL)

    stop_while_reading(tmp_path / "store", config)
    prepare.prepare(tmp_path / "store", config)
    assert open_sharded(tmp_path / "store").index["documents"] == len(rows)


def test_another_store_in_the_same_place_has_its_own_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a small text of words. " * 200)
    for tokenizer in ("bytes", "characters"):
        config = StoreConfig((str(tmp_path / "text.txt"),), tokenizer=tokenizer)
        prepare.prepare(tmp_path / "store", config, processes=1)
        assert open_sharded(tmp_path / "store").store("training") is not None
        shutil.rmtree(tmp_path / "store")


def test_a_finished_store_is_left_as_it_is_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, store = tmp_path / "text.txt", tmp_path / "store"
    text.write_text("a small text of words. " * 200)
    words = ["data", str(text), "--store", str(store), "--tokenizer", "bytes"]
    assert main(words) == 0
    assert "already prepared" not in capsys.readouterr().err
    text.write_text("another text. " * 200)
    assert main(words) == 0
    assert "already prepared, so its text was not read again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["training.starts", "tokenizer.json", "wordorder-store.json"])
def test_a_damaged_store_is_to_be_removed_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, store = tmp_path / "text.txt", tmp_path / "store"
    text.write_text("a small text of words. " * 200)
    words = ["data", str(text), "--store", str(store), "--tokenizer", "bytes"]
    assert main(words) == 0
    if name.startswith("wordorder"):
        (store / name).write_text("{")
    else:
        (store / name).unlink()
    capsys.readouterr()
    assert main(words) == 2
    assert "or remove it and prepare its text again" in capsys.readouterr().err
    shutil.rmtree(store)
    assert main(words) == 0


@pytest.mark.parametrize("finished", [True, False])
def test_a_store_inside_its_own_text_is_not_read(tmp_path: Path, finished: bool) -> None:
    (tmp_path / "text.txt").write_text("a small text of words. " * 200)
    store = tmp_path / "store"
    config = StoreConfig((str(tmp_path),), **SMALL)
    if finished:
        prepare.prepare(store, config)
    else:
        stop_while_reading(store, config)
    assert [document.source for document in load_corpus(str(tmp_path)).documents] == [
        str(tmp_path / "text.txt")
    ]
