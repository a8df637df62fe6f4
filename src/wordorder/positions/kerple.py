"""KERPLE: scores fall with distance by a kernel with two trained parameters per head.

ALiBi's linear bias is one of the conditionally positive definite kernels, with which attention
remains an inner product; the paper generalises it to the others. The logarithmic kernel falls
steeply at small distances and hardly at large ones, and each head learns how steeply.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Position, PositionError, upcast
from .shape import ModelShape

MOST_EXPONENT = 2.0  # the power kernel is conditionally positive definite up to this exponent


class Kerple(Position):
    """A bias by distance with two trained positive parameters r1 and r2 per head.

    The raw parameters are unbounded and mapped to the allowed range: r1 and the log kernel's
    r2 by an exponential, the power kernel's r2 by a sigmoid times 2. A bidirectional model
    uses the absolute value of the distance.

    Args:
        kernel: log, -r1 * ln(1 + r2 * distance), the paper's best; or power,
            -r1 * distance^r2.

    Raises:
        PositionError: an unknown kernel.

    Source: Chi et al. 2022, section 4: the power and logarithmic variants.
    """

    summary = "Scores fall with distance by a trained logarithm or power in each head."
    source = "Chi et al. 2022, section 4"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d − r₁ · ln(1 + r₂·|i − j|)   kernel=log, r₁ > 0, r₂ > 0\n"
        "scoreᵢⱼ = qᵢ·kⱼ / √d − r₁ · |i − j|^r₂           kernel=power, r₁ > 0, 0 < r₂ ≤ 2"
    )
    traps = (
        "r1 and r2 must stay positive: below 0 the farthest keys get the largest bias, and "
        "ln(1 + r2 n) can be NaN.",
        "The logarithm is of 1 + r2 n: at distance 0 the bias is 0, not minus infinity.",
        "The power kernel's exponent must not exceed 2.",
        "Clamping the parameters, as the paper's code does, gives a parameter at the bound no "
        "gradient, so it never leaves it.",
    )
    door = "score"

    def __init__(self, shape: ModelShape, /, *, kernel: Literal["log", "power"] = "log") -> None:
        super().__init__(shape)
        if kernel not in ("log", "power"):
            raise PositionError(
                f"kerple: unknown kernel {kernel!r}: use log or power",
                code="positions.kerple-kernel",
            )
        self.kernel = kernel
        self.raw1 = nn.Parameter(torch.empty(shape.heads))
        self.raw2 = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw p from U(0, 2) and a from U(0, 1), as the paper's code names and draws them.

        p is the log kernel's r1 and the power kernel's r2; both are at least 0.01.
        """
        drawn = torch.rand(2, self.shape.heads, generator=generator)
        p, a = (drawn * torch.tensor([[2.0], [1.0]])).clamp(min=0.01)
        self.raw1.copy_((p if self.kernel == "log" else a).log())
        self.raw2.copy_(a.log() if self.kernel == "log" else (p / MOST_EXPONENT).logit(eps=1e-3))

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return r1 and r2 of each head, (heads,) float32."""
        first, second = upcast(self.raw1).exp(), upcast(self.raw2)
        if self.kernel == "log":
            return first, second.exp()
        return first, MOST_EXPONENT * second.sigmoid()

    def distance_bias(self, distance: Tensor) -> Tensor:
        r1, r2 = (r.view(-1, *[1] * distance.dim()) for r in self.coefficients())
        distance = distance.abs().to(r1.dtype)
        return -r1 * ((r2 * distance).log1p() if self.kernel == "log" else distance**r2)
