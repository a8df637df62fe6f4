"""Weights of a run whose vocabulary grows when it is fine-tuned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported_runs import write_run

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
