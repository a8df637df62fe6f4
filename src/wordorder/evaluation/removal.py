"""What a model loses where its positional embedding is taken out, of all layers or of one.

The weights stay as they are and nothing is trained again: the loss says how much the model leans
on its embedding, not how well it could have done without. What is taken out leaves a spec of its
own, as `rotary/none/rotary/rotary`, so the same model is built once more with that spec and given
the same weights. An embedding that changes the softmax scale leaves the scale behind: it belongs
to the scores that the model was trained with, and is no position.

What comes in at the input acts once, before all layers: it can be taken out whole, but of no
layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from numpy.typing import ArrayLike
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.evaluation.order import OrderLosses, Undisturbed
from wordorder.evaluation.windows import MOST_TARGETS, target_losses
from wordorder.model import TokenModel, make_model
from wordorder.positions import Composed, ModelShape, Part, Position, Spec, Sum, parse
from wordorder.text.store import TokenStore

# Where an embedding can act on what a model computes.
OWN_WEIGHT = re.compile(r"position\.instances\.(\d+)\.(.+)")


class Absent(Position):
    """What is left of an embedding that was taken out: its softmax scale, and no position.

    Args:
        scale: what products of queries and keys are multiplied by; 0 is the usual scale.
    """

    summary = "An embedding taken out: its softmax scale is left, and no position."
    source = "wordorder probe"
    formula = "score(i, j) = scale q_i · k_j"
    traps = ("It is for what was trained with an embedding: to train without one, use none.",)

    def __init__(self, shape: ModelShape, /, *, scale: float = 0.0) -> None:
        super().__init__(shape)
        self.scale = scale

    @property
    def softmax_scale(self) -> float | None:
        return self.scale or None


def removal_losses(
    model: TokenModel,
    store: TokenStore,
    *,
    trained_length: int,
    bytes_per_token: ArrayLike | None = None,
    most_targets: int = MOST_TARGETS,
    progress: Callable[[float], object] = lambda _: None,
) -> OrderLosses:
    """Measure what taking the embedding out does to a model's loss on the same targets.

    Args:
        model, store, trained_length, bytes_per_token, most_targets: as `order_losses` takes them,
            and the targets are the same.
        progress: called with the share that is done, 0 to 1.

    Returns:
        `removed` first, then a layer at a time: `removed-1`, ...; or `removed-one` alone, where
        it can be taken out of no layer by itself.

    Raises:
        BadInput: a text shorter than one window.
    """
    plain = Undisturbed.of(
        model, store, trained_length, bytes_per_token=bytes_per_token, most_targets=most_targets
    )

    def losses(layer: int | None) -> Tensor:
        other = without_position(model, layer)
        return target_losses(other, plain.windows.tokens, plain.windows.targets)

    layers = model.config.layers
    whole = plain.compared("removed", "no embedding in any layer", partial(losses, None))
    found = []
    for layer in range(1, layers + 1):
        progress(layer / (layers + 1))
        meaning = f"no embedding in layer {layer}"
        found.append(plain.compared(f"removed-{layer}", meaning, partial(losses, layer)))
    if len({each.cannot for each in found}) == 1 and found[0].cannot:
        found = [replace(found[0], name="removed-one", meaning="no embedding in one layer")]
    progress(1.0)
    return plain.summary((whole, *found))


def without_position(model: TokenModel, layer: int | None = None) -> TokenModel:
    """Return a model with the same weights and its embedding taken out.

    Args:
        layer: of this one alone, counted from 1; None takes it out of all.

    Raises:
        BadInput: a model without embedding, or a layer where there is none to take.
    """
    position = getattr(model, "position", None)
    if position is None:
        raise BadInput("the model has no positional embedding: it reads in order")
    spec = parse(model.config.position).layers
    parts = [spec[i % len(spec)] for i in range(model.config.layers)]
    kept, pattern = [], []
    for number, (here, acting) in enumerate(zip(parts, position.sums, strict=True), start=1):
        everything = list(range(len(here)))
        some = everything
        if layer in (None, number):
            some = [k for k in everything if _stays(acting.parts[k], whole=layer is None)]
        left = [here[k] for k in some]
        kept.append(some)
        pattern.append(here if some == everything else _in_place(left, acting))
    if pattern == parts:
        raise BadInput(_why_not(position, layer))
    other = make_model(replace(model.config, position=str(Spec(tuple(pattern)))))
    # The very tensors, on whatever device and in whatever dtype they are.
    weights = _renamed(model.state_dict(), _moved(position, other.position, kept))
    other.load_state_dict(weights, assign=True)
    other.compute_dtype, other.attention_kernel = model.compute_dtype, model.attention_kernel
    return other.eval()


def _stays(instance: Position, *, whole: bool) -> bool:
    """Return whether a part of a layer does nothing, or stands at the input and may not go."""
    return not instance.active_doors() or (instance.door == "input" and not whole)


def _in_place(left: list[Part], acting: Sum) -> tuple[Part, ...]:
    """Return what stands in a layer of a spec that something was taken out of."""
    if acting.softmax_scale not in (None, acting.shape.head_dim**-0.5):
        left = [*left, Part(f"{__name__}.{Absent.__name__}", (("scale", acting.softmax_scale),))]
    return tuple(left) or (Part("none"),)


def _why_not(position: Composed, layer: int | None) -> str:
    if layer is None:
        return "the model has no positional embedding"
    if any(instance.door == "input" for instance in position.instances):
        return "the embedding comes in at the input, before all layers"
    return f"layer {layer} has no embedding"


def _moved(old: Composed, new: Composed, kept: list[list[int]]) -> dict[int, int]:
    """Return the new number of every instance that stays."""
    return {
        old.indices[i][k]: new.indices[i][place]
        for i, some in enumerate(kept)
        for place, k in enumerate(some)
    }


def _renamed(weights: dict[str, Tensor], moved: dict[int, int]) -> dict[str, Tensor]:
    """Return weights by their names in the new model, without those that were taken out."""
    found = {}
    for name, weight in weights.items():
        own = OWN_WEIGHT.fullmatch(name)
        if own is None:
            found[name] = weight
        elif int(own[1]) in moved:
            found[f"position.instances.{moved[int(own[1])]}.{own[2]}"] = weight
    return found
