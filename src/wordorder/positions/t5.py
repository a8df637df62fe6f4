"""T5's relative bias: distances are grouped into buckets, each with a trained bias.

Small distances have a bucket each, larger ones share buckets that widen logarithmically, and
all distances from `max_distance` on share the last, so that sequences of any length have a
bias. The borders of buckets are computed with integers, because a logarithm in float32 may
put a distance into the neighbouring bucket.

    causal, 8 buckets, max_distance 16
    distance   0  1  2  3  4 5  6 7  8 ... 11  12 ...
    bucket     0  1  2  3   4    5      6       7
"""

import torch
from torch import Tensor, nn

from . import defaults
from .base import Position, PositionError, upcast
from .shape import ModelShape


class T5(Position):
    """A trained bias for each bucket of distances, one table for all layers.

    In a causal model all buckets are for past keys; in a bidirectional model half of them are
    for future keys.

    Args:
        buckets: number of buckets. Half of them (of each side) hold a single distance, or
            fewer if max_distance is too small for that.
        max_distance: all distances from this one on are in the last bucket; at least 2; 0: a
            quarter of the trained length, at most 128, which the paper has for 512 tokens.
        scaled: divide query-key products by sqrt(head_dim). T5 does not, and initialises its
            queries smaller instead. The default is true, because QK-norm and the usual
            initial values expect this scale.

    Raises:
        PositionError: fewer than 2 buckets per side, an odd number in a bidirectional model,
            or a max_distance of 1 or below 0.

    Source: Raffel et al. 2020, section 2.1. The buckets are those of its code, except where
    max_distance leaves no room for wide buckets: there its code has none, and here fewer
    buckets hold a single distance.
    Not here: the table's layout in transformers, (buckets, heads).
    """

    summary = "A trained bias for each bucket of distances; buckets widen with distance."
    source = "Raffel et al. 2020, section 2.1"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ (/ √d) + b[head, bucket(i − j)]\n"
        "bucket(n) = n  for n < E\n"
        "bucket(n) = min(B − 1, E + ⌊(B − E) · ln(n / E) / ln(max_distance / E)⌋)  from E on\n"
        "B = buckets (half of them, for each side, if bidirectional)\n"
        "E = B / 2, or max_distance − 1 where that is less"
    )
    traps = (
        "T5 does not divide by sqrt(head_dim): a table trained with that scale does not work "
        "without it (t5:scaled=false is T5's own form).",
        "In a causal model all buckets are for past keys: with the buckets of a bidirectional "
        "model half of the table is never used.",
        "transformers counts key minus query: with the opposite sign a bidirectional model "
        "confuses past and future.",
        "The last bucket begins before max_distance (at 113 of 128), and all larger distances "
        "share it: the order of farther tokens has no effect.",
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
            raise PositionError(
                f"t5: buckets={buckets} must be {least}; the paper uses 32",
                code="positions.t5-buckets",
            )
        self.side = buckets // sides
        if max_distance < 0 or max_distance == 1:
            raise PositionError(
                f"t5: max_distance={max_distance} must be at least 2, or 0 to scale it with the "
                "trained length; the paper uses 128",
                code="positions.t5-max-distance",
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
        """Return the bucket of each distance, int64; fractional distances are rounded."""
        distance = distance.round().long() if distance.is_floating_point() else distance.long()
        back = distance.clamp(min=0) if self.shape.causal else distance.abs()
        borders = torch.tensor(self.borders, dtype=distance.dtype, device=distance.device)
        far = self.single + torch.bucketize(back, borders, right=True)
        bucket = torch.where(back < self.single, back, far)
        # Future keys have the second half, whose first bucket (distance 0) stays empty, as in T5.
        return bucket if self.shape.causal else bucket + self.side * (distance < 0)

    def distance_bias(self, distance: Tensor) -> Tensor:
        heads = self.shape.heads
        index = self.bucket(distance).flatten().expand(heads, -1)
        return upcast(self.weight).gather(1, index).view(heads, *distance.shape)


def _borders(single: int, wide_buckets: int, max_distance: int) -> tuple[int, ...]:
    """Return the smallest distance of every wide bucket except the first.

    Bucket k of K begins at the smallest n with n >= E * (M / E)^(k / K), which is the same as
    n^K >= M^k * E^(K - k), an exact comparison of integers.
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
