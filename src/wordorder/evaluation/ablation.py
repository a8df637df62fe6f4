"""Ablation: the increase in loss when the positional embedding is removed, from all layers or one.

The weights stay the same and nothing is retrained: the increase measures how much the model relies
on its embedding, not how well a model trained without it would do. The model is built again with a
spec such as `rotary/none/rotary/rotary` and gets the same weights. A changed softmax scale stays,
because the model was trained with it and it carries no position.

An embedding at the input acts once, before all layers: it can be removed from the whole model, but
not from a single layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from numpy.typing import ArrayLike
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.order import OrderLosses, Unchanged
from wordorder.evaluation.windows import MOST_TARGETS, target_losses
from wordorder.model import LanguageModel, TokenModel
from wordorder.positions import Composed, ModelShape, Part, Position, Spec, Sum, parse
from wordorder.text.store import TokenStore

# Name of a parameter of an embedding: the number of the instance, then the parameter.
POSITION_WEIGHT = re.compile(r"position\.instances\.(\d+)\.(.+)")


class Removed(Position):
    """The remains of a removed embedding: its softmax scale, without any position.

    Args:
        scale: the factor of query-key products; 0 is the default scale.
    """

    summary = "A removed embedding: its softmax scale stays, without any position."
    source = "wordorder probe"
    formula = "score(i, j) = scale q_i · k_j"
    traps = ("It is for a model trained with an embedding: to train without one, use none.",)

    def __init__(self, shape: ModelShape, /, *, scale: float = 0.0) -> None:
        super().__init__(shape)
        self.scale = scale

    @property
    def softmax_scale(self) -> float | None:
        return self.scale or None


def ablation_losses(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    bytes_per_token: ArrayLike | None = None,
    most_targets: int = MOST_TARGETS,
    progress: Callable[[float], object] = lambda _: None,
) -> OrderLosses:
    """Measure the effect of removing the embedding on a model's loss on the same targets.

    Args:
        model, store, trained_length, bytes_per_token, most_targets: as in `order_losses`,
            with the same targets.
        progress: called with the fraction done, 0 to 1.

    Returns:
        `removed` first, then one layer at a time: `removed-1`, ...; or only `removed-one` if it
        cannot be removed from a single layer.

    Raises:
        BadInput: the text is shorter than one window.
    """
    plain = Unchanged.of(
        model, store, trained_length, bytes_per_token=bytes_per_token, most_targets=most_targets
    )

    def losses(layer: int | None) -> Tensor:
        other = without_position(model, layer)
        return target_losses(other, plain.windows.tokens, plain.windows.targets)

    layers = model.config.layers
    whole = plain.compared("removed", "no embedding in any layer", partial(losses, None))
    single = []
    for layer in range(1, layers + 1):
        progress(layer / (layers + 1))
        meaning = f"no embedding in layer {layer}"
        single.append(plain.compared(f"removed-{layer}", meaning, partial(losses, layer)))
    if len({loss.cannot for loss in single}) == 1 and single[0].cannot:
        single = [replace(single[0], name="removed-one", meaning="no embedding in one layer")]
    progress(1.0)
    return plain.summary((whole, *single))


def without_position(model: TokenModel, layer: int | None = None) -> TokenModel:
    """Return a model with the same weights and its embedding removed.

    Args:
        layer: the layer to remove it from, counted from 1; None: all layers.

    Raises:
        BadInput: the model or the layer has no embedding, or the embedding acts at the input.
    """
    if not isinstance(model, LanguageModel):
        raise BadInput(
            "a GRU has no positional embedding: choose a run of a transformer",
            code="evaluation.gru-without-embedding",
        )
    spec = parse(model.config.position).layers
    parts = [spec[i % len(spec)] for i in range(model.config.layers)]
    remaining, pattern = [], []
    for number, (names, acting) in enumerate(zip(parts, model.position.sums, strict=True), start=1):
        everything = list(range(len(names)))
        indices = everything
        if layer in (None, number):
            indices = [k for k in everything if _stays(acting.parts[k], whole=layer is None)]
        remaining.append(indices)
        rest = [names[k] for k in indices]
        pattern.append(names if indices == everything else _layer_spec(rest, acting))
    if pattern == parts:
        raise _cannot_remove(model.position, layer)
    other = LanguageModel(replace(model.config, position=str(Spec(tuple(pattern)))))
    # The same tensors, not copies, so that device and dtype stay.
    weights = _renamed(model.state_dict(), _new_indices(model.position, other.position, remaining))
    other.load_state_dict(weights, assign=True)
    other.compute_dtype, other.attention_kernel = model.compute_dtype, model.attention_kernel
    return other.eval()


def _stays(instance: Position, *, whole: bool) -> bool:
    """Return whether a part stays: it does nothing, or acts at the input for all layers."""
    return not instance.active_doors() or (instance.door == "input" and not whole)


def _layer_spec(rest: list[Part], acting: Sum) -> tuple[Part, ...]:
    """Return the spec of a layer with the remaining parts and the softmax scale of all."""
    if acting.softmax_scale not in (None, acting.shape.score_dim**-0.5):
        rest = [*rest, Part(f"{__name__}.{Removed.__name__}", (("scale", acting.softmax_scale),))]
    return tuple(rest) or (Part("none"),)


def _cannot_remove(position: Composed, layer: int | None) -> BadInput:
    if layer is None:
        return BadInput(
            "the model has no positional embedding", code="evaluation.no-embedding-in-model"
        )
    if any(instance.door == "input" for instance in position.instances):
        return BadInput(
            "the embedding acts at the input, before all layers",
            code="evaluation.embedding-at-input",
        )
    return BadInput(f"layer {layer} has no embedding", code="evaluation.no-embedding-in-layer")


def _new_indices(old: Composed, new: Composed, remaining: list[list[int]]) -> dict[int, int]:
    """Return the index in the new model of every instance that stays."""
    return {
        old.indices[i][k]: new.indices[i][new_k]
        for i, parts in enumerate(remaining)
        for new_k, k in enumerate(parts)
    }


def _renamed(weights: dict[str, Tensor], indices: dict[int, int]) -> dict[str, Tensor]:
    """Return weights by their names in the new model, without those of removed embeddings."""
    renamed = {}
    for name, weight in weights.items():
        match = POSITION_WEIGHT.fullmatch(name)
        if match is None:
            renamed[name] = weight
        elif int(match[1]) in indices:
            renamed[f"position.instances.{indices[int(match[1])]}.{match[2]}"] = weight
    return renamed
