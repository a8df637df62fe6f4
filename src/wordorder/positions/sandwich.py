"""Sandwich: the inner product of two positions' sinusoids, as a bias by distance.

The inner product of the sinusoidal embeddings of two positions depends only on their distance
and falls roughly with its logarithm. Added to the scores, instead of the embeddings to the
input, it is a bias without parameters that also works beyond the trained length.
"""

from typing import Literal

import torch
from torch import Tensor

from ..eager import run_eagerly
from .base import Position, PositionError
from .shape import ModelShape

PAPERS_HEADS = 12
SCALES = ("auto", "even", "geometric")


class Sandwich(Position):
    """A fixed bias by distance: the inner product of sinusoids, scaled per head.

    The product at distance 0 is subtracted. The softmax ignores this constant, and the
    difference is a sum of squares, which is exact at small distances too. Each head divides
    the bias by the exponent of its ALiBi slope.

    Args:
        dimensions: dimensions of the sinusoids, even and at least 2.
        base: the longest wavelength is about 2 pi times this; above 1.
        scales: the divisors of the heads. "even" is the paper's 8/n, 16/n, ... 8 for n heads;
            with few heads none is small, so no head has a steep bias (the first of 4 heads
            has 2, the first of 12 has 2/3). "geometric" has n divisors from 2/3 to 8 with
            equal ratios. "auto" is geometric below 12 heads, the paper's number, and even
            from there on.

    Raises:
        PositionError: dimensions that are odd or below 2, a base of at most 1, or unknown
            scales.

    Source: Chi et al. 2023, "Dissecting Transformer Length Extrapolation via the Lens of
    Receptive Field Analysis", where Sandwich is introduced; pairs from 0 on, as Vaswani's.
    """

    summary = "The inner product of two positions' sinusoids, as a fixed bias."
    source = "Chi et al. 2023, Sandwich"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d + (pᵢ·pⱼ − D/2) / h,   h = 8n/H for head n = 1 … H\n"
        "scales=geometric:  h = 2/3 · 12^((n−1)/(H−1))\n"
        "pᵢ·pⱼ = Σₖ cos((i − j) / base^(2k/D)),   k = 0 … D/2 − 1,   D = dimensions"
    )
    traps = (
        "The constant D/2 changes nothing, because the softmax ignores it; the heads' scales do.",
        "D is an option (128), not the width of the model: more dimensions give a steeper bias.",
        "NeMo's version sums angles without taking their cosine: that is a different bias.",
    )
    door = "score"

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        dimensions: int = 128,
        base: float = 10000.0,
        scales: Literal["auto", "even", "geometric"] = "auto",
    ) -> None:
        super().__init__(shape)
        if dimensions < 2 or dimensions % 2:
            raise PositionError(
                f"sandwich: dimensions={dimensions} must be even and at least 2; the paper uses "
                "128",
                code="positions.sandwich-dimensions",
            )
        if not base > 1:
            raise PositionError(
                f"sandwich: base={base} must be above 1; the paper uses 10000",
                code="positions.sandwich-base",
            )
        if scales not in SCALES:
            raise PositionError(
                f"sandwich: unknown scales {scales!r}: use {' or '.join(SCALES)}",
                code="positions.sandwich-scales",
            )
        self.dimensions = dimensions
        self.base = base
        self.scales = scales
        self.divisors = divisors(shape.heads, scales)

    def distance_bias(self, distance: Tensor) -> Tensor:
        if distance.device.type == "mps":  # Apple GPUs lack float64
            return self.distance_bias(distance.cpu()).to(distance.device)
        one_row = distance.dim() < 2 or distance.numel() == distance.shape[-1]
        if one_row or distance.is_floating_point() or torch.compiler.is_exporting():
            return self.scaled(self.fall(distance))
        return self.of_pairs(distance)

    @run_eagerly  # the number of distinct distances is known only at run time
    def of_pairs(self, distance: Tensor) -> Tensor:
        """Return the bias of many pairs, computed once per distinct distance."""
        least, most = int(distance.min()), int(distance.max())
        if most - least >= distance.numel():
            return self.scaled(self.fall(distance))
        heads, distances = self.shape.heads, torch.arange(least, most + 1, device=distance.device)
        index = (distance - least).flatten().expand(heads, -1)
        return self.scaled(self.fall(distances)).gather(1, index).view(heads, *distance.shape)

    def fall(self, distance: Tensor) -> Tensor:
        """Return the product at distance 0 minus the product at each distance, float64.

        1 - cos(a) = 2 sin(a / 2)^2. The loop over frequencies needs no tensor larger than the
        distances.
        """
        half = distance.double() / 2
        total = torch.zeros_like(half)
        for k in range(self.dimensions // 2):
            total += (half * self.base ** (-2 * k / self.dimensions)).sin().square()
        return 2 * total

    def scaled(self, fall: Tensor) -> Tensor:
        """Return the bias (heads, *fall.shape) float32."""
        scales = torch.tensor(self.divisors, dtype=torch.float64, device=fall.device)
        return -(fall / scales.view(-1, *[1] * fall.dim())).float()


def divisors(heads: int, scales: str) -> tuple[float, ...]:
    """Return each head's divisor; a single head has the geometric mean of 2/3 and 8."""
    if scales == "even" or (scales == "auto" and heads >= PAPERS_HEADS):
        return tuple(8 * n / heads for n in range(1, heads + 1))
    last = max(heads - 1, 1)
    exponents = [n / last for n in range(heads)] if heads > 1 else [0.5]
    return tuple(8 / PAPERS_HEADS * PAPERS_HEADS**exponent for exponent in exponents)
