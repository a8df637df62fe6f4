"""Jobs whose folder is somewhere else than when they began, and a disk that is full."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from wordorder.studio import detached, workshop
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.studio.workshop import Workshop
from wordorder.training.run import Run

LOCAL = "http://127.0.0.1:8321"
TEXT = "the cat sees a dog. " * 80
SIZES: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "trained_length": 16, "steps": 20}
COMPARED: dict[str, Any] = {**SIZES, "positions": ["none", "alibi"], "seeds": 1, "name": "two"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were started, none of which runs."""
    commands: list[list[str]] = []

    def start(arguments: list[str], log: Path) -> tuple[int, str]:
        commands.append(list(arguments))
        return 0, ""

    monkeypatch.setattr(detached, "start", start)
    return commands


def a_studio(folder: str | Path) -> TestClient:
    runs = OpenRuns([])
    return TestClient(create_app(runs, workshop=Workshop(runs, folder)), base_url=LOCAL)


def stopped(folder: Path, kind: str) -> None:
    """Leave what a stopped job leaves in its folder."""
    path = folder / ("training/step-1/state.json" if kind == "build" else "comparison.json")
    path.parent.mkdir(parents=True)
    path.write_text("{}")


@pytest.mark.parametrize("text", [TEXT, None])
@pytest.mark.parametrize("kind", ["build", "compare"])
def test_a_job_goes_on_in_its_folder_wherever_that_is_now(
    kind: str,
    text: str | None,
    started: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {**COMPARED, "text": text}
    if kind == "build":
        del asked["positions"], asked["seeds"]
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    assert a_studio("runs").post(f"/api/{kind}/start", json=asked).status_code == 200
    (command,) = started
    data = "python-docs" if text is None else "runs/two.txt"
    assert value(command, "--out") == "runs/two" and value(command, "--data") == data
    stopped(Path("runs/two"), kind)
    monkeypatch.chdir(tmp_path)
    for place in ("first/runs", "first/renamed"):
        if place != "first/runs":
            Path("first/runs").rename(place)
        client = a_studio(place)
        data = data if text is None else f"{place}/two.txt"
        expected = [word.replace("runs/two", f"{place}/two") for word in command]
        stream = client.get(f"/api/{kind}/watch?name=two").text
        shown = json.loads(stream.removeprefix("data: ").splitlines()[0].removeprefix("data:"))
        assert shown["command"] == shlex.join(["wordorder", *expected])
        assert client.post("/api/build/resume", json={"name": "two"}).status_code == 200
        if kind == "build":
            expected = ["train", "--resume", f"{place}/two"]
            expected += [] if text is None else ["--data", data]
        assert started[-1] == expected
    assert not Path("runs").exists()


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def full(path: Path | str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize("file", ["one.txt", "one.log", "one.json"])
def test_on_a_full_disk_nothing_starts_and_nothing_is_left(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: list[int]
) -> None:
    write, opened = workshop.write_text, Path.open

    def written(path: Path, text: str) -> None:
        if path.name == file:
            raise full(path)
        write(path, text)

    def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if path.name == file and mode in ("a", "w"):
            opened(path, mode, *args, **options).close()  # it is made, and then has no room
            raise full(path)
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(workshop, "write_text", written)
    monkeypatch.setattr(Path, "open", open_)
    question = {**SIZES, "text": TEXT, "name": "one"}
    answer = a_studio(tmp_path / "runs").post("/api/build/start", json=question)
    assert (answer.status_code, answer.json()["code"]) == (422, "atomic.no-space")
    assert "free some space" in answer.json()["message"] and file in answer.json()["message"]
    assert [p.name for p in (tmp_path / "runs").rglob("*") if p.name.startswith("one")] == []
    assert len(sleeper) == (file == "one.json")
    assert not any(detached.began_at(pid) for pid in sleeper)


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that were started: each only waits."""
    processes: list[subprocess.Popen[bytes]] = []
    pids: list[int] = []

    def start(arguments: list[str], log: Path) -> tuple[int, str]:
        wait = [sys.executable, "-c", "import time; time.sleep(600)"]
        processes.append(subprocess.Popen(wait, start_new_session=True))
        pids.append(processes[-1].pid)
        return pids[-1], detached.began_at(pids[-1]) or ""

    def kill(pid: int, began: str) -> None:
        end(pid, began)
        assert processes[-1].wait(60) == -signal.SIGKILL

    end = detached.kill
    monkeypatch.setattr(detached, "start", start)
    monkeypatch.setattr(detached, "kill", kill)
    yield pids
    for process in processes:
        process.kill()
        process.wait()


def test_other_errors_of_a_file_are_messages_and_those_of_the_code_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = a_studio(tmp_path / "runs")

    def fails(error: Exception) -> None:
        def start(*_: Any) -> None:
            raise error

        monkeypatch.setattr(detached, "start", start)

    fails(OSError(errno.EACCES, "Permission denied", "a.bin"))
    answer = client.post("/api/build/start", json={**SIZES, "name": "one"})
    assert (answer.status_code, answer.json()["code"]) == (422, "studio.cannot-use-file")
    assert answer.json()["message"].startswith("a.bin: Permission denied: check ")
    fails(TimeoutError())
    with pytest.raises(TimeoutError):
        client.post("/api/build/start", json={**SIZES, "name": "one"})


def test_a_run_that_several_pages_find_at_once_is_listed_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, load = OpenRuns([]), Run.load

    def slowly(folder: Path) -> Run:
        run = load(folder)
        time.sleep(0.05)
        return run

    monkeypatch.setattr(Run, "load", slowly)
    threads = [threading.Thread(target=runs.update, args=(folders["rotary"],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for name, _ in runs] == ["rotary"]


def test_a_run_that_was_given_is_opened_again_after_training(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(folders["rotary"], folder)
    runs = OpenRuns([folder])
    studio = TestClient(create_app(runs, workshop=Workshop(runs, tmp_path)), base_url=LOCAL)
    first = runs.run("mine")
    studio.get("/api/studio")
    assert runs.run("mine") is first
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    studio.get("/api/studio")
    assert runs.run("mine") is not first


def test_a_measurement_of_weights_that_changed_meanwhile_is_not_kept(
    folders: dict[str, Path],
) -> None:
    runs = OpenRuns([folders["rotary"]])

    def measure(runs: OpenRuns, name: str) -> str:
        runs.update(folders["rotary"])  # a checkpoint is written while this measures
        return "old"

    assert runs.once("rotary", "loss", measure) == "old"
    assert runs.once("rotary", "loss", lambda *_: "new") == "new"
    assert runs.once("rotary", "loss", lambda *_: "newer") == "new"
