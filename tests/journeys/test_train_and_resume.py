"""Training as a user runs it: killed and stopped in a process of its own, resumed, and read.

The runs are tiny, of a text made up here, so that each takes a second or two.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from wordorder.cli.main import main
from wordorder.training import report
from wordorder.training.metrics import TIMING_FIELDS
from wordorder.training.report import draw_losses  # before tests replace it

SMALL = (
    "--width 32 --layers 2 --heads 2 --trained-length 32 --batch-size 4 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1"
).split()


# A process that a signal reaches in the middle of step 27, however busy the machine is.
STOPPED = """
import os, sys
from wordorder.cli.main import main
from wordorder.training import training
from wordorder.training.training import Training
training.SAMPLE_TOKENS = 8  # as conftest.py has it
step = Training.step
def stopped(run):
    if run.done == 26:
        os.kill(os.getpid(), int(sys.argv[1]))
    return step(run)
Training.step = stopped
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    who = ("the cat", "a dog", "my aunt", "no king", "one bird", "their boat")
    does = ("sees", "likes", "finds", "carries", "forgets")
    lines = [f"{a} {v} {b} {n}." for n, a in enumerate(who) for v in does for b in who]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def straight(text: Path) -> Path:
    """A run of 40 steps that nothing stopped."""
    run = text.with_name("straight")
    assert main(["train", *options(text), "--out", str(run)]) == 0
    return run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def options(text: Path) -> list[str]:
    words = f"--data {text} --steps 40 --dropout 0.1 --checkpoint-every 10"
    return [*SMALL, *words.split()]


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def metrics_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in r.items() if k not in TIMING_FIELDS} for r in records]


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stopped_run_goes_on_to_the_bit(
    text: Path, straight: Path, capsys: pytest.CaptureFixture[str], how: signal.Signals
) -> None:
    stopped = run("-c", STOPPED, int(how), "train", *options(text), "--out", "stopped")
    assert stopped.returncode == (130 if how is signal.SIGINT else -how)
    if how is signal.SIGINT:
        assert "resume with wordorder train --resume stopped" in stopped.stderr
        assert "stopped" not in stopped.stderr.splitlines()
    assert main(["train", "--resume", "stopped"]) == 0
    step = 27 if how is signal.SIGINT else 20
    assert f"resuming after step {step}" in capsys.readouterr().err
    assert same_weights(straight, Path("stopped"))
    assert metrics_of(straight) == metrics_of(Path("stopped"))


def test_a_run_leaves_its_folder_and_every_command_reads_it(
    text: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_losses", draw_losses)

    def printed(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    trained = printed("train", *SMALL, "--data", text, "--steps", 60, "--out", "r", "--json")
    assert json.loads(trained)["step"] == 60
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
        assert Path("r", name).exists(), name
    assert Path("r/loss.png").stat().st_size > 10_000
    card = Path("r/README.md").read_text(encoding="utf-8")
    assert "wordorder train --width 32" in card
    assert "7,680 tokens in 60 steps" in card

    writing = ("generate", "r", "the cat", "--max-tokens", 12, "--seed", 3)
    written = printed(*writing)
    assert written.startswith("the cat")
    assert printed(*writing, "--no-cache") == written

    loss = json.loads(printed("eval", "r", "--length", 64, "--json"))
    assert loss["by_position"][-1]["last"] == 63
    assert 0 < loss["loss_nats"] < 5.6  # a uniform guess of 257 tokens is 5.55

    printed("train", "--init", "r", "--data", text, "--steps", 5, "--out", "tuned")
    first = metrics_of(Path("tuned"))[0]["loss"]
    assert first < metrics_of(Path("r"))[0]["loss"] - 0.5


def test_a_gru_is_trained_by_the_same_command(
    text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "gru", "--data", str(text), "--steps", "20", "--out", "g"]
    assert main(["train", *SMALL, *words]) == 0
    assert "a GRU reads in order" in capsys.readouterr().err
    assert main(["generate", "g", "--max-tokens", "5"]) == 0


def test_a_truncated_checkpoint_is_passed_over(
    straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(straight, "r")
    newest = sorted(Path("r/training").glob("step-*"))[-1] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    Path("r/model.safetensors").unlink()
    assert main(["train", "--resume", "r"]) == 0
    assert "is damaged" in capsys.readouterr().err
    assert same_weights(straight, Path("r"))


def test_another_instruction_set_is_refused(straight: Path) -> None:
    shutil.copytree(straight, "r")
    other = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    code = (
        "import sys; from wordorder.cli.main import main\n"
        "assert main('train --resume r'.split()) == 3\n"
        "print('that was all', file=sys.stderr)\n"
        "assert main('train --resume r --inexact'.split()) == 0"
    )
    done = run("-c", code, env=other)
    assert done.returncode == 0, done.stderr
    refused, then, *_ = done.stderr.splitlines()
    assert "it ran on the instruction set" in refused and "this is DEFAULT" in refused
    assert then == "that was all"


def until_steps(folder: Path, steps: int) -> None:
    """Wait until so many steps are in a checkpoint."""
    for _ in range(2400):
        found = sorted((folder / "training").glob("step-*")) if folder.exists() else []
        if found and int(found[-1].name.removeprefix("step-")) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint of {steps} steps in {folder}")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["a checkpoint", "a decision"])
def test_a_timed_run_that_is_killed_keeps_its_decisions(text: Path, when: str) -> None:
    """Killed before and after the decay has begun."""
    words = f"train --data {text} --time 6s --checkpoint-every 5 --out r".split()
    killed = subprocess.Popen(
        [sys.executable, "-m", "wordorder", *words, *SMALL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = Path("r")
    until_steps(folder, 5)
    while when == "a decision" and not decisions_of(folder):
        time.sleep(0.02)
    killed.kill()
    killed.wait(timeout=60)
    decided = decisions_of(folder)
    assert main(["train", "--resume", "r"]) == 0
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
