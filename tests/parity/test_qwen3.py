"""The default model's weights give the same logits in transformers' Qwen3.

Rotary dimensions are interleaved here and half-split there, and Qwen3 does not multiply word
vectors: the maps that exports use permute the former and fold the latter into the weights.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from random_weights import random_model

from wordorder.interop.huggingface.convert import converted
from wordorder.model import ModelConfig

transformers = pytest.importorskip("transformers")

CLOSE = 1e-4


@pytest.mark.parametrize(
    "options", [{}, {"key_value_heads": 2}, {"tied_embeddings": False}], ids=str
)
def test_default_model_is_qwen3_past_the_trained_length_too(options: dict) -> None:
    config = replace(ModelConfig(), trained_length=32, **options)
    fields = {name: value for name, value in asdict(config).items() if name != "vocabulary_size"}
    model = random_model(101, **fields)
    assert model.config.embedding_scale == 192**0.5
    tokens = torch.randint(0, 101, (2, 96), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(tokens), converted(model, attention="eager")(tokens).logits
    assert ours.std() > 0.05
    torch.testing.assert_close(ours, theirs, rtol=0, atol=CLOSE)
