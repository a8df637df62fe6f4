"""What a claim is: a statement, its source, what is measured, and a criterion fixed before.

A claim says three things apart from one another, so that none can be bent to fit the others:
which *jobs* must be done (models to train, with everything they depend on), how *quantities*
are read from their results (one value for each seed), and which *criteria* the quantities must
meet. Reading is a pure function, so that a planted result shows that a criterion can fail.

    holds            every criterion's whole 95% interval lies on its right side
    direction only   a threshold is missed, but the effect has the claimed sign, shown
    does not hold    a whole interval lies on the wrong side
    undecided        an interval contains its threshold, or there is nothing to measure

A claim that does not hold is a result like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wordorder.experiments.side_by_side import Tell
from wordorder.experiments.statistics import Interval, interval

HOLDS, DIRECTION, FAILS, UNDECIDED = (
    "holds",
    "direction only",
    "does not hold",
    "undecided",
)
WORST_FIRST = (FAILS, UNDECIDED, DIRECTION, HOLDS)

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One job: what it computes, and everything that its result depends on.

    Args:
        name: of the file that keeps its result, as `text-128/rotary-seed0`.
        function: of a module's top level, `function(job, tell) -> result`.
        job: what JSON can hold.
        seconds: about how long it takes with one thread of a 2026 server core.
        folder: a folder's name that the job may leave files in, under the claims' own; "": none.
        alone: it times something, and has all cores to itself.
    """

    name: str
    function: Callable[[Any, Tell], Any]
    job: Mapping[str, Any]
    seconds: float
    folder: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Plan:
    """What all claims share.

    Args:
        seeds: runs of each kind; three give an interval.
        data: the text that language models are trained on.
        steps: optimizer steps of a language model.
        languages: two files, the same sentences line by line; empty: English and its clone.
        words: a vectors file, or text to train word vectors on; empty: none is at hand.
        questions: a file of analogies as questions-words.txt; "": none.
    """

    seeds: int = 3
    data: tuple[str, ...] = ("python-docs",)
    steps: int = 300
    languages: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    questions: str = ""


@dataclass(frozen=True)
class Criterion:
    """A threshold that a quantity must be on the right side of.

    Args:
        quantity: its name among those the claim reads.
        least, most: where it may lie; both: between them.
        exact: holds by construction, so that every single value must; no interval is taken.
    """

    quantity: str
    least: float | None = None
    most: float | None = None
    exact: bool = False

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            if self.least == -self.most:
                return f"{self.quantity} within ±{self.most:g}"
            return f"{self.quantity} from {self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"{self.quantity} at least {self.least:g}"
        return f"{self.quantity} at most {self.most:g}"

    def judge(self, values: Sequence[float]) -> str:
        """Return the verdict of this criterion on a quantity's values, one for each seed."""
        if not len(values):
            return UNDECIDED
        low, high = min(values), max(values)
        if not self.exact:
            found = interval(values)
            if found.low is None or found.high is None:
                return UNDECIDED
            low, high = found.low, found.high
        if self._allows(low) and self._allows(high):
            return HOLDS
        if self.exact:
            return FAILS
        below = self.least is not None and high < self.least
        above = self.most is not None and low > self.most
        if not below and not above:
            return UNDECIDED
        right_sign = (self.least or 0) > 0 < low or (self.most or 0) < 0 > high
        return DIRECTION if right_sign else FAILS

    def _allows(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class Reading:
    """What a claim's results say.

    Args:
        quantities: by name, one value for each seed; of exact ones, any number.
        said: what else to know, a line each: figures without a criterion, what could not be
            measured and why.
        unit: of the quantities.
    """

    quantities: Mapping[str, Sequence[float]]
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement that could be false.

    Args:
        name: how it is asked for.
        of: whose it is: the article's, or the literature's.
        statement: one sentence.
        source: where it is made, with its place.
        theirs: the source's own figures; "by construction", or that there are none.
        protocol: what is done here, in a sentence or two.
        criteria: fixed before any run; all must be met.
        works: from the plan to the jobs it needs; claims share those of the same name.
        read: from the plan and the results by name to what they say; what failed is not there.
        unit: of its quantities.
    """

    name: str
    of: Literal["article", "literature"]
    statement: str
    source: str
    theirs: str
    protocol: str
    criteria: tuple[Criterion, ...]
    works: Callable[[Plan], list[Work]]
    read: Callable[[Plan, Results], Reading]
    unit: str = "nats"


@dataclass(frozen=True)
class Verdict:
    """A claim, what was read, and what that makes of it.

    Args:
        word: one of the four.
        intervals: of every quantity, in the order read; exact ones from least to most.
        by_criterion: the word of each criterion, in its order.
    """

    claim: Claim
    reading: Reading
    word: str
    intervals: Mapping[str, Interval]
    by_criterion: tuple[str, ...]
    seconds: float = field(default=0.0)


def judge(claim: Claim, reading: Reading, seconds: float = 0.0) -> Verdict:
    """Return the verdict on a claim, the worst of its criteria.

    Args:
        seconds: what its jobs took.
    """
    words = tuple(c.judge(reading.quantities.get(c.quantity, ())) for c in claim.criteria)
    exact = {c.quantity for c in claim.criteria if c.exact}
    intervals = {
        name: _span(values) if name in exact else interval(values)
        for name, values in reading.quantities.items()
        if len(values)
    }
    word = min(words, key=WORST_FIRST.index)
    return Verdict(claim, reading, word, intervals, words, seconds)


def _span(values: Sequence[float]) -> Interval:
    return Interval(sum(values) / len(values), min(values), max(values))
