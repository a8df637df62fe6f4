"""Every interval that is printed, simulated on data of its own kind: it covers in 93 to 97%.

Documents are few or many, of equal or very unequal sizes; what a document is about moves all of its
tokens, and tokens differ beside. Seeds are fixed, and samples as many as tell 93 from 95%.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from wordorder.evaluation.intervals import (
    BLOCKS,
    blocks_of,
    clusters_of,
    effective_number,
    mean_of,
    ratio,
    share_interval,
    t_quantile,
    wilson,
)

SAMPLES = 2000  # an error of 0.5 percent points at 95%
COVERS = (0.93, 0.97)
# The ends of each range are tried quickly, and what lies between them with the slow tests.
SLOW, BETWEEN = pytest.mark.slow, [(55, 1.1), (55, 1.5), (20, 0.8), (8, 0.6)]
DOCUMENT, TOKEN = 0.4, 2.0  # standard deviations in nats, as measured on the built-in text


def sizes_of(documents: int, spread: float, seed: int = 1) -> np.ndarray:
    """Tokens of documents, log-normal."""
    drawn = np.random.default_rng(seed).normal(np.log(600), spread, documents)
    return np.exp(drawn).round() + 20


@pytest.mark.parametrize(
    ("documents", "spread"),
    [(200, 1.5), (5, 0.3), *(pytest.param(*each, marks=SLOW) for each in BETWEEN)],
)
@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_a_loss_over_documents_covers(documents: int, spread: float, shape: str) -> None:
    sizes, random = sizes_of(documents, spread), np.random.default_rng(2)
    assert effective_number(sizes) >= 4
    hits = 0
    for _ in range(SAMPLES):
        about = random.normal(size=documents)
        if shape == "skewed":  # most documents are easy and a few are hard
            about = (random.gamma(4, 1, documents) - 4) / 2
        sums = sizes * (4 + DOCUMENT * about)
        sums += TOKEN * np.sqrt(sizes) * random.normal(size=documents)
        low, high = ratio(sums, sizes).interval or (np.nan, np.nan)
        hits += low <= 4 <= high
    least = COVERS[0] - (0.02 if shape == "skewed" else 0)
    assert least <= hits / SAMPLES <= COVERS[1]


def test_windows_and_a_normal_quantile_would_not_cover() -> None:
    """What was printed before: the error of windows, times 1.96."""
    sizes, random = sizes_of(55, 1.1).astype(int), np.random.default_rng(2)
    windows = np.repeat(np.arange(55), np.maximum(1, sizes // 64))
    before = after = 0
    for _ in range(SAMPLES // 4):
        values = torch.from_numpy(
            DOCUMENT * random.normal(size=55)[windows]
            + TOKEN / 8 * random.normal(size=len(windows))
        )
        before += abs(float(values.mean())) <= 1.96 * float(values.std()) / len(values) ** 0.5
        low, high = mean_of(values, clusters_of(windows)).interval or (np.nan, np.nan)
        after += low <= 0 <= high
    assert before / (SAMPLES // 4) < 0.65
    assert COVERS[0] <= after / (SAMPLES // 4) <= COVERS[1]


@pytest.mark.parametrize("windows", [4, 8, 64, 200])
def test_blocks_of_one_long_document_cover(windows: int) -> None:
    """Neighbouring windows go together (0.5 at a lag of one), and no document says where."""
    random, clusters = np.random.default_rng(3), clusters_of(np.zeros(windows, int))
    hits = 0
    for _ in range(SAMPLES):
        steps = random.normal(size=windows + 50)
        values = np.zeros(windows + 50)
        for place in range(1, len(values)):
            values[place] = 0.5 * values[place - 1] + steps[place]
        values = values[50:] if windows >= 64 else steps[50:]  # few windows lie far apart
        low, high = mean_of(torch.from_numpy(values), clusters).interval or (np.nan, np.nan)
        hits += low <= 0 <= high
    # With four windows to a block, what goes over its edges is left out of the error.
    assert COVERS[0] - (0.06 if windows == 64 else 0.01) <= hits / SAMPLES <= COVERS[1]


@pytest.mark.parametrize(
    "share", [0.1, pytest.param(0.3, marks=SLOW), pytest.param(0.5, marks=SLOW), 0.9]
)
@pytest.mark.parametrize("texts", [8, pytest.param(40, marks=SLOW), 80])
def test_shares_that_come_in_texts_cover(share: float, texts: int) -> None:
    """Five symbols of an answer, right together: the chance of a text is beta-distributed."""
    random, hits = np.random.default_rng(4), 0
    for _ in range(SAMPLES):
        chance = random.beta(2 * share, 2 * (1 - share), texts)
        shares = torch.from_numpy(random.binomial(5, chance) / 5)
        low, high = share_interval(mean_of(shares), texts)
        assert 0 <= low <= high <= 1
        hits += low <= share <= high
    # Shares come in steps: of few texts no interval covers in exactly 95%.
    assert COVERS[0] - 0.01 <= hits / SAMPLES <= COVERS[1] + 0.01 + (texts < 20) * 0.01


@pytest.mark.parametrize("better", [0.0, pytest.param(0.1, marks=SLOW), 0.3])
@pytest.mark.parametrize("texts", [8, 40])
def test_differences_of_shares_over_the_same_texts_cover(better: float, texts: int) -> None:
    """What more is found after a change: five symbols of a text, before and after."""
    random, hits, drawn = np.random.default_rng(6), 0, 200_000
    chance = random.beta(1, 2, drawn)
    truth = float((np.minimum(1, chance + better) - chance).mean())
    for _ in range(SAMPLES):
        before = random.beta(1, 2, texts)
        after = np.minimum(1, before + better)
        change = random.binomial(5, after) / 5 - random.binomial(5, before) / 5
        low, high = mean_of(torch.from_numpy(change)).interval or (np.nan, np.nan)
        hits += low <= truth <= high
    assert COVERS[0] <= hits / SAMPLES <= COVERS[1] + (texts < 20) * 0.01


@pytest.mark.parametrize("share", [0.2, pytest.param(0.5, marks=SLOW), 0.8])
@pytest.mark.parametrize("sentences", [8, pytest.param(16, marks=SLOW), 67])
def test_preferences_over_few_sentences_cover(share: float, sentences: int) -> None:
    """Eight pairs of each sentence, which share their good one."""
    random, hits = np.random.default_rng(5), 0
    for _ in range(SAMPLES):
        chance = random.beta(2 * share, 2 * (1 - share), sentences)
        preferred = (random.random((sentences, 8)) < chance[:, None]).astype(float)
        groups = np.repeat(np.arange(sentences), 8)
        found = mean_of(torch.from_numpy(preferred.ravel()), groups)
        low, high = share_interval(found, sentences)
        hits += low <= share <= high
    assert COVERS[0] - 0.01 <= hits / SAMPLES <= COVERS[1] + 0.01


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_wilson_covers_a_share_of_independent_trials(share: float) -> None:
    """Averaged over how many trials there are, since a binomial comes in steps."""
    covered = []
    for trials in range(30, 60):
        right = np.arange(trials + 1)
        inside = [low <= share <= high for low, high in (wilson(k / trials, trials) for k in right)]
        covered.append(stats.binom.pmf(right, trials, share) @ inside)
    assert COVERS[0] <= np.mean(covered) <= COVERS[1]


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3.5, 10, 16.9, 54, 1e4, 1e7])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.9999])
def test_quantiles_are_those_of_scipy(degrees: float, probability: float) -> None:
    expected = float(stats.t.ppf(probability, degrees))
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-7)


def test_documents_are_cut_where_they_are_too_few_alone() -> None:
    assert blocks_of([100] * 4).tolist() == [1] * 4
    assert blocks_of([100] * 3).tolist() == [5, 5, 5]
    assert blocks_of([1000, 1, 1, 1, 1]).tolist() == [BLOCKS, 1, 1, 1, 1]
    assert blocks_of([3]).tolist() == [3]
    assert clusters_of([7] * 32).tolist() == [n // 2 for n in range(32)]
    assert clusters_of([5, 1, 2, 5, 9, 3, 3]).tolist() == [3, 0, 1, 3, 4, 2, 2]
