"""Comparisons on the page: their command, their progress, their table and their report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from in_this_process import InThisProcess

from wordorder.experiments import calibration, runner
from wordorder.experiments.compare import CompareConfig, compare
from wordorder.experiments.report import read_summary, report_page
from wordorder.model import ModelConfig
from wordorder.studio import detached
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.studio.workshop import Workshop
from wordorder.training import report
from wordorder.training.config import TrainConfig

LOCAL = "http://127.0.0.1:8321"
MODEL = ModelConfig(width=16, layers=1, heads=2, trained_length=8, dropout=0.0, position="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A studio folder with a comparison of two embeddings that was run elsewhere."""
    root = tmp_path_factory.mktemp("compared")
    for n in range(12):
        text = f"{n} " + " ".join(f"word{(n * k) % 7}" for k in range(60))
        (root / f"{n}.txt").write_text(text)
    train = TrainConfig(
        model=MODEL,
        data=tuple(str(root / f"{n}.txt") for n in range(12)),
        tokenizer="bytes",
        steps=3,
        batch_size=4,
        dtype="float32",
        kernel="plain",
        threads=1,
        validation_fraction=0.3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "ProcessLauncher", InThisProcess)
        patch.setattr(calibration, "SECONDS_TIMED", 0.0)
        patch.setattr(report, "draw_losses", lambda *_: None)  # of every run, which takes longest
        out = root / "runs" / "old"
        settings = {"positions": ("none", "alibi"), "seeds": 2, "lengths": (1,), "processes": 1}
        compare(CompareConfig(train=train, out=str(out), **settings))  # type: ignore[arg-type]
    (out / "report.html").write_text(report_page(read_summary(out)))
    yield root / "runs"


@pytest.fixture
def studio(folder: Path) -> Iterator[TestClient]:
    runs = OpenRuns([])
    with TestClient(create_app(runs, workshop=Workshop(runs, folder)), base_url=LOCAL) as client:
        yield client


def watched(client: TestClient, name: str) -> dict[str, Any]:
    text = client.get(f"/api/compare/watch?name={name}").text
    events = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
    return dict(events[-1])


def test_a_comparison_that_is_found_is_shown(studio: TestClient, folder: Path) -> None:
    jobs = studio.get("/api/build/jobs").json()["jobs"]
    assert jobs == [{"name": "old", "kind": "compare", "state": "finished"}]
    shown = watched(studio, "old")
    assert (shown["state"], shown["share"], shown["seeds"]) == ("finished", 1, 2)
    assert [(c["position"], c["seed"], c["state"]) for c in shown["cells"]] == [
        *(("none", 0, "done"), ("alibi", 0, "done")),
        *(("none", 1, "done"), ("alibi", 1, "done")),
    ]
    assert all(len(cell["losses"]["training"]) == 3 for cell in shown["cells"])
    table = shown["table"]
    assert table["columns"][:2] == ["embedding", "loss"] and len(table["rows"]) == 2
    assert "against none" in table["columns"] and shown["headline"]
    assert set(shown["colours"]) == {"none", "alibi"}


def test_one_that_goes_on_has_a_table_of_what_is_done(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = folder / "old" / "results.jsonl"
    whole = results.read_text()
    kept = folder / "old" / "runs" / "alibi-seed1" / "measures.json"
    measures = kept.read_text()
    try:
        results.write_text("".join(whole.splitlines(True)[:3]))
        kept.unlink()
        shown = watched(studio, "old")
    finally:
        results.write_text(whole)
        kept.write_text(measures)
    assert shown["cells"][-1]["state"] == "trained" and 0.7 < shown["share"] < 1
    assert shown["headline"] == "" and "(1 seed)" in str(shown["table"]["rows"])


def test_its_report_may_run_nothing(studio: TestClient, folder: Path) -> None:
    answer = studio.get("/api/compare/report?name=old")
    assert answer.status_code == 200 and "<svg" in answer.text
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1 and policies[0].startswith("sandbox; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert studio.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    assert studio.get("/api/compare/report?name=other").json()["code"] == "studio.no-such-job"


def test_it_is_started_as_the_command(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(arguments: list[str], log: Path) -> tuple[int, str]:
        started.append(arguments)
        return 0, ""

    monkeypatch.setattr(detached, "start", start)
    asked = {"positions": ["none", "t5"], "seeds": 2, "minutes": 1, "name": "two"}
    command = studio.post("/api/compare/command", json=asked).json()["command"]
    answer = studio.post("/api/compare/start", json=asked).json()
    assert answer == {"name": "two", "kind": "compare", "state": "failed"}
    out = str(folder / "two")
    expected = "compare --positions none t5 --seeds 2 --preset nano --time 1m --data python-docs"
    assert started == [[*expected.split(), "--out", out]]
    assert command == f"wordorder {expected} --out {out}"
    shown = studio.post("/api/compare/command", json={**asked, "name": ""}).json()["command"]
    studio.post("/api/compare/start", json={**asked, "name": ""})
    assert shlex.split(shown)[1:] == started[1]  # the same free name
    taken = studio.post("/api/compare/command", json={**asked, "name": "old"})
    assert taken.json()["code"] == "studio.name-taken"
    for positions in (["none"], ["none", "none"], ["none"] * 6):
        refused = studio.post("/api/compare/start", json={**asked, "positions": positions})
        assert refused.status_code == 422


def test_a_comparison_is_checked_as_a_run_is(studio: TestClient) -> None:
    asked = {"positions": ["rotary", "alibi"], "preset": "nano"}
    big = {"width": 4096, "layers": 64, "heads": 64, "trained_length": 4096, "batch_size": 512}
    for path in ("command", "start"):
        answer = studio.post(f"/api/compare/{path}", json={**asked, **big})
        assert (answer.status_code, answer.json()["code"]) == (422, "training.out-of-memory")
    for minutes, time in ((0.001, "1s"), (0.5, "30s"), (2, "2m")):
        answer = studio.post("/api/compare/command", json={**asked, "minutes": minutes})
        assert f" --time {time} " in answer.json()["command"]


def test_a_folder_of_a_comparison_is_given(folder: Path, tmp_path: Path) -> None:
    workshop = Workshop(OpenRuns([]), tmp_path / "none", [folder / "old"])
    assert [(job.name, job.state) for job in workshop.jobs()] == [("old", "finished")]
    assert workshop.running() is None
