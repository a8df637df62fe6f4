"""What was typed to options: one clear line for each way it can be wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from wordorder.cli.arguments import parse, typed_names
from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.settings import Positive, Rate, check


@dataclass(frozen=True)
class Inner:
    width: Positive = 8

    def __post_init__(self) -> None:
        check(self)
        if self.width > 100:
            raise BadInput(f"width {self.width} is past 100: take less")


@dataclass(frozen=True)
class Outer:
    """Do a thing.

    Args:
        run: the run folder.
        prompt: what to go on from.
        kind: which way.
        share: between 0 and 1.
        words: several.
        inner: the inner part.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    prompt: Annotated[str | None, tyro.conf.Positional] = None
    kind: Literal["a", "b"] = "a"
    share: Rate = 0.5
    words: tuple[str, ...] = ()
    inner: tyro.conf.OmitArgPrefixes[Inner] = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check(self)
        if self.share > 1:
            raise BadInput(f"share {self.share} is past 1: take less")


def test_what_is_typed_wins_over_the_default_and_that_over_the_fields() -> None:
    default = Outer("there", share=0.25, inner=Inner(16))
    assert parse(Outer, ["here"], command="x") == Outer("here")
    typed = parse(Outer, ["here", "--width", "32"], command="x", default=default)
    assert typed == Outer("here", share=0.25, inner=Inner(32))


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("", "RUN is missing; wordorder x --help lists the options"),
        ("r --widht 3", "wordorder x has no option --widht: did you mean --width?"),
        ("r --widht=3", "wordorder x has no option --widht: did you mean --width?"),
        (
            "r --lr",
            "wordorder x has no option --lr: wordorder x --help lists the options; put -- before a "
            "text that begins with a hyphen",
        ),
        (
            "r -z",
            "wordorder x has no option -z: wordorder x --help lists the options; put -- before a "
            "text that begins with a hyphen",
        ),
        (
            "r -- -z --width 3",
            "--width stands after --, which ends the options: put --width before --",
        ),
        ("r -- p --widht 3", "wordorder x has no option --widht: did you mean --width?"),
        ("r p q", "unexpected argument 'q': wordorder x --help lists the options"),
        ("r --width 1.5", "--width is 1.5: it must be a whole number, at least 1"),
        ("r --width 0", "--width is 0: it must be at least 1"),
        ("r --share x", "--share is x: it must be a finite number, at least 0"),
        ("r --share=-1", "--share is -1.0: it must be at least 0"),
        ("r --share nan", "--share is nan: it must be a finite number, at least 0"),
        ("r --kind c", "--kind is c: it must be a or b"),
        ("r --width", "--width has no value; wordorder x --help lists the options"),
        ("r --width 101", "width 101 is past 100: take less"),
        ("r --share 2", "share 2.0 is past 1: take less"),
        ("r --words a --words b", "--words is given twice: give all of its values after one"),
        ("r --config a --config b", "--config is given twice: put both files into one"),
        (
            "r --words=a --share 1 --words b",
            "--words is given twice: give all of its values after one",
        ),
    ],
)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_option_is_one_line(
    typed: str,
    line: str,
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(BadInput) as caught:
        parse(Outer, typed.split(), command="wordorder x")
    assert str(caught.value) == line
    assert capsys.readouterr() == ("", "")


def test_a_text_that_begins_with_a_hyphen_follows_two() -> None:
    text = "-width of a sentence"
    assert parse(Outer, ["--width", "3", "--", "r", text], command="x").prompt == text
    with pytest.raises(BadInput, match="put -- before a text"):  # not: did you mean --width?
        parse(Outer, ["r", text], command="x")
    assert typed_names(["r", "--width", "3", "--", "--share"]) == {"width"}


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")
@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True)])
def test_help_in_a_terminal_has_no_colours_where_none_are_wanted(
    value: str, coloured: bool
) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "wordorder", "explain", "--help"]
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": value}
    with subprocess.Popen(command, stdout=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while piece := os.read(ours, 1 << 16):
                shown += piece
    os.close(ours)
    assert process.returncode == 0 and b"usage:" in shown
    assert (b"\x1b[" in shown) == coloured


def test_help_is_printed_and_leaves_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        parse(Outer, ["--help"], command="wordorder x")
    assert not leaving.value.code
    shown = capsys.readouterr().out
    assert "usage: wordorder x" in shown and "the run folder." in shown


@dataclass(frozen=True)
class Flags:
    data: tuple[str, ...]
    muon: bool = True
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    hidden: Annotated[bool, tyro.conf.Suppress] = False
    kind: Annotated[str, tyro.conf.arg(name="model")] = "a"


@pytest.mark.parametrize(
    ("typed", "code", "part"),
    [
        ("", "cli.missing-argument", "--data is missing"),
        ("--data a --no-muonn", "cli.unknown-option", "did you mean --no-muon?"),
        ("--data a --jsn", "cli.unknown-option", "did you mean --json?"),
        ("--data a --modle b", "cli.unknown-option", "did you mean --model?"),
        ("--data a --model", "cli.missing-value", "--model has no value"),
    ],
)
def test_errors_of_the_parser_have_codes(typed: str, code: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(Flags, typed.split(), command="wordorder x")
    assert caught.value.code == code and part in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("train --lr 1e-3", "--lr: did you mean --learning-rate?"),
        ("train --lr=1e-3", "--lr: did you mean --learning-rate?"),
        ("train --block_size 64", "--block_size: did you mean --trained-length?"),
        ("train --block-size 64", "--block-size: did you mean --trained-length?"),
        ("train --n_layer 2", "--n_layer: did you mean --layers?"),
        ("train --n_head 2", "--n_head: did you mean --heads?"),
        ("compare --n_embd 2", "--n_embd: did you mean --width?"),
        ("train --max_iters 2", "--max_iters: did you mean --steps?"),
        ("extend r --num_train_epochs 2", "did you mean --epochs?"),
        ("train --num_train_epochs 2", "did you mean --epochs?"),
        ("export r --format gguf", "--format: did you mean --to?"),
        ("words train --data a --out b --epoch 2", "did you mean --epochs?"),
    ],
)
def test_usual_names_of_other_tools_are_known(
    typed: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    line = capsys.readouterr().err
    assert "has no option --" in line and hint in line


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("generate r --temp 0", "has no option --temp: did you mean --temperature?"),
        ("export r --to ollama", "--to is ollama: it must be hf, gguf or onnx; did you mean gguf?"),
        ("export r --to hf --dtype fp16", "; did you mean f16?"),
        ("train tests", "unexpected argument 'tests': did you mean --data tests?"),
        (
            "train --data docs --steps 5 tests",
            "unexpected argument 'tests': wordorder train --help lists",
        ),
        ("train gone.txt", "unexpected argument 'gone.txt': wordorder train --help lists"),
    ],
)
def test_what_was_meant_is_named(
    typed: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert main(typed.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["generate r --lr 2", "extend r --format gguf"])
def test_a_command_without_the_option_meant_is_not_said_to_have_it(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    line = capsys.readouterr().err
    assert "has no option --" in line and "--learning-rate" not in line and "--to?" not in line


def test_a_text_after_two_hyphens_is_no_option_of_other_tools() -> None:
    assert parse(Outer, ["r", "--", "--lr"], command="x").prompt == "--lr"


def test_a_tyro_without_parse_errors_as_data_gives_the_general_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with pytest.raises(BadInput) as caught:
        parse(Flags, [], command="wordorder x")
    assert caught.value.code == "cli.invalid-arguments"
