"""The figures of a run that benchmarks write as a line."""

from __future__ import annotations

from typing import Any

import torch

import wordorder as wo
from wordorder.training.metrics import read
from wordorder.training.run import Run


def figures_of(trained: Run) -> dict[str, Any]:
    """Return the last losses of a run, and what it was trained on; its folder must still exist."""
    records = read(trained.folder / "metrics.jsonl")
    final = next(r for r in reversed(records) if r.get("final"))
    losses = [r["loss"] for r in records if "loss" in r]
    last = losses[-max(1, len(losses) // 10) :]
    return {
        "loss": final["validation_loss"],
        "bits_per_byte": final["validation_bits_per_byte"],
        "validation_tokens": final["validation_tokens"],
        "training_loss": sum(last) / len(last),
        "passes": trained.config["plan"]["epochs"],
        "training_tokens": trained.config["data"]["training_tokens"],
        "content_hash": trained.config["data"]["content_hash"],
        "torch": torch.__version__,
        "wordorder": wo.__version__,
    }
