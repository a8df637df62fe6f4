"""metrics.jsonl: every line once, whatever goes wrong while it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.training import metrics
from wordorder.training.final_notes import of_finished
from wordorder.training.metrics import HELD_BACK, Metrics, read


def steps(path: Path) -> list[int]:
    return [record["step"] for record in read(path)]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_flush_that_is_tried_again_writes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    kept = Metrics(tmp_path)
    for step in range(1, HELD_BACK + 4):
        kept.add({"step": step, "loss": 1.0})

    def fails(handle: int) -> None:  # the lines are there, and not known to be
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(metrics.os, "fsync", fails)
        kept.flush()
    kept.flush()
    kept.flush()
    assert steps(kept.path) == list(range(1, HELD_BACK + 4))


def test_half_a_line_of_a_flush_that_failed_is_cut_off(tmp_path: Path) -> None:
    kept = Metrics(tmp_path)
    kept.add({"step": 1, "loss": 1.0})
    kept.path.write_text('{"step": 1, "lo')  # as far as there was room
    kept.flush()
    assert kept.path.read_text() == '{"step": 1, "loss": 1.0}\n'


WHOLE = "".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in (1, 2, 3))


@pytest.mark.parametrize("end", ['{"step": 4, "lo', "\0\0\0", "\xff", "7", "[]", ""])
def test_half_a_last_line_is_left_out(tmp_path: Path, end: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(WHOLE.encode() + end.encode("latin-1"))
    assert steps(path) == [1, 2, 3]
    Metrics(tmp_path).cut(2)
    assert steps(path) == [1, 2]


def test_damage_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{WHOLE}{{"step": 4, "lo{{"step": 4, "loss": 1.0}}\n{WHOLE}')
    with pytest.raises(BadInput, match=r"line 4 of .* is damaged"):
        read(path)
    assert of_finished(tmp_path, 3) == []  # asked before the cut
    Metrics(tmp_path).cut(3)
    assert steps(path)[:3] == [1, 2, 3]
    with pytest.raises(BadInput, match=r"line 4 of .* is damaged"):
        path.write_text(f"{WHOLE}no\n{json.dumps({'step': 5})}\n")
        Metrics(tmp_path).cut(4)


def test_lines_after_a_cut_follow_it(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(WHOLE)
    kept = Metrics(tmp_path)
    kept.cut(1)
    record: dict[str, Any] = {"step": 2, "loss": 2.0}
    kept.add(record)
    kept.flush()
    assert read(kept.path)[1:] == [record]
