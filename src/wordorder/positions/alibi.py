"""ALiBi: attention scores fall linearly with distance, with a different slope per head."""

import torch
from torch import Tensor

from .base import Position
from .shape import ModelShape


class Alibi(Position):
    """Attention with linear biases: score - m * distance, with a slope m per head.

    The number of heads need not be a power of two: the heads past the largest power of two
    take every other slope of the next power of two, as the authors' code does. A
    bidirectional model uses the absolute value of the distance.

    Source: Press et al. 2022, section 3; the slopes for n heads are 2^(-8/n), 2^(-16/n), ...
    """

    summary = "Scores fall linearly with distance, with a different slope per head."
    source = "Press et al. 2022, section 3"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d − m[head] · |i − j|\n"
        "m[head n of H] = 2^(−8n/H);   if H is not a power of two: the slopes of the largest\n"
        "power of two below it, then every other slope of the next power of two"
    )
    traps = (
        "If the number of heads is not a power of two, one geometric sequence over all heads "
        "gives other slopes than the paper, BLOOM and MPT.",
        "The bias is subtracted: with the opposite sign a model attends most to the farthest key.",
        "The bias is not divided by sqrt(head_dim). Falcon divides it, so its slopes differ.",
        "A bidirectional model needs the absolute distance, or it favours later tokens.",
        "In bfloat16 the distances 1,000 to 1,007 round to three values: the bias is float32.",
        "With heads split over devices, each device needs its slice of the whole model's slopes: "
        "the slopes of a model with as many heads as the slice are different.",
    )
    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)

    def slopes(self) -> Tensor:
        heads = self.shape.heads
        power = 1 << (heads.bit_length() - 1)  # largest power of two at most `heads`
        exponents = [8 * (i + 1) / power for i in range(power)]
        exponents += [8 * (2 * i + 1) / (2 * power) for i in range(heads - power)]
        return torch.tensor([2.0**-e for e in exponents], dtype=torch.float32, device="cpu")

    def distance_bias(self, distance: Tensor) -> Tensor:
        slopes = self.slopes().to(distance.device).view(-1, *[1] * distance.dim())
        return -slopes * distance.abs().float()
