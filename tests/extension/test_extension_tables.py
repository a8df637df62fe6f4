"""The tables of an extension: intervals of paired differences, and over what they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from wordorder.evaluation.context import ContextLoss, ContextLosses
from wordorder.evaluation.loss import Loss
from wordorder.extension.extend import Extended
from wordorder.extension.reach import RunMeasurements
from wordorder.extension.tables import of_context, of_short


def short_loss(*document_means: float) -> Loss:
    """The loss of documents of 100 tokens each."""
    sums = tuple(100 * mean for mean in document_means)
    tokens = 100 * len(sums)
    mean = sum(sums) / tokens
    return Loss(mean, 0.5, None, tokens, tokens, 4, 64, (), 3.0, 4, 0, False, sums, (100,) * 4)


def context(*documents: int) -> ContextLosses:
    """The losses of one window for each number, which is that of its document."""
    windows = tuple(map(float, np.arange(len(documents))))
    lengths = tuple(ContextLoss(n, 1.0, 0.1, windows, None, 3.0) for n in (64, 128))
    return ContextLosses(32 * len(documents), len(set(documents)), lengths, documents)


def extended(before: RunMeasurements, after: RunMeasurements) -> Extended:
    return cast(Extended, cast(Any, SimpleNamespace(before=before, after=after)))


def test_the_change_at_the_old_length_has_the_interval_of_pairs() -> None:
    """Documents differ by nats, and the change by .001 from one to the next."""
    before = RunMeasurements(context(0, 1), short_loss(2.0, 3.0, 4.0, 5.0))
    after = RunMeasurements(context(0, 1), short_loss(2.010, 3.012, 4.010, 5.012))
    ((_, one, two, change),) = of_short(extended(before, after), 64).rows
    assert (one, two) == ("3.500 ± 1.591", "3.511 ± 1.591")
    assert change == "+0.011 ± 0.002"


def test_blocks_are_named_where_documents_are_too_few_or_too_unequal() -> None:
    """Four documents of which one has most windows are less than four effective ones."""
    for documents, words in (
        (np.repeat([0, 1, 2, 3], 4), "512 tokens of 4 documents. "),
        (
            np.repeat([0, 1, 2, 3], [13, 1, 1, 1]),
            "512 tokens of 4 documents, fewer than 4 effective: intervals are over blocks. ",
        ),
        (np.repeat(0, 16), "512 tokens of 1 document: intervals are over blocks. "),
    ):
        run = RunMeasurements(context(*documents.tolist()), short_loss(1.0, 1.0, 1.0, 1.0))
        assert of_context(extended(run, run)).lead.startswith(words)
