"""The results of a comparison as data: losses, losses by length, disturbed order, costs.

`summary.py` computes them from the records of runs; tables, figures and sentences use only these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from wordorder.evaluation import effect
from wordorder.experiments.comparison import Comparison
from wordorder.experiments.significance import Change


@dataclass(frozen=True)
class AtLength:
    """The loss with a context of one length.

    Args:
        factor: the length over the trained one.
        length: tokens of context.
        losses: nats per token, one for each seed; empty if there is a `cannot`.
        change: from the same model's loss at the trained length; None at that length, and if there
            is nothing to compare.
        word: the effect of longer context on the same targets, by the 95% interval of the change:
            "uses it" (entirely below -0.01 nats), "breaks" (entirely above +0.03), "survives"
            (otherwise, entirely below +0.03), "undecided" (contains +0.03), or "cannot"; "" if
            nothing can be concluded: one seed, the trained length, disjoint windows.
        cannot: why the embedding has no such position; "" if it has.
    """

    factor: float
    length: int
    losses: tuple[float, ...]
    change: Change | None = None
    word: str = ""
    cannot: str = ""

    @property
    def loss_nats(self) -> float | None:
        return mean_of(self.losses)


@dataclass(frozen=True)
class Disturbed:
    """The rise of the loss with the order of the text disturbed in one way.

    Args:
        how, meaning: the probe's name and description.
        rise: None if there is a `cannot`.
        cannot: why it could not be measured; "" if it could.
    """

    how: str
    meaning: str
    rise: Change | None
    cannot: str = ""


@dataclass(frozen=True)
class Cost:
    """The cost of an embedding; None: not measured.

    Args:
        parameters, added: of the model, and those of the embedding alone.
        step_seconds, step_ratio: of one training step, and over the baseline's.
        peak_bytes, more_bytes: the most memory of the whole process, mean over seeds, and how
            much more than the baseline's.
    """

    parameters: int | None
    added: int | None
    step_seconds: float | None
    step_ratio: float | None
    peak_bytes: float | None
    more_bytes: float | None


@dataclass(frozen=True)
class Result:
    """The results of one embedding.

    Args:
        rank: by the paired difference to the baseline, 1 the lowest loss; None without runs.
            Neighbours in rank need not differ.
        seeds, losses, bits_per_byte: a value for each run; losses in nats per token.
        against_baseline: None for the baseline itself, and where no seed is in both.
        curves: for each seed, (tokens, loss) while training, up to the last step.
        failed: (seed, why) of runs that did not end well.
        missing: how many runs have not been made yet.
        training_losses: of the last steps, for each run where that was recorded.
        curve_text: which text the curves read.
        against_baseline_at_best: paired difference of the curves' lowest points; None as above.
    """

    position: str
    rank: int | None
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    bits_per_byte: tuple[float, ...]
    against_baseline: Change | None
    same_targets: tuple[AtLength, ...]
    whole_windows: tuple[AtLength, ...]
    order: tuple[Disturbed, ...]
    cost: Cost
    curves: tuple[tuple[tuple[float, float], ...], ...]
    failed: tuple[tuple[int, str], ...]
    missing: int
    training_losses: tuple[float, ...] = ()
    curve_text: str = "validation"
    against_baseline_at_best: float | None = None

    @property
    def loss_nats(self) -> float | None:
        return mean_of(self.losses)

    @property
    def best_nats(self) -> float | None:
        """The lowest loss of the curve, mean over seeds."""
        return mean_of(min(y for _, y in curve) for curve in self.curves if curve)

    @property
    def last_nats(self) -> float | None:
        """The loss at the end of the curve, mean over seeds."""
        return mean_of(curve[-1][1] for curve in self.curves if curve)

    @property
    def overfitting_nats(self) -> float | None:
        """How far the loss has risen from its lowest point, mean over seeds."""
        if self.best_nats is None or self.last_nats is None:
            return None
        return self.last_nats - self.best_nats

    @property
    def training_gap_nats(self) -> float | None:
        """How far the validation loss is above the training loss of the last steps."""
        trained = mean_of(self.training_losses)
        return None if trained is None or not self.losses else (self.loss_nats or 0.0) - trained

    @property
    def mean_bits_per_byte(self) -> float | None:
        return mean_of(self.bits_per_byte)


@dataclass(frozen=True)
class Summary:
    """The results of a comparison.

    Args:
        comparison: its settings.
        results: one for each embedding, in the order of the settings.
        targets, target_documents: of the loss with growing context on the same targets.
        left_out: embeddings with runs that this report leaves out; the correction counts them.
    """

    comparison: Comparison
    results: tuple[Result, ...]
    targets: int | None
    target_documents: int | None
    left_out: tuple[str, ...] = ()

    @property
    def baseline(self) -> str:
        return self.comparison.baseline

    @property
    def seeds(self) -> int:
        """The requested number of seeds."""
        return self.comparison.seeds

    @property
    def curve_text(self) -> str:
        """Which text the losses while training are of."""
        return next((r.curve_text for r in self.results if r.curves), "") or "validation"

    @property
    def ranked(self) -> tuple[Result, ...]:
        """The results by rank, those without one last."""
        return tuple(sorted(self.results, key=lambda r: math.inf if r.rank is None else r.rank))

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON, with the means over seeds."""
        means = ("loss_nats", "mean_bits_per_byte", "best_nats", "last_nats")
        values = asdict(self)
        for row, result in zip(values["results"], self.results, strict=True):
            row |= {name: getattr(result, name) for name in means}
        return values


def word_for(change: Change) -> str:
    """Return the effect of longer context in a word; "" with one seed."""
    if change.low is None or change.high is None:
        return ""
    return effect.of_context(change.low, change.high)


def mean_of(values: Iterable[float]) -> float | None:
    """Return the mean of values; None if there are none."""
    values = tuple(values)
    return math.fsum(values) / len(values) if values else None
