"""What a claim is: a statement, its source, an experiment, and criteria fixed in advance.

A claim has separate parts, so that none can be adjusted to fit the others: the *jobs* to run
(models to train, with everything they depend on), the *quantities* computed from their results (one
value for each seed), the *criteria* that the quantities must meet, and the *gates*, which show that
the experiment can answer the question at all. Quantities are a pure function of results, so that
tests can plant results and show that a criterion can fail.

    holds                      every criterion's whole 95% interval lies on its right side
    direction only             a threshold is missed, but the effect has the claimed sign
    undecided                  an interval contains its threshold, or nothing was measured
    not testable at this size  a gate is not met: the experiment cannot answer the question
    does not hold              a whole interval lies on the wrong side, and the cause is known

If a result contradicts the source of a claim and the cause is unknown, a mistake in this package is
as likely: until the cause is known the claim is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
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
# A failed criterion refutes a claim. A criterion that cannot be tested leaves the claim untested
# even if others are undecided, because more seeds would not help.
WORST_FIRST = (FAILS, NOT_TESTABLE, UNDECIDED, DIRECTION, HOLDS)

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One job of a claim: its function, and everything that its result depends on.

    Args:
        name: the file of its result, such as `text-128/rotary-seed0`.
        function: at the top level of a module, `function(job, tell) -> result`.
        job: its settings, as JSON.
        seconds: its approximate time with one thread of a server core of 2026.
        folder: a folder for its files, relative to the claims' folder; "": none.
        alone: whether it measures time and needs all cores to itself.
    """

    name: str
    function: Callable[[Any, Tell], Any]
    job: Mapping[str, Any]
    seconds: float
    folder: str = ""
    alone: bool = False


@dataclass(frozen=True)
class ClaimPlan:
    """The settings that all claims share.

    Args:
        seeds: runs of each kind; three give an interval of losses, five one of proportions.
        as_needed: whether a claim that needs more seeds uses more.
        data: the text that language models are trained on.
        steps: optimizer steps of a language model.
        languages: two files, translations of each other by line; empty: English and its clone.
        words: a file of word vectors, or text to train them on; empty: not available.
        questions: a file of analogies in the format of questions-words.txt; "": none.
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
    """A bound on a quantity.

    Args:
        quantity: the name of a quantity of the claim.
        least, most: the bounds; None: unbounded on that side.
        kind: `mean` over seeds; `proportion` of correct answers; `difference` of proportions;
            `exact`: holds by construction, so that every value must, without an interval.
        neutral: the value of no effect, which gives an effect its sign: 0 for differences, 1 for
            ratios; None: no sign is defined.
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
        """The bounds as text."""
        if self.least is not None and self.most is not None:
            if self.least == -self.most:
                return f"within ±{self.most:g}"
            return f"from {self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def judge(self, quantity: Quantity) -> str:
        """Return the verdict of this criterion on a quantity."""
        mean = estimate(quantity, exact=self.kind == "exact")
        if mean is None or mean.low is None or mean.high is None:
            return UNDECIDED
        assert self.kind in ("exact", kind_of(quantity)), self.quantity
        low, high = mean.low, mean.high
        if self._allows(low) and self._allows(high):
            return HOLDS
        if self.kind == "exact":
            return FAILS
        below = self.least is not None and high < self.least
        above = self.most is not None and low > self.most
        if not below and not above:
            return UNDECIDED
        return DIRECTION if self._has_claimed_sign(low, high) else FAILS

    def _has_claimed_sign(self, low: float, high: float) -> bool:
        """Return whether a whole interval lies on the bound's side of no effect."""
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
    """A condition under which criteria are meaningful.

    A model that does not benefit from distant context survives any length, and one that never
    learned a task says nothing about embeddings.

    Args:
        criterion: must hold.
        needs: what an experiment needs to meet it.
        of: the quantities whose criteria depend on it; empty: all.
        spares: verdicts that do not depend on it: a loss that rises by 1.4 nats shows a failure
            even if distant context is of no use.
    """

    criterion: Criterion
    needs: str
    of: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()

    def guards(self, criterion: Criterion, word: str) -> bool:
        """Return whether a criterion's verdict depends on this gate."""
        return (not self.of or criterion.quantity in self.of) and word not in self.spares


@dataclass(frozen=True)
class Measurements:
    """The quantities of a claim, computed from the results of its jobs.

    Args:
        quantities: by name.
        notes: further results without a criterion, and failures; one line each.
        needs: what is missing if a quantity cannot be measured at all.
    """

    quantities: Mapping[str, Quantity]
    notes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A testable statement with its experiment.

    Args:
        name: its name on the command line.
        of: its origin: the article, or the literature.
        statement: what the criteria test, in one sentence.
        source: where the statement is made: paper, section, table.
        theirs: the source's own figures; "by construction", or "no figures".
        protocol: the experiment here, in a sentence or two.
        criteria: fixed before any run; all must be met.
        works: returns the jobs for a plan; claims share jobs of the same name.
        read: returns the quantities from the results by job name; failed jobs are missing.
        unit: of its quantities.
        gates: conditions under which the criteria are meaningful.
        seeds_needed: with fewer seeds its intervals are too wide to decide it.
        causes: by quantity, the known cause of a failure that contradicts the source.
    """

    name: str
    of: Literal["article", "literature"]
    statement: str
    source: str
    theirs: str
    protocol: str
    criteria: tuple[Criterion, ...]
    works: Callable[[ClaimPlan], list[Work]]
    read: Callable[[ClaimPlan, Results], Measurements]
    unit: str = "nats"
    gates: tuple[Gate, ...] = ()
    seeds_needed: int = 1
    causes: Mapping[str, str] = field(default_factory=dict)

    def plan(self, plan: ClaimPlan) -> ClaimPlan:
        """Return a plan with the seeds that this claim needs, if it may use more."""
        seeds = max(plan.seeds, self.seeds_needed) if plan.as_needed else plan.seeds
        return replace(plan, seeds=seeds)

    def seconds(self, plan: ClaimPlan) -> float:
        """Return the estimated time of its jobs on one core, with the seeds it needs."""
        return sum(work.seconds for work in self.works(self.plan(plan)))

    def described(self) -> dict[str, Any]:
        """Return the claim as JSON, without its experiment."""
        return {
            "claim": self.name,
            "of": self.of,
            "statement": self.statement,
            "source": self.source,
            "theirs": self.theirs,
            "protocol": self.protocol,
            "criteria": [{**asdict(each), "criterion": str(each)} for each in self.criteria],
            "gates": [{**asdict(gate.criterion), "needs": gate.needs} for gate in self.gates],
            "seeds_needed": self.seeds_needed,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Verdict:
    """A claim with its measurements and the verdict.

    Args:
        word: one of the five verdicts.
        intervals: of every quantity; of exact ones the range.
        by_criterion: the verdict of each criterion, in their order.
        reasons: why it cannot be tested and what that needs, or why it does not hold.
        failed: jobs of the claim that failed, each with its error.
    """

    claim: Claim
    measurements: Measurements
    word: str
    intervals: Mapping[str, Interval]
    by_criterion: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    failed: tuple[str, ...] = ()


def judge(
    claim: Claim, measurements: Measurements, *, seeds: int = 0, seconds: float = 0.0
) -> Verdict:
    """Return the verdict on a claim: the worst of its criteria.

    Args:
        seeds: runs of each kind; 0: as many as it needs.
        seconds: the time of its jobs.
    """
    every = (*claim.criteria, *(gate.criterion for gate in claim.gates))
    exact = {c.quantity for c in every if c.kind == "exact"}
    estimates = {n: estimate(q, exact=n in exact) for n, q in measurements.quantities.items()}
    intervals = {name: interval for name, interval in estimates.items() if interval is not None}
    reasons: dict[str, None] = {}  # an ordered set
    words = []
    for criterion in claim.criteria:
        word, why = _word(claim, criterion, measurements, seeds)
        words.append(word)
        reasons.update(dict.fromkeys(why))
    explained, why = _explained(claim, words)
    worst = min(explained, key=WORST_FIRST.index)
    reasons.update(dict.fromkeys(why))
    return Verdict(claim, measurements, worst, intervals, tuple(words), tuple(reasons), seconds)


def _word(
    claim: Claim, criterion: Criterion, measurements: Measurements, seeds: int
) -> tuple[str, list[str]]:
    """Return a criterion's verdict after its gates, and the reasons."""
    quantity = measurements.quantities.get(criterion.quantity, ())
    word = criterion.judge(quantity)
    if not values_of(quantity):
        return (NOT_TESTABLE if measurements.needs else UNDECIDED), list(measurements.needs)
    why = []
    for gate in (gate for gate in claim.gates if gate.guards(criterion, word)):
        gated = measurements.quantities.get(gate.criterion.quantity, ())
        mean = estimate(gated, exact=gate.criterion.kind == "exact")
        if mean is None or mean.low is None:
            word = word if word == NOT_TESTABLE else UNDECIDED
        elif gate.criterion.judge(gated) != HOLDS:
            word = NOT_TESTABLE
            why.append(f"needs {gate.needs}")
    if criterion.kind != "exact" and 0 < seeds < claim.seeds_needed:
        word = NOT_TESTABLE
        why.append(f"needs {claim.seeds_needed} seeds, has {seeds}")
    return word, why


def _explained(claim: Claim, words: list[str]) -> tuple[list[str], list[str]]:
    """Return the criteria's verdicts, undecided where no cause is known, and the known causes."""
    failed = [c for c, word in zip(claim.criteria, words, strict=True) if word == FAILS]
    unknown = [c for c in failed if c.kind != "exact" and c.quantity not in claim.causes]
    causes = [f"cause: {claim.causes[c.quantity]}" for c in failed if c.quantity in claim.causes]
    if unknown:
        names = " and ".join(c.quantity for c in unknown)
        causes.append(f"{names}: contradicts the source, and the cause is unknown")
    pairs = zip(claim.criteria, words, strict=True)
    return [UNDECIDED if c in unknown else word for c, word in pairs], causes
