"""Whatever is typed: an exit code that means something, one message, and no run is lost.

`WORDORDER_FUZZ=10000 pytest tests/fuzz -m slow` tries as many; CI tries a few, the same each time.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz.strategies import FLAGS, Situation, situations, value_of
from wordorder.cli.main import main

FEW, MANY = 40, int(os.environ.get("WORDORDER_FUZZ", "1000"))
TINY = "--width 8 --layers 1 --heads 1 --trained-length 16 --batch-size 2 --threads 1".split()
CALM = settings(
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is there before."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text("the cat sat on the mat. My sister lost a letter!\n" * 40)
    typed = f"train --data {folder}/text.txt --out {folder}/run --steps 2 --tokenizer bytes"
    assert main([*typed.split(), *TINY, "--dtype", "float32"]) == 0
    return folder / "run"


@settings(CALM, max_examples=FEW, derandomize=True)
@given(situation=situations())
def test_a_few(situation: Situation, a_run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    try_out(situation, a_run, tmp_path_factory.mktemp("tried"))


@pytest.mark.slow
@settings(CALM, max_examples=MANY)
@given(situation=situations())
def test_many(situation: Situation, a_run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    try_out(situation, a_run, tmp_path_factory.mktemp("tried"))


def try_out(situation: Situation, a_run: Path, here: Path) -> None:
    """Do it, and look at what came out and what is left."""
    try:
        data, out = prepared(situation, a_run, here)
        before = bytes_in(out)
        typed = arguments(situation, data, out, here)
        code, said = run(typed)
        told = f"\n{typed}\nexit code {code}\n{said}"
        assert code in (0, 1, 2, 3), told
        assert "Traceback" not in said, told
        if code:
            messages = [line for line in said.splitlines() if line.startswith("error: ")]
            assert len(messages) == 1, told
            assert len(messages[0]) > len("error: "), told
        replaces = situation.command in ("train", "resume") and code in (0, 1)
        if not replaces or situation.folder == "stranger":
            left = bytes_in(out)
            assert {name: left.get(name) for name in before} == before, told
    finally:
        shutil.rmtree(here, ignore_errors=True)


def prepared(situation: Situation, a_run: Path, here: Path) -> tuple[Path, Path]:
    """Write the data, and what is there already where the run is to go."""
    data, out = here / situation.name, here / "out"
    try:
        data.write_bytes(situation.content)
    except OSError:  # a name that this file system cannot hold: nothing is there
        data = here / "none.txt"
    match situation.folder:
        case "run":
            shutil.copytree(a_run, out)
        case "half a run":
            shutil.copytree(a_run, out)
            (out / "model.safetensors").write_bytes(b"half")
        case "link":
            shutil.copytree(a_run, here / "elsewhere")
            out.symlink_to(here / "elsewhere")
        case "empty":
            out.mkdir()
        case "stranger":
            out.mkdir()
            (out / "config.json").write_text('{"model": "theirs"}')
            (out / "README.md").write_text("theirs")
            (out / "labels.csv").write_text("a,b\n")
        case "file":
            out.write_text("a file")
    return data, out


def arguments(situation: Situation, data: Path, out: Path, here: Path) -> list[str]:
    """Return what is typed."""
    chosen = {name: value_of(name, number) for name, number in situation.settings.items()}
    run = str(out)
    others = {
        "generate": ["generate", run, situation.prompt],
        "eval": ["eval", run, "--data", str(data)],
        "probe": ["probe", run, "--data", str(data), "--only", "order"],
        "explain": ["explain", run, situation.prompt],
        "words": ["words", run, *situation.prompt.split()[:2]],
        "data": ["data", str(data)],
        "resume": ["train", "--resume", run],
        "extend": ["extend", run, "--to", "2x", "--out", str(here / "new")],
    }
    if situation.command in others:
        return [*others[situation.command], *options(chosen)]
    typed = ["train", "--data", str(data), "--out", str(out), *TINY]
    typed += [] if {"steps", "time"} & set(chosen) else ["--steps", "1"]
    typed += ["--overwrite"] * situation.overwrite
    if not situation.by_yaml:
        return [*typed, *options(chosen)]
    lines = "".join(f"{name}: {value}\n" for name, value in chosen.items())
    (here / "settings.yaml").write_text(lines, encoding="utf-8")
    return [*typed, "--config", str(here / "settings.yaml")]


def options(chosen: dict[str, str]) -> Iterator[str]:
    """Return settings as options."""
    for name, value in chosen.items():
        option = name.replace("_", "-")
        if name in FLAGS and value in ("true", "false"):
            yield f"--{option}" if value == "true" else f"--no-{option}"
        else:
            yield f"--{option}={value}"


def run(typed: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it said on stderr."""
    errors, results = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    given, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(b""), "utf-8")
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(results):
            try:
                code = main(typed)
            except SystemExit as leaving:  # --help
                code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    finally:
        sys.stdin = given
    errors.flush()
    return code, errors.buffer.getvalue().decode()


def bytes_in(out: Path) -> dict[str, bytes]:
    """Return the files at a place, by name."""
    if out.is_file():
        return {"": out.read_bytes()}
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
