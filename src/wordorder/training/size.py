"""How large a model this text and this time deserve, and how much dropout: measured rules.

A larger model learns more from each token and reads fewer of them in a given time; and reading
the same text over and over teaches any model its words by heart. So the size follows from the
tokens that each preset would read in the time, those beyond `WORTHWHILE_PASSES` over the text
not counted, and the dropout from how often the text is read. Both tables were measured on two
cores with `benchmarks/defaults.py`; docs/train.md shows the losses behind them.
"""

from __future__ import annotations

from dataclasses import replace

from wordorder.model.config import PRESETS, ModelConfig
from wordorder.training.config import TrainConfig

# The largest preset whose tokens reach its number is chosen. Measured up to mini; the others'
# follow its ratio of tokens to weights.
FEWEST_TOKENS = {"nano": 0.0, "tiny": 2e6, "mini": 1e6, "small": 3e6, "medium": 3e7}
# What is read more often than this teaches so little that it does not call for a larger model.
# Source: Muennighoff et al. 2023, arXiv 2305.16264, section 6: some 4 passes are nearly as good
# as new text.
WORTHWHILE_PASSES = 5.0
# Passes over the text, and the dropout for up to so many.
DROPOUTS = ((1.5, 0.0), (3.0, 0.1), (7.0, 0.2), (float("inf"), 0.3))


def dropout_for(passes: float) -> float:
    """Return the dropout for a text that is read so many times."""
    return next(dropout for most, dropout in DROPOUTS if passes <= most)


def with_dropout(config: TrainConfig, passes: float) -> TrainConfig:
    """Return the configuration with the dropout that the passes call for, unless it has one."""
    if config.model.dropout is not None:
        return config
    return replace(config, model=replace(config.model, dropout=dropout_for(passes)))


def choose_preset(
    config: TrainConfig, *, text_tokens: int, seconds: float, seconds_per_token: float
) -> str:
    """Return the preset that a text and a time deserve.

    Args:
        config: the run, whose model decides what a token costs.
        text_tokens: tokens of the training text.
        seconds: for training.
        seconds_per_token: of the configured model, measured; the others' follow from their
            arithmetic.
    """
    per_operation = seconds_per_token / operations_per_token(config.model)
    chosen = "nano"
    for name in PRESETS:
        model = as_preset(config.model, name)
        read = seconds / (per_operation * operations_per_token(model))
        if min(read, WORTHWHILE_PASSES * text_tokens) >= FEWEST_TOKENS[name]:
            chosen = name
    return chosen


def as_preset(model: ModelConfig, name: str) -> ModelConfig:
    """Return a model with the sizes of a preset, and a context no shorter than it had.

    nano's own 128 tokens are for comparisons: with 256 it ended at 4.18, with 128 at 4.24.
    """
    sizes = dict(PRESETS[name])
    length = max(sizes.pop("trained_length"), model.trained_length)
    return replace(model, **sizes, trained_length=length)


def operations_per_token(model: ModelConfig) -> float:
    """Return the multiplications and additions of training on one token.

    Six for each weight of a matrix, the output layer's included (Kaplan et al. 2020, section
    2.1), and those of attention over half of the context on average.
    """
    whole = model.resolved
    inner = whole.heads * whole.head_dim
    attention = whole.width * (2 * inner + 2 * whole.key_value_heads * whole.head_dim)
    matrices = 3 if whole.feed_forward == "swiglu" else 2
    layer = attention + matrices * whole.width * whole.feed_forward_width
    mixing = 6 * inner * whole.trained_length
    return 6 * (whole.layers * layer + whole.vocabulary_size * whole.width) + whole.layers * mixing
