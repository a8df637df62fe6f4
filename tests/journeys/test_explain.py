"""`wordorder explain` as a user runs it: the article in one screen, on every kind of model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wordorder.cli.main import main

TEXT = "I love AI . the king and the queen love the man and the woman . " * 60
SMALL = (
    "--width 32 --layers 2 --heads 2 --trained-length 16 --batch-size 2 --vocabulary-size 400 "
    "--dtype float32 --kernel plain --compile no --steps 3"
).split()
KINDS = {
    "sinusoidal": ["--position", "sinusoidal"],
    "rotary": ["--position", "rotary"],
    "none": ["--position", "none"],
    "gru": ["--model", "gru"],
    "bidirectional": "--position none --no-causal --objective masked-token".split(),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    data = ["--data", str(folder / "text.txt")]
    for name, words in KINDS.items():
        assert main(["train", *SMALL, *data, *words, "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _beside_the_runs(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["explain", *map(str, words)]) == 0
    page = capsys.readouterr().out
    assert all(len(line) <= 80 for line in page.splitlines())
    return page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sinusoidal", "position 1      ␣I "),
        ("sinusoidal", "  + position      0.841   0.540   "),
        ("rotary", "2  ATTENTION: rotary acts on queries and keys in layers 1 to 2."),
        (
            "none",
            "2  ATTENTION: no positional embedding (none). Only the causal mask",
        ),
        ("gru", "2  A GRU READS IN ORDER and needs no positional embedding"),
        ("bidirectional", "It sees a bag of words."),
    ],
)
def test_a_page_of_each_kind(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, name)
    assert "␣I ␣love ␣AI                    ␣AI ␣love ␣I" in page
    assert "1  INPUT = WORD VECTOR" in page and "3  OUTPUT." in page
    assert said in page and page.rstrip().splitlines()[-1]
    assert len(page.splitlines()) <= 50


def test_another_text_beside_it_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sinusoidal", "the man love the king", "--other", "the king love the man"]
    assert "the king love the man" in shown(capsys, *words)
    found = json.loads(shown_json(capsys, *words))
    first, second = found["readings"]
    assert first["text"] == words[1] and second["text"] == words[3]
    assert len(first["inputs"]) == 5 and len(first["inputs"][0]) == 32
    for words, added, inputs in zip(first["words"], first["added"], first["inputs"], strict=True):
        total = [word + position for word, position in zip(words, added, strict=True)]
        assert inputs == pytest.approx(total, abs=1e-6)
    assert found["same_tokens"] and found["entrances"][0]["door"] == "input"


def shown_json(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["explain", *map(str, words), "--json"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no run folder nothing"),
        (["rotary", "love"], "give at least two words"),
        (["rotary", "a b a"], "is the same in reverse order"),
        (["rotary", "a", "--othr", "b"], "did you mean --other?"),
    ],
)
def test_what_cannot_be_explained(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["explain", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and said in captured.err and not captured.out
