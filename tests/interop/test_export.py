"""Every row of the table of holders is exported, loaded, compared; a broken map is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import ROWS, TRAINED, write_run
from mechanisms import each_row
from safetensors.torch import load_file

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop import comparison, tokenizer_files, verify
from wordorder.interop import rotary_layout as layout
from wordorder.interop.comparison import TOLERANCE, LogitComparison
from wordorder.interop.export import Export, export
from wordorder.interop.huggingface import export as exporting
from wordorder.interop.huggingface.export import HUGGING_FACE
from wordorder.interop.targets import TARGETS
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import make_tokenizer
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

# What another row has in the same class, or in another class by the same code.
REPEATED = {
    "Qwen3ForCausalLM": {"proportional"},
    "DeepseekV3ForCausalLM": {"dynamic", "llama3", "none"},
    "MistralForCausalLM": {"yarn"},
    "GraniteSWAForCausalLM": {"ntk"},
    "GptOssForCausalLM": {"one expert"},
    "Gemma3ForCausalLM": {"windows everywhere"},
    "Gemma2ForCausalLM": {"yarn", "none"},
    "SmolLM3ForCausalLM": {"none"},
    "GPT2LMHeadModel": {"no biases"},
    "GPTNeoXForCausalLM": {"none"},
    "MptForCausalLM": {"6 heads"},
    "BertForMaskedLM": {"sinusoidal"},
    "ModernBertForMaskedLM": {"untied, tanh"},
}
ALL = each_row(ROWS, lambda kind, name: name in REPEATED.get(kind, ()))
DEFAULT, BERT = ("Qwen3ForCausalLM", "default"), ("BertForMaskedLM", "learned")
SMALLEST = 0.3  # of the spread of logits: they must depend on something to be worth comparing


def exported(folder: Path, kind: str, name: str) -> Export:
    return export(write_run(folder / "run", **ROWS[kind][name]), HUGGING_FACE)


# -- what is held --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,name", ALL)
def test_each_row_is_exact(tmp_path: Path, kind: str, name: str) -> None:
    result = exported(tmp_path, kind, name).written
    assert result.holder == kind
    # Layers that leave hidden states as they are round them.
    assert result.largest_difference < TOLERANCE / (4 if "Bert" in kind else 10)
    run = Run.load(tmp_path / "run")
    is_limited = run.model.position.max_position == TRAINED - 1
    longest = TRAINED if is_limited else 2 * TRAINED
    lengths = {comparison.tokens for comparison in result.comparisons}
    assert lengths >= {TRAINED // 2, TRAINED, longest}
    readings = {comparison.reading for comparison in result.comparisons}
    assert readings == {"alone", "padded", *(["cached"] if "Bert" not in kind else [])}
    with torch.no_grad():
        assert run.model(torch.arange(TRAINED)[None]).std() > SMALLEST


def test_the_folder_has_what_transformers_reads_and_no_pickle(tmp_path: Path) -> None:
    folder = exported(tmp_path, "LlamaForCausalLM", "yarn").folder
    assert folder == tmp_path / "run-hf"
    without_chat = set(exporting.FILES) - {"chat_template.jinja"}
    assert {path.name for path in folder.iterdir()} == {*without_chat, "wordorder.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == config["rope_theta"]
    assert config["rope_scaling"]["rope_type"] == "yarn"
    assert config["pad_token_id"] is None  # whose row in the table would not be trained
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == generation["pad_token_id"] == 256
    assert all(
        value.dtype == torch.float32 for value in load_file(folder / "model.safetensors").values()
    )


def test_what_generate_writes_is_what_transformers_writes() -> None:
    from wordorder.cli.options.generate import GenerateOptions

    usual = GenerateOptions("r")
    expected = {
        "do_sample": True,
        "temperature": usual.temperature,
        "top_k": usual.top_k,
        "top_p": usual.top_p,
        "min_p": usual.min_p,
    }
    assert expected == exporting.SAMPLING


def test_a_limit_of_the_caller_overrules_that_of_the_folder(tmp_path: Path) -> None:
    folder = exported(tmp_path, "LlamaForCausalLM", "default").folder
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokens, options = torch.arange(4)[None], {"do_sample": False, "eos_token_id": None}
    assert theirs.generate(tokens, **options).shape[1] == TRAINED
    assert theirs.generate(tokens, max_length=6, **options).shape[1] == 6
    assert theirs.generate(tokens, max_new_tokens=20, **options).shape[1] == 24


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_generating_past_a_length_dependent_scaling_is_exact(tmp_path: Path, name: str) -> None:
    """With transformers' cache keys would keep the frequencies of the shorter text."""
    result = exported(tmp_path, "LlamaForCausalLM", name)
    assert result.written.notes and all("\n" not in note for note in result.written.notes)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(result.folder)
    assert theirs.generation_config.use_cache is False
    run, tokens = Run.load(tmp_path / "run"), torch.arange(10)[None]
    written = theirs.generate(tokens, do_sample=False, max_new_tokens=20, eos_token_id=None)
    with torch.no_grad():
        for _ in range(20):
            tokens = torch.cat((tokens, run.model(tokens)[:, -1:].argmax(-1)), 1)
    assert written.tolist() == tokens.tolist()


# -- what is refused -----------------------------------------------------------------------------


def test_nan_is_not_exact() -> None:
    assert not LogitComparison("alone", 8, float("nan")).is_exact


def test_the_command_exits_with_3_and_keeps_the_earlier_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(tmp_path, *DEFAULT).folder
    before = (folder / "config.json").read_text()
    monkeypatch.setattr(layout, "half_split", lambda x, *sizes: x)
    command = ["export", str(tmp_path / "run"), "--to", "hf"]
    assert main([*command, "--overwrite"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "config.json").read_text() == before


# -- folders, tokenizer, extra -------------------------------------------------------------------


def test_what_is_there_is_replaced_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    out = tmp_path / "deep" / "er"
    assert export(run, HUGGING_FACE, out).folder == out
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out)
    assert caught.value.code == "interop.out-is-an-export"
    export(run, HUGGING_FACE, out, overwrite=True)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out, overwrite=True)
    assert caught.value.code == "interop.out-not-empty"
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, tmp_path / "run", overwrite=True)
    assert caught.value.code == "interop.out-not-empty"
    with pytest.raises(BadInput) as caught:
        export(run, HUGGING_FACE, out / "mine.txt", overwrite=True)
    assert caught.value.code == "interop.out-is-a-file"


def test_an_empty_folder_is_filled_and_not_replaced(tmp_path: Path) -> None:
    """It may be the working directory of a shell, or a link to another disk."""
    run = write_run(tmp_path / "run")
    here, disk = tmp_path / "here", tmp_path / "disk"
    for folder in (here, disk):
        folder.mkdir()
    (tmp_path / "link").symlink_to(disk)
    (tmp_path / "dangling").symlink_to(tmp_path / "later")
    before = here.stat().st_ino
    for name in ("here", "link", "dangling"):
        export(run, HUGGING_FACE, tmp_path / name)
        assert (tmp_path / name / "wordorder.json").is_file()
    assert here.stat().st_ino == before and (tmp_path / "link").is_symlink()
    assert (disk / "wordorder.json").is_file() and (tmp_path / "later").is_dir()


def test_a_tokenizer_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_files, "_opening_with", lambda *token: None)
    run = write_run(tmp_path / "run")
    with pytest.raises(Refused) as caught:
        export(run, HUGGING_FACE, tmp_path / "a" / "new" / "folder")
    assert caught.value.code == "interop.tokenizer-differs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_text_that_spells_a_special_token_is_characters(tmp_path: Path) -> None:
    folder = exported(tmp_path, *DEFAULT).folder
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "a <|endoftext|> b"
    ours = Run.load(tmp_path / "run").tokenizer
    assert theirs(text)["input_ids"] == [ours.end_of_text, *ours.encode(text)]


def test_a_masked_model_reads_its_mask_token(tmp_path: Path) -> None:
    folder = exported(tmp_path, *BERT).folder
    assert not (folder / "generation_config.json").exists()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = Run.load(tmp_path / "run").tokenizer
    assert theirs(f"a{theirs.mask_token}")["input_ids"] == [ours.end_of_text, 97, ours.mask]
    filled = transformers.pipeline("fill-mask", model=str(folder))(f"a{theirs.mask_token}b")
    assert len(filled) == 5


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"pip install 'wordorder\[hf\]'") as caught:
        export(run, HUGGING_FACE)
    assert caught.value.code == "interop.not-installed"


def test_what_cannot_be_exported_is_said_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", position="kerple")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    config = tmp_path / "run" / "config.json"
    record = json.loads(config.read_text())
    record["model"]["kind"] = "gru"
    config.write_text(json.dumps(record))
    assert main(["export", str(tmp_path / "run"), "--to", "hf"]) == 2
    error = capsys.readouterr().err
    assert "gru" in error and error.count("\n") == 1
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "--to" in capsys.readouterr().err


def test_a_large_model_with_a_long_context_is_compared_on_what_is_affordable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an imported model of 131,072 tokens and as many words."""
    monkeypatch.setattr(verify, "affordable", lambda model: 32)
    monkeypatch.setattr(comparison, "MOST_LOGITS", 3 * 257)
    read: list[tuple[int, int]] = []
    exact = verify.samples

    def recorded(*arguments: Any, **limits: Any) -> Any:
        for sample in exact(*arguments, **limits):
            read.append((sample.length, sample.compared))
            yield sample

    monkeypatch.setattr(verify, "samples", recorded)
    run = write_run(tmp_path / "run", trained_length=4096)
    notes = export(run, TARGETS["hf"]).written.notes
    assert read == [(32, 3)]
    assert any("at most 32 tokens, and it was trained on sequences of 4,096" in n for n in notes)


@pytest.mark.parametrize("target", ["hf", "onnx"])
def test_an_alphabet_of_one_letter(tmp_path: Path, target: str) -> None:
    tokenizer = make_tokenizer("characters", Corpus("a", (Document("aaaa", "a"),)))
    folder = export(write_run(tmp_path / "run", tokenizer), TARGETS[target]).folder
    assert "a" in (folder / "README.md").read_text()
