"""The same model with each of several positional embeddings, and what can be said of them.

Runs are paired: with one seed every embedding sees the same batches, starts from the same
weights wherever names and shapes agree, reads the same number of tokens, and computes in the
same way. What is left to differ is the embedding, and the luck of the seed, which several
seeds measure.

    OUT/comparison.json    what was asked, what was held equal, what each embedding costs
    OUT/results.jsonl      one line for each run
    OUT/runs/NAME-seedN/   ordinary run folders
    OUT/table.csv, figures/, report.html: made again from the first two

Asked again, it goes on: runs that are done are reused, one that was stopped is resumed, and more
embeddings or seeds are added to those there. Other lengths are measured again, not trained again;
what would change a run is refused. Every run is judged at its last step, whatever validated best on
the way: choosing a step by the held-out text would flatter whoever varies most.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from wordorder.errors import BadInput
from wordorder.evaluation.context import FACTORS as LENGTHS
from wordorder.evaluation.context import measurable
from wordorder.experiments import fairness, grid, overfitting
from wordorder.experiments.calibration import calibrate, costs
from wordorder.experiments.comparison import RECORD, Comparison
from wordorder.experiments.folder import beginning, goes_on
from wordorder.experiments.runner import Progress
from wordorder.experiments.tuning import tune
from wordorder.experiments.wording import listed
from wordorder.folders import FolderKind
from wordorder.locks import held
from wordorder.model import shape_of
from wordorder.numerals import counted
from wordorder.positions import canonical
from wordorder.settings import LARGEST, Positive, Threads, check
from wordorder.text.user_text import user_path
from wordorder.training.compute import Compute
from wordorder.training.config import TrainConfig, seconds, whole_paths, with_vocabulary
from wordorder.training.plan import tokens_per_step
from wordorder.training.preparation import configured_steps, steps_in
from wordorder.training.run import RUN
from wordorder.training.training_data import TrainingData, read_training_data
from wordorder.version import __version__

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
BASELINE = "rotary"  # the default of `wordorder train`: the question is whether to leave it
DEFAULT_TIME = "2m"
# 16 times 64 tokens is what 13 documents of the built-in text's held-out part reach.
TRAINED_LENGTH, BATCH_SIZE = 64, 32
FEWEST_STEPS = 20  # below, embeddings have had no time to differ
FIGURES = ("losses", "curves", "lengths", "whole-windows", "length-changes", "order")
# What a comparison leaves, and so what --overwrite removes: nothing else in the folder is touched.
COMPARISON = FolderKind(
    "a comparison",
    record=RECORD,
    keys=("asked", "settled", "positions", "data"),
    files=(
        "results.jsonl",
        "table.csv",
        "report.html",
        *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
    ),
    inside={"runs/*": RUN, "tuning/*": RUN},
)
# What runs do not share, or what does not change them.
NOT_SHARED = ("position", "out", "overwrite", "sample_prompt", "tensorboard")


@dataclass(frozen=True)
class CompareConfig:
    """A comparison.

    Raises:
        BadInput: values that cannot be.
    """

    train: TrainConfig
    """what all runs share; its seed is the first, its position is not looked at"""
    positions: tuple[str, ...] = POSITIONS
    baseline: str | None = None
    """what differences are taken to; None: rotary where it is compared, else the first"""
    seeds: Annotated[int, Interval(ge=0, le=10_000)] = 3
    lengths: tuple[Positive, ...] = LENGTHS
    """in trained lengths"""
    pack: bool = False
    """contexts longer than documents may cross into others"""
    tune: bool = False
    """choose the learning rates for each embedding"""
    processes: Threads = 0
    """runs at once, which share the cores; 0: as many as are done soonest, measured"""
    out: str = "runs/compare"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "positions", tuple(map(canonical, self.positions)))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", canonical(self.baseline))
        if len(self.positions) < 2:
            raise BadInput("a comparison needs at least two --positions")
        twice = [p for p in self.positions if self.positions.count(p) > 1]
        if twice:
            raise BadInput(f"--positions names {twice[0]} twice: once is enough")
        if not self.lengths:
            raise BadInput("--lengths names none: give multiples of the trained length, as 1 2 4")
        if self.baseline is not None and self.baseline not in self.positions:
            raise BadInput(
                f"--baseline {self.baseline} is not compared: it is one of "
                f"{', '.join(self.positions)}"
            )
        if self.train.seed + self.seeds > LARGEST:
            raise BadInput(f"--seed {self.train.seed} leaves no {self.seeds} seeds: give less")
        if self.train.objective != "next-token":
            raise BadInput("a comparison is of models that predict the next token")

    @property
    def against(self) -> str:
        """The baseline's spec."""
        return self.baseline or (BASELINE if BASELINE in self.positions else self.positions[0])


def compare(
    config: CompareConfig, *, show: Progress | None = None, command: str | None = None
) -> Path:
    """Run a comparison, or what is left of one, and return its folder.

    Args:
        show: what is told while it works; None: nothing.
        command: how it was asked for, for the report.

    Raises:
        BadInput: a configuration, text or folder that cannot be.
        Failed: where not even the baseline can take a step.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; asked again, it goes on.
    """
    folder = user_path(config.out)
    with held(folder):
        _compare(folder, config, show or Progress(), command)
    return folder


def _compare(folder: Path, config: CompareConfig, show: Progress, command: str | None) -> None:
    """Run a comparison in its folder, whose lock is held."""
    config = replace(config, train=_shared_training(config))
    for position in config.positions:  # a wrong spec is known at once
        shape_of(replace(config.train.model, position=position, vocabulary_size=8))
    material = read_training_data(config.train)
    before = _before(folder, config)
    if before and before.data["content_hash"] != material.facts["content_hash"]:
        raise BadInput(
            f"the text of {' '.join(config.train.data)} is not what {folder} was made from: "
            "bring back the old text, or choose another --out"
        )
    if before and before.data.get("split") != material.facts["split"]:
        raise BadInput(
            f"{folder} was made with another split of its text than this version makes, so that "
            "its losses are of other tokens: choose another --out, or replace it by --overwrite"
        )
    asked = _asked(config)
    train = with_vocabulary(config.train, material.tokenizer.vocabulary_size)
    config = replace(config, train=train)
    settled = before.settled if before else _settled(config, material, show)
    record = replace(_record(config, material, settled, command), asked=asked)
    passes = overfitting.before_it_starts(record.passes or 0.0)
    for line in [*passes, *_changed(before, record, config.processes)]:
        show.say(line)
    record = replace(record, costs=_costs(config, record, before, show))
    if before:
        record = replace(record, tuned=before.tuned, tuning=before.tuning, looks=before.looks)
    record = fairness.with_facts(record)
    with beginning(folder, COMPARISON, goes_on=before is not None):
        record.write(folder)
    if config.tune:
        tuning = tune(folder, record, show)
        record = fairness.with_facts(replace(record, tuning=tuning, tuned=tuning["chosen"]))
        record.write(folder)
    grid.run(folder, record, show)
    replace(record, looks=_looked_at(record)).write(folder)


def _looked_at(record: Comparison) -> list[int]:
    """Return the numbers of seeds with which results were there to be looked at, in order.

    Adding seeds until a difference is shown finds one in the end; the report must know.
    """
    looks, seeds = record.looks, record.seeds
    return looks if seeds < 2 or seeds in looks else [*looks, seeds]


def _changed(before: Comparison | None, record: Comparison, processes: int) -> list[str]:
    """Return what another setting than before makes of the runs that are there, a line each."""
    if before is None:
        return []
    old, new = before.measure, record.measure
    lines = []
    if old != new:
        settings = [("lengths", before.lengths, record.lengths)]
        settings.append(("pack", old.get("pack"), new["pack"]))
        changed = [f"{n} {_shown(b)} instead of {_shown(a)}" for n, a, b in settings if a != b]
        why = listed(changed) if changed else "this version of wordorder measures more"
        lines.append(f"{why}: runs that are there are measured again, not trained again")
    if before.baseline != record.baseline:
        lines.append(f"differences are now to {record.baseline}: nothing is measured again")
    if record.seeds < before.seeds:
        lines.append(
            f"the report is of {counted(record.seeds, 'seed')}; the runs of {before.seeds} stay"
        )
    if left := [p for p in before.positions if p not in record.positions]:
        lines.append(f"the report leaves out {listed(left)}; their runs stay")
    if processes not in (0, record.processes):
        lines.append(
            f"{counted(record.processes, 'run')} at once, as when {before.positions[0]} was "
            "first run: how runs are computed does not change within a comparison"
        )
    return lines


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def _shared_training(config: CompareConfig) -> TrainConfig:
    """Return the training of the baseline, with paths that hold from every folder."""
    train = config.train
    length = {} if configured_steps(train) else {"time": train.time or DEFAULT_TIME}
    # Every run would compile anew, which small ones do not repay.
    compiled = {"compile": "no"} if train.compile == "auto" else {}
    model = replace(train.model, position=config.against)
    data = whole_paths(train.data)
    # Runs are judged at the same step, the last: see above.
    return replace(train, model=model, data=data, keep="last", **length, **compiled)


def _asked(config: CompareConfig) -> dict[str, Any]:
    """Return what all runs share, which cannot change from one call for a folder to the next."""
    values = {**config.train.to_dict(), **config.train.model.to_dict(), "tune": config.tune}
    return {name: value for name, value in values.items() if name not in NOT_SHARED}


def _before(folder: Path, config: CompareConfig) -> Comparison | None:
    """Return the record of a comparison that is there and can be gone on with.

    Raises:
        BadInput: another configuration, a damaged record, a folder of other things.
    """
    if not goes_on(folder, COMPARISON, overwrite=config.overwrite):
        return None
    record = Comparison.read(folder)
    for name, value in json.loads(json.dumps(_asked(config))).items():
        if record.asked.get(name) != value:
            raise BadInput(
                f"{folder} holds a comparison with {name} {record.asked.get(name)}, not {value}: "
                "choose another --out, or replace it by --overwrite"
            )
    return record


def _settled(config: CompareConfig, material: TrainingData, show: Progress) -> dict[str, Any]:
    """Measure the machine, and turn a length of time into one number of steps for all."""
    show.say("measuring how this machine does several runs best")
    train, runs = config.train, len(config.positions) * max(1, config.seeds)
    found = calibrate(train, runs, config.processes)
    steps = configured_steps(train)
    if steps is None:
        steps = steps_in(train, material, seconds(train.time), found.alone_seconds)
        if steps < FEWEST_STEPS:
            raise BadInput(
                f"in {train.time} a run takes {counted(steps, 'step')} here, beside measuring its "
                f"loss: give a longer --time, or --steps {FEWEST_STEPS} or more"
            )
    return {**asdict(found), "steps": steps}


def _costs(
    config: CompareConfig, record: Comparison, before: Comparison | None, show: Progress
) -> dict[str, Any]:
    """Return what each embedding costs; those timed before are not timed again."""
    known = before.costs if before else {}
    new = [p for p in config.positions if p not in known]
    if new:
        show.say("timing a step with each embedding")
        base = next(iter(known), config.against)
        timed = costs(config.train, [*dict.fromkeys([base, *new])], Compute(**record.machine))
        # Timed at two moments, seconds compare only by what was timed at both.
        busier = timed[base]["step_seconds"] / known.get(base, timed[base])["step_seconds"]
        for p in new:
            timed[p]["step_seconds"] /= busier
        known = {**known, **{p: timed[p] for p in new}}
    return {p: known[p] for p in config.positions}


def _record(
    config: CompareConfig, material: TrainingData, settled: dict[str, Any], command: str | None
) -> Comparison:
    """Return the record of a comparison, but for what each embedding costs."""
    train, trained = config.train, config.train.model.trained_length
    lengths = sorted({trained * factor for factor in config.lengths})
    whole = [length for length in lengths if length <= len(material.validation)]
    contexts = measurable(
        material.validation, whole, trained_length=trained, across_documents=config.pack
    )
    short = [
        f"windows of {length:,} tokens are left out: the held-out text has "
        f"{len(material.validation):,} tokens"
        for length in lengths
        if length not in whole
    ]
    return Comparison(
        wordorder=__version__,
        command=command,
        positions=list(config.positions),
        baseline=config.against,
        seeds=config.seeds,
        lengths=list(config.lengths),
        steps=settled["steps"],
        tokens=settled["steps"] * tokens_per_step(train),
        passes=material.batches(train).epoch(settled["steps"] * train.accumulate),
        trained_length=trained,
        model=train.model.resolved.to_dict(),
        training=train.to_dict(),
        machine=settled["machine"],
        processes=settled["processes"],
        data=material.facts,
        notes=[*contexts.left_out, *short],
        measure={
            "lengths": whole,
            "contexts": list(contexts.lengths),
            "pack": config.pack,
            "by_document": True,
        },
        settled=settled,
    )
