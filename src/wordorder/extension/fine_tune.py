"""The settings of a fine-tune at another length: the same tokens per step, lower rates."""

from __future__ import annotations

from dataclasses import replace

from wordorder.settings import LARGEST
from wordorder.training.config import TrainConfig

# Relative to the parent's learning rates, because the weights are already trained.
RATE = 0.1
# Added to the parent's seed, so that the fine-tune does not repeat the parent's batches.
LATER = 1000


def fine_tune(
    config: TrainConfig, length: int, *, rate: float = RATE, rows: int = 0
) -> TrainConfig:
    """Return the training settings of a fine-tune; the caller sets the model.

    Args:
        config: the settings of the parent.
        length: tokens in a sequence.
        rate: learning rates relative to the parent's.
        rows: sequences in a batch; 0: as many as give the parent's tokens.
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
        checkpoint_at_words=(),
        keep="last",  # runs are compared at the same step, not at their best ones
        average="none",
        seed=(LATER + config.seed) % LARGEST,
    )
