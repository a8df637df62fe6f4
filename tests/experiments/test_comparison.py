"""The record of a comparison comes back as it was written, and older ones load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordorder.errors import BadInput
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.continuation import without_changed
from wordorder.experiments.report import read_summary

MadeUp = tuple[Comparison, list[dict[str, Any]]]


def test_a_record_comes_back_as_it_was_written(made_up: MadeUp, tmp_path: Path) -> None:
    record = replace(made_up[0], looks=[2], tuning={"text": "development"})
    record.write(tmp_path)
    assert Comparison.read(tmp_path) == record
    assert Comparison.from_json(json.loads(record.to_json())) == record
    assert record.looks_so_far == [2, 3]


def test_an_older_record_loads(made_up: MadeUp, tmp_path: Path) -> None:
    """What a version before did not write has a default, and what it wrote in vain is left out."""
    values = json.loads(made_up[0].to_json())
    for name in ("passes", "looks", "tuning", "measure", "asked", "settled"):
        del values[name]
    (tmp_path / "comparison.json").write_text(json.dumps({**values, "gone": 1}), encoding="utf-8")
    summary = read_summary(tmp_path)
    assert summary.comparison == made_up[0]
    assert summary.comparison.looks_so_far == [3]


@pytest.mark.parametrize("text", ["{", "[]", '{"wordorder": "0"}'])
def test_a_damaged_record_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"comparison\.json is damaged \(.*choose another --out"):
        Comparison.read(tmp_path)


@pytest.mark.parametrize("name", ["positions", "model", "data", "machine"])
def test_a_record_without_a_part_is_damaged(name: str, made_up: MadeUp, tmp_path: Path) -> None:
    values = json.loads(made_up[0].to_json())
    values[name] = type(values[name])()
    (tmp_path / "comparison.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(BadInput, match=rf"damaged \({name} is not whole\)"):
        read_summary(tmp_path)


def test_an_embedding_with_other_code_is_timed_and_tuned_again(made_up: MadeUp) -> None:
    costs = {"none": {"parameters": 1}, "mine.Mine": {"parameters": 2}}
    tuned = {"none": 1.0, "mine.Mine": 2.0}
    before = replace(made_up[0], costs=costs, tuned=tuned, code={"mine.Mine": "a"})
    assert without_changed(before, {"mine.Mine": "a"}) == before
    changed = without_changed(before, {"mine.Mine": "b"})
    assert list(changed.costs) == list(changed.tuned or {}) == ["none"]
