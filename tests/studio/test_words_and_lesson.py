"""The rooms Words and Lesson: answers of `wordorder words`, verdicts of the evidence."""

from __future__ import annotations

import json
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from wordorder.cli.main import main
from wordorder.studio.application import STATIC
from wordorder.studio.opened import OpenRuns
from wordorder.words.picture import projection
from wordorder.words.token_table import token_vectors
from wordorder.words.vectors import Vectors

Ask = Callable[..., Any]
Refused = Callable[..., tuple[str, str]]
ROOT = Path(__file__).parents[2]


def test_words_are_those_of_the_command(
    ask: Ask, refused: Refused, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(folders["rotary"])
    table = ask("/api/words/table", run="rotary")
    a, b, c, d = table["names"][:4]
    assert main(["words", folder, a, "--count", "5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["neighbours"][a]
    assert ask("/api/words/neighbours", run="rotary", word=a, count=5)["nearest"] == printed
    arguments = ["--analogy", a, b, c, "--expect", d, "--count", "8", "--json"]
    assert main(["words", folder, *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)["analogy"]
    answer = ask("/api/words/analogy", run="rotary", a=a, b=b, c=c, expected=d)
    for each in answer["methods"]:
        assert each["nearest"] == printed[each["method"]]
        assert each["ranks"] == printed["ranks"][each["method"]]
    assert answer["command"].split()[:3] == ["wordorder", "words", folder]
    assert refused("/api/words/neighbours", run="rotary", word="nonesuch")[0] == (
        "words.unknown-word"
    )
    given = refused("/api/words/analogy", run="rotary", a=a, b=b, c=c, expected=c)
    assert given[0] == "studio.expects-given-word" and "--" not in given[1]


def test_the_commands_for_words_that_begin_with_a_hyphen_can_be_pasted(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Vectors, "find", lambda vectors, word: len(word))  # it has every word

    def printed(answer: Any) -> Any:
        assert main(["words", "--json", *shlex.split(answer["command"])[2:]]) == 0
        return json.loads(capsys.readouterr().out)

    near = ask("/api/words/neighbours", run="rotary", word="-a", count=3)
    assert printed(near)["neighbours"]["-a"] == near["nearest"]
    analogy = ask("/api/words/analogy", run="rotary", a="-a", b="--b", c="-", expected="-long")
    answers = printed(analogy)["analogy"]
    assert (answers["words"], answers["expected"]) == (["-a", "--b", "-"], "-long")


def test_the_picture_of_words_is_their_principal_components(
    ask: Ask, refused: Refused, runs: OpenRuns
) -> None:
    names = ask("/api/words/table", run="rotary")["names"][:6]
    answer = ask("/api/words/projection", run="rotary", words=[*names, "nonesuch"])
    assert answer["words"] == names and answer["missing"] == ["nonesuch"]
    run = runs.run("rotary")
    vectors = token_vectors(run.model, run.tokenizer, "rotary")
    places, shares = projection(vectors.matrix[[vectors.row(name) for name in names]], axes=3)
    assert answer["places"] == places.round(5).tolist() and answer["shares"] == shares.tolist()
    few = refused("/api/words/projection", run="rotary", words=[names[0], "nonesuch"])
    assert few[0] == "studio.too-few-words"


def test_the_verdicts_of_the_lesson_are_the_evidence(client: TestClient) -> None:
    page = runpy.run_path(str(ROOT / "docs" / "write_claims.py"))
    path = ROOT / "src" / "wordorder" / "studio" / "verdicts.json"
    assert path.read_text(encoding="utf-8") == page["verdicts"](), "old: run make docs"
    entries = client.get("/api/lesson/verdicts").json()
    steps = (STATIC / "lib" / "lesson.js").read_text(encoding="utf-8")
    assert len(entries) == 11 and all(f'"{each["name"]}"' in steps for each in entries)
    assert {"holds", "does not hold", "not testable"} <= {each["verdict"] for each in entries}
