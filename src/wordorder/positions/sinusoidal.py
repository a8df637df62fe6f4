"""Sinusoidal positional embedding: final input = word embedding + sines and cosines.

Fixed, not learned. The tables are computed from positions at each call in float64 and
cast once, so no buffer can be rounded, lost on the meta device or grown too short.
"""

import math

import torch
from torch import Tensor, nn

from .angles import cos_sin
from .base import ModelShape, Position, PositionError, TokenLayout, upcast


class Sinusoidal(Position):
    """The embedding of the original Transformer, sine and cosine interleaved.

    Args:
        base: the longest wavelength is 2 pi times this, above 1.
        learned_scale: multiply the sines and cosines by one trained number, 1 at first, so
            that the model weighs positions against words.
        factor: what positions are divided by, 1 or more, so that a text so many times longer
            spans the positions that were trained.

    Raises:
        PositionError: an odd width, a base not above 1, or a factor below 1.

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
        "Sine and cosine alternate here, as in the paper; fairseq and XGLM have all sines "
        "first: the same information, but tables and weights of one are wrong for the other.",
        "The exponent is 2i/width; tensor2tensor and fairseq divide i by width/2 - 1 and have "
        "other frequencies.",
        "Sines are of size 1: word embeddings of size 0.02 drown in them, unless they are "
        "scaled up (by sqrt(width) in the paper) or the scale is learned.",
        "Angles in float32 are off by hundredths near position 1,000,000.",
        "A factor changes what short texts read too: neighbours stand nearer than any that were "
        "trained, until the model is tuned to it.",
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
                f"sinusoidal needs an even width, got {shape.width}: sines and cosines pair up"
            )
        if not base > 1:
            raise PositionError(f"sinusoidal: base={base} must be above 1; 10000 is the paper's")
        if not factor >= 1:
            raise PositionError(
                f"sinusoidal: factor={factor} must be 1 or more: how many times longer texts get"
            )
        self.base = base
        self.learned_scale = learned_scale
        self.factor = factor
        self.scale = nn.Parameter(torch.empty(())) if learned_scale else None
        self.reset_parameters()

    @classmethod
    def word_scale(cls, width: int) -> float:
        """Return sqrt(width): sines of size 1 are added to words of that size (section 3.4)."""
        return math.sqrt(width)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start the scale at 1: what is fixed without it."""
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
