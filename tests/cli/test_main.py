"""The command's entry: which command, which exit code, which line."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import types

import pytest

import wordorder
from wordorder import stopping
from wordorder.cli import main as entry
from wordorder.errors import BadInput, Failed, Refused
from wordorder.positions import PositionError

ALL = (
    "train, generate, eval, compare, tasks, claims, probe, extend, export, import, words, explain, "
    "positions, studio, check, data"
)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A command `boom` whose error a test sets."""
    monkeypatch.setitem(entry.COMMANDS, "boom", ("wordorder_boom", "raises"))
    return monkeypatch


def run_raising(patch: pytest.MonkeyPatch, error: BaseException) -> int:
    def command(arguments: list[str]) -> int:
        raise error

    module = types.ModuleType("wordorder_boom")
    module.main = command  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "wordorder_boom", module)
    return entry.main(["boom"])


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_output_cannot_show_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding=encoding))
    monkeypatch.setitem(entry.COMMANDS, "say", ("wordorder_say", "says"))
    module = types.ModuleType("wordorder_say")

    def say(words: list[str]) -> int:
        print("é 天 \udcff")
        raise BadInput("no 天 \udcff")

    module.main = say  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wordorder_say", module)
    assert entry.main(["say"]) == 2
    sys.stdout.flush()
    sys.stderr.flush()
    shown = {"ascii": "\\xe9 \\u5929", "cp1252": "é \\u5929", "utf-8": "é 天"}[encoding]
    assert out.getvalue().decode(encoding) == f"{shown} \\udcff\n"
    assert err.getvalue().decode(encoding).endswith("\\udcff\n")


def test_an_output_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert entry.main(["--version"]) == 0


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, does) in entry.COMMANDS.items():
        assert f"  {name} " in shown and does in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_nothing_typed_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([]) == 2
    assert capsys.readouterr().out.startswith("usage: wordorder COMMAND [OPTIONS]\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out == f"wordorder {wordorder.__version__}\n"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("trian", "error: unknown command 'trian': did you mean 'train'?\n"),
        ("zzz", f"error: unknown command 'zzz': choose from {ALL}\n"),
        ("chat", "error: unknown command 'chat': use wordorder generate RUN --chat\n"),
        (
            "--hlep",
            f"error: unknown command '--hlep': choose from {ALL}\n",
        ),
    ],
)
def test_an_unknown_command(given: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([given]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("no\n  such"), 2),
        (PositionError("no such"), 2),
        (Failed("no such"), 1),
        (Refused("no such"), 3),
    ],
)
def test_errors_are_one_line_and_a_code(
    error: Exception,
    code: int,
    raising: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_raising(raising, error) == code
    assert capsys.readouterr().err == "error: no such\n"


def test_an_error_sends_a_terminal_no_control_characters(
    raising: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_raising(raising, BadInput("no \x1b[31mfile", code="a")) == 2
    assert capsys.readouterr().err == "error: no \\x1b[31mfile\n"


def test_a_bug_keeps_its_traceback(raising: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_raising(raising, ZeroDivisionError("a bug"))


def test_a_plain_value_error_is_a_bug(raising: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a bug"):
        run_raising(raising, ValueError("a bug"))


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (errno.ENOSPC, 1, "error: r/loss.png: No space left on device: free some space\n"),
        (errno.EIO, 1, "error: r/loss.png: Input/output error\n"),
        (errno.EACCES, 2, "error: r/loss.png: Permission denied\n"),
        (errno.ENAMETOOLONG, 2, "error: r/loss.png: File name too long\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    number: int,
    code: int,
    line: str,
    raising: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_raising(raising, OSError(number, os.strerror(number), "r/loss.png")) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_that_stops_is_the_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: list[str]) -> int:
        signal.raise_signal(number)
        raise AssertionError("not stopped")

    before = signal.getsignal(number)
    boom = types.ModuleType("wordorder_boom")
    boom.main = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wordorder_boom", boom)
    monkeypatch.setitem(entry.COMMANDS, "boom", ("wordorder_boom", "stops"))
    assert entry.main(["boom"]) == 128 + number
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(number) is before


def test_a_signal_that_is_to_be_ignored_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nohup wordorder ...`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.handling():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c(raising: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_raising(raising, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_stop_is_said_once(
    raising: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = stopping.Stopped(signal.SIGTERM)
    stopping.report(error, "stopped and saved")
    assert run_raising(raising, error) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == ""


def test_a_reader_that_went_away_is_no_error(
    raising: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    raising.setattr(sys, "stdout", stream)
    assert run_raising(raising, BrokenPipeError()) == 0
    assert capfd.readouterr().err == ""


def test_a_closed_output_and_an_unknown_plot_backend_end_no_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit, match="0"):
        entry.main(["train", "--help"])
    assert os.environ["MPLBACKEND"] == "agg"
