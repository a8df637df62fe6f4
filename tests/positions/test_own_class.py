"""What goes wrong in an embedding of one's own is said in a line, with its place in the file."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from wordorder.cli.main import main
from wordorder.experiments.jobs import perform
from wordorder.positions import ModelShape, Position, PositionError, build, conformance
from wordorder.positions.base import upcast
from wordorder.positions.conformance import CHECKS, check

FILE = """
import torch
from torch import nn
from wordorder.positions import Position


class Mine(Position):
    door = "score"

    def __init__(self, shape, {star}{option}=0.5):
        {first}
        self.{option} = {option}
        {then}

    def distance_bias(self, distance):
        {bias}
        return -distance.abs().float().expand(self.shape.heads, *distance.shape)

{last}
"""
GOOD = {
    "star": "/, *, ",
    "option": "rate",
    "first": "super().__init__(shape)",
    "then": "",
    "bias": "",
    "last": "",
}
NUMBERS = count()
TAKEN = "sets self.{0}, but {0} is an attribute of Position"


class Untyped(Position):
    """Its options' defaults do not say what they take."""

    door = "score"

    def __init__(self, shape: ModelShape, /, *, most: int | None = None) -> None:
        super().__init__(shape)
        self.most = most


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a module with a class Mine and returns its spec."""

    def written(**changes: str) -> str:
        module = f"own{next(NUMBERS)}"  # Python keeps modules by name
        code = FILE.format(**{**GOOD, **changes})
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        return f"{module}.Mine"

    monkeypatch.chdir(tmp_path)
    return written


def test_an_option_needs_a_default_of_its_type() -> None:
    spec = f"{__name__}.Untyped"
    build(spec, ModelShape(2, 8))
    with pytest.raises(PositionError, match="most has the default None; give it one of its own"):
        build(f"{spec}:most=4", ModelShape(2, 8))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"option": "max_position"}, TAKEN.format("max_position")),
        ({"option": "slopes"}, TAKEN.format("slopes")),
        ({"then": "self.score = nn.Linear(4, 4)"}, TAKEN.format("score")),
        ({"then": "self.half = nn.Parameter(torch.ones(2))"}, TAKEN.format("half")),
        (
            {"then": "1 / 0"},
            "cannot be constructed: ZeroDivisionError at {file}:13: division by zero",
        ),
        (
            {"then": "torch.ones(2) + torch.ones(3)"},
            "cannot be constructed: RuntimeError at {file}:13:",
        ),
        ({"first": "pass"}, "its constructor must first call super().__init__(shape)"),
        (
            {"first": "self.w = nn.Parameter(torch.ones(1))"},
            "its constructor must first call super().__init__(shape)",
        ),
        (
            {"first": "super().__init__(shape"},
            "cannot import {module}: '(' was never closed ({file}",
        ),
        ({"last": "1 / 0"}, "cannot import {module}: ZeroDivisionError at {file}:19: division"),
    ],
)
def test_a_class_that_cannot_be_made_is_refused_in_a_line(
    write, capsys: pytest.CaptureFixture[str], changes: dict[str, str], line: str
) -> None:
    spec = write(**changes)
    assert main(["check", spec]) == 2
    said = capsys.readouterr().err
    module = spec.removesuffix(".Mine")
    assert line.format(file=f"{module}.py", module=module) in said
    assert said.startswith("error: ") and said.count("\n") == 1


def test_a_hook_that_raises_breaks_its_property_and_no_other(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write(bias="assert distance.dim() == 1")
    assert main(["check", spec, "--heads", "2"]) == 3
    shown = capsys.readouterr().out
    assert f"AssertionError at {spec.replace('.Mine', '.py')}:16:" in " ".join(shown.split())
    assert "holds" in shown


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ("{}[7]", "raised KeyError at {file}:16: 7; test it with wordorder check {spec}"),
        (
            "return -distance.abs().float()",
            "distance_bias of Mine returned the shape (31,) for distances (31,): return (heads, "
            "*distance.shape), here (2, 31)",
        ),
    ],
)
def test_a_model_says_where_an_embedding_failed(
    write, capsys: pytest.CaptureFixture[str], bias: str, message: str
) -> None:
    spec = write(bias=bias)
    Path("text.txt").write_text("one two three four five six seven\n" * 400, encoding="utf-8")
    sizes = "--width 8 --layers 1 --heads 2 --trained-length 16 --vocabulary-size 270 --steps 1"
    typed = ["train", "--data", "text.txt", "--out", "run", "--position", spec, *sizes.split()]
    assert main(typed) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert message.format(file=spec.replace(".Mine", ".py"), spec=spec) in said


def test_a_job_says_where_an_embedding_failed(write, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(bias="{}[7]")

    def work(*_: object) -> None:
        build(spec, ModelShape(heads=2, head_dim=4)).sums[0].distance_bias(torch.arange(3))

    outcome = perform({"job": {}, "how": {}, "path": ""}, work, lambda share, line: None)
    assert outcome.error == (
        f"{spec} raised KeyError at {spec.replace('.Mine', '.py')}:16: 7; test it with wordorder "
        f"check {spec}"
    )
    assert not capsys.readouterr().err


def test_an_iteration_that_ends_inside_of_a_check_is_found_in_the_file(write) -> None:
    (finding,) = check(write(bias="next(iter(()))"), only=("windowed",)).findings
    assert "at own" in finding.detail and ".py:16: " in finding.detail


def test_an_embedding_that_ends_the_program_is_broken(write) -> None:
    report = check(write(bias="raise SystemExit(0)"))
    assert report.broken == ["hooks"] and "SystemExit at own" in str(report)


def test_a_module_without_a_class_is_told_how_to_name_one(
    write, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write().removesuffix(".Mine")
    assert main(["positions", module]) == 2
    assert f"name a class in {module}.py, as {module}.Class" in capsys.readouterr().err
    for typed in (f"{module}.py", f"{module}.py:Mine", f"./{module}.Mine", f"../{module}.Mine"):
        assert main(["positions", typed]) == 2
        said = capsys.readouterr().err
        assert "write module.Class without a path, such as" in said and "..MyEmb" not in said
    assert main(["positions", f"{module}.mine"]) == 2
    assert f"the module {module} has no class mine: it has Mine" in capsys.readouterr().err


def test_a_module_with_the_name_of_another_is_said_to_be_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "random.py").write_text("class Mine: pass")
    monkeypatch.chdir(tmp_path)
    assert main(["positions", "random.Mine"]) == 2
    assert "was read from" in (said := capsys.readouterr().err) and "another name" in said


def test_an_option_without_a_default_is_named(write, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(star="/, *, amount, ")
    assert main(["check", spec]) == 2
    assert "has options without a default, amount: give each one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("annotation", "detail", "holds"),
    [
        ("str", "not tested: mode; annotate it with its values, as Literal['one', 'other']", True),
        ("Literal['soft', 'hard']", "the option mode has no effect: outputs are the same", False),
    ],
)
def test_an_option_of_words_is_tested_by_its_annotation(
    annotation: str, detail: str, holds: bool
) -> None:
    class Dead(FarOff):
        def __init__(self, shape: ModelShape, /, *, mode="soft") -> None:
            super().__init__(shape)
            self.mode = mode

    Dead.__init__.__annotations__["mode"] = eval(annotation, {"Literal": Literal, "str": str})
    (finding,) = check(Dead, only=("options act",)).findings
    assert finding.detail.startswith(detail) and (finding.holds is not False) == holds


def test_values_that_mix_devices_where_transformers_creates_them_are_found() -> None:
    class Mixed(FarOff):
        def reset_parameters(self, generator: torch.Generator | None = None) -> None:
            torch.mul(torch.linspace(0, 1, 2), torch.ones(2))
            super().reset_parameters(generator)

    (finding,) = check(Mixed, only=("movable",)).findings
    assert "test_own_class.py" in finding.detail and "the parameter's device" in finding.detail


def test_first_values_that_are_left_as_they_were_are_found() -> None:
    class Idle(FarOff):
        def reset_parameters(self, generator: torch.Generator | None = None) -> None:
            pass

    assert check(Idle, only=("initialised",)).broken == ["initialised"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (None, "transform_queries returned NoneType, not a tensor (6 heads)"),
        (
            torch.zeros(2, 6, 1, 8),
            "transform_queries of (2, 6, 5, 8) torch.float32 returned (2, 6, 1, 8)",
        ),
    ],
)
def test_what_a_hook_may_not_give_back_is_said_once(given: object, line: str) -> None:
    class Wrong(Position):
        door = "query-key"

        def transform_queries(self, queries: torch.Tensor, *_: object) -> object:
            return given

    report = check(Wrong)
    assert report.findings[0].detail.startswith(line)
    assert report.broken == ["hooks"]
    assert sum(f.detail == "unknown until 'hooks' holds" for f in report.findings) > 5


def test_an_option_that_is_not_stored_is_found() -> None:
    class Forgets(Position):
        def __init__(self, shape: ModelShape, /, *, rate: float = 0.5) -> None:
            super().__init__(shape)

    (finding,) = check(Forgets, only=("facts",)).findings
    assert finding.holds is False
    assert finding.detail == "the option rate is not stored: add self.rate = rate (6 heads)"


class FarOff(Position):
    """A rate of the distance past 16, which short texts do not reach."""

    door = "score"

    def __init__(self, shape: ModelShape, /, *, cut: bool = False) -> None:
        super().__init__(shape)
        self.cut = cut
        self.rate = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        nn.init.ones_(self.rate)

    def distance_bias(self, distance: torch.Tensor) -> torch.Tensor:
        rate = (self.rate.detach() if self.cut else self.rate).view(-1, *[1] * distance.dim())
        return upcast(rate) * -(1 + (distance.abs() - 16).clamp(min=0)).log()


def test_a_weight_of_far_distances_is_reached_and_a_slope_that_is_lost_is_named() -> None:
    assert check(FarOff).holds
    (finding,) = check(FarOff, cut=True, only=("gradients",)).findings
    assert finding.holds is False
    assert finding.detail.startswith("tokens at [0, 1, 3, 9, 30, 90, 300]: along a direction of 0.")


def test_an_option_need_not_be_keyword_only(write) -> None:
    assert check(write(star="") + ":rate=2", only=("cached",)).holds


def test_a_name_that_is_taken_is_refused_in_ones_own_model_too() -> None:
    with pytest.raises(PositionError, match="prepare") as caught:
        Position(ModelShape(2, 4)).prepare = 3
    assert caught.value.code == "positions.reserved-attribute"


EMBEDDINGS = {
    "kept": """
class MyEmbedding(Position):
    door = "score"

    def distance_bias(self, distance):
        return -distance.abs().float().sqrt().expand(self.shape.heads, *distance.shape)
""",
    "broken": """
class MyEmbedding(Position):
    door = "score"

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: score - 0.3 * (query - key).abs()
""",
}


def test_the_kits_own_parametrisation_runs_as_it_is_written(tmp_path: Path) -> None:
    """The test in its docstring, by pytest: a test for each property, and why where one fails.

    The second takes a bias from the length of the cache, which breaks one property alone.
    """
    _, decorated, code = textwrap.dedent(conformance.__doc__).partition("    @pytest.mark")
    written, _, _ = (decorated + code).partition("\n\nProperties are not enough")
    assert "def test_my_embedding(name):" in written
    imports = "import pytest\nfrom wordorder.positions import Position\n"
    imports += "from wordorder.positions.conformance import CHECKS, check\n"
    for name, embedding in EMBEDDINGS.items():
        file = tmp_path / f"test_{name}.py"
        file.write_text(imports + embedding + textwrap.dedent(written), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 failed, {2 * len(CHECKS) - 1} passed" in done.stdout, done.stdout
    assert "FAILED test_broken.py::test_my_embedding[masked]" in done.stdout
    assert "3 tokens without (1,): outputs differ by" in done.stdout
