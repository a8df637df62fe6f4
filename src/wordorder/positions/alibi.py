"""ALiBi: attention scores fall linearly with distance, at another slope in each head."""

import torch
from torch import Tensor

from .base import ModelShape, Position


class Alibi(Position):
    """Attention with linear biases: score - m * distance, m by head.

    Any number of heads: those past the largest power of two take every other slope of
    the next one, as the paper's own code does. A bidirectional model gets the symmetric
    form, the distance's absolute value.

    Source: Press et al. 2022, section 3; the slopes for n heads are 2^(-8/n), 2^(-16/n), ...
    """

    summary = "Scores fall linearly with distance, at another slope in each head."
    source = "Press et al. 2022, section 3"
    formula = (
        "scoreᵢⱼ = qᵢ·kⱼ / √d − m[head] · |i − j|\n"
        "m[head n of H] = 2^(−8n/H);   H no power of two: those of the largest power of two\n"
        "below it, then every other one of the next power of two"
    )
    traps = (
        "Head counts that are no power of two: one geometric row over all heads has other "
        "slopes than the paper's, BLOOM's and MPT's.",
        "The bias is subtracted: with the sign turned a model attends to the farthest first.",
        "The bias is not divided by sqrt(head_dim): Falcon does, and is another model.",
        "A bidirectional model needs the absolute value, or it favours what lies ahead.",
        "Distances from 1,000 to 1,007 are three numbers in bfloat16: the bias is float32.",
        "Heads split over devices keep their slices of the whole model's slopes: a model with as "
        "many heads as a slice has others.",
    )
    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)

    def slopes(self) -> Tensor:
        heads = self.shape.heads
        whole = 1 << (heads.bit_length() - 1)  # largest power of two at most `heads`
        exponents = [8 * (i + 1) / whole for i in range(whole)]
        exponents += [8 * (2 * i + 1) / (2 * whole) for i in range(heads - whole)]
        return torch.tensor([2.0**-e for e in exponents], dtype=torch.float32, device="cpu")

    def distance_bias(self, distance: Tensor) -> Tensor:
        slopes = self.slopes().to(distance.device).view(-1, *[1] * distance.dim())
        return -slopes * distance.abs().float()
