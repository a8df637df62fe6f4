"""`wordorder compare` as a user runs it: to the report, stopped and gone on with, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wordorder.cli.main import main

SIZES = (
    "--width 32 --layers 1 --heads 2 --trained-length 8 --batch-size 4 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 2"
).split()
LISTS = ["--lengths", "1", "2", "4"], ["--positions", "none", "alibi"]
SMALL = [*SIZES, *LISTS[0], *LISTS[1]]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for n in range(24):
        words = " ".join(f"{(n * k + k * k) % 97} sees {k}" for k in range(100))
        Path(f"texts/{n}.txt").write_text(words, encoding="utf-8")
    return "texts"


def compare(*words: str) -> list[str]:
    return [sys.executable, "-m", "wordorder", "compare", *SMALL, *words]


def test_from_the_command_to_the_report(
    text: str, capsys: pytest.CaptureFixture[str], jobs_here: None
) -> None:
    words = ["compare", *SMALL, "--data", text, "--seeds", "1", "--steps", "3", "--out", "c"]
    assert main(words) == 0
    first = capsys.readouterr()
    assert "one seed: no interval" in first.out
    assert first.out.rstrip().endswith("report.html")
    assert "2 runs of 3 steps" in first.err and "about" in first.err
    assert "2/2" in first.err
    assert {"comparison.json", "results.jsonl", "table.csv", "report.html"} <= set(os.listdir("c"))
    assert list(Path("c/figures").glob("*.png")) and list(Path("c/figures").glob("*.svg"))
    assert main([*words, "--json"]) == 0
    again = capsys.readouterr()
    found = json.loads(again.out)
    assert found["folder"] == "c"
    assert found["verdict"]["headline"].startswith("One seed")
    assert found["results"][0]["loss_nats"] == found["results"][0]["losses"][0]
    assert "runs of" not in again.err  # nothing was left to run
    assert "baseline" in Path("c/table.csv").read_text(encoding="utf-8").splitlines()[0]


# The command without its benchmarks, which are four more processes.
UNMEASURED = """
import sys
from wordorder.cli.main import main
from wordorder.experiments import compare
from wordorder.experiments.calibration import Calibration
from wordorder.training.compute import Compute
compare.calibrate = lambda *_: Calibration(Compute("cpu", 1), 1, 0.01, 0.01)
cost = {"parameters": 1, "added": 0, "step_seconds": 0.01}
compare.costs = lambda config, positions, *_: {p: dict(cost) for p in positions}
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(text: str) -> None:
    words = ["compare", *SMALL, "--data", text, "--seeds", "1", "--out", "c", "--steps", "100000"]
    words += ["--checkpoint-every", "20"]
    with subprocess.Popen(
        [sys.executable, "-c", UNMEASURED, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 300
        try:
            while not list(Path("c").glob("runs/*/training/step-*[1-9]0")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert json.loads(Path("c/comparison.json").read_text(encoding="utf-8"))["steps"] == 100000


@pytest.mark.slow
def test_killed_it_goes_on_where_its_runs_were_saved(text: str) -> None:
    """Runs save when the command is killed; the next one trains no step again that was saved."""
    words = ("--data", text, "--seeds", "1", "--out", "c", "--steps", "1500")
    asked = compare(*words, "--checkpoint-every", "100")
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folders = [Path(f"c/runs/{position}-seed0") for position in ("none", "alibi")]
    deadline = time.monotonic() + 300
    try:
        while not all(list(f.glob("training/step-*[1-9]00")) for f in folders):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    again = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "measuring how this machine" not in again.stderr and "2/2" in again.stderr
    for folder in folders:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [record["step"] for record in map(json.loads, lines) if "loss" in record]
        assert steps == list(range(1, 1501))
    last = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert last.returncode == 0 and "runs of" not in last.stderr
    assert last.stdout == again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--positions", "none", "rotery"], "did you mean rotary?"),
        (["--positions", "none"], "at least two"),
        (["--seeds", "-1"], "--seeds is -1"),
        (["--lengths", "0", "1"], "--lengths is [0, 1]: it must be a list, each at least 1"),
        (["--baseline", "t5"], "--baseline t5 is not among the --positions"),
        (["--data", "nothere.txt"], "nothere.txt"),
        (["--postions", "none"], "did you mean --positions"),
        (["--steps", "3", "--time", "2m"], "give one"),
    ],
)
def test_bad_input(
    text: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [] if "--data" in words else ["--data", text]
    steps = [] if "--time" in words else ["--steps", "3"]
    lists = [word for each in LISTS if each[0] not in words for word in each]
    assert main(["compare", *SIZES, *lists, *data, *steps, "--out", "c", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert not Path("c").exists()


def test_a_folder_of_other_things(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("home").mkdir()
    Path("home/letter").touch()
    assert main(["compare", *SMALL, "--data", text, "--steps", "3", "--out", "home"]) == 2
    assert "was not created by wordorder" in capsys.readouterr().err
    assert os.listdir("home") == ["letter"]
