"""Claims that what depends on content solves flip-flop where distances do not.

A text of instructions writes, reads or ignores a bit; a read's bit is the one written last. The
models are trained where four of five instructions are ignored, and tested where nearly all are,
so that the last write is far, and where few are.

The source's models have one layer. That cannot first join an instruction to its bit and then
look for it: rotary reads what it can of the last few instructions at once, and errs in
distribution too, in the source less than here. So what it errs more on sparse says little of
what it does past its training. With two layers it is right in distribution, and the same
criterion is asked of it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.experiments.grid import folder_name
from wordorder.experiments.side_by_side import Tell
from wordorder.experiments.task_findings import LEARNED
from wordorder.experiments.task_training import Protocol, train_on_task

TRIALS = {"trained": "in distribution", "sparse": "on sparse", "dense": "on dense"}
JUDGED = ("rotary", "path")


@dataclass(frozen=True)
class Depth:
    """Models of as many layers.

    Args:
        told: embeddings told beside the judged ones, with one seed.
        seconds: of a run of each.
        least: the share of reads right in distribution from which a model is judged.
    """

    protocol: Protocol
    told: tuple[str, ...]
    seconds: Mapping[str, float]
    least: Mapping[str, float]

    def work(self, position: str, seed: int) -> Work:
        """Return the work of one model."""
        job = {"protocol": asdict(self.protocol), "position": position, "seed": seed}
        name = f"flip-flop-{self.protocol.layers}/{folder_name(position)}-seed{seed}"
        return Work(name, train, job, self.seconds[position])

    def works(self, plan: Plan) -> list[Work]:
        """Return the work of every model."""
        judged = [self.work(p, seed) for seed in range(plan.seeds) for p in JUDGED]
        return [*judged, *(self.work(position, 0) for position in self.told)]

    def found(self, plan: Plan, results: Results, position: str) -> dict[int, Mapping[str, float]]:
        """Return the errors of an embedding by seed; runs that failed are not there."""
        works = {seed: self.work(position, seed).name for seed in range(plan.seeds)}
        return {seed: results[name] for seed, name in works.items() if name in results}

    def on_sparse(self, plan: Plan, results: Results, position: str) -> dict[int, float]:
        """Return the errors on sparse by seed, of the models that have learned."""
        return {
            seed: errors["sparse"]
            for seed, errors in self.found(plan, results, position).items()
            if 1 - errors["trained"] >= self.least.get(position, 0)
        }


LENGTH = 127  # instructions after the first write, of two tokens each: the model reads 256
ONE = Depth(
    Protocol(
        "flip-flop",
        length=LENGTH,
        steps=1500,
        batch_size=16,
        layers=1,
        heads=2,
        learning_rate=0.02,
        matrix_learning_rate=0.04,
        examples=256,
        tests=4,
    ),
    told=("forgetting", "cope"),
    seconds={"rotary": 72, "path": 193, "forgetting": 85, "cope": 175},
    least={"path": LEARNED},
)
TWO = Depth(
    Protocol(
        "flip-flop",
        length=LENGTH,
        steps=800,
        batch_size=16,
        layers=2,
        heads=2,
        examples=256,
        tests=4,
    ),
    told=(),
    seconds={"rotary": 79, "path": 216},
    least=dict.fromkeys(JUDGED, LEARNED),
)


def train(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train one model on flip-flop, and return its errors at the last step.

    Args:
        job: that of `Depth.work`.
    """
    found = train_on_task(Protocol(**job["protocol"]), job["position"], job["seed"], tell)
    return {name: 1 - trial["token"] for name, trial in found["curve"][-1]["trials"].items()}


def _read(depth: Depth, plan: Plan, results: Results) -> Reading:
    rotary, path = (depth.on_sparse(plan, results, position) for position in JUDGED)
    both = [seed for seed in rotary if seed in path and rotary[seed] > 0]
    quantities = {
        "rotary's error on sparse": list(rotary.values()),
        "PaTH's error by rotary's": [path[seed] / rotary[seed] for seed in both],
    }
    return Reading(quantities, tuple(_said(depth, plan, results)))


def _said(depth: Depth, plan: Plan, results: Results) -> Iterator[str]:
    for position in (*JUDGED, *depth.told):
        found = depth.found(plan, results, position)
        if found:
            yield f"{position}: error {_told(list(found.values()))}"
        least, judged = depth.least.get(position, 0), depth.on_sparse(plan, results, position)
        for seed in (s for s in found if s not in judged):
            yield (
                f"{position}, seed {seed}: not judged on sparse, its error in distribution is "
                f"above {1 - least:.2f}"
            )


def _told(found: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(
        f"{' '.join(f'{errors[trial]:.3f}' for errors in found)} {words}"
        for trial, words in TRIALS.items()
    )


def _protocol(depth: Depth) -> str:
    p = depth.protocol
    return (
        f"Models of width {p.width} and {p.heads} heads read {2 * LENGTH + 2} tokens, four of five "
        f"instructions ignored, {p.steps:,} steps of {p.batch_size}; the share of reads that are "
        "wrong where 98% are ignored (sparse). "
    )


SOURCE = "Yang et al. 2025, PaTH Attention, table 1"
THEIRS = (
    "one layer, error on sparse: rotary 40.3%, FoX 36.3%, PaTH 0.0001%; in distribution rotary "
    "6.9%, FoX 8.3%, PaTH 0"
)
CRITERIA = (
    Criterion("rotary's error on sparse", least=0.1),
    Criterion("PaTH's error by rotary's", most=0.5),
)
CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="flip-flop",
        of="literature",
        statement="One layer with content-dependent positions solves flip-flop where it is sparser "
        "than in training, and one with rotary does not.",
        source=SOURCE,
        theirs=THEIRS,
        protocol=f"{_protocol(ONE)}One layer, as theirs, with which rotary is not right in "
        "distribution either; CoPE and FoX are told, with one seed.",
        criteria=CRITERIA,
        works=ONE.works,
        read=partial(_read, ONE),
        unit="of reads",
    ),
    Claim(
        name="flip-flop-in-two-layers",
        of="literature",
        statement="Where rotary is right on flip-flop as trained it still errs where it is "
        "sparser, and content-dependent positions do not.",
        source=f"{SOURCE}, whose models have one layer",
        theirs=THEIRS,
        protocol=f"{_protocol(TWO)}Two layers, so that all can be right in distribution; a model "
        f"is judged where it is right in {LEARNED:.2f} of reads there.",
        criteria=CRITERIA,
        works=TWO.works,
        read=partial(_read, TWO),
        unit="of reads",
    ),
)
