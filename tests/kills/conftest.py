"""Runs that are killed, in processes forked from one that has imported everything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kills.machine import Machine


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    cache = tmp_path_factory.mktemp("cache")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        yield process


@pytest.fixture
def machine(tmp_path: Path, server: subprocess.Popen[str]) -> Machine:
    return machine_in(tmp_path, server)


@pytest.fixture(scope="session")
def straight(
    tmp_path_factory: pytest.TempPathFactory, server: subprocess.Popen[str]
) -> dict[str, Any]:
    """What a run leaves that nobody disturbed."""
    machine = machine_in(tmp_path_factory.mktemp("straight"), server)
    assert machine.train("straight").code == 0
    return machine.left("straight")


def machine_in(folder: Path, server: subprocess.Popen[str]) -> Machine:
    """Return a machine whose folder holds a text."""
    who = ("the cat", "a dog", "my aunt", "no king", "one bird", "their boat")
    does = ("sees", "likes", "finds", "carries", "forgets")
    lines = [f"{a} {v} {b} {n}." for n, a in enumerate(who) for v in does for b in who]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    return Machine(folder, server)
