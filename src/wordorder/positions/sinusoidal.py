"""Sinusoidal positional embedding: final input = word embedding + sines and cosines.

Fixed, not learned. The tables are computed from positions at each call in float64 and
cast once, so no buffer can be rounded, lost on the meta device or grown too short.
"""

import torch
from torch import Tensor

from .base import Geometry, ModelShape, Position, PositionError


class Sinusoidal(Position):
    """The embedding of the original Transformer, sine and cosine interleaved.

    Args:
        base: the longest wavelength is 2 pi times this, above 1.

    Raises:
        PositionError: an odd width, or a base not above 1.

    Source: Vaswani et al. 2017, section 3.5: PE(p, 2i) = sin(p / base^(2i/width)),
    PE(p, 2i+1) = cos(the same).
    Not here: the layout of fairseq and XGLM (sines, then cosines; other frequencies).
    """

    summary = "Fixed sines and cosines of the position, added to the word embeddings."
    source = "Vaswani et al. 2017, section 3.5"
    door = "input"
    absolute = True
    shift_invariant = False

    def __init__(self, shape: ModelShape, /, *, base: float = 10000.0) -> None:
        super().__init__(shape)
        if shape.width % 2:
            raise PositionError(
                f"sinusoidal needs an even width, got {shape.width}: sines and cosines pair up"
            )
        if not base > 1:
            raise PositionError(f"sinusoidal: base={base} must be above 1; 10000 is the paper's")
        self.base = base

    def table(self, positions: Tensor) -> Tensor:
        """Return the vectors (..., width) float32 of positions (...) of any number type."""
        device = positions.device
        if device.type == "mps":  # has no float64
            return self.table(positions.cpu()).to(device)
        pairs = torch.arange(0, self.shape.width, 2, dtype=torch.float64, device=device)
        angles = positions.double()[..., None] * self.base ** (-pairs / self.shape.width)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float()

    def embed(self, x: Tensor, geometry: Geometry) -> Tensor:
        return x + self.table(geometry.query_positions).to(x.dtype)
