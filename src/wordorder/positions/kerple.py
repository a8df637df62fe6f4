"""KERPLE: scores fall with distance by a kernel of two trained numbers a head.

ALiBi's straight line is one kernel of many that keep attention an inner product: any
conditionally positive definite one will do. The logarithmic one falls steeply near by and
hardly at all far off, and each head learns how steeply.
"""

import torch
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, upcast

MOST_EXPONENT = 2.0  # beyond it the power kernel is no longer conditionally positive definite


class Kerple(Position):
    """A bias by distance with two trained positive numbers in each head.

    Parameters are kept as unbounded numbers and mapped to where the kernel is one: r1 and
    the log kernel's r2 through an exponential, the power kernel's r2 through a sigmoid
    times 2. A bidirectional model takes the distance's absolute value, as the kernel does.

    Args:
        kernel: log, -r1 * ln(1 + r2 * distance), the paper's best; or power,
            -r1 * distance^r2.

    Raises:
        PositionError: another kernel.

    Source: Chi et al. 2022, section 4: the power and logarithmic variants.
    """

    summary = "Scores fall with distance by a trained logarithm or power in each head."
    source = "Chi et al. 2022, section 4"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d − r₁ · ln(1 + r₂·|i − j|)   kernel=log, r₁ > 0, r₂ > 0\n"
        "scoreᵢⱼ = qᵢ·kⱼ / √d − r₁ · |i − j|^r₂           kernel=power, r₁ > 0, 0 < r₂ ≤ 2"
    )
    traps = (
        "r1 and r2 must stay positive: a step of the optimizer past 0 makes the far attended "
        "to most, and ln(1 + r2 n) no number.",
        "The logarithm is of 1 + r2 n: at distance 0 the bias is 0, not minus infinity.",
        "The power kernel's exponent must not pass 2.",
        "Clamping the parameters, as the paper's code does, leaves one at the border without a "
        "gradient to come back by.",
    )
    door = "score"

    def __init__(self, shape: ModelShape, /, *, kernel: str = "log") -> None:
        super().__init__(shape)
        if kernel not in ("log", "power"):
            raise PositionError(f"kerple: kernel={kernel} is none: use log or power")
        self.kernel = kernel
        self.raw1 = nn.Parameter(torch.empty(shape.heads))
        self.raw2 = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw what the paper's code calls p from U(0, 2) and its a from U(0, 1).

        p is the log kernel's r1 and the power kernel's r2; none is below its 0.01.
        """
        drawn = torch.rand(2, self.shape.heads, generator=generator)
        p, a = (drawn * torch.tensor([[2.0], [1.0]])).clamp(min=0.01)
        self.raw1.copy_((p if self.kernel == "log" else a).log())
        self.raw2.copy_(a.log() if self.kernel == "log" else (p / MOST_EXPONENT).logit(eps=1e-3))

    def numbers(self) -> tuple[Tensor, Tensor]:
        """Return r1 and r2 of each head, (heads,) float32."""
        first, second = upcast(self.raw1).exp(), upcast(self.raw2)
        if self.kernel == "log":
            return first, second.exp()
        return first, MOST_EXPONENT * second.sigmoid()

    def distance_bias(self, distance: Tensor) -> Tensor:
        r1, r2 = (r.view(-1, *[1] * distance.dim()) for r in self.numbers())
        away = distance.abs().to(r1.dtype)
        return -r1 * ((r2 * away).log1p() if self.kernel == "log" else away**r2)
