"""Sinusoidal positional embedding: final input = word embedding + sines and cosines.

Fixed, not learned. The table is computed from positions in every forward pass, in float64 and
cast once. So there is no buffer that could be rounded, be uninitialised after the meta device,
or be too short.
"""

import math

import torch
from torch import Tensor, nn

from .angles import cos_sin
from .base import Position, PositionError, upcast
from .layout import TokenLayout
from .shape import ModelShape


class Sinusoidal(Position):
    """The embedding of the original Transformer, with sine and cosine interleaved.

    Args:
        base: the longest wavelength is about 2 pi times this; above 1.
        learned_scale: multiply the sines and cosines by one trained number, initially 1, so
            that the model can weigh positions against words.
        factor: divide positions by this, at least 1, so that a sequence this many times
            longer has the range of positions that were trained.

    Raises:
        PositionError: an odd width, a base of at most 1, or a factor below 1.

    Source: Vaswani et al. 2017, section 3.5: PE(p, 2i) = sin(p / base^(2i/width)),
    PE(p, 2i+1) = cos(the same). The scale: Li et al. 2019, "Neural Speech Synthesis with
    Transformer Network", the scaled positional encoding. The factor: position interpolation,
    Chen et al. 2023, section 2.3, equation 4, there for rotary.
    Not here: the layout of fairseq and XGLM (sines, then cosines; other frequencies).
    """

    summary = "Fixed sines and cosines of the position, added to the word embeddings."
    source = "Vaswani et al. 2017, section 3.5"
    formula = (
        "input = word embedding + α · PE(p / factor),   α = 1, or trained with learned_scale\n"
        "PE(p, 2i) = sin(p / base^(2i/width)),   PE(p, 2i+1) = cos(p / base^(2i/width))"
    )
    traps = (
        "Sine and cosine alternate here, as in the paper; in fairseq and XGLM all sines come "
        "first. The information is the same, but weights trained with one are wrong for the other.",
        "The exponent is 2i/width; tensor2tensor and fairseq divide i by width/2 - 1 and have "
        "other frequencies.",
        "Sines have size 1: word embeddings of size 0.02 are drowned by them, unless they are "
        "scaled up (by sqrt(width) in the paper) or learned_scale is set.",
        "Angles in float32 are off by hundredths near position 1,000,000.",
        "A factor also changes short sequences: neighbouring positions are closer together than "
        "in training, until the model is fine-tuned.",
    )
    door = "input"
    absolute = True
    shift_invariant = False

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 10000.0,
        learned_scale: bool = False,
        factor: float = 1.0,
    ) -> None:
        super().__init__(shape)
        if shape.width % 2:
            raise PositionError(
                f"sinusoidal: the width {shape.width} must be even, for pairs of a sine and a "
                "cosine",
                code="positions.sinusoidal-width",
            )
        if not base > 1:
            raise PositionError(
                f"sinusoidal: base={base} must be above 1; the paper uses 10000",
                code="positions.sinusoidal-base",
            )
        if not factor >= 1:
            raise PositionError(
                f"sinusoidal: factor={factor} must be at least 1: it is how many times longer "
                "sequences get",
                code="positions.sinusoidal-factor",
            )
        self.base = base
        self.learned_scale = learned_scale
        self.factor = factor
        self.scale = nn.Parameter(torch.empty(())) if learned_scale else None
        self.reset_parameters()

    @classmethod
    def word_scale(cls, width: int) -> float:
        """Return sqrt(width), the paper's multiplier of word vectors (section 3.4)."""
        return math.sqrt(width)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set the scale to 1, the value without learned_scale."""
        if self.scale is not None:
            self.scale.fill_(1.0)

    def table(self, positions: Tensor) -> Tensor:
        """Return the vectors (..., width) float32 of positions (...) of any number type."""
        pairs = torch.arange(0, self.shape.width, 2, dtype=torch.float64, device="cpu")
        frequencies = self.base ** (-pairs / self.shape.width) / self.factor
        cosine, sine = cos_sin(positions[..., None], frequencies)
        return torch.stack((sine, cosine), dim=-1).flatten(-2)

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        table = self.table(layout.query_positions)
        if self.scale is not None:
            table = self.scale * table.to(upcast(self.scale).dtype)
        return x + table.to(x.dtype)
