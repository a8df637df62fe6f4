"""A model is trained, exported and loaded by transformers as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from wordorder.cli.main import main
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

TRAIN = (
    "train --data text.txt --out run --width 32 --layers 2 --heads 2 --trained-length 16 "
    "--batch-size 4 --vocabulary-size 270 --dtype float32 --kernel plain --compile no "
    "--threads 1 --steps 20"
).split()
PROMPTS = ["a small", "words in order. a small text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, `run`, and its export, `run-hf`."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "text.txt").write_text("a small text of words in order. " * 100, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(TRAIN) == 0
        assert main("export run --to hf".split()) == 0
    return folder


def test_the_difference_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main("export run --to hf --out other".split()) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["8", "16", "32"]
    difference = re.search(r"Qwen3ForCausalLM: logits differ by at most (\S+);", out)[1]
    assert 0 < float(difference) < 1e-5
    assert out.endswith("other\n")
    assert main("export run --to hf --out other --overwrite --json".split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == "other" and result["largest_difference"] < 1e-5


def test_transformers_writes_what_wordorder_writes(folder: Path) -> None:
    """Two prompts at once, so that the shorter one is padded on its left, and with a cache."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "run-hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "run-hf")
    assert type(model).__name__ == "Qwen3ForCausalLM"
    tokens = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        written = model.generate(**tokens, do_sample=False, max_new_tokens=24)
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    run = Run.load(folder / "run")
    assert texts == [run.generate(prompt, temperature=0, max_tokens=24) for prompt in PROMPTS]


def test_the_code_of_the_model_card_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (folder / "run-hf" / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder / "run-hf")
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], {})
    assert capsys.readouterr().out.startswith("The")


def test_the_code_of_the_documentation_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    exec(code.replace("runs/mine-hf", "run-hf"), {})
    assert capsys.readouterr().out.startswith("This module")
