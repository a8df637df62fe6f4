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
from wordorder.experiments.comparison import FIGURES, RECORD, Comparison
from wordorder.experiments.continuation import (
    asked_of,
    changes,
    check_same_code,
    check_same_settings,
    check_same_text,
    check_timed,
    without_changed,
)
from wordorder.experiments.folder import beginning, figure_files, goes_on
from wordorder.experiments.runner import Progress
from wordorder.experiments.tuning import tune
from wordorder.folders import FolderKind
from wordorder.locks import held
from wordorder.model import shape_of
from wordorder.numerals import counted
from wordorder.positions import canonical, code_of
from wordorder.settings import LARGEST, Positive, Threads, check
from wordorder.text.user_text import named_folder
from wordorder.training.compute import Compute, warn_of_slow_dtype
from wordorder.training.config import TrainConfig, budget_seconds, with_vocabulary, with_whole_paths
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
# The files that a comparison writes, and that --overwrite removes; other files in the folder stay.
COMPARISON = FolderKind(
    "a comparison",
    record=RECORD,
    keys=("asked", "settled", "positions", "data"),
    files=(
        "results.jsonl",
        "table.csv",
        "report.html",
        *figure_files(FIGURES),
    ),
    inside={"runs/*": RUN, "tuning/*": RUN},
)


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
    folder = named_folder(config.out)
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
    requested = asked_of(config.train, tune=config.tune)
    goes_on_there = goes_on(folder, COMPARISON, overwrite=config.overwrite)
    before = Comparison.read(folder) if goes_on_there else None
    code = {p: digest for p in config.positions if (digest := code_of(p)) is not None}
    if before:
        check_timed(folder, before)
        check_same_settings(folder, before, requested)
        check_same_text(folder, before, material.facts)
        check_same_code(folder, before, code)
        before = without_changed(before, code)
        code = {**before.code, **code}
    train = with_vocabulary(config.train, material.tokenizer.vocabulary_size)
    config = replace(config, train=train)
    settled = before.settled if before else _settled(config, material, show, cluster)
    if before and not cluster:
        warn_of_slow_dtype(Compute(**settled["machine"]), show.say)
    record = replace(_record(config, material, settled, command), asked=requested, code=code)
    passes = overfitting.before_it_starts(record.passes or 0.0)
    for line in [*passes, *changes(before, record, 0 if cluster else config.processes)]:
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
    record.looked_at().write(folder)


def _shared_training(config: CompareConfig) -> TrainConfig:
    """Return the training settings of the baseline, with absolute paths."""
    train = with_whole_paths(config.train)
    is_long = configured_steps(train) or train.epochs
    length: dict[str, Any] = {} if is_long else {"time": train.time or DEFAULT_TIME}
    # Every run would compile again, which does not pay off for small models.
    compiled: dict[str, Any] = {"compile": "no"} if train.compile == "auto" else {}
    model = replace(train.model, position=config.against)
    # Runs are evaluated at the last step: see the module docstring.
    return replace(train, model=model, keep="last", **length, **compiled)


def _settled(
    config: CompareConfig, material: TrainingData, show: Progress, cluster: ClusterLauncher | None
) -> dict[str, Any]:
    """Measure the machine, and convert a time limit into a number of steps for all runs."""
    show.say("measuring the fastest way to run several models on this machine")
    train, runs = config.train, len(config.positions) * max(1, config.seeds)
    calibrated = calibrate(train, runs, config.processes, cluster)
    steps = configured_steps(train)
    if steps is None:
        steps = steps_in(train, material, budget_seconds(train), calibrated.alone_seconds)
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
        base = next((p for p in config.positions if p in known), config.against)
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
        notes=[*contexts.left_out, *short, *([contexts.note] if contexts.note else [])],
        measure={
            "lengths": whole,
            "contexts": list(contexts.lengths),
            "pack": config.pack,
            "by_document": True,
        },
        settled=settled,
    )
