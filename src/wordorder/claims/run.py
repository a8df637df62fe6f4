"""Runs claims: the jobs they need, once each, and the verdicts as soon as they can be told.

    OUT/claims.json       all that a table is made from: how the machine computes, which text and
                          which version it was, and of every claim that was ever asked for here the
                          plan, the criteria, the values of every seed and the verdict
    OUT/results/NAME.json one job: what it was, how long it took, what came out
    OUT/runs/             the models, ordinary run folders

A job whose result is there is not done again, so that a command that was stopped goes on and
a claim asked for later reuses what others left. A job that fails takes no claim along but
those that need it.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from wordorder.atomic import write_text
from wordorder.claims.claim import Claim, Plan, Verdict, Work, judge
from wordorder.claims.intervals import Contrast, Quantity, Shares
from wordorder.errors import BadInput, Failed
from wordorder.experiments.calibration import as_job, time_baseline
from wordorder.experiments.folder import beginning, goes_on, write_record
from wordorder.experiments.side_by_side import Outcome, Progress, run_jobs
from wordorder.folders import Kind, has_keys
from wordorder.locks import held
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.text.load import load_corpus
from wordorder.text.user_text import user_path
from wordorder.training.config import TrainConfig
from wordorder.training.run import RUN
from wordorder.version import __version__

RECORD = "claims.json"
RESULTS = ("results/*.json", "results/*/*.json")
# What claims leave, and so what --overwrite removes: nothing else in the folder is touched.
CLAIMS = Kind(
    "claims",
    record=RECORD,
    keys=("machine", "torch", "cores"),
    files=RESULTS,
    proofs=dict.fromkeys(RESULTS, lambda path: has_keys(path, ("job", "seconds", "result"))),
    inside={"runs/*": RUN, "runs/*/*": RUN, "runs/*/*/*": RUN},
)


class Display(Progress):
    """What is told while claims are tried."""

    def say(self, line: str) -> None:
        """One line about something that happened."""

    def plan(self, works: Sequence[Work], seconds: float, processes: int) -> None:
        """Jobs are about to start, in this order, and how long they should take."""


@dataclass
class Bench:
    """A folder of results, and how jobs are computed here."""

    folder: Path
    show: Display
    machine: dict[str, Any]
    results: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def path(self, work: Work) -> Path:
        return self.folder / "results" / f"{work.name}.json"

    def job(self, work: Work) -> dict[str, Any]:
        """Return the job as it is handed over."""
        folder = {"folder": str(self.folder / work.folder)} if work.folder else {}
        threads = torch.get_num_threads() if work.alone else self.machine["threads"]
        return {**work.job, **folder, "machine": {**self.machine, "threads": threads}}

    def find(self, work: Work) -> bool:
        """Take a job's result from its file; returns whether it was there."""
        try:
            record = json.loads(self.path(work).read_text(encoding="utf-8"))
            if record["job"] != json.loads(json.dumps(work.job)):
                return False
            self.results[work.name], self.seconds[work.name] = record["result"], record["seconds"]
        except (OSError, ValueError, KeyError):
            return False
        return True

    def keep(self, work: Work, outcome: Outcome, seconds: float) -> None:
        """Note how a job ended."""
        if outcome.error is not None:
            self.errors[work.name] = outcome.error
            return
        self.results[work.name], self.seconds[work.name] = outcome.result, seconds
        record = {"job": work.job, "seconds": seconds, "result": outcome.result}
        self.path(work).parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path(work), json.dumps(record) + "\n")


def seconds_of(works: Sequence[Work], processes: int) -> float:
    """Return about how long jobs take side by side."""
    alone = sum(w.seconds for w in works if w.alone)
    return alone + sum(w.seconds for w in works if not w.alone) / processes


def within(claims: Sequence[Claim], plan: Plan, budget: float, processes: int) -> list[Claim]:
    """Return the claims that fit into a budget of seconds, in order; shared jobs count once."""
    chosen: list[Claim] = []
    works: dict[str, Work] = {}
    for claim in claims:
        more = {**works, **{w.name: w for w in claim.works(claim.plan(plan))}}
        if seconds_of(list(more.values()), processes) <= budget:
            chosen.append(claim)
            works = more
    return chosen


def run_claims(
    claims: Sequence[Claim],
    plan: Plan,
    *,
    out: str,
    overwrite: bool = False,
    show: Display | None = None,
) -> list[Verdict]:
    """Do what is left of the jobs that claims need, and return the verdicts.

    Args:
        out: the folder that keeps everything.
        overwrite: take away what it holds first.
        show: what is told meanwhile; None: nothing.

    Raises:
        BadInput: a folder of other things, or one whose record is damaged.
        Failed: where not even the machine can be measured.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; asked again, it goes on.
    """
    folder = user_path(out)
    with held(folder):
        return _run_claims(folder, claims, plan, overwrite, show or Display())


def _run_claims(
    folder: Path, claims: Sequence[Claim], plan: Plan, overwrite: bool, show: Display
) -> list[Verdict]:
    """Do what `run_claims` does, in a folder whose lock is held."""
    there = goes_on(folder, CLAIMS, overwrite=overwrite)
    before = read_record(folder) if there else {}
    bench = Bench(folder, show, dict(before.get("machine", {})))
    works = {w.name: w for claim in claims for w in claim.works(claim.plan(plan))}
    left = sorted((w for w in works.values() if not (there and bench.find(w))), key=_turn)
    processes = torch.get_num_threads()
    if left and not bench.machine:
        show.say("measuring how this machine computes several small runs best")
        bench.machine = _measured(plan)
    record = {**before, **_conditions(bench.machine)}
    with beginning(folder, CLAIMS, goes_on=there):
        _write(folder, record)
    if left:
        show.plan(left, seconds_of(left, processes), processes)
    done = 0
    for turn, group in groupby(left, key=_turn):
        part = list(group)
        _run(bench, part, 1 if turn[0] else processes, done)
        done += len(part)
    verdicts = [_verdict(bench, claim, plan) for claim in claims]
    text = _text(plan) if any("training" in work.job for work in works.values()) else {}
    noted = {
        verdict.claim.name: {
            **as_json(verdict),
            "plan": asdict(verdict.claim.plan(plan)),
            "commit": record["commit"],
            **({"text": text} if text else {}),
        }
        for verdict in verdicts
    }
    _write(folder, {**record, "claims": {**record.get("claims", {}), **noted}})
    return verdicts


def _turn(work: Work) -> tuple[bool, str, str]:
    """Return what jobs that run in one go share; those that need the machine alone come last."""
    return work.alone, work.function.__module__, work.function.__qualname__


def _run(bench: Bench, works: list[Work], processes: int, before: int) -> None:
    """Run jobs of one function, telling of each by its place among all."""
    began: dict[int, float] = {}

    class Shown(Progress):
        def started(self, number: int, job: Any) -> None:
            began[number] = time.perf_counter()
            bench.show.started(before + number, works[number].job)

        def told(self, number: int, share: float, line: str) -> None:
            bench.show.told(before + number, share, line)

        def ended(self, number: int, outcome: Outcome) -> None:
            bench.show.ended(before + number, outcome)

    def record(number: int, outcome: Outcome) -> None:
        bench.keep(works[number], outcome, time.perf_counter() - began[number])

    threads = torch.get_num_threads() if works[0].alone else bench.machine["threads"]
    run_jobs(
        works[0].function,
        [bench.job(work) for work in works],
        processes=processes,
        threads=threads,
        show=Shown(),
        record=record,
    )


def _verdict(bench: Bench, claim: Claim, shared: Plan) -> Verdict:
    plan = claim.plan(shared)
    works = claim.works(plan)
    reading = claim.read(plan, bench.results)
    failed = [f"{w.name}: {bench.errors[w.name]}" for w in works if w.name in bench.errors]
    if failed:
        reading = replace(reading, said=(*reading.said, *failed))
    seconds = sum(bench.seconds.get(w.name, 0.0) for w in works)
    return judge(claim, reading, seeds=plan.seeds, seconds=seconds)


def read_record(folder: Path) -> dict[str, Any]:
    """Return what is noted of the claims in a folder; nothing where there are none.

    Raises:
        BadInput: a record that is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        dict(record["machine"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error!r}: choose another --out") from None
    return record


def _conditions(machine: dict[str, Any]) -> dict[str, Any]:
    """Return what figures depend on besides the claims and their plan."""
    return {
        "wordorder": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cores": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": machine,
    }


def commit() -> str:
    """Return the commit of the repository that this package lies in; "" where it is in none."""
    here = str(Path(__file__).parent)
    describe = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(plan: Plan) -> dict[str, Any]:
    """Return which text it was: one name may stand for another text on another machine."""
    try:
        corpus = load_corpus(plan.data)
    except BadInput as error:
        return {"data": list(plan.data), "error": str(error)}
    return {"data": list(plan.data), "hash": corpus.content_hash, "bytes": corpus.bytes}


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_record(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _measured(plan: Plan) -> dict[str, Any]:
    """Return how a small model is trained fastest here while as many others are."""
    config = TrainConfig(model=ModelConfig(**PRESETS["nano"]), data=plan.data, batch_size=16)
    processes = torch.get_num_threads()
    outcomes = run_jobs(time_baseline, [as_job(config)] * processes, processes=processes, threads=1)
    for outcome in outcomes:
        if outcome.error is not None:
            raise Failed(outcome.error)
    return dict(outcomes[0].result["machine"])


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON holds it, with the values of every seed."""
    claim = verdict.claim
    return {
        "claim": claim.name,
        "of": claim.of,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "statement": claim.statement,
        "source": claim.source,
        "theirs": claim.theirs,
        "protocol": claim.protocol,
        "criteria": [
            {**asdict(criterion), "criterion": str(criterion), "verdict": word}
            for criterion, word in zip(claim.criteria, verdict.by_criterion, strict=True)
        ],
        "gates": [{**asdict(gate.criterion), "needs": gate.needs} for gate in claim.gates],
        "seeds_needed": claim.seeds_needed,
        "quantities": {
            name: {**asdict(verdict.intervals[name]), **measured(quantity)}
            for name, quantity in verdict.reading.quantities.items()
            if name in verdict.intervals
        },
        "unit": claim.unit,
        "said": list(verdict.reading.said),
        "seconds": round(verdict.seconds, 1),
    }


def measured(quantity: Quantity) -> dict[str, Any]:
    """Return what is behind a quantity: its values, by seed where they are of seeds."""
    if isinstance(quantity, Sequence):
        return {"values": list(quantity)}
    if isinstance(quantity, Mapping):
        return {"by_seed": dict(quantity)}
    behind: dict[str, Any] = {"by_seed": dict(quantity.by_seed)}
    if isinstance(quantity, Shares):
        behind["tests"] = quantity.tests
    elif isinstance(quantity, Contrast):
        behind["terms"] = [{"times": f, **measured(shares)} for f, shares in quantity.terms]
    else:
        behind["intervals"] = {s: asdict(found) for s, found in quantity.intervals.items()}
    return behind
