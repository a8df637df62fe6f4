"""Tests of how a model is trained on at another length."""

from __future__ import annotations

from wordorder.extension.fine_tune import LATER, fine_tune
from wordorder.model import ModelConfig
from wordorder.training.config import TrainConfig

PARENT = TrainConfig(model=ModelConfig(trained_length=256), batch_size=8, seed=3)


def test_as_many_tokens_a_step_at_another_length() -> None:
    longer, longest, narrow = (
        fine_tune(PARENT, 1024),
        fine_tune(PARENT, 4096),
        fine_tune(PARENT, 1024, rows=1),
    )
    assert (longer.batch_size, longer.accumulate) == (2, 1)
    assert (longest.batch_size, longest.accumulate) == (1, 1)  # a sequence is the least
    assert (narrow.batch_size, narrow.accumulate) == (1, 2)


def test_lower_rates_and_not_the_batches_that_the_parent_began_with() -> None:
    found = fine_tune(PARENT, 1024, rate=0.5)
    assert found.learning_rate == 0.5 * PARENT.learning_rate
    assert found.matrix_learning_rate == 0.5 * PARENT.matrix_learning_rate
    assert found.seed == 3 + LATER
