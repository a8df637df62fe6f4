"""Learned positional embedding: one trained vector per position, added at the input.

The table can be initialised with sinusoids, be the product of two smaller matrices, or not be
trained at all. It has no vector past its last row; `resampled` interpolates it to another
length.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .base import Position, PositionError, upcast
from .defaults import Follows
from .layout import TokenLayout
from .shape import ModelShape
from .sinusoidal import Sinusoidal


class Learned(Position):
    """A table of trained vectors, one per position, as in BERT and GPT-2.

    Args:
        length: positions in the table; 0: the trained length.
        start: initial values: normal, with the standard deviation of the word vectors (0.02
            in GPT-2, which does not scale word vectors); or sinusoidal, the sinusoidal table.
        rank: 0 for one table; above 0, the table is the product of matrices (length, rank)
            and (rank, width), as word embeddings are in ALBERT.
        frozen: do not train the table.

    Raises:
        PositionError: a negative length, a rank out of range or an unknown start; at run
            time, a position outside of the table (checked on a CPU only, because the check
            would make other devices wait).

    Source: Gehring et al. 2017, section 3.1; Devlin et al. 2018.
    Not here: the offset of 2 that OPT and BART add to positions; importing adds it.
    """

    summary = "One trained vector per position, added to the word embeddings."
    source = "Gehring et al. 2017, section 3.1"
    formula = "input = word embedding + P[p],   P of (length, width); with rank: P = A B"
    traps = (
        "A position past the last row of the table is an error; on a GPU it is a device assert "
        "that names neither the position nor the table.",
        "Rows that training never used keep their random initial values: a longer table alone "
        "does not make a model work on longer sequences.",
        "OPT and BART add 2 to every position, and RoBERTa counts from padding_idx + 1: their "
        "tables have rows that no position uses.",
        "A standard deviation of 0.02 suits word vectors of 0.02: where word vectors are "
        "multiplied, the table must be scaled too. The sinusoidal start has entries of size 1.",
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
        start: Literal["normal", "sinusoidal"] = "normal",
        rank: int = 0,
        frozen: bool = False,
    ) -> None:
        super().__init__(shape)
        if length < 0:
            raise PositionError(
                f"learned: length={length} must be positive, or 0 for the trained length",
                code="positions.learned-length",
            )
        if start not in ("normal", "sinusoidal"):
            raise PositionError(
                f"learned: unknown start {start!r}: use normal or sinusoidal",
                code="positions.learned-start",
            )
        rows = length or shape.trained_length
        if not 0 <= rank <= min(rows, shape.width):
            raise PositionError(
                f"learned: rank={rank} must be from 1 to {min(rows, shape.width)}, "
                "or 0 for a table that is not factored",
                code="positions.learned-rank",
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
        """Draw the table with the word vectors' standard deviation, or copy the sinusoids.

        With a rank, the product has that standard deviation, and both factors have the same
        one. The sinusoidal start is then the best approximation of that rank. Its left factor
        has no small column, so that every row of the right factor gets a gradient.
        """
        if self.start == "sinusoidal":
            device = (self.left if self.rank else self.weight).device
            sines = Sinusoidal(self.shape).table(torch.arange(self.rows, device=device))
            self._set_table(sines)
        elif self.rank:
            # A sum of `rank` products of entries with deviation s has deviation s^2 sqrt(rank).
            deviation = (self.shape.word_std * self.rank**-0.5) ** 0.5
            nn.init.normal_(self.left, std=deviation, generator=generator)
            nn.init.normal_(self.right, std=deviation, generator=generator)
        else:
            nn.init.normal_(self.weight, std=self.shape.word_std, generator=generator)

    def _set_table(self, table: Tensor) -> None:
        """Set the parameters so that the table is this one, or the nearest of its rank."""
        if not self.rank:
            self.weight.copy_(table)
            return
        left, singular_values, right = torch.linalg.svd(table.double(), full_matrices=False)
        scale, leading = self.rows**0.5, slice(self.rank)  # columns of `left` have norm 1
        self.left.copy_(left[:, leading] * scale)
        self.right.copy_(singular_values[leading, None] * right[leading] / scale)

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
                "learned: the table has no vector for a position between two rows: round the "
                "positions, or resample the table to another length",
                code="positions.learned-fractional-position",
            )
        # On other devices reading the extremes would wait for all work queued there.
        can_check = positions.device.type == "cpu" and not torch.compiler.is_compiling()
        if can_check and int(positions.min()) < 0:
            raise PositionError(
                f"learned: position {int(positions.min())} must be 0 or more",
                code="positions.learned-negative-position",
            )
        if can_check and int(positions.max()) > self.max_position:
            raise PositionError(
                f"position {int(positions.max())} is past the last row of the learned table "
                f"({self.max_position}): resample the table, or train with --position rotary",
                code="positions.learned-past-table",
            )
        if self.rank:
            left = upcast(nn.functional.embedding(positions, self.left))
            return x + (left @ upcast(self.right)).to(x.dtype)
        return x + nn.functional.embedding(positions, self.weight).to(x.dtype)

    @torch.no_grad()
    def resampled(self, length: int, trained: int = 0) -> Learned:
        """Return an embedding of another length whose table is interpolated linearly.

        The first row stays the same, and the last trained one becomes the last. Of a factored
        table the left factor is interpolated.

        Args:
            trained: the first rows, which training has read; 0: all. Others are left out.

        Raises:
            PositionError: a length below 2.
        """
        if length < 2:
            raise PositionError(
                f"learned: cannot resample the table to {length} rows: use at least 2",
                code="positions.learned-resample-length",
            )
        options = {name: getattr(self, name) for name in self.options()}
        resampled = Learned(self.shape, **{**options, "length": length})
        old = dict(self.named_parameters())
        resampled.to(next(iter(old.values())))
        for name, parameter in resampled.named_parameters():
            has_positions = name != "right"
            rows = old[name][: trained or self.rows]
            parameter.copy_(_interpolated(rows, length) if has_positions else old[name])
        return resampled


def _interpolated(rows: Tensor, length: int) -> Tensor:
    """Return `length` rows interpolated linearly, with the same first and last row."""
    positions = torch.arange(length, dtype=torch.float64, device=rows.device)
    positions = positions * (len(rows) - 1) / (length - 1)
    before = positions.long().clamp(max=max(0, len(rows) - 2))
    after = (before + 1).clamp(max=len(rows) - 1)
    fraction = (positions - before)[:, None]
    return torch.lerp(upcast(rows)[before].double(), upcast(rows)[after].double(), fraction)
