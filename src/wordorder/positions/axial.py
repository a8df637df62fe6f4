"""Axial rotary: each pair of dimensions is rotated by one coordinate of a grid.

A token of an image or a table has a row and a column; a token of a video also has a frame.
Rotary rotates every pair by the position; axial rotary assigns each pair one of these
coordinates, so a query-key product depends on the distance along each axis. Coordinates are
the last axis of the positions, or `columns` computes row and column from plain positions.
Otherwise a plain position is used for every coordinate, as text tokens are treated in
multimodal models.

There are two ways to assign pairs to axes. Without `sections`, two axes get half of the head
each, with all frequencies in each half, as in vision transformers. With `sections`, the head
has one range of frequencies, as for text, and each pair follows one axis (M-RoPE).
"""

import torch
from torch import Tensor

from . import defaults
from .base import Position, PositionError, State
from .layout import TokenLayout
from .rotary import Rotation, rotate, rotation
from .shape import ModelShape


class Axial(Position):
    """Rotates each pair of query and key dimensions by one coordinate of a grid.

    Args:
        base: frequencies are base^(-2i/dim) for pair i, where dim is half the head size, or
            the head size with `sections`; 0: scaled with the trained length, as in rotary.
        columns: if positive, a plain position p is the cell (p // columns, p % columns).
        sections: how many pairs follow each coordinate, in order, such as [16,24,24] for
            frame, row and column; the sum is the number of pairs in a head.
        interleaved: pairs cycle through the coordinates from the highest frequency on, as in
            Qwen3-VL; when a section is used up, the first coordinate takes its pairs. If
            false, each section is a run of neighbouring pairs, as in Qwen2-VL.

    Raises:
        PositionError: a head size that does not fit the axes; sections that have the wrong
            sum or cannot be interleaved; columns with other than two sections; at run time,
            positions with another number of coordinates.

    Source: without sections Heo et al. 2024, section 3, axial frequencies, in the order of
    Qwen2-VL's vision encoder (rows, then columns; base 100 there); with sections Wang et al.
    2024, Qwen2-VL, section 2.1, M-RoPE. Pair j, which follows coordinate a(j), is multiplied
    by exp(i p_a(j) theta_j).
    Not here: the rule that assigns coordinates to the tokens of mixed text and images.
    """

    summary = "Rotary for grids: each pair rotates by one coordinate, row, column or frame."
    source = "Heo et al. 2024, section 3; Wang et al. 2024 (Qwen2-VL), section 2.1"
    formula = (
        "pair j at coordinates p, as one complex number:  z′ = z · exp(𝑖 p_a(j) θⱼ)\n"
        "θ = base^(−2i/dim): dim is half the head for each of two axes, or the head with sections"
    )
    traps = (
        "The order of axes and pairs is part of a checkpoint: rows or columns first, contiguous or "
        "interleaved sections, half-split or interleaved dimensions.",
        "Sections are counted in pairs of dimensions, not in dimensions.",
        "A text token has the same number in every coordinate. Zeros in the other coordinates "
        "give different results.",
        "Adding a number to plain positions shifts a grid only if it is a multiple of `columns`.",
    )
    door = "query-key"
    static_rotation = True
    follows = (defaults.FOLLOWS_BASE,)

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 0.0,
        columns: int = 0,
        sections: tuple[float, ...] = (),
        interleaved: bool = False,
    ) -> None:
        super().__init__(shape)
        if not base >= 0:
            raise PositionError(
                f"axial: base={base} must be positive, or 0 to scale it with the trained length; "
                "10000 is usual",
                code="positions.axial-base",
            )
        if columns < 0:
            raise PositionError(
                f"axial: columns={columns} must be 0 (positions are not cells of a grid) or more",
                code="positions.axial-columns",
            )
        if not sections and shape.head_dim % 4:
            raise PositionError(
                f"axial: the head size {shape.head_dim} must be a multiple of 4, because two axes "
                "share its pairs: choose another --head-dim, or set sections",
                code="positions.axial-head-size",
            )
        if interleaved and not sections:
            raise PositionError(
                "axial: interleaved=true needs sections, such as sections=[2,1,1]",
                code="positions.axial-interleaved",
            )
        if columns and len(sections) not in (0, 2):
            raise PositionError(
                f"axial: columns={columns} gives every token a row and a column, so sections must "
                f"have two entries, not {len(sections)}",
                code="positions.axial-columns-sections",
            )
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.columns = columns
        self.sections = tuple(sections)
        self.interleaved = interleaved
        self.pairs = shape.head_dim // 2
        self.axes = len(sections) or 2
        self.coordinate_of = self._interleaved_axes() if interleaved else self._contiguous_axes()
        self.absolute = columns > 0
        self.shift_invariant = columns == 0

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    def _contiguous_axes(self) -> tuple[int, ...]:
        """Return the axis of each pair, where a section is a run of pairs: 0 0 1 1 1."""
        sections = self.sections or (self.pairs // 2, self.pairs // 2)
        axes = [axis for axis, pairs in enumerate(sections) for _ in range(int(pairs))]
        valid = all(pairs == int(pairs) and pairs > 0 for pairs in sections)
        if not valid or len(axes) != self.pairs or self.shape.head_dim % 2:
            written = ",".join(f"{pairs:g}" for pairs in sections)
            raise PositionError(
                f"axial: sections=[{written}] must be positive whole numbers whose sum is half "
                f"the head size {self.shape.head_dim}",
                code="positions.axial-sections",
            )
        return tuple(axes)

    def _interleaved_axes(self) -> tuple[int, ...]:
        """Return the axis of each pair, where sections alternate: 0 1 2 0 1 2 0 0."""
        self._contiguous_axes()  # validates the sections
        axes = [0] * self.pairs
        for axis in range(1, self.axes):
            for pair in range(axis, self.axes * int(self.sections[axis]), self.axes):
                if pair >= self.pairs:
                    raise PositionError(
                        f"axial: section {axis + 1} has {self.sections[axis]:g} pairs, more than "
                        f"interleaving over {self.pairs} pairs can give it: make the first "
                        "section the largest",
                        code="positions.axial-section-too-large",
                    )
                axes[pair] = axis
        return tuple(axes)

    def frequencies(self) -> Tensor:
        """Return each pair's angle per step of its coordinate, (pairs,) float64 on the CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        if self.sections:
            return self.resolved_base ** (-index / self.pairs)
        half = self.pairs // 2
        return self.resolved_base ** (-(index % half) / half)

    def coordinates(self, positions: Tensor) -> Tensor:
        """Return positions (batch, time) or (batch, time, axes) as (batch, time, axes).

        Raises:
            PositionError: the last axis has another number of coordinates.
        """
        if positions.dim() == 3:
            if positions.shape[-1] == self.axes:
                return positions
            raise PositionError(
                f"axial: positions have {positions.shape[-1]} coordinates, but this embedding has "
                f"{self.axes} axes: pass {self.axes} coordinates, or change sections",
                code="positions.axial-coordinates",
            )
        if not self.columns:
            return positions[..., None].expand(-1, -1, self.axes)
        row = positions.div(self.columns, rounding_mode="floor")
        return torch.stack((row, positions - row * self.columns), dim=-1)

    def rotation(self, positions: Tensor) -> Rotation:
        """Return the rotation of positions (batch, time) or (batch, time, axes)."""
        axis_of_pair = torch.tensor(self.coordinate_of, device=positions.device)
        return rotation(self.coordinates(positions)[..., axis_of_pair], self.frequencies())

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        return layout.at_both(self.rotation)

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(keys, tables[1])
