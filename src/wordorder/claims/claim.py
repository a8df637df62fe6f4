"""What a claim is: a statement, its source, what is measured, and a criterion fixed before.

A claim says these things apart from one another, so that none can be bent to fit the others:
which *jobs* must be done (models to train, with everything they depend on), how *quantities*
are read from their results (one value for each seed), which *criteria* the quantities must meet,
and which *gates*: what must be measured before the criteria say anything. Reading is a pure
function, so that a planted result shows that a criterion can fail.

    holds                      every criterion's whole 95% interval lies on its right side
    direction only             a threshold is missed, but the effect has the claimed sign, shown
    undecided                  an interval contains its threshold, or nothing was measured
    not testable at this size  a gate is not met: the experiment could not have told
    does not hold              a whole interval lies on the wrong side, and the cause is known

A claim that does not hold is a result like any other. Where its source says otherwise and nobody
knows why, a mistake of ours is as likely: until the cause is known it is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wordorder.claims.intervals import Kind, Quantity, estimate, kind_of, values_of
from wordorder.experiments.jobs import Tell
from wordorder.experiments.statistics import Interval

HOLDS, DIRECTION, UNDECIDED, NOT_TESTABLE, FAILS = (
    "holds",
    "direction only",
    "undecided",
    "not testable at this size",
    "does not hold",
)
# One criterion that fails refutes a claim. One that cannot be tested leaves it untested, whatever
# more seeds would do for an undecided one.
WORST_FIRST = (FAILS, NOT_TESTABLE, UNDECIDED, DIRECTION, HOLDS)

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
        seeds: runs of each kind; three give an interval of losses, five one of shares.
        as_needed: a claim that needs more seeds takes them.
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
    as_needed: bool = False


@dataclass(frozen=True)
class Criterion:
    """A threshold that a quantity must be on the right side of.

    Args:
        quantity: its name among those the claim reads.
        least, most: where it may lie; both: between them.
        kind: `mean` over seeds; `proportion` of right answers; `difference` of such; `exact`: it
            holds by construction, so that every single value must, and no interval is taken.
        neutral: the value of no effect, from which the effect has a sign: 0 of differences, 1 of
            ratios; None: it has none.
    """

    quantity: str
    least: float | None = None
    most: float | None = None
    kind: Kind = "mean"
    neutral: float | None = 0.0

    def __str__(self) -> str:
        return f"{self.quantity} {self.threshold}"

    @property
    def threshold(self) -> str:
        """The threshold in words."""
        if self.least is not None and self.most is not None:
            if self.least == -self.most:
                return f"within ±{self.most:g}"
            return f"from {self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def judge(self, quantity: Quantity) -> str:
        """Return the verdict of this criterion on what was measured."""
        found = estimate(quantity, exact=self.kind == "exact")
        if found is None or found.low is None or found.high is None:
            return UNDECIDED
        assert self.kind in ("exact", kind_of(quantity)), self.quantity
        low, high = found.low, found.high
        if self._allows(low) and self._allows(high):
            return HOLDS
        if self.kind == "exact":
            return FAILS
        below = self.least is not None and high < self.least
        above = self.most is not None and low > self.most
        if not below and not above:
            return UNDECIDED
        return DIRECTION if self._has_the_sign(low, high) else FAILS

    def _has_the_sign(self, low: float, high: float) -> bool:
        """Whether a whole interval lies on the threshold's side of no effect."""
        none = self.neutral
        if none is None:
            return False
        above = self.least is not None and self.least > none and low > none
        return above or (self.most is not None and self.most < none and high < none)

    def _allows(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class Gate:
    """What must be measured before criteria say anything: that the experiment can tell.

    A model that gains nothing from context far away survives any length, and one that never
    learned a task says nothing of what embeddings do to it.

    Args:
        criterion: which must hold.
        needs: what an experiment would need that meets it.
        of: the quantities whose criteria it guards; empty: all.
        spares: verdicts that stand without it: a loss that rises by 1.4 nats has broken, whatever
            context is worth.
    """

    criterion: Criterion
    needs: str
    of: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()

    def guards(self, criterion: Criterion, word: str) -> bool:
        """Whether a criterion's verdict depends on this gate."""
        return (not self.of or criterion.quantity in self.of) and word not in self.spares


@dataclass(frozen=True)
class Reading:
    """What a claim's results say.

    Args:
        quantities: by name; what is of seeds by seed.
        said: what else to know, a line each: figures without a criterion, what could not be
            measured and why.
        needs: what is missing where a quantity could not be measured here at all.
    """

    quantities: Mapping[str, Quantity]
    said: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A statement that could be false.

    Args:
        name: how it is asked for.
        of: whose it is: the article's, or the literature's.
        statement: what the criteria test, in one sentence.
        source: where it is made, with its place.
        theirs: the source's own figures; "by construction", or that there are none.
        protocol: what is done here, in a sentence or two.
        criteria: fixed before any run; all must be met.
        works: from the plan to the jobs it needs; claims share those of the same name.
        read: from the plan and the results by name to what they say; what failed is not there.
        unit: of its quantities.
        gates: without which criteria say nothing.
        seeds_needed: with fewer, its intervals are too wide to decide it.
        causes: by quantity, why it fails here where it does not at its source, as far as known.
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
    gates: tuple[Gate, ...] = ()
    seeds_needed: int = 1
    causes: Mapping[str, str] = field(default_factory=dict)

    def plan(self, plan: Plan) -> Plan:
        """Return a plan with as many seeds as this claim needs, where it may take them."""
        seeds = max(plan.seeds, self.seeds_needed) if plan.as_needed else plan.seeds
        return replace(plan, seeds=seeds)


@dataclass(frozen=True)
class Verdict:
    """A claim, what was read, and what that makes of it.

    Args:
        word: one of the five.
        intervals: of every quantity, in the order read; exact ones from least to most.
        by_criterion: the word of each criterion, in its order.
        reasons: why it could not be tested and what that would need; why it does not hold.
    """

    claim: Claim
    reading: Reading
    word: str
    intervals: Mapping[str, Interval]
    by_criterion: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


def judge(claim: Claim, reading: Reading, *, seeds: int = 0, seconds: float = 0.0) -> Verdict:
    """Return the verdict on a claim, the worst of its criteria.

    Args:
        seeds: of each kind of run; 0: as many as it needs.
        seconds: what its jobs took.
    """
    every = (*claim.criteria, *(gate.criterion for gate in claim.gates))
    exact = {c.quantity for c in every if c.kind == "exact"}
    found = {n: estimate(q, exact=n in exact) for n, q in reading.quantities.items()}
    intervals = {name: interval for name, interval in found.items() if interval is not None}
    reasons: dict[str, None] = {}  # in order, each once
    words = []
    for criterion in claim.criteria:
        word, why = _word(claim, criterion, reading, seeds)
        words.append(word)
        reasons.update(dict.fromkeys(why))
    worst = min(words, key=WORST_FIRST.index)
    if worst == FAILS:
        worst, why = _explained(claim, words)
        reasons.update(dict.fromkeys(why))
    return Verdict(claim, reading, worst, intervals, tuple(words), tuple(reasons), seconds)


def _word(
    claim: Claim, criterion: Criterion, reading: Reading, seeds: int
) -> tuple[str, list[str]]:
    """Return a criterion's verdict, what gates leave of it, and why."""
    quantity = reading.quantities.get(criterion.quantity, ())
    word = criterion.judge(quantity)
    if not values_of(quantity):
        return (NOT_TESTABLE if reading.needs else UNDECIDED), list(reading.needs)
    why = []
    for gate in (gate for gate in claim.gates if gate.guards(criterion, word)):
        asked = reading.quantities.get(gate.criterion.quantity, ())
        found = estimate(asked, exact=gate.criterion.kind == "exact")
        if found is None or found.low is None:
            word = word if word == NOT_TESTABLE else UNDECIDED
        elif gate.criterion.judge(asked) != HOLDS:
            word = NOT_TESTABLE
            why.append(f"needs {gate.needs}")
    if criterion.kind != "exact" and 0 < seeds < claim.seeds_needed:
        word = NOT_TESTABLE
        why.append(f"needs {claim.seeds_needed} seeds, and has {seeds}")
    return word, why


def _explained(claim: Claim, words: list[str]) -> tuple[str, list[str]]:
    """Return what a failed criterion makes of a claim, and the causes that are known."""
    failed = [c for c, word in zip(claim.criteria, words, strict=True) if word == FAILS]
    unknown = [c for c in failed if c.kind != "exact" and c.quantity not in claim.causes]
    causes = [f"cause: {claim.causes[c.quantity]}" for c in failed if c.quantity in claim.causes]
    if unknown:
        names = " and ".join(c.quantity for c in unknown)
        causes.append(f"{names}: against the source, and the cause is not known")
    return (UNDECIDED if len(unknown) == len(failed) else FAILS), causes
