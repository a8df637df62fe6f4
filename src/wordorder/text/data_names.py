"""Names of data with weights: `--data books/=0.7 code/=0.3`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from wordorder.errors import BadInput


class WeightedName(NamedTuple):
    """A name of data, and its weight if it has one."""

    name: str
    weight: float | None = None


def weighted_name(text: str) -> WeightedName:
    """Return the name and the weight of `NAME=WEIGHT`; a file of that whole name comes first.

    Raises:
        BadInput: the weight is not above 0 or not finite, or there is no name before it.
    """
    name, equals, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        return WeightedName(text)
    if not equals or Path(text).exists():
        return WeightedName(text)
    if not name:
        raise BadInput(
            f"the weight {text} names no data: write NAME=WEIGHT, such as books/=0.7",
            code="text.weight-without-name",
        )
    if not 0 < weight < math.inf:
        raise BadInput(
            f"the weight of {name} is {number}: it must be above 0, as a share of the training "
            "tokens; leave out data without a share",
            code="text.wrong-weight",
        )
    return WeightedName(name, weight)


def mixture_of(data: Sequence[str]) -> tuple[WeightedName, ...]:
    """Return the parts of a mixture with weights whose sum is 1; empty if there are no weights.

    Raises:
        BadInput: only some names have a weight, a weight is not above 0, or a name is given twice.
    """
    parts = [weighted_name(text) for text in data]
    if all(part.weight is None for part in parts):
        return ()
    if without := [part.name for part in parts if part.weight is None]:
        raise BadInput(
            f"{without[0]} has no weight, and other data has: give each a weight, such as "
            f"{without[0]}=0.5, or none",
            code="text.some-weights",
        )
    most = max(part.weight or 0.0 for part in parts)
    shares = [(part.weight or 0.0) / most for part in parts]  # whose sum is finite
    names = [part.name for part in parts]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(
            f"{repeated} is in the mixture twice: give it once, with the sum of its weights",
            code="text.repeated-part",
        )
    total = sum(shares)
    return tuple(WeightedName(n, share / total) for n, share in zip(names, shares, strict=True))


def check_alike(chats: Iterable[bool]) -> None:
    """Raise BadInput if some parts of a mixture are conversations and others are text.

    Args:
        chats: whether each part holds conversations.
    """
    if len(set(chats)) > 1:
        raise BadInput(
            "a mixture of conversations and text is not possible: train on the text first, and "
            "then on the conversations with --init RUN",
            code="text.mixed-chats-and-text",
        )
