"""Randomized positions: training feeds random positions in order, from a range far beyond it.

A text of 256 tokens is told that it stands at 256 places among thousands, in order, drawn
anew for every batch. So every position of a longer text has been seen in training, and what
is learned is order, not counting. It is no embedding by itself: it decides what the others
of its layer are fed, as in randomized:limit=2048+rotary.
"""

import torch
from torch import Tensor

from .base import ModelShape, Position, PositionError
from .defaults import Follows


class Randomized(Position):
    """Feeds training sorted distinct random positions; evaluation has plain ones.

    One draw per batch: position p becomes the p-th smallest number of the draw, in every
    row and in every document packed into one, so that a document is fed what it would be
    alone. A draw has as many numbers as the longest document of the batch has positions.

    Args:
        limit: positions are below it; at least the trained length, and at least the length of
            texts to come. 0: four times the trained length. The paper has 2,048 for texts to
            40 that are tested to 500, four times the longest that is read. On text a larger
            limit costs more than it gains: 16 times the trained length of 64 lost 0.21 nats
            within it, and still 0.04 at 1,024 tokens (400 steps, one seed, beside rotary).

    Raises:
        PositionError: a limit below the trained length; at run time, more positions than it.

    Source: Ruoss et al. 2023, "Randomized Positional Encodings Boost Length Generalization
    of Transformers", section 3.
    Not here: averaging over draws in evaluation.
    """

    summary = "Training feeds sorted random positions from a range beyond its length."
    source = "Ruoss et al. 2023, section 3"
    formula = (
        "fed(p) = the p-th smallest of n distinct numbers drawn from 0 … limit − 1\n"
        "n = positions in the batch; one draw for all its rows; evaluation feeds p itself"
    )
    traps = (
        "Queries and keys, and all layers, must be fed the same draw.",
        "Evaluation feeds plain positions here; the paper's own draws in evaluation too: say "
        "which when comparing.",
        "Distances grow by limit / length on the average: what falls steeply with distance "
        "sees little of its context in training.",
        "A learned table must have at least `limit` rows: randomized:limit=2048+learned:length"
        "=2048.",
        "Tokens side by side are seldom fed neighbouring positions in training, and always in "
        "evaluation: a limit no larger than needed keeps the two alike.",
    )

    follows = (Follows("limit", "four times the trained length", 2048),)

    def __init__(self, shape: ModelShape, /, *, limit: int = 0) -> None:
        super().__init__(shape)
        if limit and limit < shape.trained_length:
            raise PositionError(
                f"randomized: limit={limit} is below the trained length, and no positions are "
                f"drawn twice: use at least {shape.trained_length}"
            )
        self.limit = limit

    def resolved_options(self) -> dict[str, int]:
        return {"limit": self.max_training_position + 1}

    @property
    def max_training_position(self) -> int:
        return (self.limit or 4 * self.shape.trained_length) - 1

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        limit, count = self.max_training_position + 1, int(positions.max()) + 1
        if count > limit:
            raise PositionError(
                f"randomized: {count} positions, but limit={limit} are to be drawn: raise the limit"
            )
        drawn = torch.randperm(limit, generator=generator)[:count].sort().values
        return drawn.to(positions.device)[positions]
