"""`wordorder claims` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wordorder.cli.main import main

QUICK = ["--only", "causal-order", "recurrent-order", "--seeds", "1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "sinusoidal-brakes"], "did you mean sinusoidal-breaks? Choose from "),
        (["--seeds", "0"], "--seeds is 0: it must be at least 1"),
        (["--budget", "soon"], "--budget is soon: it must be a duration such as 90s"),
        (["--only", "sinusoidal-breaks", "--budget", "1s"], "no claim fits into --budget 1s"),
        (["--languages", "one.txt"], "give two, with the same sentences"),
        (["--words", "absent.vec"], "no such file: absent.vec"),
        (["--lst"], "did you mean --list?"),
    ],
)
def test_wrong_options(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert not list(tmp_path.iterdir())


def test_the_list_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "--list"]) == 0
    assert "bag-of-words" in capsys.readouterr().out
    assert main(["claims", "--list", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| claim | criteria | effort | source |")
    assert main(["claims", "--list", "--json", "--only", "causal-order", "--seeds", "2"]) == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert claim["claim"] == "causal-order" and claim["seeds"] == 2 and claim["seconds"] > 0
    assert claim["criteria"][0]["criterion"] == "one layer at most 1e-05"
    assert not list(tmp_path.iterdir())


def test_claims_are_tried_told_and_reused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs_here: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("words in order, and in another order. " * 400, encoding="utf-8")
    assert main(["claims", *QUICK, "--data", "text.txt", "--strict"]) == 0
    first = capsys.readouterr()
    assert "holds  causal-order" in first.out and "2 claims: 2 holds" in first.out
    assert "exact/causal-seed0" in first.err
    assert main(["claims", *QUICK, "--data", "text.txt", "--json"]) == 0
    again = capsys.readouterr()
    found = json.loads(again.out)["claims"]
    assert [claim["verdict"] for claim in found] == ["holds", "holds"]
    assert len(found[0]["quantities"]["a GRU"]["values"]) == 1
    assert "exact/causal-seed0" not in again.err  # nothing was done again
    assert main(["claims", *QUICK, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| claim | verdict | measured here | source |")


def test_claims_that_so_few_seeds_cannot_decide_are_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["claims", "--only", "rotary-cross-lingual", "causal-order", "--budget", "1s"]
    assert main([*few, "--seeds", "3"]) == 2
    said = capsys.readouterr().err
    assert "not testable with --seeds 3 (the number they need): rotary-cross-lingual (5);" in said
    assert main(few) == 2
    assert "not testable" not in capsys.readouterr().err


def test_strict_is_for_claims_that_are_not_found_to_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["claims", "--only", "king-and-queen", "--seeds", "1"]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "not testable at this size  king-and-queen" in shown
    assert "no word vectors and no large text: add --words FILES" in shown
    assert main([*asked, "--strict"]) == 3
