"""Sandwich: the inner product of two positions' sinusoids, as a bias by distance.

The product of the sinusoidal embeddings of two positions depends on their distance alone
and falls about like its logarithm. Taken out of the input and put on the scores, it is a
bias without parameters that lasts beyond the trained length.
"""

import torch
from torch import Tensor

from .base import ModelShape, Position, PositionError

PAPERS_HEADS = 12
SCALES = ("auto", "even", "geometric")


class Sandwich(Position):
    """A fixed bias by distance: the inner product of sinusoids, scaled by head.

    The product at distance 0 is taken off: the softmax ignores it, and what is left is a
    sum of squares, exact however small. Heads divide it by the exponents of ALiBi's slopes.

    Args:
        dimensions: of the sinusoids, of which there is a pair for every two.
        base: the longest wavelength is about 2 pi times this, above 1.
        scales: what heads divide by. "even" is the paper's row 8/n, 16/n, ... 8 for n heads;
            with few of them it has no steep one (2 for the first of 4, which is 2/3 of 12).
            "geometric" has as many from 2/3 to 8, in equal ratios. "auto" is geometric below
            12 heads, the paper's number, and even from there on.

    Raises:
        PositionError: dimensions that are odd or below 2, a base not above 1, other scales.

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
        "The constant D/2 changes nothing, for the softmax ignores it; the scale by head does.",
        "D is its own number (128), not the width of the model: more dimensions are a steeper "
        "bias.",
        "NeMo's version sums the angles and forgets their cosine: it is another bias.",
    )
    door = "score"

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        dimensions: int = 128,
        base: float = 10000.0,
        scales: str = "auto",
    ) -> None:
        super().__init__(shape)
        if dimensions < 2 or dimensions % 2:
            raise PositionError(
                f"sandwich: dimensions={dimensions} must be even and at least 2; 128 is the paper's"
            )
        if not base > 1:
            raise PositionError(f"sandwich: base={base} must be above 1; 10000 is the paper's")
        if scales not in SCALES:
            raise PositionError(f"sandwich: scales={scales} must be {' or '.join(SCALES)}")
        self.dimensions = dimensions
        self.base = base
        self.scales = scales
        self.divisors = divisors(shape.heads, scales)

    def distance_bias(self, distance: Tensor) -> Tensor:
        if distance.device.type == "mps":  # has no float64
            return self.distance_bias(distance.cpu()).to(distance.device)
        one_row = distance.dim() < 2 or distance.numel() == distance.shape[-1]
        if one_row or distance.is_floating_point():
            return self.scaled(self.fall(distance))
        return self.of_pairs(distance)

    @torch.compiler.disable  # how many distances there are is known when it runs
    def of_pairs(self, distance: Tensor) -> Tensor:
        """Return the bias of many pairs, working out once each distance that they have."""
        near, far = int(distance.min()), int(distance.max())
        if far - near >= distance.numel():
            return self.scaled(self.fall(distance))
        heads, every = self.shape.heads, torch.arange(near, far + 1, device=distance.device)
        where = (distance - near).flatten().expand(heads, -1)
        return self.scaled(self.fall(every)).gather(1, where).view(heads, *distance.shape)

    def fall(self, distance: Tensor) -> Tensor:
        """Return what the product loses from distance 0 on, float64 of the same shape.

        cos(a) - 1 = -2 sin(a / 2)^2; a pass for each pair, so that nothing larger than the
        distances is held.
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
    """Return what each head divides by; one head alone has the middle of a geometric row."""
    if scales == "even" or (scales == "auto" and heads >= PAPERS_HEADS):
        return tuple(8 * n / heads for n in range(1, heads + 1))
    last = max(heads - 1, 1)
    exponents = [n / last for n in range(heads)] if heads > 1 else [0.5]
    return tuple(8 / PAPERS_HEADS * PAPERS_HEADS**exponent for exponent in exponents)
