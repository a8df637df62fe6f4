"""The small language models that claims share, one for each embedding and seed.

They are trained and measured as in `wordorder compare`, paired by seed. The measurements that
single claims need in addition are made in the same job, so that its result is all they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.claims.claim import ClaimPlan, Criterion, Gate, Results, Work
from wordorder.claims.intervals import Gains
from wordorder.claims.measurements import MEASUREMENTS
from wordorder.experiments.calibration import as_job, config_of
from wordorder.experiments.jobs import Tell
from wordorder.experiments.paired_run import train_and_measure
from wordorder.experiments.statistics import Interval
from wordorder.model.config import PRESETS, ModelConfig
from wordorder.names import file_name
from wordorder.training.compute import DTYPES
from wordorder.training.config import TrainConfig
from wordorder.training.run import Run
from wordorder.training.training_data import read_training_data, tokenizer_of

LENGTH = 128  # 13 held-out documents of the built-in text reach 8 times this length
FACTORS = (1, 2, 5, 8)
TOKENS_PER_STEP = 2048
# A masked-token model has a target at one token in seven: with the same vocabulary and steps it
# learns only word frequencies, whatever its embedding.
MASKED_VOCABULARY, MASKED_STEPS = 512, 3.0

# Measurements of a trained model beyond its losses, by embedding.
ASKED: dict[str, tuple[str, ...]] = {
    "none": ("last-doubling", "position-probe"),
    "sinusoidal": ("last-doubling", "removed"),
    "learned": ("removed", "resampled"),
    "rotary": ("last-doubling", "near-far", "scalings"),
    "t5": ("last-doubling",),
    "alibi": ("last-doubling",),
    "kerple": ("last-doubling",),
    "none+log-temperature": ("last-doubling",),
    "rotary+log-temperature": ("last-doubling",),
}
OF_MASKED = ("word-frequencies",)
WORTH = 0.01  # nats; the smallest gain of the last doubling of context that counts


def text_model(
    plan: ClaimPlan,
    position: str,
    seed: int,
    *,
    length: int = LENGTH,
    steps: float = 1.0,
    rate: float = 1.0,
    masked: bool = False,
    measurements: tuple[str, ...] = (),
) -> Work:
    """Return the job of one language model.

    Losses at longer contexts are measured only if all arguments have their defaults.

    Args:
        length: tokens in a training sequence.
        steps: relative to the plan's.
        rate: of both learning rates, relative to the default ones.
        masked: whether it is bidirectional with the masked-token objective, a smaller vocabulary
            and more steps.
        measurements: in place of those in `ASKED`.
    """
    sizes = {**PRESETS["nano"], "trained_length": length}
    if masked:
        sizes["vocabulary_size"], steps = MASKED_VOCABULARY, steps * MASKED_STEPS
    model = ModelConfig(**sizes, position=position, causal=not masked)
    config = TrainConfig(
        model=model,
        data=plan.data,
        batch_size=TOKENS_PER_STEP // length,
        steps=round(steps * plan.steps),
        seed=seed,
        objective="masked-token" if masked else "next-token",
        evaluate_every=round(steps * plan.steps),
        compile="no",
    )
    config = replace(
        config,
        learning_rate=rate * config.learning_rate,
        matrix_learning_rate=rate * config.matrix_learning_rate,
    )
    lengths = [factor * length for factor in FACTORS]
    usual = length == LENGTH and steps == rate == 1 and not masked and not measurements
    questions = (
        list(ASKED.get(position, ())) if usual else list(OF_MASKED if masked else measurements)
    )
    job = {
        **as_job(config),
        "measure": {"lengths": lengths, "contexts": lengths, "pack": False} if usual else None,
        "questions": questions,
    }
    longer = "" if steps == 1 or masked else f"-x{steps:g}"
    longer += "" if rate == 1 else f"-rate{rate:g}"
    kind = "masked" if masked else "-".join(measurements) or "text"
    name = f"{kind}-{length}{longer}/{file_name(position)}-seed{seed}"
    seconds = 0.12 * steps * plan.steps + 14 * usual + 12 * len(questions)
    return Work(name, train_text_model, job, seconds, folder=f"runs/{name}")


def text_models(plan: ClaimPlan, *positions: str, **kind: Any) -> list[Work]:
    """Return the jobs of language models with some embeddings, for every seed of the plan."""
    return [text_model(plan, p, s, **kind) for s in range(plan.seeds) for p in positions]


def train_text_model(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train one language model and return all measurements that claims need.

    Args:
        job: that of `text_model`, with `folder` for the run, and `machine`.
    """
    shared = config_of(job)
    config = replace(shared, out=job["folder"], threads=job["machine"]["threads"])
    results = train_and_measure({**job, **as_job(config), "command": None}, tell)
    if job["questions"]:
        run = Run.load(job["folder"])
        run.model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]
        material = read_training_data(config, tokenizer_of(Path(job["folder"])))
        for name in job["questions"]:
            tell(0.95, name)
            results[name] = MEASUREMENTS[name](run, material)
    return results


def per_seed(plan: ClaimPlan, results: Results, position: str, **kind: Any) -> dict[int, Any]:
    """Return the results of one embedding's models by seed, without failed runs."""
    works = {s: text_model(plan, position, s, **kind).name for s in range(plan.seeds)}
    return {seed: results[name] for seed, name in works.items() if name in results}


def loss(results: Mapping[str, Any]) -> float:
    """Return a model's validation loss."""
    return float(results["validation_loss"])


def differences(ours: Mapping[int, Any], theirs: Mapping[int, Any]) -> dict[int, float]:
    """Return the difference of validation losses by seed, of results as `per_seed` gives them."""
    return {s: loss(ours[s]) - loss(theirs[s]) for s in ours if s in theirs}


def gains(plan: ClaimPlan, results: Results, position: str) -> dict[str, Gains]:
    """Return the gain of the last doubling of context of an embedding's models, by its name."""
    parts = per_seed(plan, results, position)
    doublings = {s: part["last-doubling"] for s, part in parts.items() if "last-doubling" in part}
    return {gained(position): Gains({s: Interval(**part) for s, part in doublings.items()})}


def gained(position: str) -> str:
    """Return the name of the quantity of `gains`."""
    return f"gain of the last doubling of context, {position}"


def uses_context(position: str, *of: str, spares: tuple[str, ...] = ()) -> Gate:
    """Return the gate of a claim about length: distant context must lower the loss.

    Args:
        position: the embedding whose models must benefit.
        of: the quantities whose criteria depend on it; empty: all.
        spares: verdicts that do not depend on it.
    """
    return Gate(
        Criterion(gained(position), least=WORTH),
        "more training, or text with stronger long-range dependencies",
        of,
        spares,
    )


def rise(results: Mapping[str, Any], factor: float, *, same_targets: bool = False) -> float | None:
    """Return the rise of the loss at a multiple of the trained length; None if not measured.

    Args:
        same_targets: whether for the same tokens with growing context, or for disjoint windows.
    """
    there = loss_at(results, factor, same_targets=same_targets)
    base = loss_at(results, 1.0, same_targets=same_targets)
    return None if there is None or base is None else there - base


def loss_at(
    results: Mapping[str, Any], factor: float, *, same_targets: bool = True
) -> float | None:
    """Return the loss at a multiple of the trained length; None if not measured.

    Args:
        same_targets: as in `rise`.
    """
    lengths = results["same_targets"]["lengths"] if same_targets else results["whole_windows"]
    at = {part["factor"]: part.get("loss") for part in lengths}
    return at.get(factor)
