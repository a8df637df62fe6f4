"""The smallest run that trains: two steps of one layer, computed alike on every machine."""

from __future__ import annotations

from pathlib import Path

import wordorder as wo

TEXT = "a small text of words in order. " * 40


def small_config(text: Path, out: str | Path) -> wo.TrainConfig:
    """Return the configuration of a run on a file, which is to hold `TEXT` or more."""
    return wo.TrainConfig(
        model=wo.ModelConfig(width=16, layers=1, heads=2, trained_length=16),
        data=(str(text),),
        tokenizer="bytes",
        steps=2,
        batch_size=2,
        threads=1,
        dtype="float32",
        kernel="plain",
        compile="no",
        out=str(out),
    )
