"""A remedy that an error message names is tried on the input that triggered the message.

The convention: `Remedy(words, said, add, drop)` is a wrong command line, what its message says, and
what someone who follows the message types instead. `follow` runs both: the first must fail with the
message, whose text must name what is dropped and what is added; the second must not end with the
same message, and where nothing else is wrong it must end with exit code 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from wordorder.cli.main import main


@dataclass(frozen=True)
class Remedy:
    """A wrong command line and what its message says to type instead.

    Args:
        words: the wrong command line.
        said: a part of its message.
        add: an option or a value that the message says to type instead.
        drop: an option that it says to leave out, which goes with its value.
        cures: nothing else is wrong, so that it must end with 0.
    """

    words: str
    said: str
    add: str = ""
    drop: str = ""
    cures: bool = True


def follow(remedy: Remedy, base: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Type the wrong line, then what its message says."""
    wrong = [*base, *remedy.words.split()]
    assert main(wrong) in (1, 2, 3)
    line = _error(capsys)
    assert remedy.said in line, line
    assert not remedy.drop or remedy.drop in line, line
    spelled = [word.rpartition(":")[2] for word in remedy.add.split()]
    assert not spelled or any(word in line for word in spelled), line
    right = [*without(wrong, remedy.drop), *remedy.add.split()]
    code = main(right)
    after = capsys.readouterr().err.strip().splitlines()[-1:]
    assert after != [line], f"{' '.join(right)} ends with the same message"
    assert code == 0 or not remedy.cures, after


def without(words: Sequence[str], option: str) -> list[str]:
    """Return a command line without an option and its values."""
    kept, dropping = [], False
    for word in words:
        if word.startswith("--"):
            dropping = word == option
        if not dropping:
            kept.append(word)
    return kept


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line
