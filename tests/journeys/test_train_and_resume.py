"""Training as a user runs it, in processes of its own: killed, stopped, resumed, and read.

The runs are tiny, of a text made up here, so that each takes a second or two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from wordorder.training.metrics import TIMING_FIELDS

SMALL = (
    "--width 32 --layers 2 --heads 2 --trained-length 32 --batch-size 4 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1"
).split()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    who = ("the cat", "a dog", "my aunt", "no king", "one bird", "their boat")
    does = ("sees", "likes", "finds", "carries", "forgets")
    lines = [f"{a} {v} {b} {n}." for n, a in enumerate(who) for v in does for b in who]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "wordorder", *(str(word) for word in words)]


def run(
    *words: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def metrics_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in r.items() if k not in TIMING_FIELDS} for r in records]


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def until_steps(folder: Path, steps: int) -> None:
    """Wait until so many steps are in a checkpoint."""
    for _ in range(2400):
        found = sorted((folder / "training").glob("step-*")) if folder.exists() else []
        if found and int(found[-1].name.removeprefix("step-")) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint of {steps} steps in {folder}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_bit(text: Path, tmp_path: Path, how: signal.Signals) -> None:
    options = [*SMALL, "--data", text, "--steps", 400, "--dropout", 0.1, "--checkpoint-every", 20]
    straight = run("train", *options, "--out", "straight", cwd=tmp_path)
    assert straight.returncode == 0, straight.stderr
    stopped = subprocess.Popen(
        command("train", *options, "--out", "stopped"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_steps(tmp_path / "stopped", 20)
    os.kill(stopped.pid, how)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == (130 if how is signal.SIGINT else -how)
    if how is signal.SIGINT:
        assert "resume with wordorder train --resume stopped" in said
    resumed = run("train", "--resume", "stopped", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after step" in resumed.stderr
    assert same_weights(tmp_path / "straight", tmp_path / "stopped")
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "stopped")


def test_a_run_leaves_its_folder_and_every_command_reads_it(text: Path, tmp_path: Path) -> None:
    trained = run(
        "train", *SMALL, "--data", text, "--steps", 60, "--out", "r", "--json", cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["step"] == 60
    for name in (
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "metrics.jsonl",
        "loss.png",
        "samples.txt",
        "README.md",
        "training",
    ):
        assert (tmp_path / "r" / name).exists(), name
    card = (tmp_path / "r" / "README.md").read_text(encoding="utf-8")
    assert "wordorder train --width 32" in card
    assert "7,680 tokens in 60 steps" in card

    written = run("generate", "r", "the cat", "--max-tokens", 12, "--seed", 3, cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert written.stdout.startswith("the cat")
    uncached = run(
        "generate", "r", "the cat", "--max-tokens", 12, "--seed", 3, "--no-cache", cwd=tmp_path
    )
    assert uncached.stdout == written.stdout

    measured = run("eval", "r", "--length", 64, "--json", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    loss = json.loads(measured.stdout)
    assert loss["by_position"][-1]["last"] == 63
    assert 0 < loss["loss_nats"] < 5.6  # a uniform guess of 257 tokens is 5.55

    tuned = run(
        "train", "--init", "r", "--data", text, "--steps", 5, "--out", "tuned", cwd=tmp_path
    )
    assert tuned.returncode == 0, tuned.stderr
    first = metrics_of(tmp_path / "tuned")[0]["loss"]
    assert first < metrics_of(tmp_path / "r")[0]["loss"] - 0.5


def test_a_gru_is_trained_by_the_same_command(text: Path, tmp_path: Path) -> None:
    words = ["--model", "gru", "--data", text, "--steps", 20, "--out", "g"]
    trained = run("train", *SMALL, *words, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "a GRU reads in order" in trained.stderr
    assert run("generate", "g", "--max-tokens", 5, cwd=tmp_path).returncode == 0


def test_a_truncated_checkpoint_is_passed_over(text: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--data", text, "--steps", 40, "--checkpoint-every", 10, "--out", "r"]
    assert run("train", *options, cwd=tmp_path).returncode == 0
    whole = load_file(tmp_path / "r" / "model.safetensors")
    newest = sorted((tmp_path / "r" / "training").glob("step-*"))[-1] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = run("train", "--resume", "r", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "is damaged" in resumed.stderr
    again = load_file(tmp_path / "r" / "model.safetensors")
    assert all((whole[name] == again[name]).all() for name in whole)


def test_another_instruction_set_is_refused(text: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--data", text, "--steps", 40, "--checkpoint-every", 10, "--out", "r"]
    assert run("train", *options, cwd=tmp_path).returncode == 0
    other = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    refused = run("train", "--resume", "r", cwd=tmp_path, env=other)
    assert refused.returncode == 3
    assert "it ran on the instruction set" in refused.stderr
    assert "this is DEFAULT" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    inexact = run("train", "--resume", "r", "--inexact", cwd=tmp_path, env=other)
    assert inexact.returncode == 0, inexact.stderr


@pytest.mark.slow
@pytest.mark.parametrize("when", ["a checkpoint", "a decision"])
def test_a_timed_run_that_is_killed_keeps_its_decisions(
    text: Path, tmp_path: Path, when: str
) -> None:
    """Killed before and after the decay has begun."""
    options = [*SMALL, "--data", text, "--time", "6s", "--checkpoint-every", 5, "--out", "r"]
    killed = subprocess.Popen(
        command("train", *options),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "r"
    until_steps(folder, 5)
    while when == "a decision" and not decisions_of(folder):
        time.sleep(0.02)
    killed.kill()
    killed.wait(timeout=60)
    decided = decisions_of(folder)
    resumed = run("train", "--resume", "r", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert decisions_of(folder)[: len(decided)] == decided
    steps = [r for r in read_metrics(folder) if "loss" in r]
    assert steps[-1]["step"] == decisions_of(folder)[-1]["steps"]
    assert json.loads((folder / "config.json").read_text())["steps"] == steps[-1]["step"]


def read_metrics(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n") and '"loss"' in line]


def decisions_of(folder: Path) -> list[dict]:
    path = folder / "training" / "decisions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]
