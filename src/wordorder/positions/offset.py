"""Random offsets (SHAPE): training starts every sequence at a random position.

With an absolute embedding, a model may learn something for each single position. With random
offsets the position of a token differs from step to step, so a model can rely on distances only,
and it is trained at positions past the trained length. This is not an embedding by itself: it
changes the positions that the others of its layer get in training, as in
offset:most=512+sinusoidal.
"""

import torch
from torch import Tensor

from .base import Position, PositionError
from .defaults import Follows
from .shape import ModelShape


class Offset(Position):
    """Adds a random offset to the positions of each sequence in training, 0 in evaluation.

    Each document packed into a row has its own offset: a new document begins wherever
    positions do not rise.

    Args:
        most: the largest offset; 0: the trained length.

    Raises:
        PositionError: a negative `most`.

    Source: Kiyono et al. 2021, "SHAPE: Shifted Absolute Position Embedding for
    Transformers": k drawn from 0 ... K, added to all positions of a sequence.
    """

    summary = "Training adds a random offset to the positions of each sequence."
    source = "Kiyono et al. 2021, SHAPE"
    formula = "position(p) = p + k,   k drawn from 0 … most per sequence; in evaluation k = 0"
    traps = (
        "It changes nothing for an embedding that depends on distances only.",
        "A learned table must have `most` more rows than the trained length: "
        "offset:most=256+learned:length=512 for a trained length of 256.",
    )

    tells_order = False
    follows = (Follows("most", "the trained length"),)

    def __init__(self, shape: ModelShape, /, *, most: int = 0) -> None:
        super().__init__(shape)
        if most < 0:
            raise PositionError(
                f"offset: most={most} must be positive, or 0 for the trained length",
                code="positions.offset-most",
            )
        self.most = most

    def resolved_options(self) -> dict[str, int]:
        return {"most": self.most or self.shape.trained_length}

    @property
    def max_training_position(self) -> int:
        return self.shape.trained_length - 1 + (self.most or self.shape.trained_length)

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        most = self.most or self.shape.trained_length
        positions = positions.expand(batch_size, -1)
        begins = torch.zeros_like(positions, dtype=torch.bool)
        begins[:, 1:] = positions.diff(dim=1) <= 0
        document = begins.cumsum(1)
        shape = len(positions), int(document.max()) + 1
        offsets = torch.randint(most + 1, shape, generator=generator).to(positions.device)
        return positions + offsets.gather(1, document)
