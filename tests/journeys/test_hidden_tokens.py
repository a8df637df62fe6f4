"""Every command with a run that fills in hidden tokens, and with a GRU: it answers, or one line."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.training.run import Run

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1 --steps 2"
).split()
KINDS = {
    "masked": "--objective masked-token --no-causal",
    "gru": "--model gru",
    "masked-gru": "--model gru --objective masked-token",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hidden")
    text = "the man and the dog, in words and in order. " * 200
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "lines.txt").write_text("the man\nthe dog and the man\n", encoding="utf-8")
    pair = {"sentence_good": "the man saw", "sentence_bad": "saw man the"}
    (folder / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    for name, words in KINDS.items():
        data = ["--data", str(folder / "text.txt"), "--out", str(folder / name)]
        assert main(["train", *SMALL, *words.split(), *data]) == 0
    return folder


# Which runs answer; the others are refused.
COMMANDS = {
    "generate RUN the --max-tokens 3": ["gru"],
    "generate RUN the --max-tokens 3 --no-cache": ["gru"],
    "generate RUN the --max-tokens 3 --window 4": [],
    "generate RUN the --max-tokens 3 --compile yes": [],
    "eval RUN": ["masked", "gru", "masked-gru"],
    "eval RUN --length 32": ["masked", "gru", "masked-gru"],
    "eval RUN --stride 4": ["gru"],
    "eval RUN --context --pack --data text.txt": ["gru"],
    "eval RUN --retrieval passkey --lengths 64 --examples 1": ["gru"],
    "probe RUN --only attention": ["gru"],
    "probe RUN --only position": ["masked", "gru", "masked-gru"],
    "probe RUN --only sentences --pairs pairs.jsonl": ["gru"],
    "explain RUN": ["masked", "gru", "masked-gru"],
    "words RUN n": ["masked", "gru", "masked-gru"],
    "words RUN the\u00a0man --sentences lines.txt": ["masked", "gru", "masked-gru"],
    "extend RUN --to 2x --out longer": [],
    "extend RUN --resume": [],
    "train --resume RUN": ["masked", "gru", "masked-gru"],
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_or_says_why_not(
    runs: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(runs)
    words = [w.replace("RUN", name).replace("\u00a0", " ") for w in command.split(" ")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    assert code == (0 if name in COMMANDS[command] else 2), err.getvalue()
    if code:
        assert out.getvalue() == ""
        assert err.getvalue().startswith("error: ") and err.getvalue().count("\n") == 1
    assert not (runs / "longer").exists()


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("generate RUN", "generate"),
        ("probe RUN", "probe (except --only position)"),
        ("eval RUN --stride 4", "--stride"),
    ],
)
@pytest.mark.parametrize("name", ["masked", "masked-gru"])
def test_the_next_token_is_not_asked_for_where_hidden_ones_were_learned(
    runs: Path, capsys: pytest.CaptureFixture[str], command: str, what: str, name: str
) -> None:
    assert main([word.replace("RUN", str(runs / name)) for word in command.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {what} needs a model that predicts the next token, but ")
    assert "a run trained with --objective next-token" in said
    with pytest.raises(BadInput, match="generate needs a model that predicts the next token"):
        Run.load(runs / name).generate("the")


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_of_models_that_write(runs: Path, name: str) -> None:
    assert (runs / name / "samples.txt").exists() == (name == "gru")


@pytest.mark.parametrize("name", KINDS)
def test_explain_asks_for_what_was_learned(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["explain", str(runs / name), "the man"]) == 0
    shown = capsys.readouterr().out
    assert ("for the next token" in shown) == (name == "gru")
    assert ("for a mask token" in shown) == (name != "gru")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "--model gru --no-causal --objective masked-token",
            "a GRU processes tokens from left to right",
        ),
        ("--model gru --no-causal", "a GRU processes tokens from left to right"),
        ("--objective masked-token", "needs a bidirectional model: add --no-causal"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_the_start(
    runs: Path, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    data = ["--data", str(runs / "text.txt"), "--out", str(runs / "none")]
    assert main(["train", *SMALL, *words.split(), *data]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and expected in said.err
    assert not (runs / "none").exists()
