"""Coupled positions: digits of the same significance share a position.

In a sum, the third digit of the result depends on the third digits of both numbers. With plain
positions the distance between them grows with the length of the numbers, so a model that learned
short sums fails on long ones. If the task gives all three digits the same position, the distance
is 0 at any length. This class does not embed positions itself: it passes the task's positions to
the other embeddings of its layer, as in coupled+learned. Training adds a random offset, so that
the positions of longer sums are trained too.

`wordorder tasks` provides such positions for addition-reversed; text has none.
"""

import torch
from torch import Tensor

from .base import Position, PositionError
from .defaults import Follows
from .shape import ModelShape


class Coupled(Position):
    """Takes the positions that a task provides; training adds a random offset to them.

    Each sequence has one offset, for all of its tokens. Evaluation adds none.

    Args:
        most: the largest offset; 0: half of the trained length, counted in tokens. Sums with
            `most` more digits than in training still have positions that were trained.

    Raises:
        PositionError: a negative `most`.

    Source: Cho et al. 2024, position coupling (arXiv 2405.20671), section 3; McLeish et al.
    2024, Abacus embeddings (arXiv 2405.17399), section 3, which are coupled+learned with a
    position of 0 for every token that is not a digit.
    Not here: the positions themselves; the task defines them (`wordorder.experiments.algorithms`).
    """

    summary = "Tokens get the positions that their task provides: equal ones for equal digits."
    source = "Cho et al. 2024 (arXiv 2405.20671), section 3; McLeish et al. 2024 (arXiv 2405.17399)"
    formula = (
        "position = significance of the digit in its number + k\n"
        "k drawn from 0 … most per sequence in training; in evaluation k = 0"
    )
    traps = (
        "A position must follow from the tokens so far: with the most significant digit first, "
        "that of an answer's digit is known only when the answer is complete.",
        "Without the random offset the positions of longer numbers are never trained.",
        "A learned table must reach past the offset: coupled:most=30+learned:length=60.",
        "Positions repeat: only the mask distinguishes two tokens at the same position.",
    )
    tells_order = False
    task_positions = True
    follows = (Follows("most", "half of the trained length"),)

    def __init__(self, shape: ModelShape, /, *, most: int = 0) -> None:
        super().__init__(shape)
        if most < 0:
            raise PositionError(
                f"coupled: most={most} must be positive, or 0 for half of the trained length",
                code="positions.coupled-most",
            )
        self.most = most
        self.resolved_most = most or max(1, (shape.trained_length - 1) // 2)

    def resolved_options(self) -> dict[str, int]:
        return {"most": self.resolved_most}

    @property
    def max_training_position(self) -> int:
        """At least two numbers share each position, so positions reach half the length."""
        return self.shape.trained_length // 2 + self.resolved_most

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        offsets = torch.randint(self.resolved_most + 1, (batch_size, 1), generator=generator)
        return positions.expand(batch_size, -1) + offsets.to(positions.device)
