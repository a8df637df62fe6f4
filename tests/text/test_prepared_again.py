"""A store that is prepared again: after it was stopped, and in the place of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
