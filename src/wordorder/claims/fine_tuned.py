"""Claims about rotary models that are fine-tuned with another embedding.

The embedding is scaled to twice the length, or removed. The first training equals that of the
rotary models which all claims share, seed by seed, and is repeated here, because a job does not
depend on files of other jobs.

Fine-tuning uses another seed for its batches, so that it does not repeat the first batches of
training. Some of the text was seen before, as in a second epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Gate, Measurements, Results, Work
from wordorder.claims.intervals import Gains
from wordorder.claims.learning import mean_loss, paired
from wordorder.claims.lengths import TARGETS, curves
from wordorder.claims.longer import ramp
from wordorder.claims.measurements import last_doubling
from wordorder.claims.text_models import (
    LENGTH,
    gained,
    gains,
    loss,
    loss_at,
    per_seed,
    text_model,
    text_models,
    uses_context,
)
from wordorder.evaluation.context import context_losses
from wordorder.experiments.calibration import config_of
from wordorder.experiments.jobs import SECONDS_TO_SAVE, Tell
from wordorder.experiments.paired_run import TRAINING_SHARE, Told, measures_of
from wordorder.experiments.statistics import Interval
from wordorder.extension.fine_tune import RATE, fine_tune
from wordorder.extension.methods import Stretch, respelled
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel
from wordorder.training.compute import DTYPES, Compute
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.start import train
from wordorder.training.training_data import read_training_data

INSIDE, PAST = 2, 4  # times the trained length: the fine-tuned length, and beyond it
STEPS = 100
TUNED = {"PI": "interpolate", "NTK": "ntk", "YaRN": "yarn"}
PARENT, CONTROL = "not tuned", "as long at L"
FARTHER = "dropped minus kept at 2L, same targets"
DROPPED, KEPT_ON = "dropped", "kept"
KEPT = 0.875  # fraction of the steps with rotary (DroPE drops it at 14,000 of 16,000)


def tuned(plan: ClaimPlan, seed: int) -> Work:
    """Return the job of fine-tuning one rotary model with every method, and at its old length."""
    parent = text_model(plan, "rotary", seed)
    job = {"training": parent.job["training"], "model": parent.job["model"], "steps": STEPS}
    name = f"tuned-{LENGTH}/rotary-seed{seed}"
    steps = plan.steps + (1 + len(TUNED)) * STEPS
    return Work(name, train_tuned, job, 0.25 * steps + 75, folder=f"runs/{name}")


def dropped(plan: ClaimPlan, seed: int) -> Work:
    """Return the job of one model that has rotary for most of the plan's steps.

    The remaining steps run twice: without positions, and with rotary. The second is the control,
    because both restart the schedule, which costs something by itself.
    """
    shared_steps = round(KEPT * plan.steps)
    parent = text_model(replace(plan, steps=shared_steps), "rotary", seed)
    job = {**parent.job, "questions": [], "steps": plan.steps - shared_steps}
    name = f"dropped-{LENGTH}/rotary-seed{seed}"
    steps = plan.steps + job["steps"]
    return Work(name, train_dropped, job, 0.25 * steps + 60, folder=f"runs/{name}")


def train_tuned(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train a rotary model, fine-tune it at twice its length with each method; return losses.

    Args:
        job: that of `tuned`, with `folder` for the runs, and `machine`.

    Returns:
        `losses` of the same targets, by model and by how many trained lengths it reads, and the
        gain of the last doubling of context of the first model.
    """
    parent = _first(job, "parent", _part(tell, 0.0, 0.4))
    material = read_training_data(config_of(parent.config), parent.tokenizer)
    losses = {PARENT: _same_targets(parent)}
    kinds = {CONTROL: ("unchanged", 1), **{name: (m, INSIDE) for name, m in TUNED.items()}}
    for number, (name, (method, factor)) in enumerate(kinds.items()):
        stretch = Stretch(LENGTH, factor * LENGTH, parent.model_config.rotated_dim)
        spec = respelled(method, parent.model_config, stretch)
        show = _part(tell, 0.4 + 0.15 * number, 0.15)
        run = _further(job, parent, spec, method, show, length=stretch.length, rate=RATE)
        losses[name] = _same_targets(run)
    return {"losses": losses, "last-doubling": last_doubling(parent, material)}


def train_dropped(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train a rotary model, continue without its embedding and with it; return both results.

    Args:
        job: that of `dropped`, with `folder` for the runs, and `machine`.
    """
    parent = _first(job, "rotary", _part(tell, 0.0, 0.7))
    measurements = {}
    for number, (name, spec) in enumerate(((DROPPED, "none"), (KEPT_ON, "rotary"))):
        start = 0.7 + 0.15 * number
        run = _further(job, parent, spec, name, _part(tell, start, 0.05))
        measurements[name] = measures_of(run, job["measure"], _measuring(tell, start + 0.05))
    return measurements


def _measuring(tell: Tell, start: float) -> Callable[[float], None]:
    return lambda share: tell(start + 0.1 * share, "measuring")


def _first(job: Mapping[str, Any], name: str, show: Told) -> Run:
    """Train the rotary model, in a folder of this name."""
    config = replace(config_of(job), out=str(Path(job["folder"]) / name))
    return _train(config, job, show)


def _further(
    job: Mapping[str, Any],
    parent: Run,
    spec: str,
    name: str,
    show: Told,
    *,
    length: int = LENGTH,
    rate: float = 1.0,
) -> Run:
    """Fine-tune a run with another embedding, in a folder of this name.

    Args:
        length: tokens in a training sequence; tokens per step stay the same.
        rate: learning rates relative to the parent's.
    """
    assert isinstance(parent.model, LanguageModel)
    child = with_position(parent.model, spec, length)
    config = replace(
        fine_tune(config_of(job), length, rate=rate),
        model=child.config,
        out=str(Path(job["folder"]) / name),
        init=str(parent.folder),
        steps=job["steps"],
        evaluate_every=job["steps"],
    )
    return _train(config, job, show, weights=child.state_dict())


def _train(config: TrainConfig, job: Mapping[str, Any], show: Told, **start: Any) -> Run:
    config = replace(config, threads=job["machine"]["threads"], overwrite=True, keep="last")
    machine = Compute(**job["machine"])
    run = train(config, compute=machine, show=show, wait=SECONDS_TO_SAVE, **start)
    run.model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]  # as its validation loss
    return run


def _part(tell: Tell, start: float, share: float) -> Told:
    """Return a display that reports a training as a fraction of the job."""
    return Told(lambda done, line: tell(start + share * done / TRAINING_SHARE, line))


def _same_targets(run: Run) -> dict[str, float]:
    """Return the loss of the same targets by context, in trained lengths of the parent."""
    store = read_training_data(config_of(run.config), run.tokenizer).validation
    lengths = [factor * LENGTH for factor in (1, INSIDE, PAST)]
    losses = context_losses(run.model, store, lengths, trained_length=LENGTH).lengths
    return {
        str(part.context_length // LENGTH): part.loss_nats
        for part in losses
        if part.loss_nats is not None
    }


def _tuned(plan: ClaimPlan, results: Results) -> Measurements:
    names = {seed: tuned(plan, seed).name for seed in range(plan.seeds)}
    parts = {seed: results[name] for seed, name in names.items() if name in results}
    losses = {seed: part["losses"] for seed, part in parts.items()}
    inside, past = str(INSIDE), str(PAST)

    def difference(*pair: tuple[str, str]) -> dict[int, float]:
        both = {s: [part[name].get(factor) for name, factor in pair] for s, part in losses.items()}
        return {s: a - b for s, (a, b) in both.items() if None not in (a, b)}

    every, notes = list(losses.values()), []
    for name in every[0] if every else ():
        factors = [f for f in every[0][name] if all(f in part[name] for part in every)]
        at = {f: sum(part[name][f] for part in every) / len(every) for f in factors}
        if at:
            notes.append(f"{name}: " + ", ".join(f"{mean:.3f} at {f}L" for f, mean in at.items()))
    return Measurements(
        {
            "PI minus YaRN at 2L": difference(("PI", inside), ("YaRN", inside)),
            "PI minus YaRN at 4L": difference(("PI", past), ("YaRN", past)),
            "PI minus NTK at 4L": difference(("PI", past), ("NTK", past)),
            "PI at 2L minus at L": difference(("PI", inside), ("PI", "1")),
            gained("rotary"): Gains({s: Interval(**p["last-doubling"]) for s, p in parts.items()}),
        },
        (*notes, ramp(INSIDE)) if every else (),
    )


def _dropped(plan: ClaimPlan, results: Results) -> Measurements:
    rotary = per_seed(plan, results, "rotary")
    names = {seed: dropped(plan, seed).name for seed in range(plan.seeds)}
    ours = {s: results[name] for s, name in names.items() if name in results}
    if not ours:
        return Measurements({})
    both = {name: [part[name] for part in ours.values()] for name in (DROPPED, KEPT_ON)}
    within = [f"{n} {sum(map(loss, parts)) / len(parts):.3f}" for n, parts in both.items()]
    longer = [
        f"{name} {sum(losses) / len(losses):.3f}"
        for name, parts in {"rotary": list(rotary.values()), **both}.items()
        if (losses := [at for part in parts if (at := loss_at(part, INSIDE)) is not None])
    ]
    far = {s: (loss_at(p[DROPPED], INSIDE), loss_at(p[KEPT_ON], INSIDE)) for s, p in ours.items()}
    return Measurements(
        {
            "dropped minus kept": {s: loss(p[DROPPED]) - loss(p[KEPT_ON]) for s, p in ours.items()},
            "none minus rotary": paired(plan, results, "none", "rotary"),
            FARTHER: {s: a - b for s, (a, b) in far.items() if a is not None and b is not None},
            "kept minus rotary": {
                s: loss(p[KEPT_ON]) - loss(rotary[s]) for s, p in ours.items() if s in rotary
            },
            **gains(plan, results, "rotary"),
        },
        (
            f"within L: {mean_loss(plan, results, 'rotary')}, {', '.join(within)}, "
            f"{mean_loss(plan, results, 'none')}",
            f"at 2L, the same targets: {', '.join(longer)}",
            *curves(plan, results, "rotary", "none"),
        ),
    )


CLAIMS = (
    Claim(
        "tuned-interpolation",
        "literature",
        "After a short fine-tune at twice the length, interpolation (PI) matches YaRN up to that "
        "length and is the worst method beyond it; longer context then helps.",
        "Peng et al. 2023 (YaRN), table 1 (7 B parameters, 4,096 to 8,192 tokens)",
        "perplexity at 8,192: PI 3.34, YaRN 3.35; at 10,240: PI 8.07, NTK 6.24, YaRN 6.04; PI 3.51 "
        "at 4,096",
        f"{TARGETS} Rotary, then {STEPS} steps at 256 tokens with a tenth of the learning rates, "
        f"with each method.",
        (
            Criterion("PI minus YaRN at 2L", least=-0.03, most=0.03),
            Criterion("PI minus YaRN at 4L", least=0),
            Criterion("PI minus NTK at 4L", least=0),
            Criterion("PI at 2L minus at L", most=0),
        ),
        lambda plan: [tuned(plan, seed) for seed in range(plan.seeds)],
        _tuned,
        gates=(uses_context("rotary"),),
    ),
    Claim(
        "dropped-rotary",
        "literature",
        "Dropping rotary late in training costs nothing compared with keeping it, although a "
        "model without it from the start is worse, and improves the loss at twice the length.",
        "Gelberg et al. 2025 (DroPE), table 6 (494 M parameters, L = 1,024)",
        "perplexity 21.72 with rotary, 21.73 dropped at 87.5% of the steps (.0005), 23.77 without "
        "from the start (.090)",
        f"{TARGETS} Rotary is dropped after 87.5% of the steps, or kept; each part has its own "
        f"schedule at full learning rates. Kept is the control, because restarting a schedule "
        f"costs something.",
        (
            Criterion("dropped minus kept", most=0.02),
            Criterion("none minus rotary", least=0.03),
            Criterion(FARTHER, most=0),
        ),
        lambda plan: [
            *text_models(plan, "rotary", "none"),
            *(dropped(plan, seed) for seed in range(plan.seeds)),
        ],
        _dropped,
        gates=(
            uses_context("rotary", FARTHER),
            Gate(
                Criterion("none minus rotary", least=0.03),
                "models that benefit from rotary, or dropping it shows nothing",
                of=("dropped minus kept",),
            ),
        ),
        seeds_needed=7,
        causes={
            "dropped minus kept": "only 38 of 300 steps remain to adapt; the source leaves 2,000 "
            "of 16,000"
        },
    ),
)
