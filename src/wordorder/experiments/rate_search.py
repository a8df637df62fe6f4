"""Searches for learning rates: short runs with multiples of both rates, judged on development text.

Every run is a whole one, with its own warm-up and decay, over the same batches. A range test, one
run whose rate rises until the loss does, is shorter, but shows where training diverges, not which
rate ends lowest after its decay. With two seeds a difference can be told from noise, roughly.

The runs have a quarter of the steps, at least 100. The best rate falls as runs get longer, so the
best of short runs is at the upper end of what suits the long one.

Source: Wortsman et al. 2023, arXiv 2309.14322 (the loss of whole runs by learning rate, and how
flat it is); Smith 2015, arXiv 1506.01186, section 3.3 (the range test, not used);
Bjorck et al. 2024, arXiv 2409.19913 (longer runs need lower rates).

Not here: a multiple of one rate alone; other settings.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wordorder import drawing
from wordorder.errors import BadInput, Failed
from wordorder.experiments.calibration import Calibration, as_job, calibrate
from wordorder.experiments.folder import beginning, goes_on, write_record
from wordorder.experiments.grid import SECONDS_TO_START
from wordorder.experiments.jobs import Job
from wordorder.experiments.paired_run import (
    CHOOSING,
    CHOOSING_BY_PARTS,
    MEASURES,
    train_and_measure,
)
from wordorder.experiments.runner import Progress, at_once_in_words, run_what_is_left
from wordorder.experiments.tuning import SEEDS, Losses, best, further
from wordorder.folders import FolderKind
from wordorder.locks import held
from wordorder.numerals import counted
from wordorder.panels import Level, Line, Lines, look_of
from wordorder.positions import code_of
from wordorder.text.data_names import mixture_of
from wordorder.training.compute import Compute, warn_of_slow_dtype
from wordorder.training.config import (
    TEXTS,
    TrainConfig,
    budget_seconds,
    folder_of,
    with_whole_paths,
)
from wordorder.training.initial_run import with_initial_run
from wordorder.training.plan import readable_seconds
from wordorder.training.preparation import configured_steps, steps_in
from wordorder.training.run import RUN
from wordorder.training.size import with_dropout

FACTORS: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
SHARE, FEWEST_STEPS = 0.25, 100
FLAT = 0.01  # nats: rates this near the best one are as good
RECORD, PICTURE = "search.json", "learning-rate.png"
SEARCH = FolderKind(
    "a learning-rate search",
    record=RECORD,
    keys=("asked", "steps", "machine"),
    files=(PICTURE,),
    inside={"runs/*": RUN},
)


@dataclass(frozen=True)
class RateSearch:
    """The result of a search.

    Args:
        folder: has the runs, the picture and the record.
        config: of the run that is searched for.
        steps: of each short run.
        run_steps: of the run that is searched for.
        text: the part that losses are measured on: development, or else validation.
        losses: for each factor of the learning rates, the loss of each seed, in nats per token.
    """

    folder: Path
    config: TrainConfig
    steps: int
    run_steps: int
    text: str
    losses: Losses

    @property
    def means(self) -> dict[float, float]:
        """The mean loss of each factor whose runs ended with every seed, in ascending order."""
        whole = {f: each for f, each in self.losses.items() if len(each) == len(SEEDS)}
        return {f: math.fsum(each) / len(each) for f, each in sorted(whole.items())}

    @property
    def best(self) -> float:
        """The factor with the lowest mean loss."""
        return best(self.losses)

    @property
    def as_good(self) -> list[float]:
        """The factors at most `FLAT` above the lowest mean, or not above it in one of the seeds."""
        means, lowest = self.means, self.losses[self.best]
        return [
            factor
            for factor, mean in means.items()
            if mean <= means[self.best] + FLAT
            or any(a <= b for a, b in zip(self.losses[factor], lowest, strict=True))
        ]

    @property
    def suggested(self) -> float:
        """The factor to train with: 1 if that is as good as the best."""
        return 1.0 if 1.0 in self.as_good else self.best

    def rates(self, factor: float) -> tuple[float, float]:
        """Return both learning rates times a factor, rounded to three digits."""
        config = self.config
        rates = config.learning_rate, config.matrix_learning_rate
        first, second = (float(f"{factor * rate:.3g}") for rate in rates)
        return first, second


def search(
    config: TrainConfig,
    *,
    show: Progress | None = None,
    command: str | None = None,
    trust: bool = False,
) -> RateSearch:
    """Search for the learning rates of a run; the same call continues an interrupted search.

    Args:
        config: of the run, which is not trained; the search is in its folder's name with -rates.
        show: receives progress.
        command: the command line, for the model cards.
        trust: allow the code of a user-defined embedding in `config.init` to run.

    Raises:
        BadInput: the text is too short to choose by, or the folder holds something else.
        Failed: no run ended.
    """
    show = show or Progress()
    folder = folder_of(config)
    folder = folder.with_name(f"{folder.name}-rates")
    config = with_whole_paths(replace(config, keep="last", average="none"))
    with held(folder):
        return _search(folder, config, show, command, trust)


def _search(
    folder: Path, config: TrainConfig, show: Progress, command: str | None, trust: bool
) -> RateSearch:
    config, data, _ = with_initial_run(config, trust=trust)
    code = code_of(config.model.position)  # None: not of a user
    asked = {**as_job(replace(config, out=None, overwrite=False)), "text": data.facts["split"]}
    asked = json.loads(json.dumps({**asked, "content_hash": data.facts["content_hash"]}))
    resumes = goes_on(folder, SEARCH, overwrite=config.overwrite)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8")) if resumes else {}
    if resumes and _by_contents(record["asked"]) != _by_contents(asked):
        raise BadInput(
            f"{folder} holds a search with other settings or another text: add --overwrite, or "
            "choose another --out",
            code="experiments.other-search",
        )
    if resumes:
        warn_of_slow_dtype(Compute(**record["machine"]), show.say)
    else:
        show.say("measuring the fastest way to run several models on this machine")
        compiled = replace(config, compile="no" if config.compile == "auto" else config.compile)
        settled = calibrate(compiled, len(FACTORS) * len(SEEDS))
        run_steps = configured_steps(config) or steps_in(
            config, data, budget_seconds(config), settled.alone_seconds
        )
        record = {**asdict(settled), "run_steps": run_steps, "asked": asked}
        record["steps"] = min(run_steps, max(FEWEST_STEPS, math.ceil(SHARE * run_steps)))
    record["code"] = code
    with beginning(folder, SEARCH, goes_on=resumes):
        _write(folder, record)
    config = with_dropout(config, data, record["run_steps"])
    losses, text = _losses(folder, config, record, show, command)
    found = RateSearch(folder, config, record["steps"], record["run_steps"], text, losses)
    _write(folder, {**record, "text": text, "losses": {f"{f:g}": v for f, v in losses.items()}})
    _draw(found)
    return found


def _by_contents(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the paths of texts, which are identified by their contents."""
    training = {name: value for name, value in asked["training"].items() if name not in TEXTS}
    return {**asked, "training": training}


def _losses(
    folder: Path, config: TrainConfig, record: dict[str, Any], show: Progress, command: str | None
) -> tuple[Losses, str]:
    """Return the losses of each factor, in ascending order, and the name of their text.

    Raises:
        Failed: no factor has a loss of every seed.
    """
    settled = Calibration(**{n: record[n] for n in Calibration.__dataclass_fields__})
    losses: Losses = {}
    errors: list[str] = []
    texts, tried, factors = set(), set(), FACTORS
    while factors:
        cells = [(factor, seed) for factor in factors for seed in SEEDS]
        jobs = [_job(folder, config, record, *cell, command) for cell in cells]

        def plan(left: list[Job]) -> tuple[str, float]:
            steps, at_once = record["steps"], settled.processes
            each = SECONDS_TO_START + steps * settled.step_seconds
            seconds = len(left) * each / min(len(left), at_once)
            runs = f"{counted(len(left), 'run')} of {counted(steps, 'step')}"
            about = f"{at_once_in_words(at_once)}: about {readable_seconds(seconds)}"
            return f"{runs}, {about}", seconds

        outcomes = run_what_is_left(jobs, at_once=settled.processes, plan=plan, show=show)
        for (factor, _), outcome in zip(cells, outcomes, strict=True):
            ended = losses.setdefault(factor, [])
            if outcome.error is None:
                ended.append(outcome.result["validation_loss"])
                texts.add(outcome.result["text"])
            else:
                errors.append(outcome.error)
        tried |= set(factors)
        factors = further(losses, tried)
    if not any(len(each) == len(SEEDS) for each in losses.values()):
        # The first run has the lowest rates, so it is the least likely to have diverged.
        raise Failed(
            f"no rate of the search has a loss of both seeds; {folder} has their runs, and the "
            f"first that failed says: {errors[0]}",
            code="experiments.search-without-result",
        )
    return dict(sorted(losses.items())), " and ".join(sorted(texts))


def _job(
    folder: Path,
    config: TrainConfig,
    record: dict[str, Any],
    factor: float,
    seed: int,
    command: str | None,
) -> Job:
    machine = record["machine"]
    run = folder / "runs" / f"{factor:g}x-seed{SEEDS.index(seed)}"
    short = replace(
        config,
        seed=seed,
        out=None,
        overwrite=False,
        time=None,
        tokens=None,
        steps=record["steps"],
        checkpoint_at_words=(),
        threads=machine["threads"],
        learning_rate=factor * config.learning_rate,
        matrix_learning_rate=factor * config.matrix_learning_rate,
    )
    text = record["asked"]["content_hash"]
    return Job(
        f"{factor:g}x seed {SEEDS.index(seed)}",
        train_and_measure,
        {
            **as_job(short),
            "machine": machine,
            "measure": CHOOSING_BY_PARTS if mixture_of(config.data) else CHOOSING,
            "text": text,
            "code": record["code"],
        },
        {"folder": str(run), "command": command},
        run / MEASURES,
        machine["threads"],
        in_words=lambda result: f"{result['text']} loss {result['validation_loss']:.4f}",
    )


def _write(folder: Path, record: dict[str, Any]) -> None:
    from wordorder.version import __version__

    text = json.dumps({"wordorder": __version__, **record}, indent=1)
    write_record(folder / RECORD, f"{text}\n")


def _draw(found: RateSearch) -> None:
    """Draw the loss by factor, each seed faintly."""
    model = found.config.model
    look = look_of(model.position if model.kind == "transformer" else "gru")
    seeds = tuple(
        tuple((f, found.losses[f][number]) for f in found.means) for number in range(len(SEEDS))
    )
    mean = Line(
        "mean of two seeds", look, tuple(found.means.items()), seeds=seeds, seeds_joined=True
    )
    lowest = found.means[found.best]
    panel = Lines(
        name=Path(PICTURE).stem,
        title=f"{found.text.capitalize()} loss after {counted(found.steps, 'step')}",
        x_label="multiple of both learning rates",
        y_label="loss (nats per token)",
        lines=(mean,),
        ticks=tuple((f, f"{f:g}x") for f in found.means),
        level=Level(lowest + FLAT, f"{FLAT:g} above the best"),
    )
    drawing.save_panels(found.folder / PICTURE, [[panel]])
