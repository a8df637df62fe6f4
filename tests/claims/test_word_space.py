"""Claims about vectors of words: planted answers, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordorder.claims import word_space
from wordorder.claims.claim import FAILS, HOLDS, NOT_TESTABLE, UNDECIDED, ClaimPlan, Verdict, judge

EXAMPLES, ANALOGIES = word_space.CLAIMS
PLAN = ClaimPlan(seeds=3, words=("books.txt",), questions="questions-words.txt")
RIGHT = {"nearest": ["queen"], "queen": 1, "paris": 8, "tokyo": 3, "asked": 8444, "words": 30_000}


def verdict(claim: Any, plan: ClaimPlan = PLAN, **changes: Any) -> Verdict:
    results = {
        work.name: {**RIGHT, "percent": 30.0 + 0.1 * seed, **changes}
        for seed, work in enumerate(claim.works(plan))
    }
    return judge(claim, claim.read(plan, results))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, HOLDS),
        ({"queen": 2}, FAILS),
        ({"paris": 11}, FAILS),
        ({"tokyo": {"absent": "no word 'tokyo'"}}, NOT_TESTABLE),
        ({"tokyo": {"absent": "no word 'tokyo'"}, "queen": 2}, FAILS),
    ],
)
def test_examples_hold_fail_and_cannot_be_tested(changes: dict[str, Any], word: str) -> None:
    found = verdict(EXAMPLES, **changes)
    assert found.word == word
    if "tokyo" in changes:
        needs = "no word 'tokyo': use other vectors or another text"
        assert found.by_criterion[2] == NOT_TESTABLE and needs in found.reasons


def test_analogies_hold_and_miss() -> None:
    assert verdict(ANALOGIES).word == HOLDS
    for missed in (0.2, 19.0):
        results = {w.name: {**RIGHT, "percent": missed} for w in ANALOGIES.works(PLAN)}
        assert judge(ANALOGIES, ANALOGIES.read(PLAN, results)).word != HOLDS


def test_a_seed_gives_the_same_vectors_each_time(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    text = tmp_path / "books.txt"
    text.write_text("the king and the queen of the land saw a man and a woman .\n" * 40)
    job = {"words": [str(text)], "questions": "", "seed": 0}
    first, again = (word_space.ask(job, lambda *_: None) for _ in range(2))
    assert first == again and first["words"] > 5
    assert first["tokyo"]["absent"].startswith("books.txt has no word 'tokyo'")


def test_one_file_of_vectors_is_no_three_trainings() -> None:
    plan = replace(PLAN, words=("vectors.bin.gz",))
    (work,) = ANALOGIES.works(plan)
    assert work.job["vectors"] and not ANALOGIES.works(PLAN)[0].job["vectors"]
    found = verdict(ANALOGIES, plan)
    assert found.word == UNDECIDED and "is one training" in found.measurements.notes[-1]


@pytest.mark.parametrize("claim", word_space.CLAIMS, ids=lambda claim: claim.name)
def test_without_words_the_command_says_what_to_give(claim: Any) -> None:
    found = verdict(claim, replace(PLAN, words=()))
    assert found.word == NOT_TESTABLE
    assert "--words FILES" in found.reasons[0]
