"""Weights of a run whose vocabulary grows when it is fine-tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exported_runs import write_run
from small_config import small_config

import wordorder as wo
from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.model import ModelConfig, make_model
from wordorder.training.initial_weights import weights_of


@pytest.mark.parametrize("position", ["fire", "sinusoidal:learned_scale=true", "learned"])
def test_tables_of_words_grow_and_all_else_stays(tmp_path: Path, position: str) -> None:
    """Some embeddings have a parameter without dimensions."""
    first = write_run(tmp_path / "run", position=position)
    fields = {**first.model_config.to_dict(), "vocabulary_size": 259}
    grown = weights_of(first, make_model(ModelConfig.from_dict(fields)))
    before = first.model.state_dict()
    assert set(grown) == set(before)
    for name, value in before.items():
        assert torch.equal(grown[name][: len(value)] if value.dim() else grown[name], value)
    assert any(len(grown[name]) == 259 for name in grown if grown[name].dim())


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    first = write_run(tmp_path / "run", position="rotary")
    path = first.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput, match=r"model\.safetensors is damaged") as caught:
        weights_of(first, make_model(first.model_config))
    assert caught.value.code == "training.damaged-weights"


def test_a_default_model_is_that_of_the_first_run(tmp_path: Path) -> None:
    """From Python nothing says which model is meant; on a command line its options do."""
    text = tmp_path / "text.txt"
    text.write_text("the cat sees a dog. " * 200, encoding="utf-8")
    first = wo.train(replace(small_config(text, tmp_path / "run"), tokenizer="bytes", steps=1))
    config = wo.TrainConfig(data=(str(text),), init=str(first.folder), out=str(tmp_path / "next"))
    tuned = wo.train(replace(config, steps=1, device="cpu"))
    same = ("position", "width", "layers", "heads", "trained_length")
    for name in same:
        assert getattr(tuned.model_config, name) == getattr(first.model_config, name)


@pytest.mark.parametrize(("epochs", "dropout"), [("0.2", 0.0), ("8", 0.3)])
def test_a_fine_tune_chooses_the_dropout_for_its_text(
    tmp_path: Path, epochs: str, dropout: float
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sees a dog and the dog sees a cat. " * 60, encoding="utf-8")
    small = "--width 16 --layers 1 --heads 2 --trained-length 16 --vocabulary-size 300 --batch-size"
    first = ["train", "--data", str(text), "--out", str(tmp_path / "first"), *small.split(), "4"]
    assert main([*first, "--epochs", "4"]) == 0
    tuned = ["train", "--init", str(tmp_path / "first"), "--data", str(text), "--batch-size", "4"]
    assert main([*tuned, "--epochs", epochs, "--out", str(tmp_path / "next")]) == 0
    assert wo.load(str(tmp_path / "first")).model_config.dropout == 0.2
    assert wo.load(str(tmp_path / "next")).model_config.dropout == dropout


def test_the_objective_is_that_of_the_first_run(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sees a dog. " * 200, encoding="utf-8")
    small = "--width 16 --layers 1 --heads 2 --trained-length 16 --steps 2 --tokenizer bytes"
    masked = [*small.split(), "--objective", "masked-token", "--no-causal"]
    assert main(["train", "--data", str(text), "--out", str(tmp_path / "m"), *masked]) == 0
    tuned = ["train", "--init", str(tmp_path / "m"), "--data", str(text), "--steps", "2"]
    assert main([*tuned, "--out", str(tmp_path / "next")]) == 0
    assert wo.load(str(tmp_path / "next")).config["training"]["objective"] == "masked-token"
