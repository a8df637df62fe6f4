"""CoPE, contextual position encoding: each query counts the tokens it finds worth counting.

A gate between 0 and 1 says whether a query counts a key; the position of a key is the sum
of the gates from the query back to it. So a head can count words, lines or sentences, and
another head something else. Such positions are fractions: the query's product with a
position lies between those with the two integer positions around it.

A count needs the whole row: this embedding replaces attention. Positions that are fed play
no part in it; only order does, and which keys are visible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, Score, State, Tables, upcast
from .whole_row import Part, attend_in_parts, products, worked


class Cope(Position):
    """Contextual positions: counts of what the query finds worth counting.

    Args:
        most: the largest position; farther keys all have this one. The paper's 64 served
            contexts of 1,024 tokens, and 16 no worse.

    Raises:
        PositionError: a bidirectional model, or `most` below 1.

    Source: Golovneva et al. 2024, section 4, equations 3 to 9, with the scaling of
    appendix B: gates see the scaled products, the positions' products are not scaled. With
    g_ik = sigmoid(q_i.k_k / sqrt(d)) and p_ij = g_ij + ... + g_ii, at most `most`, the score
    is q_i.k_j / sqrt(d) + q_i.e[p_ij], where e is interpolated between integers.
    Not here: gates from keys or values of their own (sep-keys and val-gates); one table for
    all layers.
    """

    summary = "Each query counts the tokens it finds worth counting, back to each key."
    source = "Golovneva et al. 2024, section 4, equations 3 to 9, and appendix B"
    door = "row"
    formula = (
        "gᵢₖ = σ(qᵢ·kₖ/√d)\n"
        "pᵢⱼ = min(gᵢⱼ + gᵢⱼ₊₁ + … + gᵢᵢ, most)\n"
        "score = qᵢ·kⱼ/√d + qᵢ·e[pᵢⱼ],  e[p] = (p − ⌊p⌋) e[⌈p⌉] + (1 − p + ⌊p⌋) e[⌊p⌋]"
    )
    traps = (
        "The sum of gates runs from the query back to the key: a sum from the start of the "
        "text gives other positions.",
        "Positions are fractions: rounded to a row of the table, gates get no slope.",
        "Hidden keys must not be counted: without the mask in the gates a causal model "
        "sees the future.",
        "The table starts at zero, so gates learn only once it has moved.",
        "Every layer holds several matrices of scores: it is slower than attention and runs "
        "on no fused kernel.",
    )

    def __init__(self, shape: ModelShape, /, *, most: int = 64) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "cope counts from a query back to a key, but this model sees both ways: "
                "use --position t5 or dape, or a causal model"
            )
        if most < 1:
            raise PositionError(f"cope: most={most} must be at least 1; the paper's is 64")
        self.most = most
        self.embeddings = nn.Parameter(torch.empty(most + 1, shape.head_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set the table to zero, as the paper does: attention starts without positions."""
        nn.init.zeros_(self.embeddings)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: State,
        visible: Tensor,
        score: Score | None,
        slots: Tensor,
    ) -> Tensor:
        scale = self.shape.head_dim**-0.5
        asked = upcast(queries)
        asked = asked @ self.embeddings.to(asked.dtype).mT  # (batch, heads, query, most + 1)

        def scores_of(part: Part, queries: Tensor, keys: Tensor, asked: Tensor) -> Tensor:
            scaled = products(queries, keys, scale, part)
            gates = scaled.sigmoid() * part.of(visible)
            # Summed from the query on, not as a difference of sums from the start of the
            # text: far from the start float32 would lose what is small near the query.
            counts = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.most)
            return worked(scaled, score, slots) + interpolated(asked[:, :, part.rows], counts)

        return attend_in_parts(
            scores_of,
            (queries, keys, asked),
            values,
            visible,
            slots,
            causal=True,
            together=score is not None,
        )


def interpolated(at_integers: Tensor, counts: Tensor) -> Tensor:
    """Return values at fractional positions, on lines between those at integers.

    Shapes: at_integers (..., query, integers), counts (..., query, key) below `integers`.
    """
    last = at_integers.shape[-1] - 1
    below = counts.detach().long()
    low = at_integers.gather(-1, below)
    high = at_integers.gather(-1, (below + 1).clamp(max=last))
    return low + (counts - below) * (high - low)
