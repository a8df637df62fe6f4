"""Reads the text of a new run, whose tokenizer and chat template may be those of an earlier run."""

from __future__ import annotations

from dataclasses import replace

from wordorder.model.config import ModelConfig
from wordorder.training.config import TrainConfig, with_vocabulary
from wordorder.training.preconditions import with_tokenizer_from
from wordorder.training.run import Run
from wordorder.training.training_data import TrainingData, read_training_data, with_steps


def with_initial_run(
    config: TrainConfig, *, trust: bool, in_code: bool = False
) -> tuple[TrainConfig, TrainingData, Run | None]:
    """Return the configuration, its text, and the run of --init.

    The configuration has the actual vocabulary size, and a number of steps for one of epochs.

    Args:
        trust: allow the code of a user-defined embedding in `config.init` to run.
        in_code: the configuration was written in Python, where a default model and objective stand
            for those of `config.init`; a command line has put these in their place.

    Raises:
        BadInput: the text is invalid, or the configuration asks for another tokenizer than that of
            `config.init`.
    """
    if config.init is None:
        first, data = None, read_training_data(config)
    else:
        first = Run.load(config.init, trust=trust)
        if in_code and config.model == ModelConfig():
            config = replace(
                config,
                model=replace(first.model_config, dropout=None),
                objective=first.config["training"].get("objective", config.objective),
            )
        config = with_tokenizer_from(first, config)
        data = read_training_data(config, first.tokenizer, first.chat)
    config = with_vocabulary(config, data.tokenizer.vocabulary_size)
    return with_steps(config, data), data, first
