"""Claims run: jobs once each, failures told, budgets kept, and the command around it."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from in_this_process import InThisProcess
from rich.console import Console

from wordorder.claims import run as runner
from wordorder.claims.claim import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    ClaimPlan,
    Criterion,
    Gate,
    Measurements,
    Work,
)
from wordorder.claims.intervals import Contrast, Shares
from wordorder.claims.run import as_json, run_claims, within
from wordorder.claims.table import figures, for_terminal, in_words, markdown, number, summary
from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.experiments.runner import Progress
from wordorder.experiments.statistics import Interval
from wordorder.training.compute import Compute, fingerprinted


def double(job: Any, tell: Any) -> float:
    """A job: twice a number, and a line in a file for each time it was done."""
    if "log" in job:
        with Path(job["log"]).open("a", encoding="utf-8") as log:
            log.write("done\n")
    if job["x"] < 0:
        raise BadInput("x is below zero")
    return 2.0 * job["x"]


def claim_of(name: str, *xs: float, least: float = 0.0, **job: Any) -> Claim:
    def works(plan: ClaimPlan) -> list[Work]:
        return [Work(f"double/{x}", double, {"x": x, **job}, 10.0) for x in xs]

    def read(plan: ClaimPlan, results: Any) -> Measurements:
        return Measurements({"twice": [results[w.name] for w in works(plan) if w.name in results]})

    criteria = (Criterion("twice", least=least, kind="exact"),)
    return Claim(name, "article", "It doubles.", "x", "y", "z", criteria, works, read)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process, and the machine is not measured."""
    monkeypatch.setattr("wordorder.experiments.runner.ProcessLauncher", InThisProcess)
    monkeypatch.setattr(runner, "_measured", lambda *asked: {"device": "cpu", "threads": 1})


def test_a_job_is_done_once(tmp_path: Path) -> None:
    log, out = tmp_path / "log", str(tmp_path / "claims")
    claims = [claim_of("a", 1, 2, log=str(log)), claim_of("b", 2, least=5, log=str(log))]
    found = run_claims(claims, ClaimPlan(), out=out)
    assert [v.word for v in found] == [HOLDS, FAILS]
    assert len(log.read_text().split()) == 2
    again = run_claims(claims, ClaimPlan(), out=out)
    assert [as_json(v) for v in again] == [as_json(v) for v in found]
    assert len(log.read_text().split()) == 2
    noted = json.loads((tmp_path / "claims/claims.json").read_text())["claims"]
    assert [each["verdict"] for each in noted.values()] == [HOLDS, FAILS]


def test_what_is_left_on_another_processor_is_computed_as_is_fastest_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out, record = tmp_path / "log", str(tmp_path / "claims"), tmp_path / "claims/claims.json"
    before = {"device": "cpu", "threads": 1, "processor": "Z80", "instructions": "Z80"}
    monkeypatch.setattr(runner, "_measured", lambda *asked: before)
    run_claims([claim_of("a", 1, log=str(log))], ClaimPlan(), out=out)
    here = asdict(fingerprinted(Compute("cpu", 1)))
    monkeypatch.setattr(runner, "_measured", lambda *asked: here)
    run_claims([claim_of("a", 1, log=str(log))], ClaimPlan(), out=out)
    assert json.loads(record.read_text())["machine"] == before  # nothing was left
    run_claims([claim_of("a", 1, 2, log=str(log))], ClaimPlan(), out=out)
    assert json.loads(record.read_text())["machine"] == here
    assert len(log.read_text().split()) == 2  # the finished result stays
    monkeypatch.setattr(runner, "_measured", lambda *asked: pytest.fail("measured twice"))
    run_claims([claim_of("a", 3)], ClaimPlan(), out=out)


def test_a_verdict_stays_until_its_claim_is_asked_for_again(tmp_path: Path) -> None:
    out, path = str(tmp_path / "claims"), tmp_path / "claims/claims.json"
    run_claims([claim_of("a", 1), claim_of("b", 2)], ClaimPlan(), out=out)
    run_claims([claim_of("b", 2, least=5)], ClaimPlan(seeds=5), out=out)
    a, b = json.loads(path.read_text())["claims"].values()
    assert (a["claim"], a["verdict"], a["plan"]["seeds"]) == ("a", HOLDS, 3)
    assert (b["claim"], b["verdict"], b["plan"]["seeds"]) == ("b", FAILS, 5)


def test_the_record_holds_all_that_a_table_is_made_from(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three\n")

    def read(plan: ClaimPlan, results: Any) -> Measurements:
        one, two = Shares({0: 0.5, 1: 0.75}, 8), Shares({0: 0.25, 1: 0.25}, 4)
        return Measurements(
            {"twice": {0: 2.0, 2: 4.0}, "more": Contrast(((1.0, one), (-2.0, two)))}
        )

    claim = replace(claim_of("a", 1, training={}), read=read, criteria=(Criterion("twice", 0.5),))
    run_claims([claim], ClaimPlan(data=(str(text),)), out=str(tmp_path / "claims"))
    record = json.loads((tmp_path / "claims/claims.json").read_text())
    assert record["machine"] == {"device": "cpu", "threads": 1}
    assert record["wordorder"] and record["torch"] and record["processor"] and "commit" in record
    noted = record["claims"]["a"]
    assert noted["commit"] == record["commit"]
    assert noted["quantities"]["twice"]["by_seed"] == {"0": 2.0, "2": 4.0}
    assert noted["quantities"]["more"]["by_seed"] == {"0": 0.0, "1": 0.25}
    assert [(t["times"], t["tests"]) for t in noted["quantities"]["more"]["terms"]] == [
        (1.0, 8),
        (-2.0, 4),
    ]
    assert (noted["criteria"][0]["least"], noted["criteria"][0]["verdict"]) == (0.5, UNDECIDED)
    before = noted["text"]["hash"]
    text.write_text("one two four\n")
    run_claims([claim], ClaimPlan(data=(str(text),)), out=str(tmp_path / "claims"))
    record = json.loads((tmp_path / "claims/claims.json").read_text())
    assert record["claims"]["a"]["text"]["hash"] != before


def test_a_claim_that_needs_more_seeds_takes_them_where_none_are_given(tmp_path: Path) -> None:
    def works(plan: ClaimPlan) -> list[Work]:
        return [Work(f"double/{s}", double, {"x": s}, 1.0) for s in range(plan.seeds)]

    def read(plan: ClaimPlan, results: Any) -> Measurements:
        return Measurements({"twice": {w.job["x"]: results[w.name] for w in works(plan)}})

    criteria = (Criterion("twice", least=-9.0),)
    claim = replace(claim_of("a"), works=works, read=read, criteria=criteria, seeds_needed=4)
    few = run_claims([claim], ClaimPlan(seeds=3), out=str(tmp_path / "few"))[0]
    assert (few.word, few.reasons) == (NOT_TESTABLE, ("needs 4 seeds, has 3",))
    assert "needs 4 seeds, has 3" in markdown([few])
    found = run_claims([claim], ClaimPlan(seeds=3, as_needed=True), out=str(tmp_path / "more"))[0]
    assert (found.word, len(found.measurements.quantities["twice"])) == (HOLDS, 4)
    assert within([claim], ClaimPlan(seeds=3, as_needed=True), budget=3, processes=1) == []


def test_another_job_of_the_same_name_is_done_anew(tmp_path: Path) -> None:
    log, out = tmp_path / "log", str(tmp_path / "claims")
    run_claims([claim_of("a", 1, log=str(log))], ClaimPlan(), out=out)
    run_claims([claim_of("a", 1, log=str(log), other=1)], ClaimPlan(), out=out)
    assert len(log.read_text().split()) == 2


def test_results_of_an_earlier_version_are_used(tmp_path: Path) -> None:
    """They say what the job was, and not which text it read."""
    log, out = tmp_path / "log", str(tmp_path / "claims")
    claim = claim_of("a", 1, log=str(log), training={})
    plan = ClaimPlan(data=(str(log),))
    log.write_text("text\n")
    run_claims([claim], plan, out=out)
    path = tmp_path / "claims/results/double/1.json"
    record = json.loads(path.read_text())
    del record["job"]["text"], record["key"], record["function"]
    path.write_text(json.dumps(record))
    before = log.read_text()
    assert [v.word for v in run_claims([claim], plan, out=out)] == [HOLDS]
    assert log.read_text() == before


def test_a_job_that_trains_is_done_anew_on_another_text(tmp_path: Path) -> None:
    text, log, out = tmp_path / "text.txt", tmp_path / "log", str(tmp_path / "claims")
    trains, other = claim_of("a", 1, log=str(log), training={}), claim_of("b", 2, log=str(log))
    for words, done in (("one", 2), ("one", 2), ("two", 3)):
        text.write_text(words)
        run_claims([trains, other], ClaimPlan(data=(str(text),)), out=out)
        assert len(log.read_text().split()) == done


@pytest.mark.parametrize("option", ["words", "languages", "questions"])
def test_a_job_is_done_anew_on_other_contents_of_a_file(tmp_path: Path, option: str) -> None:
    file, log, out = tmp_path / "file.txt", tmp_path / "log", str(tmp_path / "claims")
    given = str(file) if option == "questions" else [str(file)]
    for words, done in (("one", 1), ("one", 1), ("two", 2)):
        file.write_text(words)
        run_claims([claim_of("a", 1, log=str(log), **{option: given})], ClaimPlan(), out=out)
        assert len(log.read_text().split()) == done
    moved = str(file.rename(tmp_path / "elsewhere.txt"))
    given = moved if option == "questions" else [moved]
    run_claims([claim_of("a", 1, log=str(log), **{option: given})], ClaimPlan(), out=out)
    assert len(log.read_text().split()) == 2


def test_questions_of_a_text_model_are_no_files(tmp_path: Path) -> None:
    asked = claim_of("a", 1, questions=["loss"])
    (verdict,) = run_claims([asked], ClaimPlan(), out=str(tmp_path / "claims"))
    assert verdict.word == HOLDS


def test_a_failed_job_is_told_and_takes_no_other_claim_along(tmp_path: Path) -> None:
    claims = [claim_of("a", -1), claim_of("b", 1)]
    failed, fine = run_claims(claims, ClaimPlan(), out=str(tmp_path / "claims"))
    assert (failed.word, fine.word) == (UNDECIDED, HOLDS)
    assert failed.measurements.notes == failed.failed == ("double/-1: x is below zero",)
    assert not fine.failed


def test_failed_jobs_are_a_failed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wordorder.cli.claims.find", lambda names: [claim_of("a", -1, -2)])
    assert main(["claims", "--out", str(tmp_path / "claims"), "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["claims"][0]["verdict"] == UNDECIDED
    assert "2 jobs failed; the first is double/-1: x is below zero" in shown.err


def test_a_text_that_is_not_there_changes_no_verdict(tmp_path: Path) -> None:
    out = str(tmp_path / "claims")
    reads = claim_of("a", 1, training={})
    (tmp_path / "one.txt").write_text("a text " * 50)
    run_claims([reads], ClaimPlan(data=(str(tmp_path / "one.txt"),)), out=out)
    before = (tmp_path / "claims/claims.json").read_bytes()
    with pytest.raises(BadInput, match="no such file or folder"):
        run_claims([reads], ClaimPlan(data=(str(tmp_path / "typo.txt"),)), out=out)
    assert (tmp_path / "claims/claims.json").read_bytes() == before


def test_a_job_is_told_by_its_place_in_the_plan(tmp_path: Path) -> None:
    planned: list[str] = []
    ended: dict[int, float] = {}

    class Shown(Progress):
        def plan(self, jobs: Any, heading: str, seconds: float) -> None:
            planned.extend(job.name for job in jobs)

        def ended(self, number: int, outcome: Any) -> None:
            ended[number] = outcome.result

    first, last = claim_of("a", 1), claim_of("b", 2)
    alone = [replace(work, alone=True) for work in first.works(ClaimPlan())]
    run_claims(
        [replace(first, works=lambda plan: alone), last],
        ClaimPlan(),
        out=str(tmp_path / "claims"),
        show=Shown(),
    )
    assert planned == ["double/2", "double/1"]  # alone comes last
    assert ended == {0: 4, 1: 2}


def test_a_budget_counts_shared_jobs_once() -> None:
    claims = [claim_of("a", 1, 2), claim_of("b", 2), claim_of("c", 3), claim_of("d", 1)]
    chosen = within(claims, ClaimPlan(), budget=20, processes=1)
    assert [claim.name for claim in chosen] == ["a", "b", "d"]
    assert [c.name for c in within(claims, ClaimPlan(), budget=20, processes=2)] == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="was not created by wordorder"):
        run_claims([claim_of("a", 1)], ClaimPlan(), out=str(tmp_path))


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text("{")
    with pytest.raises(BadInput, match=r"claims\.json is damaged"):
        run_claims([claim_of("a", 1)], ClaimPlan(), out=str(tmp_path))


def test_figures_are_written_with_their_intervals(tmp_path: Path) -> None:
    found = run_claims([claim_of("a", 1, 2)], ClaimPlan(), out=str(tmp_path / "claims"))
    assert figures(found[0]) == ["twice at least 0: 3.000 nats [2.000, 4.000]"]
    assert summary(found) == "1 claim: 1 holds"
    line = (
        "| **a**: It doubles. | holds | twice: 3.000 [2.000, 4.000]; threshold at least 0 | x: y |"
    )
    assert line in markdown(found)
    none = "1.000 nats (too few seeds for an interval)"
    assert in_words(Interval(1.0, None, None), "nats") == none
    assert [number(x) for x in (0, 1.5e-7, 0.25, 123.4, 12345)] == [
        "0.000",
        "1.5e-07",
        "0.250",
        "123",
        "1.2e+04",
    ]


def test_a_table_says_why_a_claim_could_not_be_tested(tmp_path: Path) -> None:
    gate = Gate(Criterion("worth", least=1.0), "more text")

    def read(plan: ClaimPlan, results: Any) -> Measurements:
        return Measurements({"twice": {0: 1.0, 1: 1.1, 2: 1.2}, "worth": {0: 0.0, 1: 0.1, 2: 0.2}})

    claim = replace(
        claim_of("a", 1), read=read, criteria=(Criterion("twice", least=0.1),), gates=(gate,)
    )
    found = run_claims([claim], ClaimPlan(), out=str(tmp_path / "claims"))
    assert found[0].word == NOT_TESTABLE
    assert (
        "gate: worth: 0.100 [-0.148, 0.348]; threshold at least 1<br>needs more text"
        in markdown(found)
    )
    shown = io.StringIO()
    Console(file=shown, width=120).print(for_terminal(found))
    assert "gate: worth at least 1: 0.100 [-0.148, 0.348] (not met)" in shown.getvalue()
    assert "needs more text" in shown.getvalue()
