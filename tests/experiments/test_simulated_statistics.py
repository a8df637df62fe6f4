"""Every interval and rule that an experiment prints, on simulated data whose truth is known.

The data are of the kind that the rule is used on: few seeds, documents of unequal size, shares that
are bounded and all or nothing. Intervals of 95% cover the truth in 93 to 97% of cases; verdicts are
false in at most their stated share of cases under a null, and found in about 80% under the smallest
effect that the comparison says it can see. Only the package's own functions are called; seeds are
fixed, so every figure is the same each time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from wordorder.evaluation.effect import GAIN_NATS, TOLERANCE_NATS
from wordorder.experiments.power import detectable, power_of, seeds_to_settle
from wordorder.experiments.results import word_for
from wordorder.experiments.shares import chance_to_lead, leads, share_interval
from wordorder.experiments.significance import Change, judge
from wordorder.experiments.statistics import ByDocument, Spread, difference, interval

LOW, HIGH = 0.93, 0.97


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_of_paired_seeds_covers_the_truth(seeds: int) -> None:
    random = default_rng(seeds)
    drawn = random.normal(0.02, 0.006, (3000, seeds)).tolist()
    found = [interval(values) for values in drawn]
    assert LOW <= np.mean([each.low <= 0.02 <= each.high for each in found]) <= HIGH


def two_way(random: Generator, seeds: int, documents: int, spread: tuple[float, ...]) -> Change:
    """A difference of 0.02 over seeds and documents, by spreads of seeds, documents and cells."""
    sizes = np.exp(random.normal(0, 1.0, documents))
    sizes = np.round(1 + 1000 * sizes / sizes.sum())
    shares = sizes / sizes.sum()
    of_seed, of_document, of_cell = spread
    cells = random.normal(0, of_cell, (seeds, documents)) / np.sqrt(shares * documents)
    values = 0.02 + cells + random.normal(0, of_seed, (seeds, 1))
    values = values + random.normal(0, of_document, documents)
    means = values @ shares
    rows = ByDocument(tuple(map(tuple, values.tolist())), tuple(sizes.tolist()))
    return difference(means.tolist(), [0.0] * seeds, rows)


@pytest.mark.parametrize(
    ("seeds", "documents", "spread"),
    [
        (3, 13, (0.01, 0.03, 0.02)),
        pytest.param(3, 55, (0.003, 0.03, 0.02), marks=pytest.mark.slow),
        pytest.param(5, 13, (0.005, 0.02, 0.03), marks=pytest.mark.slow),
        pytest.param(5, 55, (0.01, 0.03, 0.0), marks=pytest.mark.slow),
        (5, 55, (0.01, 0.0, 0.02)),
    ],
)
def test_the_interval_over_seeds_and_documents_covers_the_truth(
    seeds: int, documents: int, spread: tuple[float, ...]
) -> None:
    """Documents of very unequal size, 13 of which count for about 6."""
    random = default_rng(documents + seeds)
    found = [two_way(random, seeds, documents, spread) for _ in range(1500)]
    covered = np.mean([each.low <= 0.02 <= each.high for each in found])
    assert LOW <= covered <= HIGH + 0.01  # cells count twice, which errs towards a wider interval


@pytest.mark.parametrize(
    ("seeds", "documents"),
    [(3, 8), (5, 43), *(pytest.param(3, n, marks=pytest.mark.slow) for n in (20, 200))],
)
def test_what_does_not_differ_is_called_different_in_at_most_5_percent(
    seeds: int, documents: int
) -> None:
    """Documents of one size that add as much variance as seeds: the hardest case."""
    random = default_rng(documents + seeds)
    false = 0
    for _ in range(2000):
        values = random.normal(0, 1, (seeds, 1))
        values = values + random.normal(0, np.sqrt(documents / seeds), documents)
        rows = ByDocument(tuple(map(tuple, values.tolist())), (1.0,) * documents)
        found = difference(values.mean(1).tolist(), [0.0] * seeds, rows)
        assert found.over_documents and found.p is not None
        false += found.p < 0.05
    assert false / 2000 <= 0.06  # with Satterthwaite's degrees of freedom up to 0.078


@pytest.mark.parametrize(
    "spread",
    [
        (0.004, 0.02, 0.01),
        pytest.param((0.01, 0.01, 0.02), marks=pytest.mark.slow),
        pytest.param((0.002, 0.03, 0.0), marks=pytest.mark.slow),
    ],
)
def test_the_contrast_of_the_ten_million_word_table_covers_the_truth(
    spread: tuple[float, ...],
) -> None:
    """Five seeds, and 43 books of about 28,000 tokens each; Holm over four contrasts."""
    random = default_rng(27)
    of_seed, of_book, of_cell = spread
    covered = []
    for _ in range(1500):
        weights = tuple(random.normal(28_000, 2_000, 43).round().tolist())
        values = 0.02 + random.normal(0, of_seed, (5, 1)) + random.normal(0, of_book, 43)
        values = values + random.normal(0, of_cell, (5, 43))
        means = dict(enumerate(np.average(values, axis=1, weights=weights).tolist()))
        books = {seed: tuple(row) for seed, row in enumerate(values.tolist())}
        zeros = (dict.fromkeys(means, 0.0), dict.fromkeys(means, (0.0,) * 43))
        change = judge(
            {0: (means, zeros[0])}, {0: ((books, weights), (zeros[1], weights))}, planned=4
        )[0]
        assert change.difference.over_documents
        covered.append(change.low <= 0.02 <= change.high)
    assert LOW <= np.mean(covered) <= HIGH + 0.01


def test_contrasts_that_are_not_measured_yet_count_in_the_correction() -> None:
    """One of four: its p is multiplied by four, as it will be at the hardest step of all four."""
    values = {0: ({0: 0.01, 1: 0.02, 2: 0.03}, dict.fromkeys(range(3), 0.0))}
    alone, of_four = judge(values)[0], judge(values, planned=4)[0]
    assert of_four.adjusted_p == pytest.approx(4 * alone.adjusted_p)
    assert (alone.compared, of_four.compared) == (1, 4)


def test_equivalence_needs_the_whole_interval() -> None:
    zeros = dict.fromkeys(range(3), 0.0)
    narrow, wide, one = judge(
        {0: ({0: 0.010, 1: 0.011, 2: 0.012}, zeros), 1: ({0: 0.0, 1: 0.01, 2: 0.02}, zeros),
         2: ({0: 0.0}, zeros)}
    ).values()  # fmt: skip
    assert narrow.shown and narrow.within(0.02)
    assert not wide.within(0.02)
    assert not one.within(0.02)


def test_the_interval_over_seeds_alone_does_not_cover_other_documents() -> None:
    """Why the documents are counted: without them half of the intervals miss."""
    random = default_rng(0)
    found = [two_way(random, 3, 13, (0.003, 0.03, 0.0)) for _ in range(500)]
    alone = [interval(each.values) for each in found]
    assert np.mean([each.low <= 0.02 <= each.high for each in alone]) < 0.8


@lru_cache(maxsize=1 << 14)
def cached_interval(shares: tuple[float, ...], examples: int) -> tuple[float, float]:
    found = share_interval(shares, examples)
    assert found is not None and 0 <= found[0] <= found[1] <= 1
    return found


def shares_of(
    random: Generator, mean: float, agreement: float, seeds: int, examples: int
) -> tuple[float, ...]:
    """Shares of right answers: each seed has its own probability, beta about the mean."""
    about = (1 - agreement) / agreement
    own = random.beta(mean * about, (1 - mean) * about, seeds)
    return tuple(sorted((random.binomial(examples, own) / examples).tolist()))


MEANS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@pytest.mark.parametrize(
    ("seeds", "agreement"),
    [
        (3, 0.7),
        (3, 0.97),
        (5, 0.97),
        *(pytest.param(n, a, marks=pytest.mark.slow) for n, a in ((3, 0.4), (5, 0.4), (5, 0.7))),
    ],
)
def test_the_interval_of_shares_covers_the_truth(seeds: int, agreement: float) -> None:
    """26 distinct examples, seeds from somewhat unlike to all or nothing.

    With so few seeds a share of 0, 1 or 2 seeds in 3 is all that there is to see, so coverage moves
    with the mean: it is 93 to 98% on average (to 99% of all or nothing), and at least 88% anywhere.
    """
    random = default_rng(seeds)
    covered = []
    for mean in MEANS:
        drawn = [shares_of(random, mean, agreement, seeds, 26) for _ in range(100)]
        ends = [cached_interval(shares, 26) for shares in drawn]
        covered.append(np.mean([low <= mean <= high for low, high in ends]))
    # Seeds that are all alike may be all or nothing or not: the wider interval is given.
    assert LOW <= np.mean(covered) <= (0.99 if agreement > 0.9 else HIGH + 0.01)
    assert min(covered) >= 0.88


def test_the_t_interval_of_shares_would_not() -> None:
    """What `shares.py` is for: all-or-nothing seeds at a mean of 0.3."""
    random = default_rng(0)
    drawn = [shares_of(random, 0.1, 0.97, 3, 26) for _ in range(1000)]
    found = [interval(values) for values in drawn]
    assert np.mean([each.low <= 0.1 <= each.high for each in found]) < 0.5


def family(random: Generator, effects: list[float], seeds: int) -> dict[int, Change]:
    """Embeddings against one baseline, all with the luck of the same seeds."""
    shared = random.normal(3.5, 0.015, seeds)
    base = dict(enumerate(shared + random.normal(0, 0.005, seeds)))
    values = {
        number: dict(enumerate(shared + effect + random.normal(0, 0.005, seeds)))
        for number, effect in enumerate(effects)
    }
    return judge({number: (own, base) for number, own in values.items()})


@pytest.mark.parametrize(("embeddings", "seeds"), [(1, 3), (5, 3), (7, 4)])
def test_a_report_finds_something_false_in_at_most_5_percent(embeddings: int, seeds: int) -> None:
    random = default_rng(embeddings)
    reports = [family(random, [0.0] * embeddings, seeds) for _ in range(1500)]
    false = np.mean([any(c.shown for c in report.values()) for report in reports])
    assert 0.01 < false <= 0.065


def test_adding_seeds_until_something_is_shown_finds_little_that_is_false() -> None:
    """From 3 seeds to 8, one at a time: about 14% without the correction for looks."""
    random = default_rng(1)
    found, without = 0, 0
    for _ in range(250):
        values = random.normal(0, 0.01, 8).tolist()
        looked = []
        for looks, seeds in enumerate(range(3, 9), start=1):
            own = dict(enumerate(values[:seeds]))
            looked.append(judge({0: (own, dict.fromkeys(own, 0.0))}, looks=looks)[0])
        found += any(change.shown for change in looked)
        without += any((change.difference.p or 1) < 0.05 for change in looked)
    assert found / 250 <= 0.08
    assert without / 250 > 0.1


@pytest.mark.parametrize(("seeds", "comparisons"), [(3, 1), (3, 7), (5, 4)])
def test_the_smallest_difference_that_is_printed_is_found_in_80_percent(
    seeds: int, comparisons: int
) -> None:
    """The others of the family do not differ: each is then tested at Holm's first step."""
    sd = 0.005
    spread = Spread(seeds, sd**2)
    effect = detectable(spread, comparisons)
    assert power_of(effect, spread, comparisons) == pytest.approx(0.8, abs=0.002)
    random = default_rng(seeds)
    found = []
    for _ in range(1500):
        values = random.normal(0, sd, (comparisons, seeds))
        values[0] += effect
        judged = judge(
            {
                n: (dict(enumerate(row.tolist())), dict.fromkeys(range(seeds), 0.0))
                for n, row in enumerate(values)
            }
        )
        found.append(judged[0].shown)
    assert 0.77 <= np.mean(found) <= 0.84


def test_the_power_of_three_seeds_is_what_tables_say() -> None:
    """In sd of the difference: 3.3 alone and 8.7 at the first of seven; 1.7 and 2.5 with five."""
    three, five = Spread(3, 1.0), Spread(5, 1.0)
    assert detectable(three) == pytest.approx(3.26, abs=0.02)
    assert detectable(three, 7) == pytest.approx(8.7, abs=0.1)
    assert detectable(five) == pytest.approx(1.68, abs=0.02)
    assert detectable(five, 4) == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize(("effect", "comparisons"), [(0.01, 1), (0.02, 5)])
def test_the_seeds_that_would_settle_a_difference_settle_it(
    effect: float, comparisons: int
) -> None:
    spread = Spread(3, 0.012**2)
    seeds = seeds_to_settle(effect, spread, comparisons)
    assert seeds is not None and seeds > 3
    assert power_of(effect, spread.with_seeds(seeds), comparisons) >= 0.8
    assert power_of(effect, spread.with_seeds(seeds - 1), comparisons) < 0.8


def test_documents_bound_what_seeds_can_settle() -> None:
    of_documents = Spread(3, 0.005**2, document_variance=0.01**2, document_freedom=12)
    assert seeds_to_settle(0.02, of_documents) is None
    assert seeds_to_settle(0.05, of_documents) is not None
    assert seeds_to_settle(0.0001, Spread(3, 0.01**2)) is None


def words(rise: float, sd: float, *, count: int = 1200, seeds: int = 3) -> NDArray[Any]:
    """What is said of a rise, how often each word."""
    random = default_rng(7)
    base = dict.fromkeys(range(seeds), 0.0)
    found = []
    for _ in range(count):
        own = dict(enumerate(random.normal(rise, sd, seeds).tolist()))
        found.append(word_for(judge({0: (own, base)}, exploratory=True)[0]))
    return np.array(found)


@pytest.mark.parametrize("sd", [0.004, 0.03])
def test_a_rise_within_the_tolerance_is_called_breaking_in_at_most_2_5_percent(sd: float) -> None:
    for rise in (0.0, 0.015, TOLERANCE_NATS):
        assert (words(rise, sd) == "breaks").mean() <= 0.036
    assert (words(-GAIN_NATS, sd) == "uses it").mean() <= 0.036
    assert (words(TOLERANCE_NATS, sd) == "survives").mean() <= 0.036


def test_words_are_said_where_they_are_true() -> None:
    """A rise beyond the tolerance by what three seeds can see is called breaking in about 80%."""
    sd = 0.004
    seen = detectable(Spread(3, sd**2))
    assert 0.77 <= (words(TOLERANCE_NATS + seen, sd) == "breaks").mean() <= 0.84
    assert 0.77 <= (words(-GAIN_NATS - seen, sd) == "uses it").mean() <= 0.84
    below = words(TOLERANCE_NATS - seen, sd)
    assert np.isin(below, ("survives", "uses it")).mean() >= 0.77


@pytest.mark.parametrize(("embeddings", "seeds", "tasks"), [(2, 4, 1), (5, 3, 4), (3, 3, 1)])
@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_reads_furthest_is_rarely_said_of_equals(
    embeddings: int, seeds: int, tasks: int, shared: float
) -> None:
    """All tasks of a report together: at most 5%. What a seed does to all makes it rarer."""
    random = default_rng(embeddings)
    said = []
    for _ in range(2000):
        drawn = random.uniform(0.1, 0.9, (tasks, embeddings, seeds))
        drawn = np.clip(drawn + random.normal(0, shared, (tasks, 1, seeds)), 0, 1)
        reports = (np.round(128 * drawn) / 128).tolist()
        said.append(any(leading(task, tasks) for task in reports))
    assert np.mean(said) <= 0.06
    if not shared:
        assert np.mean(said) > 0.005


def leading(task: list[list[float]], tasks: int) -> bool:
    """Whether any embedding of a task is said to read furthest."""
    return any(leads(own, task[:n] + task[n + 1 :], tasks) for n, own in enumerate(task))


def test_reads_furthest_is_not_said_where_luck_would_do() -> None:
    """Two embeddings of three seeds: one leads in every seed in 10% of cases."""
    assert chance_to_lead([3, 3]) == pytest.approx(0.1)
    assert not leads([0.9] * 3, [[0.1] * 3])
    assert leads([0.9] * 4, [[0.1] * 4])
    assert not leads([0.9] * 4, [[0.1] * 4], tasks=2)
    assert not leads([0.9, 0.9, 0.9, 0.1], [[0.1] * 4])
