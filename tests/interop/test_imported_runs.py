"""What is imported is used as any other run, and what it lacks is refused with one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from small_config import TEXT
from stock_models import STOCK, save_stock
from tokenizers.processors import TemplateProcessing

from wordorder.cli.main import main
from wordorder.interop.export import export
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.interop.targets import TARGETS
from wordorder.text.prompt import Prompt
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

GPT2 = ("GPT2LMHeadModel", "default")
LLAMA = ("LlamaForCausalLM", "default")
BERT, BARE = ("BertForMaskedLM", "default"), ("BertModel", "default")


def imported(folder: Path, kind: str, name: str) -> Run:
    save_stock(folder / "stock", kind, STOCK[kind][name])
    import_folder(folder / "stock", folder / "run")
    return Run.load(folder / "run")


def message_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message of a command that is refused."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_run_is_generated_from_evaluated_and_probed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = imported(tmp_path, *LLAMA)
    folder, text = str(run.folder), tmp_path / "text.txt"
    text.write_text(TEXT * 4, encoding="utf-8")
    assert main(["generate", folder, "The", "--max-tokens", "4"]) == 0
    assert main(["eval", folder, "--data", str(text), "--json"]) == 0
    assert main(["probe", folder, "--data", str(text), "--only", "order"]) == 0
    assert main(["explain", folder, "the cat sat"]) == 0
    assert main(["words", folder, "t"]) == 0


def test_a_run_is_fine_tuned_and_extended(tmp_path: Path) -> None:
    run = imported(tmp_path, *LLAMA)
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 8, encoding="utf-8")
    options = ["--data", str(text), "--steps", "2", "--threads", "1", "--kernel", "plain"]
    options += ["--dtype", "float32", "--compile", "no", "--batch-size", "2"]
    tuned = tmp_path / "tuned"
    assert main(["train", "--init", str(run.folder), "--out", str(tuned), *options]) == 0
    assert Run.load(tuned).model_config.vocabulary_size == run.model_config.vocabulary_size
    longer = ["extend", str(run.folder), "--to", "32", "--method", "interpolate"]
    longer += ["--data", str(text), "--retrieval", "none"]
    assert main([*longer, "--out", str(tmp_path / "long")]) == 0
    assert Run.load(tmp_path / "long").model_config.trained_length == 32


def test_its_text_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = imported(tmp_path, *LLAMA)
    assert "--data" in message_of("eval", str(run.folder), capsys=capsys)
    assert "--data" in message_of("extend", str(run.folder), "--to", "2x", capsys=capsys)


def test_a_masked_model_is_read_and_its_positions_are_probed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = imported(tmp_path, *BERT)
    assert run.fills_in and run.tokenizer.mask is not None
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 40, encoding="utf-8")
    assert main(["eval", str(run.folder), "--data", str(text)]) == 0
    assert main(["explain", str(run.folder), "the cat sat"]) == 0
    assert main(["probe", str(run.folder), "--data", str(text), "--only", "position"]) == 0
    assert "masked" in message_of("generate", str(run.folder), capsys=capsys)


def test_a_model_without_an_output_layer_predicts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = imported(tmp_path, *BARE)
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 40, encoding="utf-8")
    folder, data = str(run.folder), ["--data", str(text)]
    assert main(["probe", folder, *data, "--only", "position"]) == 0
    assert main(["words", folder, "t"]) == 0
    for command in (
        ["eval", folder, *data],
        ["explain", folder, "the cat sat"],
        ["generate", folder],
        ["probe", folder, *data],
        ["export", folder, "--to", "hf"],
    ):
        assert "output layer" in message_of(*command, capsys=capsys)


def test_the_record_names_the_source_and_the_comparison(tmp_path: Path) -> None:
    run = imported(tmp_path, *GPT2)
    entry: dict[str, Any] = json.loads((run.folder / "config.json").read_text())["import"]
    assert entry["from"] == str(tmp_path / "stock") == run.source
    assert entry["class"] == "GPT2LMHeadModel"
    assert {each["reading"] for each in entry["comparisons"]} == {"alone", "padded", "cached"}
    assert run.model_config.embedding_scale == 1


def with_beginning(folder: Path, token: str) -> None:
    """Let the tokenizer of a folder put a special token before each text, as Llama 2's does."""
    path = folder / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(path))
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False)])
    opening = [(token, backend.token_to_id(token))]
    backend.post_processor = TemplateProcessing(single=f"{token} $A", special_tokens=opening)
    backend.save(str(path))


def test_texts_begin_as_the_tokenizer_begins_them(tmp_path: Path) -> None:
    save_stock(tmp_path / "stock", LLAMA[0], STOCK[LLAMA[0]][LLAMA[1]])
    with_beginning(tmp_path / "stock", "<s>")
    assert import_folder(tmp_path / "stock", tmp_path / "run").notes == ()
    run = Run.load(tmp_path / "run")
    beginning, end = run.tokenizer.beginning_of_text, run.tokenizer.end_of_text
    assert run.tokenizer.backend.id_to_token(beginning) == "<s>" and beginning != end
    assert Prompt("The", run.tokenizer).tokens[0] == beginning
    exported = export(run, TARGETS["hf"]).folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    assert tokenizer("The")["input_ids"][0] == beginning == tokenizer.bos_token_id
    assert tokenizer.eos_token_id == end
    again = import_folder(exported, tmp_path / "again").folder
    assert Run.load(again).tokenizer.beginning_of_text == beginning


def test_texts_of_other_runs_begin_with_the_token_that_ends_them(tmp_path: Path) -> None:
    """Also those of an older run whose tokenizer.json has a token of its own."""
    tokenizer = imported(tmp_path, *LLAMA).tokenizer
    assert tokenizer.beginning_of_text == tokenizer.end_of_text
    with_beginning(tmp_path / "run", "<s>")
    older = Run.load(tmp_path / "run").tokenizer
    assert older.beginning_of_text == older.end_of_text
