"""What becomes of the output of a command when nobody reads it any more."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wordorder.cli.main import main
from wordorder.cli.output import write
from wordorder.cli.train import Terminal
from wordorder.training import report

SMALL = (
    "--width 32 --layers 1 --heads 2 --trained-length 16 --batch-size 2 --tokenizer bytes "
    "--dtype float32 --kernel plain --compile no --threads 1 --steps 3"
).split()


def without_reader(
    folder: Path, *words: str, stdout: bool = False, stderr: bool = False, unbuffered: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command with a pipe that nobody reads as stdout, stderr or both."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, *(["-u"] if unbuffered else []), "-m", "wordorder", *words],
            stdin=subprocess.DEVNULL,
            stdout=writing if stdout else subprocess.PIPE,
            stderr=writing if stderr else subprocess.PIPE,
            text=True,
            cwd=folder,
            timeout=300,
        )
    finally:
        os.close(writing)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "text.txt").write_text("a small text of words in order. " * 60, encoding="utf-8")
    done = without_reader(
        folder, "train", *SMALL, "--data", "text.txt", "--out", "r", stdout=True, stderr=True
    )
    assert done.returncode == 0
    return folder


def test_a_run_whose_output_nobody_reads_is_trained_to_its_end(here: Path) -> None:
    assert (here / "r" / "model.safetensors").exists() and (here / "r" / "README.md").exists()
    assert '"final"' in (here / "r" / "metrics.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        (("positions",), False),
        (("data", "text.txt", "--tokenizer", "bytes"), True),
        pytest.param(("eval", "r", "--device", "cpu"), False, marks=pytest.mark.slow),
        (("generate", "--help"), False),
    ],
)
def test_without_a_reader_a_command_ends_quietly(
    here: Path, words: tuple[str, ...], unbuffered: bool
) -> None:
    done = without_reader(here, *words, stdout=True, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_generation_ends_with_its_reader(here: Path) -> None:
    """It would take days to the last token."""
    endless = ("generate", "r", "a", "--window", "8", "--max-tokens", "100000000")
    assert without_reader(here, *endless, stdout=True).returncode == 0


@pytest.mark.slow
def test_notes_that_nobody_reads_end_no_command(here: Path) -> None:
    done = without_reader(here, "generate", "r", "a small", "--max-tokens", "5", stderr=True)
    assert done.returncode == 0 and done.stdout.startswith("a small")


def test_progress_leaves_no_line_where_there_is_no_terminal(here: Path) -> None:
    done = without_reader(here, "eval", "r", "--json")
    assert (done.returncode, done.stderr) == (0, "")


CONTROLS = "a\x1b[2J\x07\x9b31m\rb\tc\n"
ESCAPES = "a\\x1b[2J\\x07\\x9b31m\\rb\tc\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_is_sent_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    write(CONTROLS)
    assert stream.getvalue() == (ESCAPES if terminal else CONTROLS)


def test_samples_are_shown_and_kept_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal().sample({"sample": CONTROLS})
    assert capsys.readouterr().err == "  sample: a\\x1b[2J\\x07\\x9b31m b c\n"
    assert report._samples([{"step": 3, "sample": CONTROLS}]) == f"--- after step 3\n{ESCAPES}\n"


@pytest.mark.parametrize(
    ("text", "note"),
    [("", "(the model ended the text at once)"), (" \n", "(the model wrote whitespace alone)")],
)
def test_a_sample_without_a_word_is_explained(
    text: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal().sample({"sample": text})
    assert capsys.readouterr().err == f"  sample: {note}\n"
    assert report._samples([{"step": 3, "sample": text}]) == f"--- after step 3\n{note}\n\n"


def test_the_beginning_of_a_corpus_is_shown_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(f"{CONTROLS} and more words. " * 20, encoding="utf-8")
    assert main(["data", str(tmp_path / "text.txt"), "--tokenizer", "characters"]) == 0
    out = capsys.readouterr().out
    assert "\\x1b" in out and not set(out) & {"\x1b", "\x07", "\x9b", "\r"}


def test_unbuffered_output_is_written_at_once() -> None:
    """As in containers, where PYTHONUNBUFFERED is often set: nothing is left in a buffer."""
    code = "import os; from wordorder.cli import output; output.prepare_streams(); "
    code += "print('one', end=''); os._exit(0)"
    done = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, check=True)
    assert done.stdout == b"one"
