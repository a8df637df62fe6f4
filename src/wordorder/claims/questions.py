"""What single claims ask of a trained language model, beyond its losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.order import losses_shuffled_at
from wordorder.evaluation.position_probe import position_probe
from wordorder.evaluation.sinks import streamed_losses
from wordorder.evaluation.windows import Windows, cut_windows, target_losses
from wordorder.extension.carried import carried
from wordorder.extension.methods import Stretch, respelled
from wordorder.model import LanguageModel
from wordorder.text.store import TokenStore
from wordorder.training.material import Material
from wordorder.training.run import Run

SCALED = (2, 4, 8)  # times the trained length
# Methods of `wordorder extend` by what the literature calls them. YaRN's ramp is the one fitted to
# the length: with the published one every frequency of so short a model would be divided.
SCALINGS = {
    "plain": "unchanged",
    "interpolation": "interpolate",
    "NTK": "ntk",
    "dynamic NTK": "dynamic-ntk",
    "YaRN": "yarn",
}
STREAMED, SINKS = 4, (0, 1, 4)  # times the trained length; first tokens that are kept
FAR, NEAR = 50, 20  # tokens before the one that is asked for (Khandelwal et al. 2018)
ONE_TARGET = 2048  # windows, of which the last token alone is asked for


def removed(run: Run, material: Material) -> dict[str, float]:
    """Return what of the input is neither word nor position, and what each half is worth.

    `positions` and `words` are what the loss rises by without them.
    """
    model, store, length = run.model, material.validation, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    tokens = torch.from_numpy(store.tokens[:length].astype("int64"))[None]
    words = model.embedding(tokens).detach()
    geometry = model.geometry(tokens, None, None, None)
    positions = model.position.embed(torch.zeros_like(words), geometry)
    remainder = model.position.embed(words, geometry) - words - positions
    whole = _loss(model, store)
    without = carried(model, "none")
    hook = model.embedding.register_forward_hook(lambda m, i, output: torch.zeros_like(output))
    wordless = _loss(model, store)
    hook.remove()
    return {
        "remainder": float(remainder.detach().abs().max()),
        "positions": _loss(without, store) - whole,
        "words": wordless - whole,
    }


def resampled(run: Run, material: Material) -> dict[str, Any]:
    """Return what a model says to one token too many, and its rise at 2L with a longer table."""
    model, store, length = run.model, material.validation, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    refused = ""
    try:
        evaluate(model, store, context_length=length + 1)
    except BadInput as error:
        refused = str(error)
    longer = carried(model, f"learned:length={2 * length}")
    rise = _loss(longer, store, 2 * length) - _loss(model, store)
    return {"refused": refused, "rise": rise}


def scalings(run: Run, material: Material) -> dict[str, dict[str, float]]:
    """Return by length and scaling what the loss of the same targets rises by, nothing tuned."""
    model, length = run.model, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    windows = _long_windows(run, material, SCALED[-1])
    base = target_losses(model, windows.tokens[:, -length - 1 :], windows.targets)

    def rise(method: str, factor: int) -> float:
        stretch = Stretch(length, factor * length, model.config.head_dim)
        scaled = carried(model, respelled(method, model.config, stretch), stretch.length)
        tokens = windows.tokens[:, -stretch.length - 1 :]
        return float((target_losses(scaled, tokens, windows.targets) - base).mean())

    return {
        str(factor): {name: rise(method, factor) for name, method in SCALINGS.items()}
        for factor in SCALED
    }


def sinks(run: Run, material: Material) -> dict[str, float]:
    """Return the loss of the same targets, streamed, by how many first tokens the cache keeps.

    The cache holds as many tokens as the model was trained on, first ones included.
    """
    model, length = run.model, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    windows = _long_windows(run, material, STREAMED)
    return {
        str(kept): float(
            streamed_losses(
                model, windows.tokens, windows.targets, window=length, sinks=kept
            ).mean()
        )
        for kept in SINKS
    }


def position_readings(run: Run, material: Material) -> list[dict[str, float]]:
    """Return by layer the error of two probes that read positions, over that of chance."""
    length = run.model_config.trained_length
    linear, network = (
        position_probe(run.model, material.validation, trained_length=length, network=network)
        for network in (False, True)
    )
    return [
        {"linear": one.error / linear.chance, "network": two.error / network.chance}
        for one, two in zip(linear.layers, network.layers, strict=True)
    ]


def near_and_far(run: Run, material: Material) -> dict[str, float]:
    """Return what the loss of a token rises by when those far before it, or near, are shuffled."""
    length = run.model_config.trained_length
    windows = cut_windows(
        material.validation, length, 1, across_documents=True, most_targets=ONE_TARGET
    )
    base = target_losses(run.model, windows.tokens, 1)
    far = losses_shuffled_at(run.model, windows.tokens, FAR + 1)
    near = losses_shuffled_at(run.model, windows.tokens, 1, NEAR)
    return {"far": float((far - base).mean()), "near": float((near - base).mean())}


QUESTIONS: dict[str, Callable[[Run, Material], Any]] = {
    "near-far": near_and_far,
    "position-probe": position_readings,
    "removed": removed,
    "resampled": resampled,
    "scalings": scalings,
    "sinks": sinks,
}


def _long_windows(run: Run, material: Material, factor: int) -> Windows:
    """Return windows of a multiple of the trained length L that end in L/2 targets.

    Raises:
        BadInput: no document as long.
    """
    length = run.model_config.trained_length
    windows = cut_windows(material.validation, factor * length, length // 2)
    if not len(windows):
        raise BadInput(f"no document of the text reaches {factor * length} tokens")
    return windows


def _loss(model: LanguageModel, store: TokenStore, length: int = 0) -> float:
    length = length or model.config.trained_length
    return evaluate(model, store, context_length=length).loss_nats
