"""Runs the jobs of claims, each once, and returns the verdicts.

    OUT/claims.json        the machine and the versions; for every claim tested in this folder its
                           plan, text, criteria, values of every seed, and verdict
    OUT/results/NAME.json  one job: its settings, its time, its result
    OUT/runs/              the models, as ordinary run folders

A job whose result is stored does not run again, so that an interrupted command resumes and claims
share results. If jobs fail, only claims that need a failed job become undecided.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from wordorder.claims.claim import Claim, ClaimPlan, Verdict, Work, judge
from wordorder.claims.intervals import Contrast, Quantity, Shares
from wordorder.errors import BadInput, Failed
from wordorder.experiments.calibration import time_at_once
from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.folder import beginning, goes_on, write_record
from wordorder.experiments.jobs import Job, Outcome, is_stored_result, stored
from wordorder.experiments.runner import Progress, at_once_in_words, run_what_is_left
from wordorder.folders import FolderKind
from wordorder.locks import held
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.numerals import counted
from wordorder.text.load import load_corpus
from wordorder.text.user_text import user_path
from wordorder.training.compute import Compute, is_of_this_processor
from wordorder.training.config import TrainConfig
from wordorder.training.plan import readable_seconds
from wordorder.training.run import RUN
from wordorder.version import __version__

RECORD = "claims.json"
RESULTS = ("results/*.json", "results/*/*.json")
# The files that claims write, and that --overwrite removes; other files in the folder stay.
CLAIMS = FolderKind(
    "claims",
    record=RECORD,
    keys=("machine", "torch", "cores"),
    files=RESULTS,
    proofs=dict.fromkeys(RESULTS, is_stored_result),
    inside={"runs/*": RUN, "runs/*/*": RUN, "runs/*/*/*": RUN},
)


def seconds_of(works: Sequence[Work | Job], processes: int) -> float:
    """Return the approximate time of jobs that run side by side."""
    alone = sum(w.seconds for w in works if w.alone)
    return alone + sum(w.seconds for w in works if not w.alone) / processes


def within(claims: Sequence[Claim], plan: ClaimPlan, budget: float, processes: int) -> list[Claim]:
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
    plan: ClaimPlan,
    *,
    out: str,
    overwrite: bool = False,
    show: Progress | None = None,
    cluster: ClusterLauncher | None = None,
) -> list[Verdict]:
    """Run the jobs of claims whose results are not stored, and return the verdicts.

    Args:
        out: the folder for results and runs.
        overwrite: whether to remove earlier claims there first.
        show: receives progress; None: no output.
        cluster: where jobs run; None: on this machine.

    Raises:
        BadInput: the folder holds other files, its record is damaged, or the text cannot be read.
        Failed: the machine cannot be measured.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; the same call resumes.
    """
    folder = user_path(out)
    with held(folder):
        return _run_claims(folder, claims, plan, overwrite, show or Progress(), cluster)


def _run_claims(
    folder: Path,
    claims: Sequence[Claim],
    plan: ClaimPlan,
    overwrite: bool,
    show: Progress,
    cluster: ClusterLauncher | None,
) -> list[Verdict]:
    """Run claims in a folder whose lock is held."""
    cores = cluster.threads if cluster else torch.get_num_threads()
    resumes = goes_on(folder, CLAIMS, overwrite=overwrite)
    before = read_record(folder) if resumes else {}
    works = {w.name: w for claim in claims for w in claim.works(claim.plan(plan))}
    trained = any("training" in work.job for work in works.values())
    text = _text(plan) if trained else {}
    machine = dict(before.get("machine", {}))
    reused = [resumes and stored(_job(work, folder, {}, text, cores)) for work in works.values()]
    # Another processor is measured again: the remaining jobs run in the fastest way there.
    known = machine and (cluster or is_of_this_processor(Compute(**machine)))
    if not known and not all(reused):
        show.say("measuring the fastest way to run several small models on this machine")
        machine = _measured(plan, cluster)
    record = {**before, **_conditions(machine)}
    with beginning(folder, CLAIMS, goes_on=resumes):
        _write(folder, record)
    jobs = [_job(work, folder, machine, text, cores) for work in works.values()]
    outcomes = dict(zip(works, _run(jobs, show, cluster), strict=True))
    verdicts = [_verdict(outcomes, claim, plan) for claim in claims]
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


def _job(
    work: Work, folder: Path, machine: Mapping[str, Any], text: Mapping[str, Any], cores: int
) -> Job:
    """Return the job of a claim; one that reads text or other files depends on their contents.

    The result does not depend on where a user's words, questions or languages are.

    Args:
        cores: where it runs, all of which a job that measures time uses.
    """
    threads = cores if work.alone else machine.get("threads", 1)
    where = {"folder": str(folder / work.folder)} if work.folder else {}
    settings, how = dict(work.job), {**where, "machine": {**machine, "threads": threads}}
    if "training" in work.job:
        settings["text"] = text.get("hash")
    if files := _files(work.job):
        settings["contents"] = [_content(path) for paths in files.values() for path in paths]
        how |= {name: settings.pop(name) for name in files}
    return Job(
        work.name,
        work.function,
        settings,
        how,
        folder / "results" / f"{work.name}.json",
        threads,
        work.alone,
        work.seconds,
        older=lambda record: (
            record["result"] if record["job"] == json.loads(json.dumps(work.job)) else None
        ),
    )


def _run(jobs: Sequence[Job], show: Progress, cluster: ClusterLauncher | None) -> list[Outcome]:
    at_once = cluster.at_once if cluster else torch.get_num_threads()

    def plan(left: list[Job]) -> tuple[str, float]:
        seconds = seconds_of(left, at_once)
        heading = f"{counted(len(left), 'job')}, {at_once_in_words(at_once)}"
        return f"{heading}: about {readable_seconds(seconds)}", seconds

    return run_what_is_left(jobs, at_once=at_once, plan=plan, show=show, launcher=cluster)


def _verdict(outcomes: Mapping[str, Outcome], claim: Claim, shared: ClaimPlan) -> Verdict:
    plan = claim.plan(shared)
    of = {work.name: outcomes[work.name] for work in claim.works(plan)}
    results = {n: outcome.result for n, outcome in outcomes.items() if outcome.error is None}
    measurements = claim.read(plan, results)
    failed = [f"{name}: {outcome.error}" for name, outcome in of.items() if outcome.error]
    if failed:
        measurements = replace(measurements, notes=(*measurements.notes, *failed))
    seconds = sum(outcome.seconds for outcome in of.values())
    verdict = judge(claim, measurements, seeds=plan.seeds, seconds=seconds)
    return replace(verdict, failed=tuple(failed))


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of claims in a folder, or an empty one.

    Raises:
        BadInput: the record is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        dict(record["machine"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is damaged ({error!r}): choose another --out", code="claims.damaged-record"
        ) from None
    return record


def _conditions(machine: dict[str, Any]) -> dict[str, Any]:
    """Return what results depend on besides the claims and their plan."""
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
    """Return the commit of the repository that this package is in; "" if it is in none."""
    here = str(Path(__file__).parent)
    describe = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        # It may be installed in the folder of another project, which does not track it.
        tracked = ["git", "-C", here, "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, timeout=5, check=True)
        done = subprocess.run(describe, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(plan: ClaimPlan) -> dict[str, Any]:
    """Return the identity of the text: one name may mean other text on another machine."""
    corpus = load_corpus(plan.data)
    return {"data": list(plan.data), "hash": corpus.content_hash, "bytes": corpus.bytes}


def _files(job: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Return the files of a user that a job reads beside its text, by setting."""
    named = {"words": job.get("words"), "languages": job.get("languages")}
    if isinstance(job.get("questions"), str):  # in jobs of text models a list, of no files
        named["questions"] = [job["questions"]] if job["questions"] else None
    return {name: paths for name, paths in named.items() if paths}


def _content(name: str) -> str:
    """Return the content hash of a file, or of the text of a folder."""
    path = user_path(name)
    if path.is_dir():
        return load_corpus((name,)).content_hash
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_record(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _measured(plan: ClaimPlan, cluster: ClusterLauncher | None) -> dict[str, Any]:
    """Return the fastest settings for small models that train side by side."""
    config = TrainConfig(model=ModelConfig(**PRESETS["nano"]), data=plan.data, batch_size=16)
    # On a cluster each job is by itself, on cores that it does not share.
    at_once, threads = (1, cluster.threads) if cluster else (torch.get_num_threads(), 1)
    outcomes = time_at_once(config, at_once, threads, cluster)
    for outcome in outcomes:
        if outcome.error is not None:
            raise Failed(outcome.error, code="claims.cannot-measure-machine")
    return dict(outcomes[0].result["machine"])


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON, with the values of every seed."""
    described = verdict.claim.described()
    for criterion, word in zip(described["criteria"], verdict.by_criterion, strict=True):
        criterion["verdict"] = word
    return {
        **described,
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "quantities": {
            name: {**asdict(verdict.intervals[name]), **measured(quantity)}
            for name, quantity in verdict.measurements.quantities.items()
            if name in verdict.intervals
        },
        "said": list(verdict.measurements.notes),
        "seconds": round(verdict.seconds, 1),
    }


def measured(quantity: Quantity) -> dict[str, Any]:
    """Return the values of a quantity, by seed if it has seeds."""
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
        behind["intervals"] = {s: asdict(interval) for s, interval in quantity.intervals.items()}
    return behind
