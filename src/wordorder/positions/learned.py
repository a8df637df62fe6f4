"""Learned positional embedding: one trained vector per position, added at the input.

The table may start at the sinusoids, be the product of two thin ones, or not be trained at
all: what is left to learn is then less, or nothing. It ends at its last row; `resampled`
stretches it to another length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, TokenLayout, upcast
from .defaults import Follows
from .sinusoidal import Sinusoidal


class Learned(Position):
    """A table of trained vectors, one per position, as in BERT and GPT-2.

    Args:
        length: positions in the table; 0 takes the model's trained length.
        start: first values: normal, as large as those of the words (N(0, 0.02) in GPT-2,
            which multiplies words by nothing); or sinusoidal, the sinusoidal table.
        rank: 0 for a whole table; otherwise it is the product of (length, rank) and
            (rank, width), as embeddings are in ALBERT.
        frozen: keep the first values: nothing is trained.

    Raises:
        PositionError: a negative length or rank, or another start; at run time, a position
            past the table (where finding it does not wait for another device).

    Source: Gehring et al. 2017, section 3.1; Devlin et al. 2018.
    Not here: the offset of 2 that OPT and BART add, which is the importer's knowledge.
    """

    summary = "One trained vector per position, added to the word embeddings."
    source = "Gehring et al. 2017, section 3.1"
    formula = "input = word embedding + P[p],   P of (length, width); with rank: P = A B"
    traps = (
        "A table ends: a position past its last row is an error, on a GPU a device assert that "
        "names neither.",
        "Rows that training never reached stay as they were drawn: a longer table alone does "
        "not read longer texts.",
        "OPT and BART add 2 to every position, RoBERTa counts from padding_idx + 1: their "
        "tables have rows that no position uses.",
        "Rows of size 0.02 fit words of size 0.02: where words are multiplied, the table has to "
        "start as large. The sinusoidal start has rows of size 1.",
    )
    door = "input"
    follows = (Follows("length", "the trained length"),)
    absolute = True
    shift_invariant = False

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        length: int = 0,
        start: str = "normal",
        rank: int = 0,
        frozen: bool = False,
    ) -> None:
        super().__init__(shape)
        if length < 0:
            raise PositionError(f"learned: length={length} must be 0 (the trained length) or more")
        if start not in ("normal", "sinusoidal"):
            raise PositionError(f"learned: start={start} is none: use normal or sinusoidal")
        rows = length or shape.trained_length
        if not 0 <= rank <= min(rows, shape.width):
            raise PositionError(
                f"learned: rank={rank} must be from 1 to {min(rows, shape.width)}, "
                "or 0 for a whole table"
            )
        self.length = length
        self.start = start
        self.rank = rank
        self.frozen = frozen
        self.rows = rows
        train = not frozen
        if rank:
            self.left = nn.Parameter(torch.empty(rows, rank), requires_grad=train)
            self.right = nn.Parameter(torch.empty(rank, shape.width), requires_grad=train)
        else:
            self.weight = nn.Parameter(torch.empty(rows, shape.width), requires_grad=train)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the table as word vectors are drawn, as GPT-2 does, or take the sinusoids.

        With a rank the numbers of the product have that size, and its factors one size. The
        sinusoids are then the nearest table of that rank, and no column of the left factor
        is small, so that every row of the right one has a slope.
        """
        if self.start == "sinusoidal":
            device = (self.left if self.rank else self.weight).device
            sines = Sinusoidal(self.shape).table(torch.arange(self.rows, device=device))
            self._take(sines)
        elif self.rank:
            size = (self.shape.word_std * self.rank**-0.5) ** 0.5
            nn.init.normal_(self.left, std=size, generator=generator)
            nn.init.normal_(self.right, std=size, generator=generator)
        else:
            nn.init.normal_(self.weight, std=self.shape.word_std, generator=generator)

    def _take(self, table: Tensor) -> None:
        if not self.rank:
            self.weight.copy_(table)
            return
        left, sizes, right = torch.linalg.svd(table.double(), full_matrices=False)
        size, kept = self.rows**0.5, slice(self.rank)
        self.left.copy_(left[:, kept] * size)
        self.right.copy_(sizes[kept, None] * right[kept] / size)

    @property
    def max_position(self) -> int:
        return self.rows - 1

    def resolved_options(self) -> dict[str, int]:
        return {"length": self.rows}

    def table(self) -> Tensor:
        """Return the vectors of all positions, (length, width)."""
        return upcast(self.left) @ upcast(self.right) if self.rank else self.weight

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        positions = layout.query_positions
        if positions.is_floating_point():
            raise PositionError(
                "learned: a position between two rows has no vector: round positions, or resample "
                "the table to another length"
            )
        near = positions.device.type == "cpu" and not torch.compiler.is_compiling()
        if near and int(positions.min()) < 0:
            raise PositionError(f"learned: position {int(positions.min())} is below 0")
        if near and int(positions.max()) > self.max_position:
            raise PositionError(
                f"position {int(positions.max())} is past the longest this learned table holds "
                f"({self.max_position}): resample it, or train with rotary"
            )
        if self.rank:
            left = upcast(nn.functional.embedding(positions, self.left))
            return x + (left @ upcast(self.right)).to(x.dtype)
        return x + nn.functional.embedding(positions, self.weight).to(x.dtype)

    @torch.no_grad()
    def resampled(self, length: int) -> Learned:
        """Return a new embedding of another length, its table interpolated over positions.

        The first and the last row are kept, and those between lie on straight lines
        between their neighbours; a factored table is stretched in its left factor.

        Raises:
            PositionError: a length below 2.
        """
        if length < 2:
            raise PositionError(f"learned: a table of {length} has no two ends to keep: use 2")
        options = {name: getattr(self, name) for name in self.options()}
        made = Learned(self.shape, **{**options, "length": length})
        old = dict(self.named_parameters())
        made.to(next(iter(old.values())))
        for name, parameter in made.named_parameters():
            along = name != "right"
            parameter.copy_(_stretched(old[name], length) if along else old[name])
        return made


def _stretched(rows: Tensor, length: int) -> Tensor:
    """Return `length` rows, the first and last as they were, in straight lines between."""
    places = torch.arange(length, dtype=torch.float64, device=rows.device)
    places = places * (len(rows) - 1) / (length - 1)
    before = places.long().clamp(max=max(0, len(rows) - 2))
    after = (before + 1).clamp(max=len(rows) - 1)
    share = (places - before)[:, None]
    return torch.lerp(upcast(rows)[before].double(), upcast(rows)[after].double(), share)
