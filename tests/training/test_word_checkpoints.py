"""Weights kept at numbers of words: where, how many steps in, and what takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_config import small_config

from wordorder.cli.main import main
from wordorder.settings import in_full
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.training_data import read_training_data
from wordorder.training.word_checkpoints import steps_of, words_per_token

WORDS = "a small text of words in order."
TRAIN = (
    "train --data text.txt --out run --width 16 --layers 1 --heads 2 --trained-length 16 "
    "--batch-size 2 --tokenizer bytes --dtype float32 --kernel plain --compile no --threads 1 "
    "--keep last --steps 20 --checkpoint-at-words"
).split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [f"{number} {WORDS}\n" for number in range(200)]
    Path("text.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_numbers_are_spelled_with_units() -> None:
    assert [in_full(count) for count in ("7", "1.5K", "2M", "1B")] == [7, 1500, 2e6, 1e9]


def test_words_become_steps_by_the_words_per_token_of_the_text() -> None:
    assert steps_of(("1", "100", "0.1K", "101"), 0.25, 100) == {
        1: ["1"],
        4: ["100", "0.1K"],
        5: ["101"],
    }


def of(config: TrainConfig, data: Path | tuple[str, ...], length: int = 16) -> float:
    """Return the words for each token that a run on some data reads."""
    model = replace(config.model, trained_length=length)
    data = data if isinstance(data, tuple) else (str(data),)
    config = replace(config, data=data, model=model, checkpoint_at_words=("1",))
    training_data = read_training_data(config)
    return words_per_token(training_data, training_data.batches(config))


def test_the_words_of_a_mixture_go_by_the_weights(folder: Path) -> None:
    Path("long.txt").write_text("incomprehensibilities " * 200, encoding="utf-8")
    config = small_config(folder / "text.txt", folder / "run")
    short, long = of(config, Path("text.txt")), of(config, Path("long.txt"))
    assert of(config, ("text.txt=3", "long.txt=1")) == pytest.approx(0.75 * short + 0.25 * long)


def test_padding_and_cut_ends_of_conversations_have_no_words(folder: Path) -> None:
    rows = [{"prompt": f"{n:03} a", "answer": "b c"} for n in range(40)]
    longer = [{**row, "answer": "b c" + " d e" * 30} for row in rows]
    config = small_config(folder / "text.txt", folder / "run")
    for name, each in {"pairs": rows, "longer": longer}.items():
        Path(f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in each))
    # A row of 16 tokens has room for one pair, of 4 words.
    assert of(config, Path("pairs.jsonl"), 16) == 4 / 16
    # About a word for two bytes, however many are cut.
    assert of(config, Path("longer.jsonl"), 40) == pytest.approx(1 / 2, rel=0.05)


def test_each_is_a_run_that_commands_take(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "20", "0.1K", "1M"]) == 0
    assert "before the model had read 1M words" in capsys.readouterr().err
    assert {path.name for path in Path("run/words").iterdir()} == {"20", "0.1K"}
    facts = json.loads(Path("run/config.json").read_text())["data"]
    step = json.loads(Path("run/words/0.1K/config.json").read_text())["steps"]
    words = 32 * facts["training_words"] / facts["training_tokens"]  # in a step
    assert (step - 1) * words < 100 <= step * words
    early, late = Run.load("run/words/20"), Run.load("run")
    tokens = torch.arange(16)[None] + 97
    with torch.no_grad():
        assert not torch.equal(early.model(tokens), late.model(tokens))
    assert main(["generate", "run/words/20", "a", "--max-tokens", "3"]) == 0
    # A new run in its place has none of them.
    assert main([*TRAIN[:-1], "--overwrite"]) == 0
    assert not Path("run/words").exists()


def test_the_last_step_is_kept_too_and_a_resumed_run_keeps_the_same(folder: Path) -> None:
    assert main([*TRAIN, "20"]) == 0
    facts = json.loads(Path("run/config.json").read_text())["data"]
    words = 19.5 * 32 * facts["training_words"] / facts["training_tokens"]
    assert main([*TRAIN, "20", f"{words:.0f}", "--overwrite"]) == 0
    kept = Path("run/words") / f"{words:.0f}" / "model.safetensors"
    assert kept.read_bytes() == Path("run/model.safetensors").read_bytes()


@pytest.mark.parametrize("count", ["1X", "0", "-3", "many"])
def test_what_is_no_number_of_words_is_refused(
    folder: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, count]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "number of words" in error and not Path("run").exists()


def test_a_run_is_not_replaced_by_one_that_begins_from_its_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "20"]) == 0
    before = Path("run/words/20/model.safetensors").read_bytes()
    again = "train --data text.txt --init run/words/20 --out run --overwrite --steps 2".split()
    assert main(again) == 2
    assert "run/words/20, where training starts from, would be" in capsys.readouterr().err
    assert Path("run/words/20/model.safetensors").read_bytes() == before
