"""Axial rotary: the pairs of a head share out the coordinates of a grid.

A token of an image or a table stands at a row and a column, one of a video at a frame too.
Each pair is turned by one of these coordinates, as rotary turns by the position, so a
product depends on the distance along each axis. Coordinates are given as a last axis of
positions, or `columns` makes row and column out of plain ones. Where they are plain, every
coordinate is the position itself, as the text of a multimodal model has it.

There are two ways to share. Without `sections` each of two axes has half of the head and
all of the frequencies there, as in vision transformers. With them the head has one scale of
frequencies, as for text, and each pair of it follows one axis (M-RoPE).
"""

import torch
from torch import Tensor

from . import defaults
from .base import ModelShape, Position, PositionError, State, TokenLayout
from .rotary import Rotation, rotate, rotation


class Axial(Position):
    """Turns each pair of query and key dimensions by one coordinate of a grid.

    Args:
        base: frequencies are base^(-2i/dim) for pair i of dim dimensions: half the head's
            for each axis, or, with `sections`, the head's; 0: as rotary's follows from the
            trained length.
        columns: above 0, a plain position p is the cell (p // columns, p % columns).
        sections: how many pairs follow each coordinate, in order, as [16,24,24] for frame,
            row and column; together all pairs of a head.
        interleaved: the coordinates take turns from the highest frequency on, as in
            Qwen3-VL, until a section is used up and the first takes the rest; otherwise
            each section is a run of neighbours, as in Qwen2-VL.

    Raises:
        PositionError: a head size that cannot be shared so, sections that do not add up or
            cannot take turns, columns of something that is no grid; at run time, positions
            with another number of coordinates.

    Source: without sections Heo et al. 2024, section 3, axial frequencies, in the order of
    Qwen2-VL's vision part (rows, then columns; base 100 there); with them Wang et al. 2024,
    Qwen2-VL, section 2.1, M-RoPE. Pair j, which follows coordinate a(j), is multiplied by
    exp(i p_a(j) theta_j).
    Not here: the rule that gives coordinates to the tokens of a text with pictures in it.
    """

    summary = "Rotary for grids: each pair turns by one coordinate, row, column or frame."
    source = "Heo et al. 2024, section 3; Wang et al. 2024 (Qwen2-VL), section 2.1"
    formula = (
        "pair j at coordinates p, as one complex number:  z′ = z · exp(𝑖 p_a(j) θⱼ)\n"
        "θ = base^(−2i/dim): half the head for each of two axes, or sections of the whole"
    )
    traps = (
        "The order of axes and pairs is part of a checkpoint: rows first or columns first, "
        "halves or turns, half-split or interleaved dimensions.",
        "Sections are counted in pairs of dimensions, not in dimensions.",
        "A text token has the same number in every coordinate; zero in the others is another "
        "embedding.",
        "A shift of plain positions moves cells of a grid by whole rows only.",
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
                f"axial: base={base} must be above 0, or 0 to follow the trained length; "
                "10000 is usual"
            )
        if columns < 0:
            raise PositionError(f"axial: columns={columns} must be 0 (no grid) or more")
        if not sections and shape.head_dim % 4:
            raise PositionError(
                f"axial: the head size {shape.head_dim} must be a multiple of 4, for pairs of two "
                "axes: choose another, or give sections"
            )
        if interleaved and not sections:
            raise PositionError("axial: interleaved=true needs sections, as sections=[2,1,1]")
        if columns and len(sections) not in (0, 2):
            raise PositionError(
                f"axial: columns={columns} makes rows and columns, and there are {len(sections)} "
                "sections: give two"
            )
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.columns = columns
        self.sections = tuple(sections)
        self.interleaved = interleaved
        self.pairs = shape.head_dim // 2
        self.axes = len(sections) or 2
        self.coordinate_of = self._turns() if interleaved else self._runs()
        self.absolute = columns > 0
        self.shift_invariant = columns == 0

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    def _runs(self) -> tuple[int, ...]:
        """Return the coordinate of each pair: runs of neighbours."""
        sections = self.sections or (self.pairs // 2, self.pairs // 2)
        follows = [axis for axis, pairs in enumerate(sections) for _ in range(int(pairs))]
        whole = all(pairs == int(pairs) and pairs > 0 for pairs in sections)
        if not whole or len(follows) != self.pairs or self.shape.head_dim % 2:
            written = ",".join(f"{pairs:g}" for pairs in sections)
            raise PositionError(
                f"axial: sections=[{written}] must be whole numbers above 0 that add up to half "
                f"the head size {self.shape.head_dim}"
            )
        return tuple(follows)

    def _turns(self) -> tuple[int, ...]:
        """Return the coordinate of each pair: in turns; the first has what the others leave."""
        self._runs()
        follows = [0] * self.pairs
        for axis in range(1, self.axes):
            for pair in range(axis, self.axes * int(self.sections[axis]), self.axes):
                if pair >= self.pairs:
                    raise PositionError(
                        f"axial: section {axis + 1} of {self.sections[axis]:g} pairs cannot take "
                        f"turns among {self.pairs}: make the first section the largest"
                    )
                follows[pair] = axis
        return tuple(follows)

    def frequencies(self) -> Tensor:
        """Return the angle of each pair per step of its coordinate, (pairs,) float64, CPU."""
        index = torch.arange(self.pairs, dtype=torch.float64, device="cpu")
        if self.sections:
            return self.resolved_base ** (-index / self.pairs)
        own = self.pairs // 2
        return self.resolved_base ** (-(index % own) / own)

    def coordinates(self, positions: Tensor) -> Tensor:
        """Return positions (batch, time) or (batch, time, axes) as (batch, time, axes).

        Raises:
            PositionError: another number of axes.
        """
        if positions.dim() == 3:
            if positions.shape[-1] == self.axes:
                return positions
            raise PositionError(
                f"axial: positions have {positions.shape[-1]} coordinates and the head is shared "
                f"by {self.axes}: give as many, or other sections"
            )
        if not self.columns:
            return positions[..., None].expand(-1, -1, self.axes)
        row = positions.div(self.columns, rounding_mode="floor")
        return torch.stack((row, positions - row * self.columns), dim=-1)

    def rotation(self, positions: Tensor) -> Rotation:
        """Return cosines and sines of positions (batch, time) or (batch, time, axes)."""
        follows = torch.tensor(self.coordinate_of, device=positions.device)
        return rotation(self.coordinates(positions)[..., follows], self.frequencies())

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        queries = self.rotation(layout.query_positions)
        keys = queries if layout.self_attention else self.rotation(layout.key_positions)
        return queries, keys

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(keys, tables[1])
