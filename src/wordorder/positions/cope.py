"""CoPE, contextual position encoding: a key's position is a count that the query computes.

A gate between 0 and 1, computed from a query and a key, says how much the query counts that
key. The position of a key is the sum of the gates from the query back to it. So one head can
count words, and another lines or sentences. These positions are fractional: the query's product
with a position is interpolated between its products with the two nearest integer positions.

A sum of gates needs the whole row of scores, so this embedding replaces attention. It
ignores the positions in the layout: only the order of keys and the mask matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, Tables, upcast
from .shape import ModelShape
from .whole_row import Tile, apply_score, attend_in_tiles, scaled_products


class Cope(Position):
    """Contextual positions: sums of gates that the query computes from the keys.

    Args:
        most: the largest position, at least 1; all farther keys share it. The paper uses 64
            for contexts of 1,024 tokens, and finds that 16 works as well.

    Raises:
        PositionError: a bidirectional model, or `most` below 1.

    Source: Golovneva et al. 2024, section 4, equations 3 to 9, with the scaling of
    appendix B: gates see the scaled products, the positions' products are not scaled. With
    g_ik = sigmoid(q_i.k_k / sqrt(d)) and p_ij = g_ij + ... + g_ii, at most `most`, the score
    is q_i.k_j / sqrt(d) + q_i.e[p_ij], where e is interpolated between integers.
    Not here: gates computed from separate keys or from values (sep-keys, val-gates); one
    table for all layers.
    """

    summary = "A key's position is a sum of gates that the query computes back to it."
    source = "Golovneva et al. 2024, section 4, equations 3 to 9, and appendix B"
    door = "row"
    reads_vectors = True
    formula = (
        "gᵢₖ = σ(qᵢ·kₖ/√d)\n"
        "pᵢⱼ = min(gᵢⱼ + gᵢⱼ₊₁ + … + gᵢᵢ, most)\n"
        "score = qᵢ·kⱼ/√d + qᵢ·e[pᵢⱼ],  e[p] = (p − ⌊p⌋) e[⌈p⌉] + (1 − p + ⌊p⌋) e[⌊p⌋]"
    )
    traps = (
        "The sum of gates runs from the query back to the key: a sum from the start of the "
        "sequence gives other positions.",
        "Positions are fractional: if they are rounded to a row of the table, gates get no "
        "gradient.",
        "Masked keys must not be counted: without the mask in the gates a causal model sees the "
        "future.",
        "The table starts at zero, so gates get no gradient in the first step.",
        "Every layer computes several matrices of scores: it is slower than attention, and no "
        "fused kernel can compute it.",
    )

    def __init__(self, shape: ModelShape, /, *, most: int = 64) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "cope counts tokens from a query back to a key, so it needs a causal model: "
                "use --position t5 or dape in a bidirectional one",
                code="positions.cope-bidirectional",
            )
        if most < 1:
            raise PositionError(
                f"cope: most={most} must be at least 1; the paper uses 64",
                code="positions.cope-most",
            )
        self.most = most
        self.embeddings = nn.Parameter(torch.empty(most + 1, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set the table to zero, as the paper does, so that training starts without positions."""
        nn.init.zeros_(self.embeddings)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        wide = upcast(queries)
        by_position = wide @ self.embeddings.to(wide.dtype).mT  # (batch, heads, query, most + 1)

        def scores_of(tile: Tile, queries: Tensor, keys: Tensor, by_position: Tensor) -> Tensor:
            # Four keys, gates 1 .5 1 .2 of one query, the last: positions 2.7 1.7 1.2 .2.
            scores = scaled_products(queries, keys, scale, tile)  # (sequences, heads, rows, keys)
            gates = scores.sigmoid() * tile.of(may_attend)
            positions = counted_positions(gates, self.most)
            added = interpolated(by_position[:, :, tile.rows], positions)
            return apply_score(scores, score, query_indices) + added

        return attend_in_tiles(
            scores_of,
            (queries, keys, by_position),
            values,
            may_attend,
            query_indices,
            causal=True,
            one_tile=score is not None,
        )


def counted_positions(gates: Tensor, most: int) -> Tensor:
    """Return the sums of gates (..., key) from the last key back to each, at most `most`."""
    # A sum from the query back, not a difference of sums from the start of the sequence: far
    # from the start float32 would lose small gates near the query.
    return gates.flip(-1).cumsum(-1).flip(-1).clamp(max=most)


def interpolated(at_integers: Tensor, positions: Tensor) -> Tensor:
    """Return values at fractional positions, interpolated linearly between integers.

    Shapes: at_integers (..., query, integers), positions (..., query, key) from 0 to
    integers - 1; the result as positions.
    """
    last = at_integers.shape[-1] - 1
    below = positions.detach().long()
    low = at_integers.gather(-1, below)
    high = at_integers.gather(-1, (below + 1).clamp(max=last))
    return low + (positions - below) * (high - low)
