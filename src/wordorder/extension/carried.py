"""The same weights under another embedding: what every method does to a model.

Embeddings with weights of their own keep them. A learned table is stretched where the new one is
longer. All else of a model is as it was, its trained length aside.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from wordorder.model import LanguageModel
from wordorder.positions import Learned


@torch.no_grad()
def carried(model: LanguageModel, spec: str, length: int = 0) -> LanguageModel:
    """Return a model with the same weights and another embedding, ready to evaluate.

    Args:
        spec: of as many parts in every layer as the model's own, each in the place of one; what is
            another embedding there begins with its first weights.
        length: the trained length that it has from now on; 0: as it was.

    Shapes: a learned table may have another number of rows.
    """
    length = length or model.config.trained_length
    other = LanguageModel(replace(model.config, position=spec, trained_length=length))
    other.initialise(0)
    own = {n: w for n, w in model.state_dict().items() if not n.startswith("position.")}
    other.load_state_dict(own, strict=False)
    for before, after in zip(model.position.sums, other.position.sums, strict=True):
        for old, new in zip(before.parts, after.parts, strict=False):
            if type(old) is not type(new):
                continue
            if isinstance(old, Learned) and old.rows != new.rows:
                old = old.resampled(new.rows)
            new.load_state_dict(old.state_dict())
    other.compute_dtype, other.attention_kernel = model.compute_dtype, model.attention_kernel
    return other.to(next(model.parameters()).device).eval()
