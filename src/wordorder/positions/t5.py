"""T5's relative bias: distances fall into buckets, and each bucket has a trained bias.

Near distances have a bucket each, far ones share buckets that widen with the logarithm,
and everything from `max_distance` on shares the last, so any length has a bias. Where the
buckets part is computed in whole numbers: a logarithm in float32 may put a distance into
the neighbouring bucket.
"""

import torch
from torch import Tensor, nn

from . import defaults
from .base import ModelShape, Position, PositionError, upcast


class T5(Position):
    """A trained bias for each bucket of distances, one table for all layers.

    A causal model has all buckets for the past; a bidirectional one half of them for the
    keys ahead, so that it can tell before from after.

    Args:
        buckets: number of buckets, half of which (of each side) hold a single distance, as far
            as max_distance leaves room for others.
        max_distance: from here on all distances are in the last bucket, at least 2; 0: a
            quarter of the trained length, at most 128, the paper's for 512 tokens.
        scaled: divide query-key products by sqrt(head_dim). T5 itself does not, and starts
            its queries smaller instead; a model whose first weights or QK-norm expect the
            usual scale needs it, so it is the default.

    Raises:
        PositionError: fewer than 2 buckets a side, or a largest distance below 2.

    Source: Raffel et al. 2020, section 2.1; the buckets are those of its code, which has none
    where max_distance leaves no room for wide ones: here fewer then hold a single distance.
    Not here: the table's layout in transformers, (buckets, heads).
    """

    summary = "A trained bias for each bucket of distances, wider buckets farther off."
    source = "Raffel et al. 2020, section 2.1"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ (/ √d) + b[head, bucket(i − j)]\n"
        "bucket(n) = n  for n < E\n"
        "bucket(n) = min(B − 1, E + ⌊(B − E) · ln(n / E) / ln(max_distance / E)⌋)  from E on\n"
        "B = buckets (half of them, for each side, if bidirectional)\n"
        "E = B / 2, or max_distance − 1 where that is less"
    )
    traps = (
        "T5 does not divide by sqrt(head_dim): a table trained with the scale is not one "
        "trained without it (t5:scaled=false is T5's own).",
        "A causal model has all buckets for the past; giving it the bidirectional form's half "
        "leaves the other half untrained.",
        "transformers counts key minus query: with the sign turned, a bidirectional model "
        "takes before for after.",
        "The last bucket begins before max_distance (at 113 of 128), and everything "
        "farther shares it: beyond, order is invisible to this bias.",
        "x-transformers multiplies the bias by sqrt(head_dim): its tables are not "
        "interchangeable with those of transformers.",
    )
    door = "score"
    shared = True
    follows = (defaults.Follows("max_distance", defaults.REACH_RULE, 128),)

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        buckets: int = 32,
        max_distance: int = 0,
        scaled: bool = True,
    ) -> None:
        super().__init__(shape)
        sides = 1 if shape.causal else 2
        if buckets < 2 * sides or buckets % sides:
            least = "at least 2" if shape.causal else "even and at least 4, half for each side"
            raise PositionError(f"t5: buckets={buckets} must be {least}; 32 is the paper's")
        self.side = buckets // sides
        if max_distance < 0 or max_distance == 1:
            raise PositionError(
                f"t5: max_distance={max_distance} must be at least 2, or 0 to follow the trained "
                "length; 128 is the paper's"
            )
        self.buckets = buckets
        self.max_distance = max_distance
        self.resolved_distance = max_distance or max(2, defaults.reach(shape.trained_length))
        self.single = min(self.side // 2, self.resolved_distance - 1)
        self.scaled = scaled
        self.borders = _borders(self.single, self.side - self.single, self.resolved_distance)
        self.weight = nn.Parameter(torch.empty(shape.heads, buckets))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table from N(0, 1/width), as transformers does."""
        nn.init.normal_(self.weight, std=self.shape.width**-0.5, generator=generator)

    def resolved_options(self) -> dict[str, int]:
        return {"max_distance": self.resolved_distance}

    @property
    def softmax_scale(self) -> float | None:
        return None if self.scaled else 1.0

    def bucket(self, distance: Tensor) -> Tensor:
        """Return the bucket of each distance, rounded where it is no whole number, as int64."""
        distance = distance.round().long()
        back = distance.clamp(min=0) if self.shape.causal else distance.abs()
        borders = torch.tensor(self.borders, dtype=distance.dtype, device=distance.device)
        far = self.single + torch.bucketize(back, borders, right=True)
        bucket = torch.where(back < self.single, back, far)
        # Keys ahead have the second half, whose first bucket stays empty, as in T5.
        return bucket if self.shape.causal else bucket + self.side * (distance < 0)

    def distance_bias(self, distance: Tensor) -> Tensor:
        heads = self.shape.heads
        where = self.bucket(distance).flatten().expand(heads, -1)
        return upcast(self.weight).gather(1, where).view(heads, *distance.shape)


def _borders(single: int, wide_buckets: int, max_distance: int) -> tuple[int, ...]:
    """Return the smallest distance of every wide bucket but the first.

    Bucket k of K begins at the smallest n with n >= E * (M / E)^(k / K), that is with
    n^K >= M^k * E^(K - k), which whole numbers decide exactly.
    """
    borders = []
    for k in range(1, wide_buckets):
        bound = max_distance**k * single ** (wide_buckets - k)
        n = round(single * (max_distance / single) ** (k / wide_buckets))
        while n**wide_buckets < bound:
            n += 1
        while (n - 1) ** wide_buckets >= bound:
            n -= 1
        borders.append(n)
    return tuple(borders)
