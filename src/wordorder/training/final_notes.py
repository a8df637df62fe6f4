"""The messages at the end of a run: which weights were saved, and signs of failure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from wordorder.training.metrics import read
from wordorder.training.moved_text import init_command
from wordorder.training.word_checkpoints import unreached

# Overfitting: the validation loss is this much above the training loss, and above the best one.
FAR_ABOVE, RISEN = 0.2, 0.01

Records = list[dict[str, Any]]


def of_finished(folder: Path, done: int) -> list[str]:
    """Return what to do with a run that is resumed although it is finished; empty if it is not.

    Args:
        done: the steps of its checkpoint; damaged lines after them are for `Metrics.cut`.
    """
    if not any("final" in record for record in read(folder / "metrics.jsonl", needed=done)):
        return []
    command = f"{init_command(folder)} --data TEXT"
    return [f"this run is finished; to train further, start a new one from its weights: {command}"]


def final_notes(folder: Path) -> list[str]:
    """Return the final messages of a finished run, one line each."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    records = read(folder / "metrics.jsonl")
    final = next((r for r in reversed(records) if "final" in r), None)
    steps = [r for r in records if "loss" in r]
    if final is None or not steps:
        return []
    counts = config["training"].get("checkpoint_at_words", ())
    messages = [
        best_and_last(final),
        overfitting(records),
        guessing(final, config["model"]),
        unreached(folder, counts),
    ]
    return [message for message in messages if message]


def best_and_last(final: dict[str, Any]) -> str:
    """Return which weights were saved, with their validation losses."""
    if "best_step" not in final:
        return ""
    best, last = final["best_step"], final["last_step"]
    averaged = final.get("best_averaged", False)
    if best == last and not averaged:
        return f"the last weights, of step {last:,}, are the best: they are in model.safetensors"
    weights = "averaged weights" if averaged else "weights"
    return (
        f"model.safetensors has the {weights} of step {best:,}, the best on the development text "
        f"(validation loss {final['best_loss']:.3f}); last.safetensors has those of step {last:,} "
        f"({final['last_loss']:.3f})"
    )


def overfitting(records: Records) -> str:
    """Return a message if the held-out loss rose while the training loss fell, else ""."""
    steps = [r for r in records if "loss" in r]
    checks = [r for r in records if "validation_loss" in r and "final" not in r]
    if len(checks) < 2:
        return ""
    recent = steps[-max(1, len(steps) // 10) :]
    training = sum(r["loss"] for r in recent) / len(recent)
    best, last = min(checks, key=lambda r: r["validation_loss"]), checks[-1]
    is_far = last["validation_loss"] > (1 + FAR_ABOVE) * training
    if not is_far or last["validation_loss"] <= (1 + RISEN) * best["validation_loss"]:
        return ""
    above = f"{100 * (last['validation_loss'] / training - 1):.0f}% above" if training else "above"
    return (
        f"overfitting: the {last.get('text', 'validation')} loss is {last['validation_loss']:.3f}, "
        f"{above} the training loss of {training:.3f}, and has risen since step "
        f"{best['step']:,} ({best['validation_loss']:.3f}): use more text, fewer steps, a smaller "
        "model or more --dropout"
    )


def guessing(record: dict[str, Any], model: dict[str, Any]) -> str:
    """Return a message if the loss is above that of a uniform distribution, else ""."""
    uniform = math.log(model["vocabulary_size"])
    if record["validation_loss"] <= uniform:
        return ""
    return (
        f"the validation loss of {record['validation_loss']:.3f} is worse than that of a uniform "
        f"guess, {uniform:.3f}: the model has memorised the training text, or its learning rate "
        "is too high"
    )
