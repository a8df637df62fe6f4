"""Randomized positions: training feeds sorted random positions from a larger range.

For every batch, the 256 tokens of a sequence get 256 of several thousand positions, in
ascending order. So training covers every position of a longer sequence, and a model learns
order instead of exact positions. This is not an embedding by itself: it changes the positions
that the others of its layer get in training, as in randomized:limit=2048+rotary.
"""

import torch
from torch import Tensor

from .base import Position, PositionError
from .defaults import Follows
from .shape import ModelShape


class Randomized(Position):
    """Replaces positions by sorted random ones in training; evaluation has plain ones.

    There is one draw without replacement per batch: position p becomes the p-th smallest
    number of the draw, in every row and in every packed document, so that a document gets the
    same positions as it would alone. A draw has as many numbers as the longest document of
    the batch has positions.

    Args:
        limit: positions are below it; at least the trained length, and at least the length of
            the longest sequences in evaluation. 0: four times the trained length. The paper
            trains on up to 40 tokens and evaluates on up to 500 with 2,048, four times the
            longest sequence. For language a larger limit costs more than it gains: 16 times
            the trained length of 64 lost 0.21 nats within that length, and 0.04 at 1,024
            tokens (400 steps, one seed, with rotary).

        real: draw real numbers, uniform between 0 and limit - 1, so that no distance is new to
            the model; a learned table has no vectors for them.

    Raises:
        PositionError: a limit below the trained length; at run time, a batch with more
            positions than the limit.

    Source: Ruoss et al. 2023, "Randomized Positional Encodings Boost Length Generalization
    of Transformers", section 3; real: Shimizu et al. 2026, random float sampling (arXiv
    2602.14050), which draws them in evaluation too.
    Not here: random positions in evaluation, and averaging over their draws.
    """

    summary = "Training feeds sorted random positions from a range beyond its length."
    source = "Ruoss et al. 2023, section 3"
    formula = (
        "position(p) = the p-th smallest of n distinct numbers drawn from 0 … limit − 1, whole "
        "ones or real\n"
        "n = positions in the batch; one draw for all its rows; in evaluation position(p) = p"
    )
    traps = (
        "Queries and keys, and all layers, must get the same draw.",
        "Evaluation uses plain positions here; the paper draws random ones in evaluation too: "
        "state which when you compare.",
        "Distances grow by limit / length on average: with a bias that falls steeply with "
        "distance, training attends to little of the context.",
        "A learned table must have at least `limit` rows: randomized:limit=2048+learned:length"
        "=2048.",
        "Neighbouring tokens rarely have neighbouring positions in training, but always in "
        "evaluation: a limit no larger than needed reduces the difference.",
    )

    tells_order = False
    follows = (Follows("limit", "four times the trained length", 2048),)

    def __init__(self, shape: ModelShape, /, *, limit: int = 0, real: bool = False) -> None:
        super().__init__(shape)
        if limit and limit < shape.trained_length:
            raise PositionError(
                f"randomized: limit={limit} is below the trained length, but positions are drawn "
                f"without replacement: use at least {shape.trained_length}",
                code="positions.randomized-limit",
            )
        self.limit = limit
        self.real = real

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
                f"randomized: the batch has {count} positions, but only {limit} can be drawn: "
                f"use limit={count} or more",
                code="positions.randomized-too-many",
            )
        if self.real:  # float64: neighbours stay apart
            draw = torch.rand(count, generator=generator, dtype=torch.float64) * (limit - 1)
        else:
            draw = torch.randperm(limit, generator=generator)[:count]
        draw = draw.sort().values
        return draw.to(positions.device)[positions]
