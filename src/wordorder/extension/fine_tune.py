"""How a model is trained on at another length: tokens a step as before, lower rates."""

from __future__ import annotations

from dataclasses import replace

from wordorder.settings import LARGEST
from wordorder.training.config import TrainConfig

# Of the parent's rates: a fine-tune moves weights that are good already.
RATE = 0.1
# Added to the parent's seed: a fine-tune does not begin with the batches that the parent has.
LATER = 1000


def fine_tune(
    config: TrainConfig, length: int, *, rate: float = RATE, rows: int = 0
) -> TrainConfig:
    """Return the training that goes on from what this one made, its model aside.

    Args:
        length: tokens of a sequence.
        rate: share of its learning rates.
        rows: sequences at once; 0: as many as make its own tokens.
    """
    old = config.model.trained_length
    tokens = config.batch_size * config.accumulate * old
    rows = rows or max(1, config.batch_size * old // length)
    return replace(
        config,
        batch_size=rows,
        accumulate=max(1, round(tokens / (rows * length))),
        learning_rate=rate * config.learning_rate,
        matrix_learning_rate=rate * config.matrix_learning_rate,
        evaluate_every=0,
        checkpoint_every=0,
        keep="last",  # methods are compared at a stated step
        seed=(LATER + config.seed) % LARGEST,
    )
