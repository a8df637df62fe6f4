"""Reads the text of a new run, whose tokenizer and chat template may be those of an earlier run."""

from __future__ import annotations

from dataclasses import replace

from wordorder.model.config import ModelConfig
from wordorder.training.config import TrainConfig, with_vocabulary
from wordorder.training.preconditions import with_tokenizer_from
from wordorder.training.run import Run
from wordorder.training.training_data import TrainingData, read_training_data, with_steps


def with_initial_run(
    config: TrainConfig, *, trust: bool
) -> tuple[TrainConfig, TrainingData, Run | None]:
    """Return the configuration, its text, and the run of --init.

    The configuration has the actual vocabulary size, and a number of steps for one of epochs. A
    model with default fields is that of `config.init`.

    Args:
        trust: allow the code of a user-defined embedding in `config.init` to run.

    Raises:
        BadInput: the text is invalid, or the configuration asks for another tokenizer than that of
            `config.init`.
    """
    if config.init is None:
        first, data = None, read_training_data(config)
    else:
        first = Run.load(config.init, trust=trust)
        if config.model == ModelConfig():  # from Python, nothing says what else it should be
            config = replace(config, model=replace(first.model_config, dropout=None))
        config = with_tokenizer_from(first, config)
        data = read_training_data(config, first.tokenizer, first.chat)
    config = with_vocabulary(config, data.tokenizer.vocabulary_size)
    return with_steps(config, data), data, first
