"""The bound on rotary's base, against the paper's own figures and its rule in plain Python."""

from __future__ import annotations

import math

import pytest

from wordorder.extension.base_bound import served_length, smallest_base

# Men et al. 2024, table 1, at head size 128: as they print it, two digits.
PUBLISHED = {1024: 4.3e3, 4096: 2.7e4, 8192: 8.4e4}


def in_plain_python(base: float, length: int, pairs: int) -> bool:
    return all(
        sum(math.cos(m * base ** (-i / pairs)) for i in range(pairs)) >= 0
        for m in range(length + 1)
    )


@pytest.mark.parametrize(
    "length", [1024, *(pytest.param(n, marks=pytest.mark.slow) for n in (4096, 8192))]
)
def test_bound_is_the_papers(length: int) -> None:
    assert smallest_base(length, 64) == pytest.approx(PUBLISHED[length], rel=0.02)


@pytest.mark.parametrize(("length", "pairs"), [(64, 16), (128, 8), (256, 32)])
def test_base_serves_and_those_just_below_do_not(length: int, pairs: int) -> None:
    base = smallest_base(length, pairs)
    assert in_plain_python(base, length, pairs)
    assert not in_plain_python(base * 0.999, length, pairs)


def test_smaller_heads_need_a_larger_base() -> None:
    needed = [smallest_base(512, pairs) for pairs in (16, 32, 64)]
    assert needed == sorted(needed, reverse=True)


def test_served_length_is_where_the_preference_turns() -> None:
    length = served_length(500.0, 16)
    assert in_plain_python(500.0, length, 16)
    assert not in_plain_python(500.0, length + 1, 16)
    assert served_length(500.0, 16, longest=10) == 10


def test_no_base_serves_with_a_single_pair() -> None:
    assert smallest_base(10**11, 1) is None
