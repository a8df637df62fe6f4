"""Claims about rotary models that are trained on under another embedding.

Scaled, so that they read twice as far; or with no embedding at all, which rotary then only helped
to learn. The first training is that of the rotary models which all claims share, to the seed, and
is done anew: a job leans on no other's files.

What follows draws its batches from another seed, so that it does not begin with the very batches
that the model has begun with. Some of their text it has seen, as a second epoch would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.claims.claim import Claim, Criterion, Plan, Reading, Results, Work
from wordorder.claims.learning import mean_loss, paired
from wordorder.claims.lengths import TARGETS, curves
from wordorder.claims.longer import ramp
from wordorder.claims.text_models import LENGTH, loss, per_seed, text_model, text_models
from wordorder.evaluation.context import context_losses
from wordorder.experiments.calibration import config_of
from wordorder.experiments.paired_run import TRAINING_SHARE, Told, measures_of
from wordorder.experiments.side_by_side import Tell
from wordorder.extension.carried import carried
from wordorder.extension.fine_tune import RATE, fine_tune
from wordorder.extension.methods import Stretch, respelled
from wordorder.model import LanguageModel
from wordorder.training.config import TrainConfig
from wordorder.training.machine import DTYPES, Machine
from wordorder.training.material import read_material
from wordorder.training.run import Run
from wordorder.training.start import train

INSIDE, PAST = 2, 4  # times the trained length: what is tuned at, and beyond it
STEPS = 100
TUNED = {"PI": "interpolate", "NTK": "ntk", "YaRN": "yarn"}
PARENT, CONTROL = "not tuned", "as long at L"
KEPT = 0.875  # of the steps are taken with rotary (DroPE drops it at 14,000 of 16,000)


def tuned(plan: Plan, seed: int) -> Work:
    """Return the work of fine-tuning one rotary model with every method, and as long at L."""
    parent = text_model(plan, "rotary", seed)
    job = {"training": parent.job["training"], "model": parent.job["model"], "steps": STEPS}
    name = f"tuned-{LENGTH}/rotary-seed{seed}"
    steps = plan.steps + (1 + len(TUNED)) * STEPS
    return Work(name, train_tuned, job, 0.25 * steps + 75, folder=f"runs/{name}")


def dropped(plan: Plan, seed: int) -> Work:
    """Return the work of one model that is rotary for most of the plan's steps."""
    kept = round(KEPT * plan.steps)
    parent = text_model(replace(plan, steps=kept), "rotary", seed)
    job = {**parent.job, "questions": [], "steps": plan.steps - kept}
    name = f"dropped-{LENGTH}/rotary-seed{seed}"
    return Work(name, train_dropped, job, 0.25 * plan.steps + 30, folder=f"runs/{name}")


def train_tuned(job: Mapping[str, Any], tell: Tell) -> dict[str, dict[str, float]]:
    """Train a rotary model, fine-tune it at twice its length with each method; return losses.

    Args:
        job: that of `tuned`, with `folder`, where the runs go, and `machine`.

    Returns:
        The loss of the same targets, by model and by how many trained lengths it reads.
    """
    parent = _first(job, "parent", _part(tell, 0.0, 0.4))
    found = {PARENT: _same_targets(parent)}
    kinds = {CONTROL: ("unchanged", 1), **{name: (m, INSIDE) for name, m in TUNED.items()}}
    for number, (name, (method, factor)) in enumerate(kinds.items()):
        stretch = Stretch(LENGTH, factor * LENGTH, parent.model_config.resolved.head_dim)
        spec = respelled(method, parent.model_config, stretch)
        show = _part(tell, 0.4 + 0.15 * number, 0.15)
        run = _further(job, parent, spec, method, show, length=stretch.length, rate=RATE)
        found[name] = _same_targets(run)
    return found


def train_dropped(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train a rotary model, take its embedding away, train on, and return what it then scores.

    Args:
        job: that of `dropped`, with `folder`, where the runs go, and `machine`.
    """
    parent = _first(job, "rotary", _part(tell, 0.0, 0.7))
    run = _further(job, parent, "none", "none", _part(tell, 0.7, 0.1))
    return measures_of(run, job["measure"], lambda share: tell(0.8 + 0.2 * share, "measuring"))


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
    """Train a run's weights on under another embedding, in a folder of this name.

    Args:
        length: tokens of a training sequence; as many in a step as before.
        rate: share of the parent's learning rates.
    """
    assert isinstance(parent.model, LanguageModel)
    child = carried(parent.model, spec, length)
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
    run = train(config, machine=Machine(**job["machine"]), show=show, **start)
    run.model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]  # as its validation loss
    return run


def _part(tell: Tell, start: float, share: float) -> Told:
    """Return what tells of a training that is a share of the job, after another one."""
    return Told(lambda done, line: tell(start + share * done / TRAINING_SHARE, line))


def _same_targets(run: Run) -> dict[str, float]:
    """Return the loss of the same targets by how many trained lengths of the parent are read."""
    store = read_material(config_of(run.config), run.tokenizer).validation
    lengths = [factor * LENGTH for factor in (1, INSIDE, PAST)]
    losses = context_losses(run.model, store, lengths, trained_length=LENGTH).lengths
    return {
        str(part.context_length // LENGTH): part.loss_nats
        for part in losses
        if part.loss_nats is not None
    }


def _tuned(plan: Plan, results: Results) -> Reading:
    works = [tuned(plan, seed).name for seed in range(plan.seeds)]
    found = [results[name] for name in works if name in results]
    inside, past = str(INSIDE), str(PAST)

    def difference(one: str, other: str, factor: str) -> list[float]:
        return [part[one][factor] - part[other][factor] for part in found]

    said = []
    for name in found[0] if found else ():
        at = {f: sum(part[name][f] for part in found) / len(found) for f in found[0][name]}
        said.append(f"{name}: " + ", ".join(f"{mean:.3f} at {f}L" for f, mean in at.items()))
    return Reading(
        {
            "PI minus YaRN at 2L": difference("PI", "YaRN", inside),
            "PI minus YaRN at 4L": difference("PI", "YaRN", past),
            "PI minus NTK at 4L": difference("PI", "NTK", past),
            "PI at 2L minus at L": [part["PI"][inside] - part["PI"]["1"] for part in found],
        },
        (*said, ramp(INSIDE)) if found else (),
    )


def _dropped(plan: Plan, results: Results) -> Reading:
    rotary = per_seed(plan, results, "rotary")
    names = {seed: dropped(plan, seed).name for seed in range(plan.seeds)}
    ours = {s: results[name] for s, name in names.items() if name in results and s in rotary}
    if not ours:
        return Reading({})
    mean = sum(map(loss, ours.values())) / len(ours)
    longer = {
        name: sum(loss_at(part, INSIDE) for part in parts) / len(parts)
        for name, parts in {"rotary": list(rotary.values()), "dropped": list(ours.values())}.items()
    }
    return Reading(
        {
            "dropped minus rotary": [loss(part) - loss(rotary[s]) for s, part in ours.items()],
            "none minus rotary": list(paired(plan, results, "none", "rotary").values()),
            "dropped minus rotary at 2L, same targets": [
                loss_at(part, INSIDE) - loss_at(rotary[s], INSIDE) for s, part in ours.items()
            ],
        },
        (
            f"within L: {mean_loss(plan, results, 'rotary')}, dropped {mean:.3f}, "
            f"{mean_loss(plan, results, 'none')}",
            "at 2L, the same targets: " + ", ".join(f"{n} {at:.3f}" for n, at in longer.items()),
            *curves(plan, results, "rotary", "none"),
        ),
    )


def loss_at(found: Mapping[str, Any], factor: int) -> float:
    """Return a model's loss of the same targets, with so many trained lengths before them."""
    at = {part["factor"]: part["loss"] for part in found["same_targets"]["lengths"]}
    return float(at[factor])


CLAIMS = (
    Claim(
        "tuned-interpolation",
        "literature",
        "After a short fine-tune at twice the length interpolation (PI) reads as well as YaRN "
        "within it, and worst of all past it; longer context then helps.",
        "Peng et al. 2023 (YaRN), table 1 (7 B parameters, 4,096 to 8,192 tokens)",
        "perplexity at 8,192: PI 3.34, YaRN 3.35; at 10,240: PI 8.07, NTK 6.24, YaRN 6.04; PI 3.51 "
        "at 4,096",
        f"{TARGETS} Rotary, then {STEPS} steps at 256 tokens and a tenth of the rates with each "
        "method.",
        (
            Criterion("PI minus YaRN at 2L", least=-0.03, most=0.03),
            Criterion("PI minus YaRN at 4L", least=0),
            Criterion("PI minus NTK at 4L", least=0),
            Criterion("PI at 2L minus at L", most=0),
        ),
        lambda plan: [tuned(plan, seed) for seed in range(plan.seeds)],
        _tuned,
    ),
    Claim(
        "dropped-rotary",
        "literature",
        "Rotary dropped late in training costs nothing, where a model without it from the start "
        "is worse, and reaches further.",
        "Gelberg et al. 2025 (DroPE), table 6 (494 M parameters, L = 1,024)",
        "perplexity 21.72 with rotary, 21.73 dropped at 87.5% of the steps (.0005), 23.77 without "
        "from the start (.090)",
        f"{TARGETS} Dropped after 87.5% of the steps; each part with a schedule of its own, at "
        "full rates.",
        (
            Criterion("dropped minus rotary", most=0.02),
            Criterion("none minus rotary", least=0.03),
            Criterion("dropped minus rotary at 2L, same targets", most=0),
        ),
        lambda plan: [
            *text_models(plan, "rotary", "none"),
            *(dropped(plan, seed) for seed in range(plan.seeds)),
        ],
        _dropped,
    ),
)
