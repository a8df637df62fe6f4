"""The claim that what depends on content solves flip-flop where distances do not.

A text of instructions writes, reads or ignores a bit; a read's bit is the one written last. The
models are trained where four of five instructions are ignored, and tested where nearly all are,
so that the last write is far, and where few are. The source's models have one layer, which cannot
first join an instruction to its bit and then look for it: whoever has distances alone reads the
last few instructions at once, so that rotary errs in distribution too, there and more so here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.experiments.grid import folder_name
from wordorder.experiments.side_by_side import Tell
from wordorder.experiments.task_findings import LEARNED
from wordorder.experiments.task_training import Protocol, train_on_task

INSTRUCTIONS = 127  # after the first write, of two tokens each: the model reads 256
ONE_LAYER = Protocol(
    "flip-flop",
    length=INSTRUCTIONS,
    steps=2000,
    batch_size=16,
    layers=1,
    heads=2,
    learning_rate=0.02,
    matrix_learning_rate=0.04,
    examples=256,
    tests=4,
)
TWO_LAYERS = replace(ONE_LAYER, layers=2)
TRIALS = {"trained": "in distribution", "sparse": "on sparse", "dense": "on dense"}
JUDGED = ("rotary", "path")
# Told beside them, with one seed: no criterion hangs on them.
TOLD = (("forgetting", ONE_LAYER), ("cope", ONE_LAYER), ("rotary", TWO_LAYERS))
SECONDS = {"rotary": 80.0, "path": 230.0, "forgetting": 100.0, "cope": 250.0}


def train(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train one model on flip-flop, and return its errors at the last step.

    Args:
        job: that of `work`.
    """
    found = train_on_task(Protocol(**job["protocol"]), job["position"], job["seed"], tell)
    return {name: 1 - trial["token"] for name, trial in found["curve"][-1]["trials"].items()}


def work(position: str, seed: int, protocol: Protocol = ONE_LAYER) -> Work:
    """Return the work of one model."""
    job = {"protocol": asdict(protocol), "position": position, "seed": seed}
    layers = "" if protocol.layers == 1 else f"-{protocol.layers}layers"
    name = f"flip-flop/{folder_name(position)}{layers}-seed{seed}"
    return Work(name, train, job, protocol.layers * SECONDS[position])


def _works(plan: Plan) -> list[Work]:
    judged = [work(position, seed) for seed in range(plan.seeds) for position in JUDGED]
    return [*judged, *(work(position, 0, protocol) for position, protocol in TOLD)]


def _found(plan: Plan, results: Results, position: str) -> dict[int, Any]:
    """Return the errors of an embedding by seed; runs that failed are not there."""
    works = {seed: work(position, seed).name for seed in range(plan.seeds)}
    return {seed: results[name] for seed, name in works.items() if name in results}


def _read(plan: Plan, results: Results) -> Reading:
    rotary, path = (
        {seed: found["sparse"] for seed, found in _found(plan, results, position).items()}
        for position in JUDGED
    )
    learned = {s for s, found in _found(plan, results, "path").items() if _learned(found)}
    shares = [path[s] / rotary[s] for s in sorted(learned & set(rotary)) if rotary[s] > 0]
    quantities = {
        "rotary's error on sparse": list(rotary.values()),
        "PaTH's error by rotary's": shares,
    }
    return Reading(quantities, tuple(_said(plan, results)))


def _learned(found: Mapping[str, float]) -> bool:
    """Whether a model may be judged on what it has not seen."""
    return 1 - found["trained"] >= LEARNED


def _said(plan: Plan, results: Results) -> Iterator[str]:
    kinds = [(p, ONE_LAYER, plan.seeds) for p in JUDGED] + [(*told, 1) for told in TOLD]
    for position, protocol, seeds in kinds:
        names = [work(position, seed, protocol).name for seed in range(seeds)]
        found = [results[name] for name in names if name in results]
        if found:
            layers = "" if protocol.layers == 1 else f", {protocol.layers} layers"
            yield f"{position}{layers}: error {_told(found)}"
        if position == "path" and not all(map(_learned, found)):
            yield f"PaTH is judged where its error in distribution is at most {1 - LEARNED:.2f}"


def _told(found: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(
        f"{' '.join(f'{part[trial]:.3f}' for part in found)} {words}"
        for trial, words in TRIALS.items()
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="flip-flop",
        of="literature",
        statement="Content-dependent positions solve flip-flop where it is sparser than in "
        "training, and rotary does not.",
        source="Yang et al. 2025, PaTH Attention, table 1",
        theirs="error on sparse: rotary 40.3%, FoX 36.3%, PaTH 0.0001%; in distribution rotary "
        "6.9%, FoX 8.3%, PaTH 0; on dense all at most .01%",
        protocol=f"One layer, 2 heads, width 64, {2 * INSTRUCTIONS + 2} tokens, four of five "
        f"instructions ignored, {ONE_LAYER.steps:,} steps of {ONE_LAYER.batch_size}; the share of "
        "reads that are wrong where 98% are ignored (sparse) and 10% (dense).",
        criteria=(
            Criterion("rotary's error on sparse", least=0.1),
            Criterion("PaTH's error by rotary's", most=0.5),
        ),
        works=_works,
        read=_read,
        unit="of reads",
    ),
)
