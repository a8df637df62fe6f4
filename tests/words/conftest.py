"""Tables of vectors whose answers are known, and small models with no zero weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from wordorder.model import ModelConfig, TokenModel, make_model
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.words.vectors import Vectors

TEXT = "I love AI . the king and the queen love the man and the woman . " * 30

# Directions: royal, female, a person, a thing. What is a thing is far from all of them.
PLANTED = {
    "king": (1.0, 0.0, 1.0, 0.0),
    "queen": (1.0, 1.0, 1.0, 0.0),
    "man": (0.0, 0.0, 1.0, 0.0),
    "woman": (0.0, 1.0, 1.0, 0.0),
    "table": (0.0, 0.1, 0.0, 1.0),
    "chair": (0.1, 0.0, 0.0, 2.0),
}

MakeModel = Callable[..., TokenModel]


@pytest.fixture
def planted() -> Vectors:
    return Vectors("planted", list(PLANTED), np.array(list(PLANTED.values()), np.float32))


def drawn(words: int, dimensions: int, seed: int = 0) -> Vectors:
    """Random vectors of words w0, w1, ..."""
    rows = np.random.default_rng(seed).standard_normal((words, dimensions), np.float32)
    return Vectors("drawn", [f"w{number}" for number in range(words)], rows)


@pytest.fixture(scope="session")
def make_drawn() -> Callable[..., Vectors]:
    return drawn


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return Corpus("small", (Document(TEXT, "small"),))


@pytest.fixture(scope="session")
def tokenizer(corpus: Corpus) -> Tokenizer:
    """A byte-level BPE in which every word of the text is one token."""
    return make_tokenizer("bpe", corpus, 400, mask=True)


@pytest.fixture(scope="session")
def make_random(tokenizer: Tokenizer) -> MakeModel:
    """Return a function (position, configuration) -> model."""

    def make(position: str = "rotary", **options: object) -> TokenModel:
        shape = {"width": 32, "heads": 4, "layers": 2, "trained_length": 16, "dropout": 0.0}
        shape["embedding_scale"] = 2.0  # words are drawn as large as the rest, and multiplied
        given = {**shape, "vocabulary_size": tokenizer.vocabulary_size, **options}
        model = make_model(ModelConfig(position=position, **given))  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                small = parameter.dim() == 2 and not name.startswith(("embedding.", "position."))
                parameter.copy_(noise * parameter.shape[1] ** -0.5 if small else noise)
        return model.eval()

    return make
