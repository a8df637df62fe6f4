"""What the weight maps of all families share: parts of a layer, joined projections, folding.

Names of a layer's weights are wordorder's without the prefix `blocks.N.`; a family's table says
what its class calls the module that owns each.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wordorder.interop.architecture import Architecture
from wordorder.model import LanguageModel

PROJECTIONS = ("query", "key", "value")
# Sines, and ALiBi where a class limits it, are written for a text this many times as long as those
# of training, beyond which no model that was tried predicts well.
FILLED = 8


def layer_weights(model: LanguageModel, layer: int) -> dict[str, Tensor]:
    """Return the weights of one layer by their names without `blocks.N.`."""
    prefix = f"blocks.{layer}."
    parts = (part for part in model.parts() if part.name.startswith(prefix))
    return {part.name.removeprefix(prefix): part.value for part in parts}


def renamed(
    layer: Mapping[str, Tensor], names: Mapping[str, str], prefix: str
) -> dict[str, Tensor]:
    """Return weights under the names of a class: `names` has that of each owning module."""
    weights = {}
    for name, value in layer.items():
        owner, _, kind = name.rpartition(".")
        weights[f"{prefix}{names[owner]}.{kind}"] = value
    return weights


def word_weights(
    model: LanguageModel, table: str, norm: str, head: str, *, biased: bool = False
) -> dict[str, Tensor]:
    """Return the weights outside of the layers, the embedding multiplier folded into them.

    A class that does not multiply word vectors by s holds the table times s. Where the table is
    the output layer too, the final norm's weights are divided by s, and the logits stay.

    Args:
        table, norm, head: what the class calls their modules.
        biased: the class's norm has a bias, zeros where the model's has none.
    """
    scale = model.config.embedding_scale
    weights = {f"{table}.weight": model.embedding.weight.detach() * scale}
    output_scale = 1.0
    if model.head is None:
        output_scale = scale
    else:
        weights[f"{head}.weight"] = model.head.weight.detach()
    final = norm_weights(model.final_norm, norm)
    final = {name: value / output_scale for name, value in final.items()}
    return weights | (with_biases(final) if biased else final)


def norm_weights(norm: nn.Module | None, name: str) -> dict[str, Tensor]:
    """Return the weight of a norm, and its bias if it has one, under a class's name for it."""
    if norm is None:
        return {}
    return {f"{name}.{kind}": value.detach() for kind, value in norm.named_parameters()}


def with_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with a bias of zeros for each module that has none."""
    complete = dict(weights)
    for name, value in weights.items():
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and f"{owner}.bias" not in weights:
            complete[f"{owner}.bias"] = value.new_zeros(len(value))
    return complete


def joined(layer: Mapping[str, Tensor], head_dim: int, *, by_heads: bool) -> dict[str, Tensor]:
    """Return a layer's weights with queries, keys and values as one projection, `joined`.

    Args:
        by_heads: rows are the query, key and value of head 0, then of head 1, ...; otherwise all
            queries, then all keys, then all values.
    """
    separate = tuple(f"attention.{part}." for part in PROJECTIONS)
    weights = {name: value for name, value in layer.items() if not name.startswith(separate)}
    for kind in ("weight", "bias"):
        if f"attention.query.{kind}" not in layer:
            continue
        parts = [layer[f"attention.{part}.{kind}"] for part in PROJECTIONS]
        if by_heads:
            heads = torch.stack([part.view(-1, head_dim, *part.shape[1:]) for part in parts], 1)
            weights[f"joined.{kind}"] = heads.flatten(0, 2)
        else:
            weights[f"joined.{kind}"] = torch.cat(parts)
    return weights


def activation(feed_forward: str) -> str:
    """Return what transformers calls the function of a feed-forward without a gate."""
    return {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu2": "relu2"}[feed_forward]


def table_length(architecture: Architecture) -> int:
    """Return how many positions a class with a table or a limit gets.

    A learned table has its own; what has no end is written `FILLED` times the trained length long.
    """
    last = architecture.composed.max_position
    return FILLED * architecture.config.trained_length if last is None else last + 1
