"""Self-Extend: near tokens at their own distance, far ones at the distance of their group.

A model that was trained with rotary has met distances up to its trained length and no others.
Here tokens within some neighbours are seen as ever, and those beyond in groups: positions are
divided and rounded down, so that far distances shrink to ones that were trained. Nothing is
learned: the weights are those of a model trained with rotary, and within the neighbours it
reads as it did.

Two rotations of the same pair meet in one softmax, which no rotation of queries and keys alone
can give: this embedding replaces attention, and takes queries and keys as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import defaults
from .base import ModelShape, Position, PositionError, Score, State, TokenLayout
from .rotary import Rotary, Rotation, rotation
from .whole_row import Part, attend_in_parts, products, worked


class Places(NamedTuple):
    """Where all keys stand, and what turns them: as they are, in groups, and as far queries.

    Shapes: positions (batch or 1, key); each rotation (batch or 1, 1, key, pairs).
    """

    positions: Tensor
    near: Rotation
    grouped: Rotation
    shifted: Rotation


class SelfExtend(Position):
    """Rotary whose far distances are counted in groups of tokens.

    Args:
        base: as rotary's (0 too), and so are the next three: those of the trained model.
        fraction: the part of the head that is turned.
        proportional: the exponent runs over the whole head.
        layout: interleaved or half.
        group: tokens that share a position where they are far; 1 is plain rotary. A model
            trained at L tokens reads about (L - neighbours) * group + neighbours of them
            without a distance that is new to it.
        neighbours: keys nearer than this are at their own distance; 0: an eighth of the
            trained length, as 512 of 4,096, where the authors advise 512 to 1,536.

    Raises:
        PositionError: a bidirectional model; a group below 1, or neighbours below 0; what
            rotary refuses.

    Source: Jin et al. 2024 (arXiv 2401.01325), sections 3.2 and 3.3, and the authors' code: a
    key at a distance of `neighbours` or more is turned by floor(p / group), its query by
    floor(p / group) + neighbours - floor(neighbours / group), so that the first distance in
    groups follows on the last without.
    Not here: scaled frequencies, which it makes needless.
    """

    summary = "Rotary whose far distances are counted in groups of tokens: nothing to train."
    source = "Jin et al. 2024, section 3"
    formula = (
        "near, m − n < w:   rotary at m and n\n"
        "far,  m − n ≥ w:   rotary at ⌊m/G⌋ + w − ⌊w/G⌋ and ⌊n/G⌋\n"
        "one softmax over both;  G the group, w the neighbours: N tokens reach (N − w)/G + w far"
    )
    traps = (
        "Without the shift of far queries, distances jump back at the border: a key just past "
        "the neighbours would look nearer than its neighbour does.",
        "Groups begin at multiples of the group's size: a text that starts at another position "
        "is cut otherwise, so that a shift of all positions changes what is read.",
        "Within a group order is lost: far words are known, their order is not.",
        "Keys that are kept turned serve near queries or far ones, never both: keep them raw.",
        "It computes every score twice, and runs on no fused kernel.",
    )
    door = "row"
    follows = (
        defaults.FOLLOWS_BASE,
        defaults.Follows("neighbours", "an eighth of the trained length, as 512 of 4,096"),
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 0.0,
        fraction: float = 1.0,
        proportional: bool = False,
        layout: str = "interleaved",
        group: int = 4,
        neighbours: int = 0,
    ) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "self-extend moves queries away from their past, but this model sees the future "
                "too: use --position rotary:scaling=linear, or a causal model"
            )
        if group < 1 or neighbours < 0:
            raise PositionError(
                f"self-extend: group={group} must be 1 or more, and neighbours={neighbours} 0 "
                "(an eighth of the trained length) or more"
            )
        self.base = base
        self.fraction = fraction
        self.proportional = proportional
        self.layout = layout
        self.group = group
        self.neighbours = neighbours
        self.near = neighbours or max(1, shape.trained_length // 8)
        self.shift = self.near - self.near // group
        # In which group a token falls depends on where the text starts.
        self.absolute = group > 1
        self.shift_invariant = group == 1
        self.rotary = Rotary(
            shape, base=base, fraction=fraction, proportional=proportional, layout=layout
        )

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.rotary.resolved_base, "neighbours": self.near}

    def prepare(self, layout: TokenLayout) -> Places:
        frequencies = self.rotary.frequencies()
        positions = layout.key_positions
        groups = torch.div(positions, self.group, rounding_mode="floor")
        near, grouped, shifted = (
            rotation(each[..., None], frequencies)
            for each in (positions, groups, groups + self.shift)
        )
        return Places(positions, near, grouped, shifted)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Places,
        state: State,
        visible: Tensor,
        score: Score | None,
        slots: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        turn, positions = self.rotary.turn, tables.positions.expand(len(values), -1)

        def scores_of(part: Part, positions: Tensor, *turned: Tensor) -> Tensor:
            asking = positions[:, slots[part.rows], None]
            far = (asking - positions[:, None, part.seen] >= self.near)[:, None]
            near_queries, near_keys, far_queries, far_keys = turned
            return worked(
                torch.where(
                    far,
                    products(far_queries, far_keys, scale, part),
                    products(near_queries, near_keys, scale, part),
                ),
                score,
                slots,
            )

        return attend_in_parts(
            scores_of,
            (
                positions,
                turn(queries, _at(tables.near, slots)),
                turn(keys, tables.near),
                turn(queries, _at(tables.shifted, slots)),
                turn(keys, tables.grouped),
            ),
            values,
            visible,
            slots,
            causal=True,
            together=score is not None,
        )


def _at(tables: Rotation, slots: Tensor) -> Rotation:
    """Return the rotations of some slots."""
    return Rotation(*(each if each is None else each[:, :, slots] for each in tables))
