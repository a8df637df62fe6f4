"""Files as they are published: fields that no class reads, and tokens without a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stock_models import STOCK, save_stock

from wordorder.errors import BadInput
from wordorder.interop.huggingface import import_folder as importing
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.training.run import Run

pytest.importorskip("transformers")


def stock(folder: Path, kind: str, **values: Any) -> Path:
    """Write a small model of a class, with further fields in its config.json."""
    save_stock(folder, kind, next(iter(STOCK[kind].values())))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


# What the files of well-known models have, and no class of transformers reads.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "SmolLM2": ("LlamaForCausalLM", {"is_llama_config": True, "rope_interleaved": False}),
    "Unsloth": ("LlamaForCausalLM", {"unsloth_version": "2024.9", "unsloth_fixed": True}),
    "gpt2-medium": ("GPT2LMHeadModel", {"n_special": 0, "predict_special_tokens": True}),
    "distilgpt2": ("GPT2LMHeadModel", {"_num_labels": 1, "output_past": True}),
    "bloom": ("BloomForCausalLM", {"bias_dropout_fusion": True, "skip_bias_add": True}),
    "multilingual BERT": (
        "BertForMaskedLM",
        {"directionality": "bidi", "pooler_fc_size": 768, "pooler_type": "first_token_transform"},
    ),
    "ModernBERT": ("ModernBertForMaskedLM", {"layer_norm_eps": 1e-5}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_of_well_known_models_are_read(tmp_path: Path, name: str) -> None:
    kind, values = PUBLISHED[name]
    folder = stock(tmp_path / "stock", kind, **values)
    assert import_folder(folder, tmp_path / "run").comparisons


def test_a_field_that_the_class_does_not_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stock(tmp_path / "stock", "LlamaForCausalLM", logits_cap=30.0)
    imported = import_folder(folder, tmp_path / "run")
    assert imported.comparisons and any("logits_cap" in note for note in imported.notes)
    monkeypatch.setattr(importing, "find_spec", lambda name: None)  # then it may matter
    with pytest.raises(BadInput) as caught:
        import_folder(folder, tmp_path / "other")
    assert caught.value.code == "interop.unknown-field"


def test_added_tokens_without_a_row_are_left_out(tmp_path: Path) -> None:
    """Gemma 3's tokenizer has a token for images, of which its text models have no row."""
    folder = stock(tmp_path / "stock", "LlamaForCausalLM")
    values = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    ids = set(range(263)) - {*vocabulary.values(), *(t["id"] for t in values["added_tokens"])}
    vocabulary |= {f"token {index}": index for index in ids}  # one for every row
    token = {**values["added_tokens"][0], "id": 263, "content": "<image>", "special": True}
    values["added_tokens"].append(token)
    (folder / "tokenizer.json").write_text(json.dumps(values))
    imported = import_folder(folder, tmp_path / "run")
    assert any("<image>" in note for note in imported.notes)
    assert Run.load(imported.folder).tokenizer.vocabulary_size == 263
