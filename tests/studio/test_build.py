"""Runs started from the page: trained, stopped, found again by another studio, resumed, refused."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

from wordorder.cli.main import main
from wordorder.studio import detached, opened, snapshots, speed, step_time
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.studio.orders import MOST_TEXT_BYTES, CompareOrder, TrainOrder
from wordorder.studio.progress import MOST_POINTS, MetricsReader, thinned
from wordorder.studio.rooms import build
from wordorder.studio.snapshots import Snapshot
from wordorder.studio.workshop import Workshop, slug
from wordorder.training.run_text import text_of

LOCAL = "http://127.0.0.1:8321"
SMALL = {"width": 16, "layers": 1, "heads": 2, "trained_length": 16, "batch_size": 2}
TEXT = " ".join(f"the {a} sees a {b}." for a in ("cat", "dog", "bird") for b in range(80))
WAIT = 60  # seconds, on a busy machine


@contextmanager
def a_studio(folder: Path) -> Iterator[TestClient]:
    runs = OpenRuns([])
    app = create_app(runs, workshop=Workshop(runs, folder))
    with TestClient(app, base_url=LOCAL) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty studio folder; what runs in it at the end is killed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield tmp_path / "runs"
    for record in (tmp_path / "runs").glob(".studio/*.json"):
        with suppress(ValueError, KeyError, ProcessLookupError):
            job = json.loads(record.read_text())
            if job["pid"] != os.getpid() and detached.is_running(job["pid"], job["began"]):
                os.killpg(job["pid"], signal.SIGKILL)


@pytest.fixture
def studio(folder: Path) -> Iterator[TestClient]:
    with a_studio(folder) as client:
        yield client


def posted(client: Any, path: str, **question: Any) -> Any:
    answer = client.post(f"/api/build/{path}", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def code_of(client: TestClient, path: str, **question: Any) -> str:
    answer = client.post(path, json=question)
    assert answer.status_code == 422, answer.text
    return str(answer.json()["code"])


def watched(
    client: Any, name: str, until: Callable[[dict[str, Any]], Any] = lambda progress: False
) -> list[dict[str, Any]]:
    """Return the events of a run until one of them is right, or until it ends."""
    seen = []
    with client.stream("GET", f"/api/build/watch?name={name}") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                seen.append(json.loads(line[5:]))
                if until(seen[-1]):
                    break
    return seen


def test_a_run_is_trained_to_its_end(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL, "steps": 12, "position": "learned", "checkpoint_every": 6}
    job = posted(studio, "start", name="Mine, all mine!", text=TEXT, **settings)
    assert job == {"name": "mine-all-mine", "kind": "train", "state": "running"}
    assert code_of(studio, "/api/build/start", **SMALL, steps=2) == "studio.busy"
    assert code_of(studio, "/api/build/resume", name="mine-all-mine") == "studio.busy"
    events = watched(studio, "mine-all-mine")
    last = events[-1]
    assert (last["state"], last["step"], last["share"], last["weights"]) == ("finished", 12, 1, 12)
    assert len(last["losses"]["training"]) == 12 and last["losses"]["validation"]
    assert 0 < last["final"] < last["guessing"] + 1 and last["run"] == "mine-all-mine"
    # The folder is the one that the command makes, beside the text that it read.
    run = folder / "mine-all-mine"
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["command"] == last["command"]
    assert recorded["training"]["data"] == [str((folder / "mine-all-mine.txt").resolve())]
    assert (run / "README.md").exists() and str(run) in last["log"][-2]
    # The other rooms have it, and it writes.
    assert [each["name"] for each in studio.get("/api/studio").json()["runs"]] == ["mine-all-mine"]
    answer = studio.post("/api/inside/predict", json={"run": "mine-all-mine", "text": "the"})
    assert answer.status_code == 200
    monkeypatch.setattr(opened, "text_of", text_of)  # the real one, which measurements read
    assert len(studio.app.state.runs.text("mine-all-mine")[1])  # type: ignore[attr-defined]
    shown = posted(studio, "snapshot", name="mine-all-mine")
    assert (shown["step"], shown["steps"], shown["kind"], shown["learned"]) == (
        *(12, [12]),
        *("table", True),
    )
    assert all(0 <= token["probability"] <= 1 for token in shown["sample"])
    assert len(shown["attention"]) == 2 and len(shown["attention"][0]) == 16
    assert posted(studio, "snapshot", name="mine-all-mine", step=12) == shown
    assert code_of(studio, "/api/build/snapshot", name="mine-all-mine", step=3) == (
        "studio.no-snapshot"
    )
    # Another run in that folder is another model.
    other = Snapshot(step=12, steps=[], position="rotary", sample=[])
    monkeypatch.setattr(snapshots, "_snapshot", lambda *_: other)
    assert posted(studio, "snapshot", name="mine-all-mine") == shown
    (run / "config.json").write_text(f"{(run / 'config.json').read_text()} ")
    assert posted(studio, "snapshot", name="mine-all-mine")["position"] == "rotary"
    # A name is taken only once; a suggested one gets a number.
    taken = {**SMALL, "steps": 2, "name": "mine all mine"}
    assert code_of(studio, "/api/build/start", **taken) == "studio.name-taken"
    assert code_of(studio, "/api/build/resume", name="mine-all-mine") == (
        "studio.nothing-to-resume"
    )


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A studio in a process of its own, and its URL."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["studio", "--no-browser", "--port", str(port), "--folder", str(folder)]
    command = [sys.executable, "-m", "wordorder", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[0]
        process.kill()


LONG = {**SMALL, "steps": 6000, "text": TEXT, "name": "long"}


@pytest.mark.slow
def test_another_studio_finds_its_run_again(folder: Path) -> None:
    with a_studio(folder) as studio:
        posted(studio, "start", **LONG)
        wait_for_step(folder, 1)
    found_stopped_and_resumed(folder)


@pytest.mark.slow
def test_a_killed_studio_finds_its_run_again(
    server: tuple[subprocess.Popen[str], str], folder: Path
) -> None:
    process, url = server
    with httpx.Client(base_url=url, timeout=WAIT) as client:
        posted(client, "start", **LONG)
        watched(client, "long", lambda progress: progress["step"] > 0)
    process.kill()
    process.wait()
    found_stopped_and_resumed(folder)


def found_stopped_and_resumed(folder: Path) -> None:
    """A new studio finds a run that another has started, stops it, and goes on with it."""
    with a_studio(folder) as studio:
        assert studio.get("/api/build/jobs").json()["jobs"] == [
            {"name": "long", "kind": "train", "state": "running"}
        ]
        assert posted(studio, "stop", name="long")["name"] == "long"
        stopped = watched(studio, "long")[-1]
        assert stopped["state"] == "stopped" and stopped["weights"] == stopped["step"] > 0
        assert posted(studio, "resume", name="long")["state"] == "running"
        wait_for_step(folder, stopped["step"] + 1)
        posted(studio, "stop", name="long")
        again = watched(studio, "long")[-1]
        assert again["state"] == "stopped" and again["step"] > stopped["step"]
        assert again["command"] == stopped["command"]


def wait_for_step(folder: Path, step: int) -> None:
    """The test client hands an endless stream over only at its end: look at the folder instead."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end and last_step(folder / "long") < step:
        time.sleep(0.05)


def last_step(run: Path) -> int:
    records = MetricsReader(run / "metrics.jsonl").read()
    return max((record["step"] for record in records), default=0)


def test_a_process_with_the_same_id_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = detached.began_at(os.getpid())
    assert began and detached.is_running(os.getpid(), began)
    assert not detached.is_running(os.getpid(), "")
    record = {"kind": "train", "arguments": ["train"], "pid": os.getpid(), "began": "long ago"}
    (folder / ".studio").mkdir(parents=True)
    (folder / ".studio/old.json").write_text(json.dumps(record))
    for name, text in (("Bad Name", "{}"), ("broken", "{"), ("other", '{"kind": "x"}')):
        (folder / f".studio/{name}.json").write_text(text)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it was killed"))
    with a_studio(folder) as studio:
        assert posted(studio, "stop", name="old")["state"] == "failed"
        assert len(studio.get("/api/build/jobs").json()["jobs"]) == 1
        assert watched(studio, "old")[-1]["state"] == "failed"


def test_names_lead_nowhere_else(studio: TestClient, folder: Path) -> None:
    assert slug("../../etc/Passwd") == "etc-passwd" and slug("…") == ""
    assert code_of(studio, "/api/build/start", **SMALL, name="../..") == "studio.bad-name"
    for name in ("../x", "", "/etc", ".studio"):
        for path in ("stop", "resume", "snapshot", "export"):
            code = code_of(studio, f"/api/build/{path}", name=name)
            assert code in ("studio.no-such-job", "studio.invalid-request")
    for path in ("build/watch", "compare/watch", "compare/report"):
        assert studio.get(f"/api/{path}?name=../../x").json()["code"] == "studio.no-such-job"
    assert [path.name for path in folder.glob("*")] == [".studio"]
    assert not list(folder.glob(".studio/*"))


def test_what_cannot_be_trained_is_refused_before(studio: TestClient, folder: Path) -> None:
    start = "/api/build/start"
    assert code_of(studio, start, **SMALL, text="  \n") == "studio.no-text"
    long = "é" * (MOST_TEXT_BYTES // 2 + 1)
    assert code_of(studio, start, **SMALL, text=long) == "studio.text-too-long"
    assert studio.post(start, content=b"x" * (13 << 20)).status_code == 413
    assert code_of(studio, start, width=15, heads=2) == "model.width-of-heads"
    assert code_of(studio, start, preset="huge") == "studio.invalid-request"
    assert code_of(studio, start, minutes=0) == "studio.invalid-request"
    refused = studio.post(start, json={"trained_length": 1}).json()["message"]
    assert refused.startswith("trained length: input should be greater than or equal to 2")
    assert code_of(studio, start, position="os.path") == "studio.embedding-of-others"
    assert code_of(studio, start, position="coupled") == "training.no-task-positions"
    big = {"width": 4096, "layers": 64, "heads": 64, "trained_length": 4096, "batch_size": 512}
    assert code_of(studio, start, **big) == "training.out-of-memory"
    assert not list(folder.glob("*.txt"))


def test_on_windows_nothing_is_started_and_nothing_written(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "WINDOWS", True)
    assert code_of(studio, "/api/build/start", **SMALL, text=TEXT) == "studio.windows"
    assert code_of(studio, "/api/build/demo") == "studio.windows"
    positions = ["none", "rotary"]
    assert code_of(studio, "/api/compare/start", positions=positions) == "studio.windows"
    assert not folder.exists()


def test_the_estimate(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**SMALL, "minutes": 2, "position": "learned", "text_bytes": 3700}
    unknown = posted(studio, "estimate", **asked)
    assert unknown["position_parameters"] == 16 * 16 and unknown["steps"] is None
    times: list[tuple[str, ...]] = []

    def timed(*key: str) -> speed.StepTime:
        times.append(key)
        return speed.StepTime(0.5, "made up")

    monkeypatch.setattr(speed, "_in_process", timed)
    known = posted(studio, "estimate", measure=True, **asked)
    assert (known["steps"], known["tokens_per_second"], known["time"]) == (240, 64, "2 min 00 s")
    assert known["passes"] == pytest.approx(240 * 32 / 1000)
    assert known["checkpoint_every"] == 20 and len(known["warnings"]) == 1
    assert posted(studio, "estimate", measure=True, **asked) == known and len(times) == 1
    assert "--time 2m --position learned" in known["command"]


def test_a_step_is_measured_as_it_is_trained() -> None:
    step = step_time.measured("nano", SMALL, "alibi")
    assert 0 < step["step_seconds"] < WAIT


def test_the_demo_is_trained_once(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(arguments: list[str], log: Path) -> tuple[int, str]:
        started.append(arguments)
        return os.getpid(), detached.began_at(os.getpid()) or ""

    monkeypatch.setattr(detached, "start", start)
    assert posted(studio, "demo") == {"name": "demo", "kind": "train", "state": "running"}
    assert posted(studio, "demo")["state"] == "running" and len(started) == 1
    assert started[0][:5] == ["train", "--preset", "nano", "--time", "40s"]
    assert build.DEMO.text is None


def test_the_demo_has_another_name_if_that_one_is_taken(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "demo").mkdir(parents=True)  # as `wordorder train --out runs/demo` leaves it
    own = (os.getpid(), detached.began_at(os.getpid()) or "")
    monkeypatch.setattr(detached, "start", lambda arguments, log: own)
    assert posted(studio, "demo")["name"] == "demo-2" == posted(studio, "demo")["name"]


def test_the_command_of_the_estimate_is_what_start_runs(
    studio: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(detached, "start", lambda arguments, log: started.append(arguments))
    monkeypatch.setattr(speed, "_in_process", lambda *key: speed.StepTime(0.01, "here"))
    (folder / "nano-rotary").mkdir(parents=True)
    estimate = posted(studio, "estimate", **SMALL, minutes=1, measure=True)
    asked = {**SMALL, "minutes": 1, "checkpoint_every": estimate["checkpoint_every"]}
    with pytest.raises(TypeError):  # it has not started
        posted(studio, "start", **asked)
    assert shlex.split(estimate["command"])[1:] == started[0]
    assert "--checkpoint-every" in started[0] and started[0][-1].endswith("nano-rotary-2")
    taken = {**SMALL, "name": "nano-rotary"}
    assert code_of(studio, "/api/build/estimate", **taken) == "studio.name-taken"


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    for text in ("one text", "another text"):
        path.write_text(text)
        assert opened._shared_corpus((str(path),)).documents[0].text == text
        whole = opened._shared_corpus((str(tmp_path),), validation=(str(path),))
        assert whole.documents[0].text == text


def test_orders_are_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page starts is what its configuration says: the command parses to the same."""
    from wordorder.cli.options.compare import read_options as compare_options
    from wordorder.cli.options.train import read_options

    order = TrainOrder(**SMALL, minutes=1.5, position="learned+alibi")
    options = read_options(order.arguments("t.txt", "runs/x")[1:])
    config = options.train.plain()
    assert config.model == order.config("learned+alibi").model
    assert (config.time, config.data, config.out) == ("90s", ("t.txt",), "runs/x")
    compared = CompareOrder(positions=["none", "rotary:base=500"], seeds=2, steps=30)
    typed = compare_options(compared.arguments("t.txt", "runs/c")[1:])
    assert typed.positions == ("none", "rotary:base=500") and typed.seeds == 2
    assert typed.train.steps == 30 and typed.train.time is None


def test_metrics_are_read_as_they_grow(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricsReader(path)
    assert reader.read() == []
    path.write_text('{"step": 1, "loss": 3}\n{"step": 2, "lo')
    assert [r["step"] for r in reader.read()] == [1]
    with path.open("a") as file:
        file.write('ss": 2}\nnonsense\n')
    assert [r["step"] for r in reader.read()] == [1, 2]
    path.write_text('{"step": 1, "loss": 3}\n')  # as a resumed run cuts it
    assert [r["step"] for r in reader.read()] == [1]
    points = thinned([(step, float(step)) for step in range(1, 10 * MOST_POINTS + 1)])
    assert len(points) == MOST_POINTS and points[0] == (10, 5.5)


def test_the_help_names_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["studio", "--help"])
    assert "--folder" in capsys.readouterr().out


def test_a_step_that_could_not_be_timed_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([None, speed.StepTime(0.5, "timed")])
    monkeypatch.setattr(speed, "_in_process", lambda *_: next(steps))
    speeds, order = speed.Speeds(), TrainOrder()
    assert speeds.measure(order) is None
    assert speeds.measure(order) == speeds.known(order) == speed.StepTime(0.5, "timed")
