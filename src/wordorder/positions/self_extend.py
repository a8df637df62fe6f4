"""Self-Extend: near tokens keep their distance, far tokens have the distance of their group.

A model trained with rotary has seen only distances up to its trained length. Self-Extend keeps
the distances of near tokens and divides the positions of far tokens by the group size, rounding
down, so that far distances shrink to trained ones. Nothing is trained: the weights are those of
a model trained with rotary.

    query at position 7, 3 neighbours, groups of 2: the query's group is 7 // 2 + 3 - 3 // 2 = 5

    key position          0  1  2  3  4    5  6  7
    key group             0  0  1  1  2
    distance              7  6  5  4  3    2  1  0
    distance in rotary    5  5  4  4  3    2  1  0
                          far: 5 - group   near: unchanged

The scores of one row come from two rotations, which no single rotation of queries and keys can
give. So this embedding replaces attention, and its queries and keys come without rotation.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from . import defaults
from .base import Position, PositionError, Score, State
from .layout import TokenLayout
from .rotary import Rotary, Rotation, rotation
from .shape import ModelShape
from .whole_row import Tile, apply_score, attend_in_tiles, scaled_products


class Rotations(NamedTuple):
    """The positions on the key axis, and their rotations as near tokens, far keys and queries.

    Args:
        positions: (batch or 1, key).
        near: by position, for near queries and keys; each rotation (batch or 1, 1, key, pairs).
        far_keys: by group.
        far_queries: by group plus the shift.
    """

    positions: Tensor
    near: Rotation
    far_keys: Rotation
    far_queries: Rotation


class SelfExtend(Position):
    """Rotary with the distances of far tokens counted in groups.

    Args:
        base: as in rotary, and so are the next three; they must be those of the trained model.
        fraction: fraction of the head that is rotated.
        proportional: frequencies are computed from the whole head size.
        layout: interleaved or half.
        group: far tokens that share a position, at least 1; 1 is plain rotary. A model
            trained at L tokens can process about (L - neighbours) * group + neighbours tokens
            without an untrained distance.
        neighbours: keys at smaller distances than this keep their distance; 0: an eighth of
            the trained length (512 of 4,096, for which the authors suggest 512 to 1,536).

    Raises:
        PositionError: a bidirectional model; a group below 1, or negative neighbours; invalid
            options of rotary.

    Source: Jin et al. 2024 (arXiv 2401.01325), sections 3.2 and 3.3, and the authors' code: a
    key at a distance of `neighbours` or more is rotated by floor(p / group), its query by
    floor(p / group) + neighbours - floor(neighbours / group), so that the first far distance
    continues the near ones.
    Not here: scaled frequencies, which this makes unnecessary.
    """

    summary = "Rotary with the distances of far tokens counted in groups; needs no training."
    source = "Jin et al. 2024, section 3"
    formula = (
        "near, m − n < w:   rotary at m and n\n"
        "far,  m − n ≥ w:   rotary at ⌊m/G⌋ + w − ⌊w/G⌋ and ⌊n/G⌋\n"
        "one softmax over both;  G = group, w = neighbours: the largest distance of N tokens is\n"
        "about (N − w)/G + w"
    )
    traps = (
        "Without the shift of far queries, distances jump at the border: the first far key would "
        "have a smaller distance than the last near key.",
        "Groups begin at multiples of the group size: adding a number to all positions regroups "
        "the tokens and changes the output.",
        "The order of far tokens within a group is lost.",
        "A cached rotated key suits either near queries or far queries, not both: cache raw keys.",
        "It computes every score twice, and no fused kernel can compute it.",
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
        layout: Literal["interleaved", "half"] = "interleaved",
        group: int = 4,
        neighbours: int = 0,
    ) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "self-extend moves queries away from past keys, so it needs a causal model: "
                "use --position rotary:scaling=linear in a bidirectional one",
                code="positions.self-extend-bidirectional",
            )
        if group < 1 or neighbours < 0:
            raise PositionError(
                f"self-extend: group={group} must be 1 or more, and neighbours={neighbours} must "
                "be positive, or 0 for an eighth of the trained length",
                code="positions.self-extend-group",
            )
        if not fraction:
            raise PositionError(
                "self-extend: fraction=0 must be a number: write out that of the trained rotary, "
                "which `wordorder positions SPEC` prints",
                code="positions.self-extend-fraction",
            )
        self.base = base
        self.fraction = fraction
        self.proportional = proportional
        self.layout = layout
        self.group = group
        self.neighbours = neighbours
        self.reads_vectors = layout == "half"  # its pairs are not neighbours
        self.near = neighbours or max(1, shape.trained_length // 8)
        self.shift = self.near - self.near // group
        # A token's group depends on its position itself.
        self.absolute = group > 1
        self.shift_invariant = group == 1
        self.rotary = Rotary(
            shape, base=base, fraction=fraction, proportional=proportional, layout=layout
        )

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.rotary.resolved_base, "neighbours": self.near}

    def rotated_distances(self, query: int, keys: Tensor) -> Tensor:
        """Return the distances that rotary gets for a query's position and those of keys."""
        far = query // self.group + self.shift - keys.div(self.group, rounding_mode="floor")
        return torch.where(query - keys >= self.near, far, query - keys)

    def prepare(self, layout: TokenLayout) -> Rotations:
        frequencies = self.rotary.frequencies()
        positions = layout.key_positions
        groups = torch.div(positions, self.group, rounding_mode="floor")
        near, far_keys, far_queries = (
            rotation(numbers[..., None], frequencies)
            for numbers in (positions, groups, groups + self.shift)
        )
        return Rotations(positions, near, far_keys, far_queries)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Rotations,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        rotate, positions = self.rotary.rotate, tables.positions.expand(values.shape[0], -1)

        def scores_of(
            tile: Tile,
            positions: Tensor,
            near_queries: Tensor,
            near_keys: Tensor,
            far_queries: Tensor,
            far_keys: Tensor,
        ) -> Tensor:
            of_queries = positions[:, query_indices[tile.rows], None]  # (sequences, rows, 1)
            of_keys = positions[:, None, tile.keys]  # (sequences, 1, keys)
            is_far = (of_queries - of_keys >= self.near)[:, None]  # (sequences, 1, rows, keys)
            scores = torch.where(
                is_far,
                scaled_products(far_queries, far_keys, scale, tile),
                scaled_products(near_queries, near_keys, scale, tile),
            )
            return apply_score(scores, score, query_indices)

        return attend_in_tiles(
            scores_of,
            (
                positions,
                rotate(queries, _at(tables.near, query_indices)),
                rotate(keys, tables.near),
                rotate(queries, _at(tables.far_queries, query_indices)),
                rotate(keys, tables.far_keys),
            ),
            values,
            may_attend,
            query_indices,
            causal=True,
            one_tile=score is not None,
        )


def _at(rotation: Rotation, indices: Tensor) -> Rotation:
    """Return the rotation of some indices of the time axis."""
    cosine, sine, unit = rotation
    return Rotation(
        cosine[:, :, indices],
        sine[:, :, indices],
        None if unit is None else unit[:, :, indices],
    )
