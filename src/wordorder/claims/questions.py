"""What single claims ask of a trained language model, beyond its losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.loss import evaluate
from wordorder.evaluation.order import losses_shuffled_at
from wordorder.evaluation.position_probe import position_probe
from wordorder.evaluation.windows import cut_windows, target_losses
from wordorder.model import LanguageModel, make_model
from wordorder.text.store import TokenStore
from wordorder.training.material import Material
from wordorder.training.run import Run

SCALED = (2, 5, 8)  # times the trained length
# YaRN's ramp is made for an original length of 4,096: with its 32 turns every frequency of a model
# trained on 128 tokens would be divided, the fastest of which makes 20 turns in them.
YARN_TURNS = 8
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
    without = with_position(model, "none")
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
    longer = with_position(model, f"learned:length={2 * length}")
    for old, new in zip(model.position.instances, longer.position.instances, strict=True):
        new.load_state_dict(old.resampled(2 * length).state_dict())
    rise = _loss(longer, store, 2 * length) - _loss(model, store)
    return {"refused": refused, "rise": rise}


def scalings(run: Run, material: Material) -> dict[str, dict[str, float]]:
    """Return by length and scaling what the loss of the same targets rises by, nothing tuned."""
    model, length = run.model, run.model_config.trained_length
    assert isinstance(model, LanguageModel)
    windows = cut_windows(material.validation, SCALED[-1] * length, length // 2)
    if not len(windows):
        raise BadInput(f"no document of the text reaches {SCALED[-1] * length} tokens")

    def losses(spec: str, factor: int) -> Tensor:
        scaled = with_position(model, spec)
        return target_losses(scaled, windows.tokens[:, -factor * length - 1 :], windows.targets)

    base = losses("rotary", 1)
    found = {}
    for factor in SCALED:
        specs = {
            "plain": "rotary",
            "interpolation": f"rotary:scaling=linear,factor={factor}",
            "NTK": f"rotary:scaling=ntk,factor={factor}",
            "dynamic NTK": "rotary:scaling=dynamic",
            "YaRN": f"rotary:scaling=yarn,factor={factor},beta_fast={YARN_TURNS}",
        }
        found[str(factor)] = {
            name: float((losses(spec, factor) - base).mean()) for name, spec in specs.items()
        }
    return found


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
}


def with_position(model: LanguageModel, spec: str) -> LanguageModel:
    """Return a model with the same weights and another embedding, whose own are its first ones."""
    other = make_model(replace(model.config, position=spec))
    assert isinstance(other, LanguageModel)
    other.initialise(0)
    weights = {n: w for n, w in model.state_dict().items() if not n.startswith("position.")}
    other.load_state_dict(weights, strict=False)
    other.compute_dtype = model.compute_dtype
    return other.eval()


def _loss(model: LanguageModel, store: TokenStore, length: int = 0) -> float:
    length = length or model.config.trained_length
    return evaluate(model, store, context_length=length).loss_nats
