from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.text import hub
from wordorder.text.load import load_corpus

datasets = pytest.importorskip("datasets", reason="the data extra is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of the hub's layout, on disk: no network."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for split in ("train", "test"):
        table = pyarrow.table({"text": [f"{split} one", " ", f"{split} two"], "n": [1, 2, 3]})
        parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    return tmp_path


def texts(name: str) -> list[str]:
    return [document.text for document in load_corpus(name).documents]


def test_streams_a_split(folder: Path) -> None:
    assert texts(f"hf:{folder}") == ["train one", "train two"]
    assert texts(f"hf:{folder}:test") == ["test one", "test two"]
    assert texts(f"hf:{folder}:default:test") == ["test one", "test two"]


def test_stops_at_the_most_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents, notes = hub.stream_dataset(str(folder), "text", most_bytes=5)
    assert [document.text for document in documents] == ["train one"]
    assert notes[0].startswith(f"only the first 0 MB of hf:{folder} were read, in 1 document: ")


def test_the_bound_is_a_size(folder: Path, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["a" * 600] * 5})
    parquet.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    assert len(load_corpus(f"hf:{folder}", most_bytes="1KB").documents) == 2
    assert len(load_corpus(f"hf:{folder}", most_bytes="0.003MB").documents) == 5
    with pytest.raises(BadInput, match="must be a size such as 500MB or 2GB"):
        load_corpus(f"hf:{folder}", most_bytes="2")
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    assert "has no effect" in load_corpus(str(tmp_path / "a.txt"), most_bytes="1KB").notes[0]


def test_a_dataset_of_conversations(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    table = pyarrow.table({"messages": [turns] * 2, "id": [1, 2]})
    parquet.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    corpus = load_corpus(f"hf:{tmp_path}")
    assert corpus.is_chat and corpus.documents[0].turns[1].content == "b"


def test_messages(folder: Path) -> None:
    def message(name: str, **options: Any) -> str:
        with pytest.raises(BadInput) as caught:
            load_corpus(name, **options)
        assert "\n" not in str(caught.value)
        return f"{caught.value.code}: {caught.value}"

    line = message(f"hf:{folder}", field="body")
    assert line.startswith("text.missing-column: ") and " with --field text; " in line
    unopened = f"text.dataset-not-opened: cannot open hf:{folder}"
    assert message(f"hf:{folder}:default:nowhere").startswith(f"{unopened}:default:nowhere: ")
    assert message(f"hf:{folder}/none").startswith(f"{unopened}/none: ")
    assert message("hf:a:b:c:d").startswith("text.dataset-name: ")
