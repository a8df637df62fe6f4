"""A run that is killed at any moment, or has no room, goes on to the same bytes.

Moments are random, of a seed; the slow test has 20 of each of five kinds, `KILLS=200` so many.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from kills.machine import SMALL, Machine

Left = dict[str, Any]
KILLED = -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def while_it_changes_files(machine: Machine, straight: Left, moments: list[float]) -> None:
    """Killed at a change to a file: saving, mostly, and finishing."""
    changes = machine.train("r").changes
    machine.remove("r")
    for moment in moments:
        assert machine.train("r", kill_at=1 + int(moment * changes)).code == KILLED, moment
        again = machine.finish("r")
        assert again.code == 0, (moment, again.err)
        assert machine.left("r") == straight, moment
        machine.remove("r")


def while_it_replaces(machine: Machine, straight: Left, moments: list[float]) -> None:
    """Killed while another run takes a run's place: one of the two is there, whole."""
    assert machine.train("old", "--seed", 1).code == 0
    old = machine.left("old")
    (machine.folder / "old" / "labels.csv").write_text("mine")
    before = contents(machine.folder / "old")
    changes = machine.train("old", "--overwrite").changes
    for moment in moments:
        machine.remove("old")
        for name, content in before.items():
            (machine.folder / "old" / name).parent.mkdir(parents=True, exist_ok=True)
            (machine.folder / "old" / name).write_bytes(content)
        killed = machine.train("old", "--overwrite", kill_at=1 + int(moment * changes))
        assert killed.code == KILLED, moment
        again = machine.run("train", "--resume", "old")
        assert again.code == 0, (moment, again.err)
        assert machine.left("old") in (old, straight), moment
        assert (machine.folder / "old" / "labels.csv").read_text() == "mine"


def at_any_time(machine: Machine, straight: Left, moments: list[float]) -> None:
    """Killed by the clock, or told to stop, once or twice: training, saving, finishing."""
    began = time.monotonic()
    machine.train("r")
    takes = time.monotonic() - began
    machine.remove("r")
    for number, moment in enumerate(moments):
        by = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 4]
        train, times = ("train", *SMALL, "--out", "r"), 1 + number % 3 % 2
        ended = machine.killed_after(takes * moment, *train, by=by, times=times)
        assert ended.code in (0, -by, 128 + by), ended.err  # -by: too early or twice
        assert "Traceback" not in ended.err
        if ended.code:
            again = machine.finish("r")
            assert again.code == 0, (moment, again.err)
        assert machine.left("r") == straight, (moment, by)
        machine.remove("r")


def two_at_once(machine: Machine, straight: Left, moments: list[float]) -> None:
    """One is refused and touches nothing; the other is killed, and gone on with twice at once."""
    for moment in moments:
        pair = [machine.start("train", *SMALL, "--out", "r") for _ in range(2)]
        ended = [machine.wait(process) for process in pair]
        refused = [one for one in ended if one.code]
        assert len(refused) == 1, [one.err for one in ended]
        assert refused[0].code in (2, 3) and "\n" not in refused[0].error
        assert machine.left("r") == straight
        machine.remove("r")
        machine.killed_after(moment, "train", *SMALL, "--out", "r")
        if any((machine.folder / "r").glob("training/step-*/state.json")):
            pair = [machine.start("train", "--resume", "r") for _ in range(2)]
            codes = sorted(machine.wait(process).code for process in pair)
            assert codes in ([0, 3], [0, 0])
        else:
            assert machine.train("r").code == 0
        assert machine.left("r") == straight
        machine.remove("r")


def on_a_full_disk(machine: Machine, straight: Left, moments: list[float]) -> None:
    """No room from some moment on: one line, exit 1, and what was saved goes on."""
    changes = machine.train("r").changes
    machine.remove("r")
    for number, moment in enumerate(moments):
        how = {"full_at": 1 + int(moment * changes)}
        if number % 2:  # as large as no file may grow: the tokenizer, the metrics, the weights
            how = {"file_bytes": 1 + int(moment * 90_000)}
        ended = machine.train("r", **how)
        assert ended.code == 1, (how, ended.err)
        assert ended.error.startswith("error: ") and "free some space" in ended.error, how
        again = machine.finish("r")
        assert again.code == 0, (how, again.err)
        assert machine.left("r") == straight, how
        machine.remove("r")


KINDS = (while_it_changes_files, while_it_replaces, at_any_time, two_at_once, on_a_full_disk)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_to_the_same_bytes(machine: Machine, straight: Left, kind: Any) -> None:
    moments = random.Random(22)
    kind(machine, straight, [moments.random()])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILLS", "20")) // 5))
def test_a_hundred_kills(machine: Machine, straight: Left, kind: Any, seed: int) -> None:
    moments = random.Random(seed)
    kind(machine, straight, [moments.random() for _ in range(5)])


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_and_is_the_exit_code(machine: Machine, by: signal.Signals) -> None:
    process = machine.start("train", *SMALL, "--steps", 100_000, "--out", "r")
    while not any((machine.folder / "r").glob("training/step-*[1-9]")):
        time.sleep(0.01)
    os.kill(process, by)
    ended = machine.wait(process)
    assert ended.code == 128 + by
    assert "wordorder train --resume r" in ended.err and "Traceback" not in ended.err
    saved = sorted((machine.folder / "r/training").glob("step-*"))[-1]
    lines = (machine.folder / "r/metrics.jsonl").read_text().splitlines()
    assert f'"step": {int(saved.name.removeprefix("step-"))}' in lines[-1]
