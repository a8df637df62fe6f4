"""Every export to a stock class is imported again, and exported again as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exported_runs import BERT, GPT_GELU, LATENT, ROWS, TRAINED, write_run
from mechanisms import each_row
from stock_models import STOCK, save_stock

from wordorder.interop.holders import stock_class
from wordorder.interop.huggingface.export import write_model
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

# Of each class the first row and, where its file has them, kinds of layers, experts and a head;
# of Llama all, whose scalings the others share. test_weight_maps.py reads all rows' weights back.
OTHERS = {
    "windows",
    "grouped keys",
    "groups",
    "half layout, epsilon",
    "without sinks and biases",
    "windows and none",
    "sinusoidal",
    "sinks",
    "no transform",
}
QUICK = {
    (kind, name)
    for kind, rows in ROWS.items()
    for i, name in enumerate(rows)
    if i == 0 or name in OTHERS or kind == "LlamaForCausalLM"
}
ALL = each_row(ROWS, lambda kind, name: (kind, name) not in QUICK)
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
# The experts of gpt-oss always have biases, and a run has them everywhere or nowhere.
CHANGED = {("GptOssForCausalLM", "without sinks and biases"): {"attention_bias"}}


def exported(run: Run, folder: Path) -> dict[str, dict[str, Any]]:
    """Write a run for its stock class; return the settings in the folder, by their file."""
    folder.mkdir()
    write_model(folder, run, run.model, stock_class(run.model_config))
    paths = [folder / name for name in SETTINGS if (folder / name).exists()]
    return {path.name: json.loads(path.read_text("utf-8")) for path in paths}


@pytest.mark.parametrize("kind,name", ALL)
def test_an_export_is_imported_and_exported_as_it_was(tmp_path: Path, kind: str, name: str) -> None:
    run = write_run(tmp_path / "run", **ROWS[kind][name])
    first = exported(run, tmp_path / "first")
    result = import_folder(tmp_path / "first", tmp_path / "again")
    assert result.class_name == kind and result.comparisons
    assert result.trained_length == TRAINED
    second = exported(Run.load(tmp_path / "again"), tmp_path / "second")
    for field in CHANGED.get((kind, name), ()):
        del first["config.json"][field], second["config.json"][field]
    assert second == first


def test_a_table_longer_than_the_training_sequences_is_not_taken_for_them(tmp_path: Path) -> None:
    options = {**GPT_GELU, "position": "learned:length=64"}
    for number, model in enumerate((options, {**BERT, "position": "learned:length=64"})):
        exported(write_run(tmp_path / f"run{number}", **model), tmp_path / f"hf{number}")
        import_folder(tmp_path / f"hf{number}", tmp_path / f"again{number}")
        config = Run.load(tmp_path / f"again{number}").model_config
        assert (config.position, config.trained_length) == ("learned:length=64", TRAINED)


def test_transformers_keeps_the_trained_length(tmp_path: Path) -> None:
    """In a folder that was fine-tuned and saved."""
    run = write_run(tmp_path / "run", **GPT_GELU, position="sinusoidal")
    exported(run, tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    theirs.save_pretrained(tmp_path / "saved")
    (tmp_path / "hf" / "tokenizer.json").rename(tmp_path / "saved" / "tokenizer.json")
    (tmp_path / "hf" / "tokenizer_config.json").rename(tmp_path / "saved" / "tokenizer_config.json")
    result = import_folder(tmp_path / "saved", tmp_path / "again")
    assert result.trained_length == TRAINED


@pytest.mark.parametrize("kind", ["DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"])
def test_dense_layers_alone_need_no_fields_of_experts(tmp_path: Path, kind: str) -> None:
    """Whether a file has them, as save_pretrained writes them, or not."""
    dense = {**next(iter(STOCK[kind].values())), "first_k_dense_replace": 9}
    save_stock(tmp_path / "saved", kind, dense)
    assert import_folder(tmp_path / "saved", tmp_path / "run").comparisons
    path = tmp_path / "saved" / "config.json"
    values = json.loads(path.read_text("utf-8"))
    fields = ("n_routed_experts", "num_experts_per_tok", "n_shared_experts", "n_group")
    path.write_text(json.dumps({n: v for n, v in values.items() if n not in fields}), "utf-8")
    assert import_folder(tmp_path / "saved", tmp_path / "fewer").comparisons
    assert Run.load(tmp_path / "fewer").model_config.experts == 0
    assert write_run(tmp_path / "ours", **LATENT).model_config.experts == 0
