"""The language models that claims share: small, on real text, one for each embedding and seed.

They are trained and measured as `wordorder compare` trains and measures its runs, paired by
seed; what single claims ask of a trained model beyond that is measured at once, so that a
model is read once and its results are all that claims need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wordorder.claims.claim import Criterion, Gate, Plan, Results, Work
from wordorder.claims.intervals import Gains
from wordorder.claims.questions import QUESTIONS
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

LENGTH = 128  # 8 times that is what 13 documents of the built-in text's held-out part reach
FACTORS = (1, 2, 5, 8)
TOKENS_PER_STEP = 2048
# A model that fills in hidden tokens is told of one in seven: with as little training and as many
# tokens to choose from it learns no more than how frequent each is, whatever its embedding.
MASKED_VOCABULARY, MASKED_STEPS = 512, 3.0

# What is asked of a trained model beside its losses, by embedding.
ASKED: dict[str, tuple[str, ...]] = {
    "none": ("last-doubling", "position-probe"),
    "sinusoidal": ("last-doubling", "removed"),
    "learned": ("removed", "resampled"),
    "rotary": ("last-doubling", "near-far", "scalings"),
    "t5": ("last-doubling",),
    "alibi": ("last-doubling",),
    "kerple": ("last-doubling",),
}
OF_MASKED = ("word-frequencies",)
WORTH = 0.01  # nats that the last doubling of the context must gain for far context to matter


def text_model(
    plan: Plan,
    position: str,
    seed: int,
    *,
    length: int = LENGTH,
    steps: float = 1.0,
    masked: bool = False,
    asked: tuple[str, ...] = (),
) -> Work:
    """Return the work of one language model.

    Args:
        length: tokens of a training sequence.
        steps: times the plan's.
        masked: it sees both sides, and predicts hidden tokens, of fewer kinds and longer.
        asked: what is asked of it instead of what is asked of its like.

    How far it reaches is measured where all of these are as they usually are.
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
    lengths = [factor * length for factor in FACTORS]
    usual = length == LENGTH and steps == 1 and not masked and not asked
    questions = list(ASKED.get(position, ())) if usual else list(OF_MASKED if masked else asked)
    job = {
        **as_job(config),
        "measure": {"lengths": lengths, "contexts": lengths, "pack": False} if usual else None,
        "questions": questions,
    }
    longer = "" if steps == 1 or masked else f"-x{steps:g}"
    kind = "masked" if masked else "-".join(asked) or "text"
    name = f"{kind}-{length}{longer}/{file_name(position)}-seed{seed}"
    seconds = 0.22 * steps * plan.steps + 25 * usual + 22 * len(questions)
    return Work(name, train_text_model, job, seconds, folder=f"runs/{name}")


def text_models(plan: Plan, *positions: str, **kind: Any) -> list[Work]:
    """Return the work of language models with some embeddings, every seed of the plan."""
    return [text_model(plan, p, s, **kind) for s in range(plan.seeds) for p in positions]


def train_text_model(job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Train one language model and return everything that claims ask of it.

    Args:
        job: that of `text_model`, with `folder`, where the run goes, and `machine`.
    """
    shared = config_of(job)
    config = replace(shared, out=job["folder"], threads=job["machine"]["threads"])
    found = train_and_measure({**job, **as_job(config), "command": None}, tell)
    if job["questions"]:
        run = Run.load(job["folder"])
        run.model.compute_dtype = DTYPES[run.config["machine"]["dtype"]]
        material = read_training_data(config, tokenizer_of(Path(job["folder"])))
        for name in job["questions"]:
            tell(0.95, name)
            found[name] = QUESTIONS[name](run, material)
    return found


def per_seed(plan: Plan, results: Results, position: str, **kind: Any) -> dict[int, Any]:
    """Return the results of one embedding's models by seed; runs that failed are not there."""
    works = {s: text_model(plan, position, s, **kind).name for s in range(plan.seeds)}
    return {seed: results[name] for seed, name in works.items() if name in results}


def loss(found: Mapping[str, Any]) -> float:
    """Return a model's validation loss."""
    return float(found["validation_loss"])


def gains(plan: Plan, results: Results, position: str) -> dict[str, Gains]:
    """Return what the last doubling of the context is worth to an embedding's models, by name."""
    parts = per_seed(plan, results, position)
    found = {s: part["last-doubling"] for s, part in parts.items() if "last-doubling" in part}
    return {gained(position): Gains({s: Interval(**part) for s, part in found.items()})}


def gained(position: str) -> str:
    """Return the name of what the last doubling of the context is worth to an embedding."""
    return f"gain of the last doubling of context, {position}"


def uses_context(position: str, *of: str, spares: tuple[str, ...] = ()) -> Gate:
    """Return the gate of a claim about length: far context must be worth something to begin with.

    Args:
        position: whose models must gain by it.
        of: quantities whose criteria it guards; none: all.
        spares: verdicts that stand without it.
    """
    return Gate(
        Criterion(gained(position), least=WORTH),
        "more training, or text in which what lies farther back matters more",
        of,
        spares,
    )


def rise(found: Mapping[str, Any], factor: float, *, same_targets: bool = False) -> float | None:
    """Return what a loss at a multiple of the trained length is above that at the length.

    Args:
        same_targets: of the same tokens with growing context; otherwise of whole windows.
    """
    lengths = found["same_targets"]["lengths"] if same_targets else found["whole_windows"]
    at = {part["factor"]: part.get("loss") for part in lengths}
    there, base = at.get(factor), at.get(1.0)
    return None if there is None or base is None else there - base
