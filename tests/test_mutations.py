"""Each mutant can still be tried: its lines are in the code, and its tests exist.

`make mutants` tries them, which takes half an hour or more, so without this they would go stale.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_tried(mutant: Mutant) -> None:
    code = (ROOT / "src" / "wordorder" / mutant.file).read_text(encoding="utf-8")
    for old, new in mutant.edits:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        path = ROOT / file
        assert path.exists()
        assert path.is_dir() or f"def {name.partition('[')[0]}(" in path.read_text() or not name


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
