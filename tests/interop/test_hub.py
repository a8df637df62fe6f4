"""Models and tokenizers of the Hugging Face Hub, by a server of our own that answers like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import COMMIT, GATED, MODEL, PRIVATE, serving
from small_config import TEXT, small_config
from stock_models import STOCK, save_stock

from wordorder.errors import BadInput
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.text.hub_files import downloaded
from wordorder.text.tokenizer_file import read_backend
from wordorder.training.run import Run
from wordorder.training.start import train

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as it is on the Hub, with files that an import does not need."""
    folder = tmp_path_factory.mktemp("on-hub")
    save_stock(folder, "LlamaForCausalLM", next(iter(STOCK["LlamaForCausalLM"].values())))
    for name in ("pytorch_model.bin", "README.md", "consolidated.safetensors"):
        (folder / name).write_bytes(b"not needed")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("not needed")
    return folder


@pytest.fixture
def sent(folder: Path, tmp_path: Path) -> Iterator[list[str]]:
    with serving(folder, tmp_path / "cache") as names:
        yield names


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    return f"{caught.value.code}: {caught.value}"


def test_a_model_is_imported_by_its_name(
    sent: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    imported = import_folder(f"hf:{MODEL}")
    assert imported.folder == Path("runs/small-model")
    assert imported.comparisons
    assert Run.load(imported.folder).config["import"]["from"] == f"hf:{MODEL}@{COMMIT}"
    assert sent[0] == "config.json" and "model.safetensors" in sent and "tokenizer.json" in sent
    assert len(sent) == len(set(sent))
    assert not [n for n in sent if "/" in n or n.endswith((".bin", ".md")) or "consol" in n]
    local = import_folder(folder, tmp_path / "local")
    ours, theirs = (Path(i.folder, "model.safetensors").read_bytes() for i in (imported, local))
    assert ours == theirs
    sent.clear()
    import_folder(f"hf:{MODEL}@v1", tmp_path / "again")
    assert sent == []


def test_weights_of_an_architecture_that_is_not_ours_are_not_downloaded(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (other / "model.safetensors").write_bytes(b"large")
    with serving(other, tmp_path / "cache") as sent:
        assert "mamba" in refused(lambda: import_folder(f"hf:{MODEL}", tmp_path / "run"))
        assert sent == ["config.json"]
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_is_taken_by_its_name(sent: list[str], folder: Path, tmp_path: Path) -> None:
    backend = read_backend(f"hf:{MODEL}")
    assert backend.get_vocab() == read_backend(folder).get_vocab()
    assert sent == ["tokenizer.json"]
    (tmp_path / "text.txt").write_text(TEXT)
    config = replace(small_config(tmp_path / "text.txt", tmp_path / "run"), tokenizer=f"hf:{MODEL}")
    assert train(config).tokenizer.backend.get_vocab() == backend.get_vocab()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:someone/absent", "text.hub-not-found: the Hugging Face Hub has no model someone/ab"),
        (f"hf:{PRIVATE}", f"text.hub-not-found: the Hugging Face Hub has no model {PRIVATE}, or "),
        (f"hf:{GATED}", f"text.hub-gated: hf:{GATED} is given to those who accept its terms"),
        (f"hf:{MODEL}@v9", f"text.hub-no-revision: {MODEL} has no branch, tag or commit v9"),
        ("hf:", "text.hub-download: cannot download hf:"),
        ("hf:a/b/c", "text.hub-download: cannot download hf:a/b/c"),
    ],
)
def test_what_cannot_be_downloaded_is_said(sent: list[str], name: str, told: str) -> None:
    assert refused(lambda: downloaded(name, ["*.json"])).startswith(told)
    assert not sent


def test_a_model_without_a_tokenizer_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with serving(tmp_path / "model", tmp_path / "cache"):
        told = refused(lambda: read_backend(f"hf:{MODEL}"))
    assert told.startswith(f"text.hub-no-tokenizer: hf:{MODEL} has no tokenizer.json")
