"""Windows of a text: evenly spaced, as many from each document as it has, and inside of it."""

from __future__ import annotations

import hypothesis
import numpy as np
from hypothesis import strategies as st
from numbered_store import END, store_of

from wordorder.evaluation.windows import cut_windows


def test_many_documents_are_thinned_evenly() -> None:
    """The long document has 180 windows, the others 3 and 1: of 12 it gives what they lack."""
    windows = cut_windows(store_of(740, 32, 24, 20), 24, 4, most_targets=48)
    assert np.bincount(windows.documents).tolist() == [8, 3, 1]
    starts = windows.tokens[:8, 1].numpy()
    assert set(np.diff(starts)) == {88, 92}  # 22.5 windows apart
    assert (starts[0], 740 - (starts[-1] + 23)) == (45, 44)  # as much left out before as after


def test_of_many_documents_each_gives_one() -> None:
    windows = cut_windows(store_of(*[40] * 100), 24, 4, most_targets=40)
    assert windows.documents.tolist() == list(range(5, 100, 10))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    length=st.integers(1, 40),
    targets=st.integers(1, 40),
    most=st.integers(1, 60),
)
def test_never_fewer_windows_than_there_are_and_none_over_a_boundary(
    sizes: list[int], length: int, targets: int, most: int
) -> None:
    targets = min(targets, length)
    store = store_of(*sizes)
    windows = cut_windows(store, length, targets, most_targets=most)
    available = sum(max(0, (size - length) // targets + 1) for size in sizes)
    assert len(windows) == min(available, max(4, most // targets))
    assert (windows.tokens[:, 1:-1] != END).all()
