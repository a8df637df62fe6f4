"""Folders that are refused: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stock_models import STOCK, save_stock

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop.huggingface import import_folder as importing
from wordorder.interop.huggingface import weight_files
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    save_stock(folder, "LlamaForCausalLM", STOCK["LlamaForCausalLM"]["default"])
    return folder


@pytest.fixture
def copy(tmp_path: Path, stock: Path) -> Path:
    return Path(shutil.copytree(stock, tmp_path / "stock"))


def fields(**changed: Any) -> Callable[[Path], None]:
    """Return a change of fields of config.json; ... removes one."""

    def change(folder: Path) -> None:
        values = json.loads((folder / CONFIG).read_text()) | changed
        values = {name: value for name, value in values.items() if value is not ...}
        (folder / CONFIG).write_text(json.dumps(values))

    return change


def rope(**settings: Any) -> Callable[[Path], None]:
    return fields(rope_parameters={"rope_theta": 1e4, **settings})


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Return a change of the weights."""

    def changed(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)

    return changed


def file(name: str, contents: bytes | None) -> Callable[[Path], None]:
    """Return a change that writes a file, or removes it."""

    def change(folder: Path) -> None:
        if contents is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(contents)

    return change


def truncated(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def tampered(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1))


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def indexed(place: str) -> Callable[[Path], None]:
    """Return a change to two shards, one tensor of which an index puts elsewhere."""

    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).rename(folder / "one.safetensors")
        shutil.copy(folder / "one.safetensors", folder.parent / "outside.safetensors")
        places = dict.fromkeys(weights, "one.safetensors")
        places["model.norm.weight"] = place
        index = {"metadata": {}, "weight_map": places}
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))

    return change


def fewer_rows(weights: dict[str, Any]) -> None:
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:-1].clone()


def not_finite(weights: dict[str, Any]) -> None:
    weights["model.norm.weight"][0] = float("nan")


def with_tokens(count: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        values = json.loads((folder / "tokenizer.json").read_text())
        values["model"]["vocab"] |= {f"token {i}": 1000 + i for i in range(count)}
        (folder / "tokenizer.json").write_text(json.dumps(values))

    return change


def with_gap(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary["a token"] = 261  # the model has one row more
    (folder / "tokenizer.json").write_text(json.dumps(values))


def without_end(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**values, "added_tokens": []}))


CODE = {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}
FOLDERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "model type": (
        fields(model_type="mamba"),
        "unsupported-model-type",
        "gpt2, gpt_neo, gpt_neox, gpt_oss, granite",
    ),
    "no model type": (fields(model_type=...), "unsupported-model-type", "gpt_neox"),
    "missing tensor": (
        tensors(lambda w: w.pop("model.norm.weight")),
        "weights-of-another-model",
        "lack model.norm.weight [32]",
    ),
    "extra tensor": (
        tensors(lambda w: w.update(more=torch.ones(2, 3))),
        "weights-of-another-model",
        "more [2, 3]",
    ),
    "shape": (tensors(fewer_rows), "weights-of-another-model", "[262, 32] instead of [263, 32]"),
    "not finite": (tensors(not_finite), "weights-not-finite", "model.norm.weight"),
    "integers": (
        tensors(lambda w: w.update({"model.norm.weight": torch.ones(32, dtype=torch.int32)})),
        "damaged-weights",
        "I32",
    ),
    "biases that config.json does not name": (
        fields(attention_bias=True),
        "weights-of-another-model",
        "q_proj.bias",
    ),
    "rope type": (rope(rope_type="spiral"), "unsupported-field", "spiral"),
    "older rope type": (
        fields(rope_scaling={"type": "spiral"}, rope_parameters=None),
        "unsupported-field",
        "spiral",
    ),
    "rope setting": (rope(rope_type="linear", factor=2.0, twist=3), "unknown-field", "twist"),
    "rope without a factor": (rope(rope_type="linear"), "missing-field", "factor"),
    "negative factor": (rope(rope_type="linear", factor=-2.0), "unsupported-field", "factor"),
    "factor below 1": (
        rope(rope_type="llama3", factor=0.5, low_freq_factor=1.0, high_freq_factor=4.0),
        "invalid-architecture",
        "factor",
    ),
    "divisors": (
        rope(rope_type="longrope", factor=2.0, short_factor="x", long_factor=[1.0]),
        "rotary-divisors",
        "short_factor",
    ),
    "two bases": (fields(rope_theta=1e6), "rotary-settings-differ", "rope_theta"),
    "partial": (
        rope(rope_type="default", partial_rotary_factor=0.5),
        "unsupported-field",
        "partial_rotary_factor",
    ),
    "activation": (fields(hidden_act="gelu"), "unsupported-field", "silu"),
    "text for a size": (fields(hidden_size="32"), "unsupported-field", "hidden_size"),
    "size left out": (fields(hidden_size=...), "missing-field", "hidden_size"),
    "heads that do not fit": (
        fields(num_key_value_heads=3),
        "invalid-architecture",
        "key-value heads",
    ),
    "remote code": (fields(**CODE), "remote-code", "auto_map"),
    "quantized": (fields(quantization_config={"bits": 4}), "quantized", "quantized"),
    "truncated": (truncated, "damaged-weights", WEIGHTS),
    "tampered": (tampered, "damaged-weights", WEIGHTS),
    "not safetensors": (file(WEIGHTS, b"x" * 100), "damaged-weights", WEIGHTS),
    "no weights": (file(WEIGHTS, None), "no-weights", WEIGHTS),
    "pickle": (pickled, "pickle", "save_pretrained"),
    "index outside": (indexed("../outside.safetensors"), "index-points-elsewhere", "../outside"),
    "index to a pickle": (indexed("pytorch_model.bin"), "index-points-elsewhere", "pytorch_model"),
    "shard missing": (indexed("two.safetensors"), "shard-missing", "two.safetensors"),
    "no config.json": (file(CONFIG, None), "no-configuration", CONFIG),
    "config.json is not JSON": (file(CONFIG, b"{"), "damaged-json", CONFIG),
    "config.json is a list": (file(CONFIG, b"[]"), "not-an-object", CONFIG),
    "no tokenizer": (file("tokenizer.json", None), "no-tokenizer", "tokenizer.json"),
    "damaged tokenizer": (file("tokenizer.json", b"{}"), "", "tokenizer.json"),
    "tokens without rows": (with_tokens(1), "tokenizer-does-not-fit", "1,001"),
    "a gap in the ids": (with_gap, "unused-tokens", "no token has the id "),
    "no end of text": (without_end, "no-end-of-text", "eos_token"),
    "our own export": (fields(model_type="wordorder", **CODE), "own-export", "use the run"),
    "no table of outputs": (
        tensors(lambda w: w.pop("lm_head.weight")),
        "no-output-weights",
        "set tie_word_embeddings to true",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_refused_and_nothing_is_written(
    tmp_path: Path, copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, code, part = FOLDERS[name]
    change(copy)
    with pytest.raises(BadInput) as caught:
        import_folder(copy, tmp_path / "run")
    assert caught.value.code == (f"interop.{code}" if code else "text.damaged-tokenizer")
    assert part in str(caught.value)
    assert main(["import", str(copy), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and part in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "kind,name", [("GPT2LMHeadModel", "n_ctx"), ("BertForMaskedLM", "is_decoder")]
)
def test_a_field_with_another_value_than_its_default_is_refused(
    tmp_path: Path, kind: str, name: str
) -> None:
    save_stock(tmp_path / "stock", kind, STOCK[kind]["default"])
    fields(**{name: True})(tmp_path / "stock")
    with pytest.raises(BadInput) as caught:
        import_folder(tmp_path / "stock", tmp_path / "run")
    assert caught.value.code == "interop.unsupported-field" and name in str(caught.value)


@pytest.mark.parametrize("kinds", [[[["global"], 1]], [[["wide"], 2]], [1], "global"])
def test_layers_that_gpt_neo_does_not_have_are_refused(tmp_path: Path, kinds: Any) -> None:
    save_stock(tmp_path / "stock", "GPTNeoForCausalLM", STOCK["GPTNeoForCausalLM"]["windows"])
    fields(attention_types=kinds, attention_layers=...)(tmp_path / "stock")
    with pytest.raises(BadInput, match="attention_types"):
        import_folder(tmp_path / "stock", tmp_path / "run")


def test_a_model_class_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    save_stock(tmp_path / "stock", "BertForMaskedLM", STOCK["BertForMaskedLM"]["default"])
    fields(architectures=["BertForSequenceClassification"])(tmp_path / "stock")
    with pytest.raises(BadInput) as caught:
        import_folder(tmp_path / "stock", tmp_path / "run")
    assert caught.value.code == "interop.unsupported-field"


def test_what_has_no_effect_is_read_over(tmp_path: Path, copy: Path) -> None:
    fields(use_cache=False, _name_or_path="x", some_new_flag=False, another=None)(copy)
    assert import_folder(copy, tmp_path / "run").comparisons


def test_older_keys_of_rotary_are_read(tmp_path: Path, copy: Path) -> None:
    scaling = {"type": "linear", "factor": 2.0}
    fields(rope_parameters=..., rope_theta=7e3, rope_scaling=scaling)(copy)
    assert (
        import_folder(copy, tmp_path / "run").position
        == "rotary:base=7000.0,scaling=linear,factor=2.0"
    )


def test_shards_and_half_precision_are_read(tmp_path: Path, stock: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(stock)
    theirs.to(torch.bfloat16).save_pretrained(tmp_path / "stock", max_shard_size="10KB")
    shutil.copy(stock / "tokenizer.json", tmp_path / "stock")
    assert len(list((tmp_path / "stock").glob("*.safetensors"))) > 1
    assert import_folder(tmp_path / "stock", tmp_path / "run").comparisons


def test_names_of_the_class_without_an_output_layer_are_read(tmp_path: Path) -> None:
    """GPT-2's own file has them: no `transformer.`, the masks of old, and a tied output layer."""
    save_stock(tmp_path / "stock", "GPT2LMHeadModel", STOCK["GPT2LMHeadModel"]["default"])

    def older(weights: dict[str, Any]) -> None:
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)
        weights["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
        weights["lm_head.weight"] = weights["wte.weight"].clone()

    tensors(older)(tmp_path / "stock")
    assert import_folder(tmp_path / "stock", tmp_path / "run").comparisons
    tensors(lambda w: w.update({"lm_head.weight": w["lm_head.weight"] * 2}))(tmp_path / "stock")
    with pytest.raises(BadInput) as caught:
        import_folder(tmp_path / "stock", tmp_path / "other")
    assert caught.value.code == "interop.head-not-tied"


def test_logits_that_differ_are_refused_and_nothing_is_left(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = weight_files.WeightFiles.__getitem__
    monkeypatch.setattr(weight_files.WeightFiles, "__getitem__", lambda *a: whole(*a) * 1.01)
    assert main(["import", str(copy), "--out", str(tmp_path / "deep" / "run")]) == 3
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "deep").exists()
    with pytest.raises(Refused) as caught:
        import_folder(copy, tmp_path / "run")
    assert caught.value.code == "interop.logits-differ"


def test_without_transformers_a_note_says_that_nothing_was_compared(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importing, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["import", str(copy), "--out", str(tmp_path / "run")]) == 0
    written = capsys.readouterr()
    assert "pip install 'wordorder[hf]'" in written.err and str(tmp_path / "run") in written.out
    assert Run.load(tmp_path / "run").model is not None


def test_a_run_is_replaced_only_with_overwrite(tmp_path: Path, copy: Path) -> None:
    out = tmp_path / "run"
    import_folder(copy, out)
    with pytest.raises(BadInput) as caught:
        import_folder(copy, out)
    assert caught.value.code == "folders.exists"
    (out / "mine.txt").write_text("mine")
    import_folder(copy, out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    before = (out / WEIGHTS).read_bytes()
    truncated(copy)
    with pytest.raises(BadInput):
        import_folder(copy, out, overwrite=True)
    assert (out / WEIGHTS).read_bytes() == before
    with pytest.raises(BadInput) as caught:
        import_folder(out, tmp_path / "other")
    assert caught.value.code == "interop.is-a-run"


def test_the_run_is_named_after_the_folder(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.parent)
    assert main(["import", "stock", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["folder"] == "runs/stock" and record["largest_difference"] < 1e-4
