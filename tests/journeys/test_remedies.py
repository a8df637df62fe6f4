"""Every remedy in a message of training is tried on the input that triggers it (`remedies.py`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from remedies import Remedy, follow

from wordorder.cli.main import main

BASE = (
    "train --width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --dtype float32 "
    "--kernel plain --compile no --threads 1 --steps 2 --data text.txt --out new"
).split()
BYTES = [*BASE, "--tokenizer", "bytes"]
NEW = BASE[: BASE.index("--out")]

REMEDIES = [
    Remedy("--heads 5", "is not a multiple of 5 heads", add="--width 40"),
    Remedy("--heads 5", "is not a multiple of 5 heads", add="--head-dim 8"),
    Remedy("--key-value-heads 3", "2 heads are not a multiple of 3", add="--key-value-heads 1"),
    Remedy("--objective masked-token", "needs a bidirectional model", add="--no-causal"),
    Remedy("--no-causal", "a bidirectional model sees the token", drop="--no-causal"),
    Remedy("--no-causal", "a bidirectional model sees the token", add="--objective masked-token"),
    Remedy("--model gru --no-causal", "left to right", drop="--no-causal"),
    Remedy(
        "--model gru --isolate-documents", "not possible with a GRU", drop="--isolate-documents"
    ),
    Remedy("--model gru --windows 4", "--windows is an option of transformers", drop="--windows"),
    Remedy("--vocabulary-size 300", "only with --tokenizer bpe", drop="--vocabulary-size"),
    Remedy("--no-muon --momentum 0.9", "is an option of Muon", drop="--momentum"),
    Remedy("--no-muon --momentum 0.9", "is an option of Muon", drop="--no-muon"),
    Remedy("--schedule cosine --decay 0.3", "leave out one", drop="--decay"),
    Remedy("--schedule cosine --decay 0.3", "leave out one", drop="--schedule"),
    Remedy("--development-fraction 0 --keep best", "leave out one", drop="--keep"),
    Remedy("--development-fraction 0 --keep best", "leave out one", drop="--development-fraction"),
    Remedy(
        "--no-causal --objective masked-token --sample-prompt a",
        "generates no samples",
        drop="--sample-prompt",
    ),
    Remedy("--time 1s", "set the length of the run", drop="--time"),
    Remedy("--inexact", "only with --resume", drop="--inexact"),
    Remedy("--resume r", "leave out --width", drop="--width", cures=False),
    Remedy("--trained-length 500", "fewer than one context", add="--trained-length 128"),
    Remedy("--out r", "holds a run", add="--overwrite"),
    Remedy("--out others", "was not created by wordorder", drop="--out"),
    Remedy("--out text.txt", "is a file", drop="--out"),
    Remedy("--init r --out r --overwrite", "--init r uses", drop="--tokenizer", cures=False),
    Remedy("--init r", "uses the tokenizer of that run (bytes, 257 tokens)", drop="--tokenizer"),
    Remedy("--init r", "uses the tokenizer of that run (bytes, 257 tokens)", drop="--init"),
    Remedy("--learning-rate 1e30 --clip 0 --overwrite", "at step", add="--learning-rate 0.01"),
    Remedy("--batch-size 100000000", "out of memory", add="--batch-size 2", cures=False),
    Remedy("--kernel flex", "needs an NVIDIA or AMD GPU", add="--kernel auto"),
    Remedy("--device mps", "is not available", add="--device cpu"),
    Remedy("--position learned:length=8", "length=16", add="--position learned:length=16"),
    Remedy("--position rotery", "did you mean rotary?", add="--position rotary"),
    Remedy("--preset huge", "nano", add="--preset nano"),
    Remedy("--time soon --steps 3", "as 90s", drop="--time"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, a run of bytes and one of characters."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("a small text of words in order. " * 40, encoding="utf-8")
    (folder / "chinese.txt").write_text("我爱人工智能。" * 200, encoding="utf-8")
    (folder / "others").mkdir()
    (folder / "others/letter.txt").write_text("dear", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for out, tokenizer in (("r", "bytes"), ("ch", "characters")):
            assert main([*NEW, "--tokenizer", tokenizer, "--out", out]) == 0
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(runs, tmp_path / "here"))


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: f"{r.words}: {r.add or r.drop}")
def test_a_remedy_does_not_lead_to_the_same_message(
    here: None, remedy: Remedy, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(remedy, BYTES, capsys)


@pytest.mark.parametrize(
    "remedy",
    [
        Remedy("", "the tokenizer of --init ch: ", drop="--init", add="--tokenizer bytes"),
        Remedy("", "without --init", drop="--init", add="--tokenizer bpe"),
    ],
    ids=["bytes", "bpe"],
)
def test_new_characters_for_a_run_that_brings_its_alphabet(
    here: None, remedy: Remedy, capsys: pytest.CaptureFixture[str]
) -> None:
    chinese = ["chinese.txt" if word == "text.txt" else word for word in BASE]
    follow(remedy, [*chinese, "--init", "ch"], capsys)
