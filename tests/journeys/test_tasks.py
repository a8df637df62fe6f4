"""`wordorder tasks` as a user runs it: in processes of its own, stopped, gone on with, and read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wordorder.cli.main import main


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "wordorder", "tasks", *(str(word) for word in words)]


def run(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        check=False,
        env={**os.environ, **variables},
    )


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said last: the error."""
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tasks", "copi"], "unknown task 'copi': did you mean copy?"),
        (["--tasks"], "--tasks is empty"),
        (["--positions", "rotery"], "did you mean rotary?"),
        (["--positions", "rotary:bass=1"], "rotary has no option 'bass'"),
        (["--seeds", "0"], "--seeds is 0: it must be at least 1"),
        (["--length", "0"], "--length is 0: it must be at least 1"),
        (["--length", "many"], "--length is many: it must be a whole number"),
        (["--steps", "-3"], "--steps is -3"),
        (["--all", "--tasks", "sort"], "give one of them"),
        (["--stepz", "3"], "did you mean --steps?"),
    ],
)
def test_wrong_options(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tasks", *words]) == 2
    assert said in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter").write_text("dear", encoding="utf-8")
    assert main(["tasks", "--out", str(tmp_path), "--overwrite"]) == 2
    assert "was not created by wordorder" in one_line(capsys)
    assert (tmp_path / "letter").read_text(encoding="utf-8") == "dear"


@pytest.mark.slow
def test_a_grid_is_run_read_and_added_to(tmp_path: Path) -> None:
    small = ["--tasks", "repeat", "--steps", 4, "--length", 3, "--seeds", 1, "--out", "t"]
    first = run(*small, "--positions", "none", "learned", cwd=tmp_path, NO_COLOR="1")
    assert first.returncode == 0, first.stderr
    assert "2 runs, " in first.stderr and "with 1 thread each: about " in first.stderr
    assert re.search(r"\d/2  repeat learned seed 0  accuracy: 1x [\d.]+, 1.5x cannot", first.stderr)
    assert first.stdout.startswith("Accuracy of at least 0.95 beyond training: ")
    assert "cannot" not in first.stdout.splitlines()[0]
    assert "One seed: no interval" in first.stdout and "\x1b" not in first.stdout + first.stderr
    for name in ("tasks.json", "results.jsonl", "table.csv", "report.html"):
        assert (tmp_path / "t" / name).stat().st_size > 100, name

    more = run(*small, "--positions", "none", "learned", "alibi", "--json", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "2 of 3 runs are already finished" in more.stderr
    found = json.loads(more.stdout)
    assert [row["position"] for row in found["rows"][::2]] == ["none", "learned", "alibi"]
    assert found["folder"] == "t" and not found["failed"]

    other = run(*small[:2], "--steps", 5, *small[4:], "--positions", "none", cwd=tmp_path)
    assert other.returncode == 2 and not other.stdout
    assert "error: t holds repeat with steps 4, not 5: choose another --out" in other.stderr


@pytest.mark.slow
def test_a_stopped_grid_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    words = ["--tasks", "parity", "--positions", "none", "alibi", "--steps", 60, "--length", 4]
    stopped = subprocess.Popen(
        command(*words, "--out", "stopped"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    runs = tmp_path / "stopped" / "runs"
    deadline = time.monotonic() + 120
    while not list(runs.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "stopped: finished runs are saved in stopped; the same command continues" in said
    done = len(list(runs.rglob("*.json")))
    assert 0 < done < 6

    resumed = run(*words, "--out", "stopped", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(rf"{done} of 6 runs (is|are) already finished", resumed.stderr)
    assert f"{6 - done}/{6 - done}  parity" in resumed.stderr
    straight = run(*words, "--out", "straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    assert read(tmp_path / "stopped") == read(tmp_path / "straight")


def read(folder: Path) -> list[dict]:
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_rest_and_is_named(tmp_path: Path) -> None:
    """An embedding of one's own that breaks in training, but not when it is built."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from wordorder.positions import Position\n\n\n"
        "class Broken(Position):\n"
        "    def embed(self, x, layout):\n"
        "        return x * float('nan')\n",
        encoding="utf-8",
    )
    words = ["--tasks", "repeat", "--steps", 2, "--length", 2, "--seeds", 1, "--out", "t"]
    done = run(*words, "--positions", "mine.Broken", "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: 1 of 2 runs failed" in done.stderr
    assert "repeat mine.Broken seed 0: the loss is nan at step 1" in done.stderr
    assert "repeat mine.Broken seed 0: the loss is nan at step 1" in done.stdout
    assert "none" in done.stdout and "--learning-rate" not in done.stderr
