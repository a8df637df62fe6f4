"""Samples while training: as long as the embedding has positions for, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig
from wordorder.training.metrics import read
from wordorder.training.start import train


@pytest.mark.parametrize(("prompt", "most"), [("", 8), ("a sm", 4)])
def test_a_table_of_positions_ends_a_sample(tmp_path: Path, prompt: str, most: int) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a small text of words in order. " * 100, encoding="utf-8")
    model = ModelConfig(width=32, layers=1, heads=2, trained_length=8, position="learned")
    config = TrainConfig(
        model=model,
        data=(str(text),),
        tokenizer="bytes",
        steps=4,
        sample_prompt=prompt,
        dtype="float32",
        kernel="plain",
        out=str(tmp_path / "run"),
    )
    run = train(config)
    samples = [r["sample"] for r in read(run.folder / "metrics.jsonl") if "sample" in r]
    assert samples
    assert all(len(sample) <= len(prompt) + most for sample in samples)
