"""Random offsets: training starts every text at a random position.

An absolute embedding learns each position from what happens to stand there. Fed from a
random start it sees every position as often as any other, and can rely on distances only;
what it learns holds at positions that a text of the trained length would never reach. It is
no embedding by itself: it decides what the others are fed, as in offset:most=512+sinusoidal.
"""

import torch
from torch import Tensor

from .base import ModelShape, Position, PositionError
from .defaults import Follows


class Offset(Position):
    """Feeds training each text from a random start on; evaluation starts at 0.

    Each row has its own offset, and so has each document packed into one: positions that do
    not rise begin a new document.

    Args:
        most: the largest offset; 0 takes the trained length.

    Raises:
        PositionError: a negative offset.

    Source: Kiyono et al. 2021, "SHAPE: Shifted Absolute Position Embedding for
    Transformers": k drawn from 0 ... K, added to all positions of a sequence.
    """

    summary = "Training feeds each text from a random start on."
    source = "Kiyono et al. 2021, SHAPE"
    formula = "fed(p) = p + k,   k drawn from 0 … most for each text; evaluation has k = 0"
    traps = (
        "An embedding that sees only distances is fed nothing new by it.",
        "A learned table must have `most` more rows than the trained length: "
        "offset:most=256+learned:length=512 for a trained length of 256.",
        "Two offsets in one sum add up.",
    )

    follows = (Follows("most", "the trained length"),)

    def __init__(self, shape: ModelShape, /, *, most: int = 0) -> None:
        super().__init__(shape)
        if most < 0:
            raise PositionError(f"offset: most={most} must be 0 (the trained length) or more")
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
