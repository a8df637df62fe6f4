"""Compares positional embeddings: the same model trained with each, paired by seed.

With one seed every embedding gets the same batches, the same initial weights wherever names and
shapes agree, the same number of tokens, and the same numerics. The remaining differences are the
embedding and the variance between seeds, which several seeds measure.

    OUT/comparison.json    the settings, what was held equal, the cost of each embedding
    OUT/results.jsonl      one line for each run
    OUT/runs/NAME-seedN/   ordinary run folders
    OUT/table.csv, figures/, report.html: generated from the first two

The same command resumes: finished runs are reused, an interrupted one is resumed, and further
embeddings or seeds are added. With other lengths runs are measured again, not trained again;
settings that would change a run are refused. Every run is evaluated at its last step, not at its
best one: selecting a step on held-out text would favour embeddings whose loss varies most.
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
from wordorder.experiments import controls, grid, overfitting
from wordorder.experiments.calibration import calibrate, costs
from wordorder.experiments.cluster import ClusterLauncher
from wordorder.experiments.comparison import RECORD, Comparison
from wordorder.experiments.folder import beginning, goes_on
from wordorder.experiments.runner import Progress
from wordorder.experiments.tuning import tune
from wordorder.experiments.wording import listed
from wordorder.folders import FolderKind
from wordorder.locks import held
from wordorder.model import ModelConfig, shape_of
from wordorder.numerals import counted
from wordorder.positions import canonical
from wordorder.settings import LARGEST, Positive, Threads, check
from wordorder.text.user_text import user_path
from wordorder.training.compute import Compute, warn_of_slow_dtype
from wordorder.training.config import TEXTS, TrainConfig, seconds, with_vocabulary, with_whole_paths
from wordorder.training.preparation import configured_steps, steps_in
from wordorder.training.run import RUN
from wordorder.training.training_data import TrainingData, read_text, with_steps
from wordorder.version import __version__

POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi", "t5")
BASELINE = "rotary"  # the default of `wordorder train`
DEFAULT_TIME = "2m"
# 13 held-out documents of the built-in text reach 16 times 64 tokens.
TRAINED_LENGTH, BATCH_SIZE = 64, 32
FEWEST_STEPS = 20  # with fewer steps embeddings cannot differ yet
FIGURES = ("losses", "curves", "lengths", "whole-windows", "length-changes", "order")
# The files that a comparison writes, and that --overwrite removes; other files in the folder stay.
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
# Settings that runs do not share, or that do not change them: texts are compared by contents.
NOT_SHARED = ("position", "out", "overwrite", "sample_prompt", "tensorboard", *TEXTS)


@dataclass(frozen=True)
class CompareConfig:
    """The settings of a comparison.

    Raises:
        BadInput: a setting is invalid.
    """

    train: TrainConfig
    """shared by all runs; its seed is the first one, its position is ignored"""
    positions: tuple[str, ...] = POSITIONS
    baseline: str | None = None
    """the reference of differences; None: rotary if it is compared, else the first"""
    seeds: Annotated[int, Interval(ge=0, le=10_000)] = 3
    lengths: tuple[Positive, ...] = LENGTHS
    """context lengths, relative to the trained length; 1 is always measured, for the changes"""
    pack: bool = False
    """whether contexts may cross document boundaries"""
    tune: bool = False
    """whether to tune the learning rates for each embedding"""
    processes: Threads = 0
    """runs at once, which share the cores; 0: the fastest number, measured"""
    out: str = "runs/compare"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "positions", tuple(map(canonical, self.positions)))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", canonical(self.baseline))
        if len(self.positions) < 2:
            raise BadInput(
                "--positions needs at least two embeddings", code="experiments.one-position"
            )
        twice = [p for p in self.positions if self.positions.count(p) > 1]
        if twice:
            raise BadInput(
                f"--positions has {twice[0]} twice: give it once", code="experiments.position-twice"
            )
        if not self.lengths:
            raise BadInput(
                "--lengths is empty: give multiples of the trained length, such as 1 2 4",
                code="experiments.no-lengths",
            )
        object.__setattr__(self, "lengths", tuple(sorted({1, *self.lengths})))
        if self.baseline is not None and self.baseline not in self.positions:
            raise BadInput(
                f"--baseline {self.baseline} is not among the --positions: choose from "
                f"{', '.join(self.positions)}",
                code="experiments.baseline-not-compared",
            )
        if self.train.seed + self.seeds > LARGEST:
            raise BadInput(
                f"--seed {self.train.seed} is too large for {self.seeds} seeds: give at most "
                f"{LARGEST - self.seeds}",
                code="experiments.seed-too-large",
            )
        if self.train.objective != "next-token":
            raise BadInput(
                "wordorder compare trains models that predict the next token: leave out "
                "--objective",
                code="experiments.objective-not-compared",
            )

    @property
    def against(self) -> str:
        """The baseline's spec."""
        return self.baseline or (BASELINE if BASELINE in self.positions else self.positions[0])


def compare(
    config: CompareConfig,
    *,
    show: Progress | None = None,
    command: str | None = None,
    cluster: ClusterLauncher | None = None,
) -> Path:
    """Run or resume a comparison, and return its folder.

    Args:
        show: receives progress; None: no output.
        command: the command line, for the report.
        cluster: where runs are computed and timed; None: on this machine.

    Raises:
        BadInput: the settings, the text or the folder cannot be used.
        Failed: not even the baseline can be trained.
        Refused: another process is writing to the folder.
        KeyboardInterrupt: after Ctrl-C; the same call resumes.
    """
    folder = user_path(config.out)
    with held(folder):
        _compare(folder, config, show or Progress(), command, cluster)
    return folder


def _compare(
    folder: Path,
    config: CompareConfig,
    show: Progress,
    command: str | None,
    cluster: ClusterLauncher | None,
) -> None:
    """Run a comparison while the lock of its folder is held."""
    config = replace(config, train=_shared_training(config))
    for position in config.positions:  # report an invalid spec first
        shape_of(replace(config.train.model, position=position, vocabulary_size=8))
    material = read_text(config.train, command="compare")
    config = replace(config, train=with_steps(config.train, material))
    before = _before(folder, config)
    if before and before.data["content_hash"] != material.facts["content_hash"]:
        raise BadInput(
            f"the text of {' '.join(config.train.data)} differs from that of the comparison in "
            f"{folder}: restore the old text, or choose another --out",
            code="experiments.text-has-changed",
        )
    if before and before.data.get("split") != material.facts["split"]:
        raise BadInput(
            f"the comparison in {folder} used another split of its text than this version, so its "
            "losses are of other tokens: choose another --out, or replace it with --overwrite",
            code="experiments.split-has-changed",
        )
    requested = _asked(config)
    train = with_vocabulary(config.train, material.tokenizer.vocabulary_size)
    config = replace(config, train=train)
    settled = before.settled if before else _settled(config, material, show, cluster)
    if before and not cluster:
        warn_of_slow_dtype(Compute(**settled["machine"]), show.say)
    record = replace(_record(config, material, settled, command), asked=requested)
    passes = overfitting.before_it_starts(record.passes or 0.0)
    for line in [*passes, *_changed(before, record, 0 if cluster else config.processes)]:
        show.say(line)
    record = replace(record, costs=_costs(config, record, before, show, cluster))
    if before:
        record = replace(record, tuned=before.tuned, tuning=before.tuning, looks=before.looks)
    else:
        slower = {"slower_at_once": grid.slower_at_once(record)}
        record = replace(record, settled={**settled, **slower})
    record = controls.with_facts(record)
    with beginning(folder, COMPARISON, goes_on=before is not None):
        record.write(folder)
    if config.tune:
        tuning = tune(folder, record, show, cluster)
        record = controls.with_facts(replace(record, tuning=tuning, tuned=tuning["chosen"]))
        record.write(folder)
    grid.run(folder, record, show, cluster)
    replace(record, looks=_looked_at(record)).write(folder)


def _looked_at(record: Comparison) -> list[int]:
    """Return the numbers of seeds with which results were available, in order.

    Adding seeds until a difference is significant inflates false positives; the report corrects it.
    """
    looks, seeds = record.looks, record.seeds
    return looks if seeds < 2 or seeds in looks else [*looks, seeds]


def _changed(before: Comparison | None, record: Comparison, processes: int) -> list[str]:
    """Describe the effect of changed settings on existing runs, one line each."""
    if before is None:
        return []
    old, new = before.measure, record.measure
    lines = []
    if old != new:
        settings = [("lengths", before.lengths, record.lengths)]
        settings.append(("pack", old.get("pack"), new["pack"]))
        changed = [f"{n} {_shown(b)} instead of {_shown(a)}" for n, a, b in settings if a != b]
        why = listed(changed) if changed else "this version of wordorder measures more"
        lines.append(f"{why}: existing runs are measured again, not trained again")
    if before.baseline != record.baseline:
        lines.append(
            f"differences are now relative to {record.baseline}: nothing is measured again"
        )
    if record.seeds < before.seeds:
        lines.append(f"the report covers {counted(record.seeds, 'seed')}; the other runs stay")
    if left := [p for p in before.positions if p not in record.positions]:
        lines.append(f"the report leaves out {listed(left)}; their runs stay")
    if processes not in (0, record.processes):
        lines.append(
            f"{counted(record.processes, 'run')} at once, as before: the number does not change "
            "within a comparison"
        )
    return lines


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def _shared_training(config: CompareConfig) -> TrainConfig:
    """Return the training settings of the baseline, with absolute paths."""
    train = with_whole_paths(config.train)
    is_long = configured_steps(train) or train.epochs
    length = {} if is_long else {"time": train.time or DEFAULT_TIME}
    # Every run would compile again, which does not pay off for small models.
    compiled = {"compile": "no"} if train.compile == "auto" else {}
    model = replace(train.model, position=config.against)
    # Runs are evaluated at the last step: see the module docstring.
    return replace(train, model=model, keep="last", **length, **compiled)


def _asked(config: CompareConfig) -> dict[str, Any]:
    """Return the settings that all runs share, which must not change on resuming."""
    values = {**config.train.to_dict(), **config.train.model.to_dict(), "tune": config.tune}
    return {name: value for name, value in values.items() if name not in NOT_SHARED}


def _complete(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the shared settings of a record, with the values of those that it leaves out.

    Those are settings at their defaults and settings that its version did not have.
    """
    model = ModelConfig()
    train = TrainConfig.from_dict({}, model)  # knows what trained before a setting existed
    absent = {**asdict(train), **asdict(model), "defaults": 1, "tune": False}
    values = {n: v for n, v in {**absent, **asked}.items() if n not in (*NOT_SHARED, "model")}
    return dict(json.loads(json.dumps(values)))


def _before(folder: Path, config: CompareConfig) -> Comparison | None:
    """Return the record of an existing comparison to resume; None if there is none.

    Raises:
        BadInput: it has other settings, its record is damaged, or the folder holds other files.
    """
    if not goes_on(folder, COMPARISON, overwrite=config.overwrite):
        return None
    record = Comparison.read(folder)
    before = _complete(record.asked)
    for name, value in _complete(_asked(config)).items():
        if before[name] != value:
            raise BadInput(
                f"{folder} holds a comparison with {name} {before[name]}, not {value}: "
                "choose another --out, or replace it with --overwrite",
                code="experiments.other-comparison",
            )
    return record


def _settled(
    config: CompareConfig, material: TrainingData, show: Progress, cluster: ClusterLauncher | None
) -> dict[str, Any]:
    """Measure the machine, and convert a time limit into a number of steps for all runs."""
    show.say("measuring the fastest way to run several models on this machine")
    train, runs = config.train, len(config.positions) * max(1, config.seeds)
    calibrated = calibrate(train, runs, config.processes, cluster)
    steps = configured_steps(train)
    if steps is None:
        steps = steps_in(train, material, seconds(train.time), calibrated.alone_seconds)
        if steps < FEWEST_STEPS:
            raise BadInput(
                f"--time {train.time} is enough for {counted(steps, 'step')} of each run here: "
                f"give a longer --time, or --steps {FEWEST_STEPS} or more",
                code="experiments.too-little-time",
            )
    return {**asdict(calibrated), "steps": steps}


def _costs(
    config: CompareConfig,
    record: Comparison,
    before: Comparison | None,
    show: Progress,
    cluster: ClusterLauncher | None,
) -> dict[str, Any]:
    """Return the cost of each embedding; those timed before are not timed again."""
    known = before.costs if before else {}
    new = [p for p in config.positions if p not in known]
    if new:
        show.say("timing a step with each embedding")
        base = next(iter(known), config.against)
        together = [*dict.fromkeys([base, *new])]
        timed = costs(config.train, together, Compute(**record.machine), cluster)
        # Seconds measured at different times are comparable only relative to an embedding timed at
        # both.
        busier = timed[base]["step_seconds"] / known.get(base, timed[base])["step_seconds"]
        for p in new:
            timed[p]["step_seconds"] /= busier
        known = {**known, **{p: timed[p] for p in new}}
    return {p: known[p] for p in config.positions}


def _record(
    config: CompareConfig, material: TrainingData, settled: dict[str, Any], command: str | None
) -> Comparison:
    """Return the record of a comparison, without the costs of embeddings."""
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
        tokens=settled["steps"] * train.tokens_per_step,
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
