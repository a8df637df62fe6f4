"""Claims run: jobs once each, failures told, budgets kept, and the command around it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordorder.claims import run as runner
from wordorder.claims.claim import FAILS, HOLDS, UNDECIDED, Claim, Criterion, Plan, Reading, Work
from wordorder.claims.run import as_json, run_claims, within
from wordorder.claims.table import figures, in_words, markdown, number, summary
from wordorder.errors import BadInput
from wordorder.experiments.statistics import Interval


def double(job: Any, tell: Any) -> float:
    """A job: twice a number, and a line in a file for each time it was done."""
    if "log" in job:
        with Path(job["log"]).open("a", encoding="utf-8") as log:
            log.write("done\n")
    if job["x"] < 0:
        raise BadInput("x is below zero")
    return 2.0 * job["x"]


def claim_of(name: str, *xs: float, least: float = 0.0, **job: Any) -> Claim:
    def works(plan: Plan) -> list[Work]:
        return [Work(f"double/{x}", double, {"x": x, **job}, 10.0) for x in xs]

    def read(plan: Plan, results: Any) -> Reading:
        return Reading({"twice": [results[w.name] for w in works(plan) if w.name in results]})

    criteria = (Criterion("twice", least=least, exact=True),)
    return Claim(name, "article", "It doubles.", "x", "y", "z", criteria, works, read)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process, and the machine is not measured."""
    from wordorder.experiments.side_by_side import Outcome

    def run_jobs(function: Any, jobs: Any, *, show: Any, record: Any, **how: Any) -> None:
        for place, job in enumerate(jobs):
            show.started(place, job)
            try:
                outcome = Outcome(job, result=function(job, lambda *told: None))
            except BadInput as error:
                outcome = Outcome(job, error=str(error))
            record(place, outcome)
            show.ended(place, outcome)

    monkeypatch.setattr(runner, "run_jobs", run_jobs)
    monkeypatch.setattr(runner, "_measured", lambda *asked: {"device": "cpu", "threads": 1})


def test_a_job_is_done_once(tmp_path: Path) -> None:
    log, out = tmp_path / "log", str(tmp_path / "claims")
    claims = [claim_of("a", 1, 2, log=str(log)), claim_of("b", 2, least=5, log=str(log))]
    found = run_claims(claims, Plan(), out=out)
    assert [v.word for v in found] == [HOLDS, FAILS]
    assert len(log.read_text().split()) == 2
    again = run_claims(claims, Plan(), out=out)
    assert [as_json(v) for v in again] == [as_json(v) for v in found]
    assert len(log.read_text().split()) == 2
    lines = (tmp_path / "claims/verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == [HOLDS, FAILS]


def test_a_verdict_stays_until_its_claim_is_asked_for_again(tmp_path: Path) -> None:
    out, path = str(tmp_path / "claims"), tmp_path / "claims/verdicts.jsonl"
    run_claims([claim_of("a", 1), claim_of("b", 2)], Plan(), out=out)
    run_claims([claim_of("b", 2, least=5)], Plan(seeds=5), out=out)
    a, b = (json.loads(line) for line in path.read_text().splitlines())
    assert (a["claim"], a["verdict"], a["plan"]["seeds"]) == ("a", HOLDS, 3)
    assert (b["claim"], b["verdict"], b["plan"]["seeds"]) == ("b", FAILS, 5)
    path.write_text("{")
    run_claims([claim_of("a", 1)], Plan(), out=out)
    assert [json.loads(line)["claim"] for line in path.read_text().splitlines()] == ["a"]


def test_another_job_of_the_same_name_is_done_anew(tmp_path: Path) -> None:
    log, out = tmp_path / "log", str(tmp_path / "claims")
    run_claims([claim_of("a", 1, log=str(log))], Plan(), out=out)
    run_claims([claim_of("a", 1, log=str(log), other=1)], Plan(), out=out)
    assert len(log.read_text().split()) == 2


def test_a_failed_job_is_told_and_takes_no_other_claim_along(tmp_path: Path) -> None:
    claims = [claim_of("a", -1), claim_of("b", 1)]
    failed, fine = run_claims(claims, Plan(), out=str(tmp_path / "claims"))
    assert (failed.word, fine.word) == (UNDECIDED, HOLDS)
    assert failed.reading.said == ("double/-1: x is below zero",)


def test_a_job_is_told_by_its_place_in_the_plan(tmp_path: Path) -> None:
    planned: list[Work] = []
    ended: dict[int, float] = {}

    class Shown(runner.Display):
        def plan(self, works: Any, seconds: float, processes: int) -> None:
            planned.extend(works)

        def ended(self, number: int, outcome: Any) -> None:
            ended[number] = outcome.job["x"]

    first, last = claim_of("a", 1), claim_of("b", 2)
    alone = [replace(work, alone=True) for work in first.works(Plan())]
    run_claims(
        [replace(first, works=lambda plan: alone), last],
        Plan(),
        out=str(tmp_path / "claims"),
        show=Shown(),
    )
    assert [work.name for work in planned] == ["double/2", "double/1"]  # alone comes last
    assert ended == {0: 2, 1: 1}


def test_a_budget_counts_shared_jobs_once() -> None:
    claims = [claim_of("a", 1, 2), claim_of("b", 2), claim_of("c", 3), claim_of("d", 1)]
    chosen = within(claims, Plan(), budget=20, processes=1)
    assert [claim.name for claim in chosen] == ["a", "b", "d"]
    assert [c.name for c in within(claims, Plan(), budget=20, processes=2)] == ["a", "b", "c", "d"]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="folder of other things"):
        run_claims([claim_of("a", 1)], Plan(), out=str(tmp_path))


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text("{")
    with pytest.raises(BadInput, match=r"claims\.json is damaged"):
        run_claims([claim_of("a", 1)], Plan(), out=str(tmp_path))


def test_figures_are_written_with_their_intervals(tmp_path: Path) -> None:
    found = run_claims([claim_of("a", 1, 2)], Plan(), out=str(tmp_path / "claims"))
    assert figures(found[0]) == ["twice at least 0: 3.000 nats [2.000, 4.000]"]
    assert summary(found) == "1 claims: 1 holds"
    assert "| **a**: It doubles. | holds | twice at least 0: 3.000" in markdown(found)
    assert in_words(Interval(1.0, None, None), "nats") == "1.000 nats (one seed: no interval)"
    assert [number(x) for x in (0, 1.5e-7, 0.25, 123.4, 12345)] == [
        "0.000",
        "1.5e-07",
        "0.250",
        "123",
        "1.2e+04",
    ]
