"""Tests of what is said of retrieval, before and after."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from wordorder.evaluation.retrieval import Retrieved
from wordorder.extension.tables import of_retrieval


def found(*shares: float) -> Any:
    mean = sum(shares) / len(shares)
    return SimpleNamespace(
        retrieved=(Retrieved("passkey", 64, 0.5, len(shares), 0.0, mean, shares),)
    )


def test_what_more_is_found_has_an_interval_over_the_same_texts() -> None:
    before, after = (0.0, 0.2, 0.4, 0.0), (0.6, 0.8, 1.0, 0.4)
    table = of_retrieval(
        cast(Any, SimpleNamespace(before=found(*before), after=found(*after))), "passkey"
    )
    assert table.columns == ("length", "0.5", "all", "difference")
    # Differences of 60, 60, 60 and 40: 55, with a standard error of 5, times 3.18.
    assert table.rows == [("64", "15 → 70", "15 → 70", "+55 ± 16")]
    assert "significantly" not in table.lead


def test_chance_is_said_to_be_chance() -> None:
    same = found(*[0.2, 0.0] * 10)
    table = of_retrieval(cast(Any, SimpleNamespace(before=same, after=same)), "passkey")
    assert table.rows[0][-1] == "0 ± 0"
    assert "Chance is 10, and the new run is not significantly above it" in table.lead
