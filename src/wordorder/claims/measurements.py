"""Measurements of a trained language model that single claims need, beyond its losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from wordorder.errors import BadInput
from wordorder.evaluation.attention_mass import attention_mass
from wordorder.evaluation.context import context_gain
from wordorder.evaluation.intervals import mean_of
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.order import losses_shuffled_at
from wordorder.evaluation.position_probe import position_probe
from wordorder.evaluation.streaming_llm import streamed_losses
from wordorder.evaluation.windows import Windows, cut_windows, target_losses
from wordorder.extension.methods import Stretch, respelled
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel
from wordorder.text.store import TokenStore
from wordorder.training.run import Run
from wordorder.training.training_data import TrainingData

SCALED = (2, 4, 8)  # times the trained length
# Methods of `wordorder extend` by their name in the literature. YaRN's ramp is fitted to the
# length: with the published one every frequency of a model of this length would be divided.
SCALINGS = {
    "plain": "unchanged",
    "interpolation": "interpolate",
    "NTK": "ntk",
    "dynamic NTK": "dynamic-ntk",
    "YaRN": "yarn",
}
STREAMED, SINKS = 4, (0, 1, 4)  # times the trained length; first tokens that stay in the cache
FAR, NEAR = 50, 20  # tokens before the target (Khandelwal et al. 2018)
ONE_TARGET = 2048  # windows with one target each
# Targets of `last_doubling`: few in a window, so that each has nearly all of the context, and
# enough windows for an error below .01 nats.
LAST_TARGETS, MOST_LAST_TARGETS = 8, 8192


def removed(run: Run, material: TrainingData) -> dict[str, float]:
    """Verify that the input is a sum of word and position, and measure the value of each.

    `positions` and `words` are the increase in loss without them.
    """
    model, store, length = run.model, material.validation, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    tokens = torch.from_numpy(store.tokens[:length].astype("int64"))[None]
    words = model.word_vectors(tokens).detach()
    layout = model.layout(tokens)
    positions = model.position.embed(torch.zeros_like(words), layout)
    remainder = model.position.embed(words, layout) - words - positions
    whole = _loss(model, store)
    without = with_position(model, "none")
    hook = model.embedding.register_forward_hook(lambda m, i, output: torch.zeros_like(output))
    wordless = _loss(model, store)
    hook.remove()
    return {
        "remainder": float(remainder.detach().abs().max()),
        "positions": _loss(without, store) - whole,
        "words": wordless - whole,
    }


def resampled(run: Run, material: TrainingData) -> dict[str, Any]:
    """Return the error for one token too many, and the rise at 2L with a resampled table."""
    model, store, length = run.model, material.validation, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    refused = ""
    try:
        evaluate(model, store, context_length=length + 1)
    except BadInput as error:
        refused = str(error)
    longer = with_position(model, f"learned:length={2 * length}")
    rise = _loss(longer, store, 2 * length) - _loss(model, store)
    return {"refused": refused, "rise": rise}


def scalings(run: Run, material: TrainingData) -> dict[str, dict[str, float]]:
    """Return the rise of the loss of the same targets by length and scaling, without tuning."""
    model, length = run.model, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    windows = _long_windows(run, material, SCALED[-1])
    base = target_losses(model, windows.tokens[:, -length - 1 :], windows.targets)

    def rise(method: str, factor: int) -> float:
        stretch = Stretch(length, factor * length, model.config.rotated_dim)
        scaled = with_position(model, respelled(method, model.config, stretch), stretch.length)
        tokens = windows.tokens[:, -stretch.length - 1 :]
        return float((target_losses(scaled, tokens, windows.targets) - base).mean())

    return {
        str(factor): {name: rise(method, factor) for name, method in SCALINGS.items()}
        for factor in SCALED
    }


def sinks(run: Run, material: TrainingData) -> dict[str, float]:
    """Return the loss of the same targets by the number of first tokens in a streaming cache.

    The cache has the trained length, first tokens included. `attended` is the fraction of attention
    on the first token of a window of that length, in the layer with the most.
    """
    model, length = run.model, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    windows = _long_windows(run, material, STREAMED)
    losses = {
        str(count): float(
            streamed_losses(
                model, windows.tokens, windows.targets, window=length, sinks=count
            ).mean()
        )
        for count in SINKS
    }
    heads = attention_mass(model, material.validation, trained_length=length).heads
    layers = {head.layer for head in heads}
    shares = [[h.first_token for h in heads if h.layer == layer] for layer in layers]
    return {**losses, "attended": max(sum(each) / len(each) for each in shares)}


def position_readings(run: Run, material: TrainingData) -> list[dict[str, float]]:
    """Return the errors of two position probes by layer, relative to chance."""
    length = run.model_config.trained_length
    linear, network = (
        position_probe(run.model, material.validation, trained_length=length, network=network)
        for network in (False, True)
    )
    return [
        {"linear": one.error / linear.chance, "network": two.error / network.chance}
        for one, two in zip(linear.layers, network.layers, strict=True)
    ]


def near_and_far(run: Run, material: TrainingData) -> dict[str, Any]:
    """Return the rise of a token's loss when distant tokens, or near ones, are shuffled.

    `cut` is the rise without the distant tokens, with its interval over documents.
    """
    length = run.model_config.trained_length
    windows = cut_windows(
        material.validation, length, 1, across_documents=True, most_targets=ONE_TARGET
    )
    base = target_losses(run.model, windows.tokens, 1)
    far = losses_shuffled_at(run.model, windows.tokens, FAR + 1)
    near = losses_shuffled_at(run.model, windows.tokens, 1, NEAR)
    cut = target_losses(run.model, windows.tokens[:, -FAR - 1 :], 1)
    without = mean_of(cut - base, windows.clusters)
    low, high = without.interval or (None, None)
    return {
        "far": float((far - base).mean()),
        "near": float((near - base).mean()),
        "cut": {"mean": without.mean, "low": low, "high": high},
    }


def last_doubling(run: Run, material: TrainingData) -> dict[str, float | None]:
    """Return the gain of the last doubling of context, with its interval over documents.

    The same few tokens are predicted from half the trained length and from all of it.

    Raises:
        BadInput: no document is as long as the trained length.
    """
    length = run.model_config.trained_length
    gain = context_gain(
        run.model,
        material.validation,
        trained_length=length,
        targets=min(LAST_TARGETS, length // 4),
        most_targets=MOST_LAST_TARGETS,
    )
    return {"mean": gain.mean, "low": gain.low, "high": gain.high}


def word_frequencies(run: Run, material: TrainingData) -> float:
    """Return the loss of a unigram model of the training text on held-out text."""
    training, held_out = material.training, material.validation
    size = training.vocabulary_size
    counts = 1 + np.bincount(training.tokens, minlength=size).astype(np.float64)
    losses = -np.log(counts / counts.sum())
    return float(losses[held_out.tokens].mean())


MEASUREMENTS: dict[str, Callable[[Run, TrainingData], Any]] = {
    "last-doubling": last_doubling,
    "near-far": near_and_far,
    "position-probe": position_readings,
    "removed": removed,
    "resampled": resampled,
    "scalings": scalings,
    "sinks": sinks,
    "word-frequencies": word_frequencies,
}


def _long_windows(run: Run, material: TrainingData, factor: int) -> Windows:
    """Return windows of a multiple of the trained length L that end in L/2 targets.

    Raises:
        BadInput: no document is as long.
    """
    length = run.model_config.trained_length
    windows = cut_windows(material.validation, factor * length, length // 2)
    if not len(windows):
        raise BadInput(
            f"no document of the text reaches {factor * length:,} tokens: give longer documents",
            code="claims.no-document-so-long",
        )
    return windows


def _loss(model: LanguageModel, store: TokenStore, length: int = 0) -> float:
    length = length or model.config.trained_length
    return evaluate(model, store, context_length=length).loss_nats
