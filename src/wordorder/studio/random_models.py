"""Tiny models with random weights, for what holds before any training.

Whether a model can distinguish two orders does not depend on what it has learned, so random
weights answer it at once. A model as training starts from would not do: its layers add nothing yet
(see `wordorder.model.token_model`).
"""

from __future__ import annotations

from functools import lru_cache

import torch

from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.text.words import is_unspaced

MOST_VOCABULARY = 2048


@lru_cache(maxsize=64)
def random_model(position: str, causal: bool, vocabulary_size: int) -> LanguageModel:
    """Return a tiny transformer with random weights, the same at every call."""
    config = ModelConfig(
        position=position,
        vocabulary_size=vocabulary_size,
        width=64,
        layers=4,
        heads=4,
        causal=causal,
        trained_length=128,
        dropout=0.0,
    )
    model = LanguageModel(config)
    model.initialise(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Word vectors of size 1, as trained ones have: the sines of `sinusoidal` would drown 0.16.
        model.embedding.weight.normal_(generator=generator).div_(model.config.embedding_scale)
        for part in model.parts():
            if part.name.rpartition(".")[0].endswith((".output", ".down")):
                noise = torch.randn(part.value.shape, generator=generator)
                part.value.copy_(noise * part.value.shape[-1] ** -0.5)
    return model.eval()


@lru_cache(maxsize=64)
def tokenizer_of(*sentences: str) -> Tokenizer:
    """Return a byte-level BPE in which the words of these sentences are mostly single tokens.

    Of a sentence without spaces, each character is a token: a BPE would join all of it.
    """
    text = "\n".join(f" {sentence}" for sentence in sentences) * 4
    corpus = Corpus("typed", (Document(text, "typed"),))
    kind = "characters" if any(map(is_unspaced, sentences)) else "bpe"
    return make_tokenizer(kind, corpus, MOST_VOCABULARY, mask=True)
