"""A trained bias for every distance up to a limit, one scalar per head.

T5 groups distances into buckets, and KERPLE computes the bias by a formula; here it is a plain
table, which assumes nothing about how attention falls with distance. All distances from the
limit on share the last entry.
"""

import torch
from torch import Tensor, nn

from . import defaults
from .base import Position, PositionError, upcast
from .shape import ModelShape


class Relative(Position):
    """A trained scalar for each head and clipped distance, added to the scores.

    A causal model has entries for distances 0 to clip; a bidirectional one for -clip to clip.

    Args:
        clip: all distances from this one on share an entry; 0: a quarter of the trained
            length, at most 128, as in T5.

    Raises:
        PositionError: a negative clip.

    Source: Shaw et al. 2018, section 3.2, for the clipping; Raffel et al. 2020, section 2.1,
    for scalars in place of vectors.
    Not here: a vector per distance, multiplied by the query: that is `shaw`.
    """

    summary = "A trained bias for every distance up to a limit, in each head."
    source = "Shaw et al. 2018, section 3.2, with scalars as in Raffel et al. 2020"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d + b[head, min(i − j, clip)]\n"
        "bidirectional: b[head, max(−clip, min(i − j, clip))]"
    )
    traps = (
        "Distances from the limit (`clip`) on have the same bias: the order of farther tokens has "
        "no effect.",
        "Entries that training never uses keep their random initial values: with a clip beyond the "
        "trained length, longer sequences get noise.",
        "Query minus key, not key minus query: with the opposite sign a bidirectional model "
        "confuses past and future.",
    )
    door = "score"
    follows = (defaults.Follows("clip", defaults.REACH_RULE),)

    def __init__(self, shape: ModelShape, /, *, clip: int = 0) -> None:
        super().__init__(shape)
        if clip < 0:
            raise PositionError(
                f"relative: clip={clip} must be positive, or 0 to scale it with the trained length",
                code="positions.relative-clip",
            )
        self.clip = clip
        self.resolved_clip = clip or defaults.reach(shape.trained_length)
        self.future = 0 if shape.causal else self.resolved_clip  # entries for future keys
        self.weight = nn.Parameter(torch.empty(shape.heads, self.future + 1 + self.resolved_clip))
        self.reset_parameters()

    def resolved_options(self) -> dict[str, int]:
        return {"clip": self.resolved_clip}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, 0.02), as Swin Transformer (Liu et al. 2021) does."""
        nn.init.normal_(self.weight, std=0.02, generator=generator)

    def distance_bias(self, distance: Tensor) -> Tensor:
        heads = self.shape.heads
        if distance.is_floating_point():
            distance = distance.round()
        index = distance.long().clamp(-self.future, self.resolved_clip) + self.future
        index = index.flatten().expand(heads, -1)
        return upcast(self.weight).gather(1, index).view(heads, *distance.shape)
