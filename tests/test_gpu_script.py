"""benchmarks/gpu.sh: its options, its table, and with `slow` every part of it on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks/gpu.sh"
PRINTED = {
    2: {
        "layers": [
            {"position": "alibi", "context": 4096, "against_none": 1.25, "kernel": "flex"},
            {"position": "t5", "context": 4096, "against_none": 2.0, "kernel": "flex"},
            {"position": "shaw", "context": 4096, "error": "cannot"},
        ]
    },
    3: {
        "processor": "NVIDIA H200",
        "peak_tflops": 989,
        "rows": [
            {
                "position": name,
                "of_peak": share,
                "tokens_per_second": 5e5,
                "parameters": 123_588_864,
            }
            for name, share in (("rotary", 0.51), ("nanoGPT", None))
        ],
    },
    4: {
        "target": 1.4697,
        "reached": True,
        "seconds": 30.0,
        "runs": [{"validation_loss": 1.46}],
        "peer": {"seconds": 60.0, "validation_loss": 1.4701, "steps": 1750},
    },
}


def gpu_sh(*options: str, timeout: int = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", str(SCRIPT), *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--fast", "unknown option --fast"),
        ("--out", "--out needs a value"),
        ("--device tpu", "give cuda or cpu"),
        ("--device cpu", "needs --smoke"),
        ("--peer nowhere", "has no train.py"),
        ("--text nowhere", "is no file"),
        ("--parts 6", "numbers from 1 to 5"),
    ],
)
def test_wrong_options_are_refused(options: str, says: str, tmp_path: Path) -> None:
    done = gpu_sh("--out", str(tmp_path / "gpu.json"), *options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "gpu.json").exists()


def test_help_is_the_head_of_the_script() -> None:
    done = gpu_sh("--help")
    assert done.returncode == 0 and "at most 8 minutes" in done.stdout
    assert "set -uo" not in done.stdout


def test_time_limits_add_up_to_eight_minutes() -> None:
    words = SCRIPT.read_text().replace("\\\n", " ").splitlines()
    limits = [int(line.split()[2]) for line in words if line.strip().startswith("run ")]
    assert len(limits) == 5 and sum(limits) <= 8 * 60


def test_the_table_has_a_line_for_a_part_that_failed(tmp_path: Path) -> None:
    for number, result in PRINTED.items():
        (tmp_path / f"{number}.out").write_text(f"a note\n{json.dumps(result)}\n")
        (tmp_path / f"{number}.status").write_text("0 20 100")
    (tmp_path / "5.status").write_text("124 75 75")
    (tmp_path / "5.err").write_text("still compiling")
    (tmp_path / "1.status").write_text("1 9 65")
    (tmp_path / "1.xml").write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="0" skipped="2"/></testsuites>'
    )
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/gpu_table.py", tmp_path, "--out", tmp_path / "o.json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    for line in (
        "1  tests marked gpu, 9 s: FAILED (exit code 1)",
        "6 passed, 1 failed, 2 skipped",
        "alibi           0.80 of flash  (flex, 4096 tokens)",
        "t5              0.50 of flash, below 0.7",
        "shaw            cannot",
        "500,000 tokens/s  0.51 of the peak  (123,588,864 parameters)",
        "wordorder       30.0 s, loss 1.4600: reaches 1.4697",
        "nanoGPT         60.0 s to its lowest loss 1.4701, step 1750",
        "5  decoding, 75 s: FAILED (over its limit of 75 s)",
    ):
        assert line in done.stdout
    record: dict[str, Any] = json.loads((tmp_path / "o.json").read_text())
    assert [part["status"] for part in record["parts"]] == [1, 0, 0, 0, 124]
    assert record["parts"][4]["log"] == "still compiling"


@pytest.mark.slow
def test_every_part_runs_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = gpu_sh("--device", "cpu", "--smoke", "--out", str(out), timeout=900)
    assert done.returncode == 0, done.stderr
    parts = json.loads(out.read_text())["parts"]
    assert [part["part"] for part in parts] == [1, 2, 3, 4, 5]
    assert all(part["result"] for part in parts)


@pytest.mark.slow
def test_a_training_step_is_measured_for_some_seconds(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = gpu_sh("--device", "cpu", "--smoke", "--parts", "3", "--out", str(out), timeout=120)
    assert done.returncode == 0, done.stderr
    (part,) = json.loads(out.read_text())["parts"]
    assert part["result"]["rows"][0]["tokens_per_second"] > 0
