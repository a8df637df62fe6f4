"""Chooses the model's size and dropout for a text and a training time, by measured rules.

A larger model learns more from each token but processes fewer tokens in a given time, and any model
memorises a text that it reads many times. So the size depends on the number of tokens that each
preset would read in the time, not counting those beyond `WORTHWHILE_PASSES` over the text; the
dropout depends on the number of passes. The tables were measured on two cores with
`benchmarks/defaults.py` and `benchmarks/dropout.py`; docs/train.md shows the losses.
"""

from __future__ import annotations

from dataclasses import replace

from wordorder.model.config import GATED, PRESETS, ModelConfig
from wordorder.training.config import TrainConfig
from wordorder.training.tokenized_text import TrainingData, bytes_per_token

# The largest preset that would read at least this many tokens is chosen. Tokens are counted in
# units of BYTES_PER_TOKEN bytes, so a character counts for less. The values up to mini are
# measured; small and medium have mini's ratio of tokens to weights.
FEWEST_TOKENS = {"nano": 0.0, "tiny": 2e6, "mini": 1e6, "small": 3e6, "medium": 3e7}
# Further passes over a text improve a model so little that they do not justify a larger one.
# Source: Muennighoff et al. 2023, arXiv 2305.16264, section 6: some 4 passes are nearly as good
# as new text.
WORTHWHILE_PASSES = 5.0
BYTES_PER_TOKEN = 3.9  # of the built-in text in BPE
# (largest number of passes over the text, dropout).
DROPOUTS = ((1.5, 0.0), (3.0, 0.1), (7.0, 0.2), (float("inf"), 0.3))
# Tokens shorter than SHORT_TOKEN_BYTES are characters or bytes. A model memorises such text later:
# it needs dropout once layer weights * passes / tokens exceeds MOST_OF_SHORT_TOKENS.
SHORT_TOKEN_BYTES, MOST_OF_SHORT_TOKENS = 2.0, 13.0


def dropout_for(passes: float, *, token_bytes: float, weights_per_token: float) -> float:
    """Return the dropout for a number of passes over the text.

    Args:
        token_bytes: mean length of a token.
        weights_per_token: weights of the layers' matrices for each token of the text.
    """
    if token_bytes < SHORT_TOKEN_BYTES and passes * weights_per_token <= MOST_OF_SHORT_TOKENS:
        return 0.0
    return next(dropout for most, dropout in DROPOUTS if passes <= most)


def with_dropout(config: TrainConfig, training_data: TrainingData, steps: int) -> TrainConfig:
    """Return the configuration with the dropout for this many steps, unless it sets one."""
    if config.model.dropout is not None:
        return config
    passes = training_data.batches(config).epoch(steps * config.accumulate)
    tokens = steps * config.tokens_per_step / passes
    dropout = dropout_for(
        passes,
        token_bytes=bytes_per_token(training_data),
        weights_per_token=layer_weights(config.model) / tokens,
    )
    return replace(config, model=replace(config.model, dropout=dropout))


def choose_preset(
    config: TrainConfig,
    *,
    text_tokens: int,
    seconds: float,
    seconds_per_token: float,
    token_bytes: float = BYTES_PER_TOKEN,
) -> str:
    """Return the preset for a text and a training time.

    Args:
        config: the run whose step was timed.
        text_tokens: tokens of the training text.
        seconds: training time.
        seconds_per_token: measured for the configured model; scaled to the other presets by their
            number of operations.
        token_bytes: mean length of a token.
    """
    per_operation = seconds_per_token / operations_per_token(config.model)
    chosen = "nano"
    for name in PRESETS:
        model = as_preset(config.model, name)
        tokens = seconds / (per_operation * operations_per_token(model))
        read = min(tokens, WORTHWHILE_PASSES * text_tokens) * token_bytes / BYTES_PER_TOKEN
        if read >= FEWEST_TOKENS[name]:
            chosen = name
    return chosen


def as_preset(model: ModelConfig, name: str) -> ModelConfig:
    """Return a model with the sizes of a preset, and a context at least as long as before.

    nano's own context of 128 is for comparisons: in three minutes its loss is 4.51, with 256 4.49.
    """
    sizes = dict(PRESETS[name])
    length = max(sizes.pop("trained_length"), model.trained_length)
    return replace(model, **sizes, trained_length=length)


def operations_per_token(model: ModelConfig) -> float:
    """Return the floating-point operations of training on one token.

    Six for each weight of a matrix, output layer included (Kaplan et al. 2020, section 2.1), plus
    those of attention over half of the context on average.
    """
    whole = model.resolved
    inner = whole.heads * (whole.head_dim + whole.rotary_head_dim)
    mixing = 6 * inner * whole.trained_length
    of_matrices = layer_weights(model) + whole.vocabulary_size * whole.width
    return 6 * of_matrices + whole.layers * mixing


def layer_weights(model: ModelConfig) -> int:
    """Return the number of weights of the layers' matrices that compute one token."""
    whole = model.resolved
    return sum(
        _attention_weights(whole) + _feed_forward_weights(whole, i) for i in range(whole.layers)
    )


def _attention_weights(whole: ModelConfig) -> int:
    if whole.attention == "latent":
        queries = whole.heads * (whole.head_dim + whole.rotary_head_dim)
        values = whole.heads * whole.value_head_dim
        rank = whole.query_latent_dim
        to_queries = rank * (whole.width + queries) if rank else whole.width * queries
        to_latents = whole.width * (whole.latent_dim + whole.rotary_head_dim)
        expansion = whole.latent_dim * (whole.heads * whole.head_dim + values)
        return to_queries + to_latents + expansion + values * whole.width
    inner = whole.heads * whole.head_dim
    return whole.width * (2 * inner + 2 * whole.key_value_heads * whole.head_dim)


def _feed_forward_weights(whole: ModelConfig, layer: int) -> int:
    """Return the number of weights that compute one token."""
    matrices = 3 if whole.feed_forward in GATED else 2
    if not whole.has_experts(layer):
        return matrices * whole.width * whole.feed_forward_width
    hidden = (whole.active_experts + whole.shared_experts) * whole.expert_width
    return matrices * whole.width * hidden + whole.width * whole.experts
