"""A trained bias for every distance up to a limit, a scalar per head: the plainest relative one.

What T5 buckets and KERPLE gives a formula is here a table: nothing is assumed about how
attention falls with distance, and nothing is known beyond the limit, from which on all
distances share the last entry.
"""

import torch
from torch import Tensor, nn

from . import defaults
from .base import ModelShape, Position, PositionError, upcast


class Relative(Position):
    """A trained scalar for each head and clipped distance, added to the scores.

    A causal model has distances 0 to clip; a bidirectional one -clip to clip.

    Args:
        clip: from this distance on all share one entry; 0: a quarter of the trained length, at
            most 128, as T5's.

    Raises:
        PositionError: a negative clip.

    Source: Shaw et al. 2018, section 3.2, for the clipping; Raffel et al. 2020, section 2.1,
    for scalars in place of vectors.
    Not here: a vector per distance, which the query asks.
    """

    summary = "A trained bias for every distance up to a limit, in each head."
    source = "Shaw et al. 2018, section 3.2, with scalars as in Raffel et al. 2020"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d + b[head, min(i − j, clip)]\n"
        "bidirectional: b[head, max(−clip, min(i − j, clip))]"
    )
    traps = (
        "From the clip on all distances look alike: beyond it the far past is a bag of words.",
        "Entries that training never reached stay as drawn: a clip beyond the trained length "
        "leaves noise for longer texts.",
        "Query minus key, not key minus query: with the sign turned a bidirectional model "
        "takes before for after.",
    )
    door = "score"
    follows = (defaults.Follows("clip", defaults.REACH_RULE),)

    def __init__(self, shape: ModelShape, /, *, clip: int = 0) -> None:
        super().__init__(shape)
        if clip < 0:
            raise PositionError(
                f"relative: clip={clip} must be at least 1, or 0 to follow the trained length"
            )
        self.clip = clip
        self.resolved_clip = clip or defaults.reach(shape.trained_length)
        self.ahead = 0 if shape.causal else self.resolved_clip  # how far ahead the table goes
        self.weight = nn.Parameter(torch.empty(shape.heads, self.ahead + 1 + self.resolved_clip))
        self.reset_parameters()

    def resolved_options(self) -> dict[str, int]:
        return {"clip": self.resolved_clip}

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, 0.02), as Swin Transformer (Liu et al. 2021) does."""
        nn.init.normal_(self.weight, std=0.02, generator=generator)

    def distance_bias(self, distance: Tensor) -> Tensor:
        heads = self.shape.heads
        where = distance.round().long().clamp(-self.ahead, self.resolved_clip) + self.ahead
        where = where.flatten().expand(heads, -1)
        return upcast(self.weight).gather(1, where).view(heads, *distance.shape)
