"""`wordorder train --ranks`: a rank that is killed, restarts, Ctrl-C, and messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_once import made_once
from safetensors.torch import load_file
from training.rank_runs import WORKER, case, losses, start, write_texts

from wordorder.cli.main import main
from wordorder.training.metrics import read

STEPS = 40  # of a run that is killed
OF_THE_COMMAND = (
    {"position": "rotary", "dropout": 0.0},
    {"steps": STEPS, "checkpoint_every": 5, "dtype": "float32", "kernel": "fused", "threads": 1},
)
COMMAND = (
    f"--steps {STEPS} --batch-size 8 --width 32 --layers 2 --heads 2 --trained-length 32 "
    "--threads 1 --tokenizer bytes --dtype float32 --kernel fused --compile no --checkpoint-every 5"
).split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("text"))


def ended(*typed: object, at_checkpoint: str = "") -> subprocess.CompletedProcess[str]:
    """Run `wordorder train`; at checkpoints signals may be sent, see `at_a_checkpoint`."""
    folders = [str(WORKER.with_name("at_a_checkpoint")), os.environ.get("PYTHONPATH", "")]
    sent = {"AT_CHECKPOINT": at_checkpoint, "PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.run(
        [sys.executable, "-m", "wordorder", "train", *map(str, typed)],
        env={**os.environ, **(sent if at_checkpoint else {})},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        check=False,
    )


def new_run(text: Path, out: Path, *more: object) -> list[object]:
    return ["--data", text, "--out", out, *COMMAND, *more]


@pytest.fixture(scope="module")
def command_run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks train without an interruption by the settings of `COMMAND`."""

    def make(folder: Path) -> None:
        start([case(text, folder / "run", *OF_THE_COMMAND)], 2, folder)

    return made_once(tmp_path_factory, "command-ranks", make) / "run"


def same_weights(first: Path, second: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.mark.slow
@needs_proc
def test_a_killed_rank_is_restarted_and_the_run_is_the_same_to_the_bit(
    text: Path, tmp_path: Path, command_run: Path
) -> None:
    restarting = new_run(text, tmp_path / "run", "--ranks", 2, "--max-restarts", 1)
    killed = ended(*restarting, at_checkpoint=f"10 {signal.SIGKILL:d} 1")
    assert (killed.returncode, killed.stdout.strip()) == (0, str(tmp_path / "run")), killed.stderr
    assert "resuming after step" in killed.stderr
    assert "Traceback" not in killed.stderr
    assert same_weights(tmp_path / "run", command_run)


@pytest.mark.slow
@needs_proc
def test_a_run_goes_on_after_a_restart_and_ctrl_c(
    text: Path, tmp_path: Path, command_run: Path
) -> None:
    """Of a new run's ranks one is killed; Ctrl-C ends those restarted."""
    run = tmp_path / "run"
    kill, interrupt = f"{signal.SIGKILL:d} 1", f"{signal.SIGINT:d} launcher"
    restarting = new_run(text, run, "--ranks", 2, "--max-restarts", 1)
    stopped = ended(*restarting, at_checkpoint=f"10 {kill},20 {interrupt}")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    _, resumed, lines = stopped.stderr.partition("resuming after step")
    assert resumed and "stopped and saved at step" in lines
    assert "stopped" not in lines.splitlines()
    so_far = losses(run)
    assert len(so_far) >= 20 and so_far == losses(command_run)[: len(so_far)]
    killed = ended("--resume", run, "--ranks", 2, at_checkpoint=f"30 {kill}")
    assert killed.returncode == 1


@pytest.mark.slow
@needs_proc
def test_a_killed_rank_ends_all_and_one_process_goes_on(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    killed = ended(*new_run(text, run, "--ranks", 2), at_checkpoint=f"30 {signal.SIGKILL:d} 1")
    assert killed.returncode == 1
    assert [line for line in killed.stderr.splitlines() if line.startswith("error: ")] == [
        "error: rank 1 was killed by SIGKILL, so all 2 ranks have ended: continue with wordorder "
        f"train --resume {run} --ranks 2"
    ]
    assert "Traceback" not in killed.stderr

    assert main(["train", "--resume", str(run), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["step"] == STEPS
    decisions = read(run / "training" / "decisions.jsonl")
    assert [decision["ranks"] for decision in decisions] == [1]
    assert "training on 1 rank from now on" in printed.err


@pytest.mark.slow
def test_bad_input_under_ranks_is_one_line(text: Path, tmp_path: Path) -> None:
    run = ended(*new_run(text, tmp_path / "run", "--ranks", 3))
    assert run.returncode == 2
    assert [line for line in run.stderr.splitlines() if line] == [
        "error: --batch-size 8 cannot be shared by 3 ranks: use --batch-size 9 or another "
        "multiple of 3"
    ]
    assert not (tmp_path / "run").exists()
