"""Replaces the positional embedding of a model and keeps its weights.

Embeddings with parameters keep them if their class stays the same. The rows of a learned table that
were trained are resampled if the new model has another length.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from wordorder.model import LanguageModel
from wordorder.positions import Learned


@torch.no_grad()
def with_position(model: LanguageModel, spec: str, length: int = 0) -> LanguageModel:
    """Return a model with the same weights and another embedding, in evaluation mode.

    Args:
        spec: the new embedding, with as many parts in every layer as the old one. A part of another
            class gets its initial parameters.
        length: the new trained length; 0: unchanged.
    """
    length = length or model.config.trained_length
    other = LanguageModel(replace(model.config, position=spec, trained_length=length))
    other.initialise(0)
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("position.")}
    other.load_state_dict(weights, strict=False)
    longer = length > model.config.trained_length
    trained_rows = model.position.max_training_position + 1
    for before, after in zip(model.position.sums, other.position.sums, strict=True):
        for old, new in zip(before.parts, after.parts, strict=False):
            if type(old) is not type(new):
                continue
            if (
                isinstance(old, Learned)
                and isinstance(new, Learned)
                and (longer or old.rows != new.rows)
            ):
                old = old.resampled(new.rows, min(old.rows, trained_rows))
            new.load_state_dict(old.state_dict())
    other.compute_dtype, other.attention_kernel = model.compute_dtype, model.attention_kernel
    return other.to(next(model.parameters()).device).eval()
