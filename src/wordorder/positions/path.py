"""PaTH: a key is transformed by a product of reflections, one for every token up to the query.

Rotary rotates by the same angle at every step. In PaTH each token has its own transformation
I - beta w wᵀ, a projection or reflection along a direction w computed from its content, and
the score of a pair contains the product of all transformations between key and query. So a
layer can track state (a value that is overwritten, two things that are swapped), which a
function of distance cannot.

A product per pair would take a matrix for each pair. Instead keys are processed in blocks.
Within a block the product is I - Wᵀ M W, where the rows of W are the block's directions and M
is one small triangular matrix (the UT transform). Queries are transformed from block to block,
the latest block first:

    keys       block 0      block 1      block 2
    scores     q'' k        q' k         q k         of a query in block 2
    query        q''  <------- q' <------- q         each arrow applies a whole block

The cost is a few times that of attention. Numbers are float32 throughout, because rounding
errors of many multiplied steps accumulate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, Tables, upcast
from .layout import TokenLayout
from .shape import ModelShape
from .short_convolution import recent
from .whole_row import Tile, apply_score, attend_in_tiles

# Keys in a block: about the head size, where the work within and between blocks is balanced.
BLOCK = 64


class Blocks(NamedTuple):
    """The transformations of every block of keys, for scores and for queries.

    Let L (query, block) be the products of queries with the block's directions, set to 0 for
    directions of tokens after the query. The scores of the block are q kᵀ - L `on_keys`, and
    the query for the block before is q - L `on_queries`. For queries after the block, L has no
    zeros, and the scores are simply q k'ᵀ, where k' are keys transformed by the whole block.

    Shapes: keys_and_directions and final_keys_and_directions (batch, heads, blocks, 2 * block,
    head_dim), where the second has k' for keys; on_keys (batch, heads, blocks, block, block);
    on_queries (batch, heads, blocks, block, head_dim).
    """

    keys_and_directions: Tensor
    final_keys_and_directions: Tensor
    on_keys: Tensor
    on_queries: Tensor


class Path(Position):
    """Transforms keys by I - beta w wᵀ of every token after the key, up to the query.

    Args:
        rank: rank of the projection to directions w, at least 1; the authors use 32.
        taps: tokens in the short convolution of w, the token's own included; the paper uses
            3; with 1 there is no convolution.

    Raises:
        PositionError: a bidirectional model; a rank or number of taps below 1.

    Source: Yang et al. 2025, section 2.2 and, for the blocks, sections 3.1 to 3.3: the score
    is k_jᵀ H_{j+1} ... H_i q_i / sqrt(d) with H_t = I - beta_t w_t w_tᵀ, beta_t =
    2 sigmoid(u.x_t + b) for each head, and w_t a low-rank linear layer of x_t, then a short
    convolution, then scaled to length 1.
    Not here: the SiLU after the convolution, which the authors' library has and the paper has
    not; PaTH-FoX, which is `path+forgetting`; updating cached keys in place while decoding,
    after which the original keys could not be recomputed.
    """

    summary = "Keys are transformed by one learned reflection per token up to the query."
    source = "Yang et al. 2025, sections 2.2 and 3"
    door = "row"
    reads_vectors = True
    matrices = ("down", "up", "beta_weight")
    formula = (
        "score = qᵢᵀ Hᵢ Hᵢ₋₁ … Hⱼ₊₁ kⱼ / √d\n"
        "Hₜ = I − βₜ wₜ wₜᵀ,  βₜ = 2σ(u·xₜ + b),  wₜ = convolution(W xₜ) / ‖…‖"
    )
    traps = (
        "The product runs over the tokens after the key, up to and including the query: the key's "
        "own transformation is not in it.",
        "Transformations do not commute: the one nearest to the key is applied to it first.",
        "Products of hundreds of rounded matrices drift: they need float32, whatever the model.",
        "Padding and masked tokens must be the identity, or they change what lies beyond.",
        "A token evicted from the cache takes its transformation with it, and every older key "
        "is then read differently.",
    )

    def __init__(self, shape: ModelShape, /, *, rank: int = 32, taps: int = 3) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "path multiplies transformations from a key forward to a query, so it needs a "
                "causal model: use --position rotary in a bidirectional one",
                code="positions.path-bidirectional",
            )
        if rank < 1 or taps < 1:
            raise PositionError(
                f"path: rank={rank} and taps={taps} must be at least 1", code="positions.path-sizes"
            )
        self.rank = rank
        self.taps = taps
        inner = shape.heads * shape.head_dim
        self.down = nn.Parameter(torch.empty(rank, shape.width))
        self.up = nn.Parameter(torch.empty(inner, rank))
        self.convolution = nn.Parameter(torch.empty(taps, inner))
        self.beta_weight = nn.Parameter(torch.empty(shape.heads, shape.width))
        self.beta_bias = nn.Parameter(torch.empty(shape.heads))
        if taps > 1:
            self.order_leak = f"its convolution reveals the order of {taps} tokens"
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), PyTorch's default, which the authors keep."""
        width = self.shape.width
        for weight, inputs in (
            (self.down, width),
            (self.up, self.rank),
            (self.convolution, self.taps),
            (self.beta_weight, width),
            (self.beta_bias, width),
        ):
            bound = 1 / math.sqrt(inputs)
            nn.init.uniform_(weight, -bound, bound, generator=generator)

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> tuple[Tensor, ...]:
        """Return directions, betas and the input of the convolution, for new tokens.

        Shapes: (batch, time, heads, head_dim), (batch, time, heads), (batch, time, rank).
        """
        x = upcast(x)
        down, up, convolution, beta_weight, beta_bias = (
            weight.to(x.dtype)
            for weight in (self.down, self.up, self.convolution, self.beta_weight, self.beta_bias)
        )
        low = x @ down.mT  # (batch, time, rank)
        all_low = low if previous is None else torch.cat((previous[2], low), 1)
        # Projection and convolution are one product, whose weights are (taps * rank, inner).
        taps = (convolution[..., None] * up).transpose(1, 2).flatten(0, 1)
        directions = recent(all_low, layout, self.taps).flatten(2) @ taps
        directions = F.normalize(directions.unflatten(-1, (self.shape.heads, -1)), dim=-1)
        betas = 2 * (x @ beta_weight.mT + beta_bias).sigmoid()
        if layout.query_documents is not None:
            betas = betas * (layout.query_documents >= 0)[..., None]
        return directions, betas, low

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: tuple[Tensor, ...],
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor:
        queries = upcast(queries) * self.shape.head_dim**-0.5
        directions, betas = state[0].transpose(1, 2), state[1].transpose(1, 2)
        blocks = blocks_of(upcast(keys), directions, betas)

        def scores_of(tile: Tile, queries: Tensor, *blocks: Tensor) -> Tensor:
            end = tile.keys.indices(keys.shape[2])[1]
            rows = queries[:, :, tile.rows]
            scores = scores_by_block(rows, Blocks(*blocks), query_indices[tile.rows], end)
            return apply_score(scores, score, query_indices)

        return attend_in_tiles(
            scores_of,
            (queries, *blocks),
            values,
            may_attend,
            query_indices,
            causal=True,
            one_tile=score is not None,
        )


def blocks_of(keys: Tensor, directions: Tensor, betas: Tensor) -> Blocks:
    """Return the transformations of every block of keys.

    Keys that the last block lacks are zeros with beta 0, whose transformation is the identity.
    `on_keys` and `on_queries` solve (1 + T) x = y, where T is the strictly lower triangle of
    beta w wᵀ between the directions of a block: the UT transform of a product of reflections.

    Shapes: keys and directions (batch, heads, key, head_dim), betas (batch, heads, key).
    """
    missing = -keys.shape[2] % BLOCK
    keys, directions = (  # (batch, heads, blocks, block, head_dim)
        F.pad(x, (0, 0, 0, missing)).unflatten(2, (-1, BLOCK)) for x in (keys, directions)
    )
    betas = F.pad(betas, (0, missing)).unflatten(2, (-1, BLOCK))[..., None]
    scaled = betas * directions
    triangle = (scaled @ directions.mT).tril(-1)  # (..., block, block); its diagonal counts as 1
    right_side = torch.cat(((scaled @ keys.mT).tril(-1), scaled), -1)
    solved = torch.linalg.solve_triangular(triangle, right_side, upper=False, unitriangular=True)
    on_keys, on_queries = solved.split((BLOCK, keys.shape[-1]), -1)
    final_keys = keys - on_keys.mT @ directions
    direct, final = (torch.cat((x, directions), -2) for x in (keys, final_keys))
    return Blocks(direct, final, on_keys, on_queries)


def scores_by_block(queries: Tensor, blocks: Blocks, indices: Tensor, end: int) -> Tensor:
    """Return scores (batch, heads, query, end), computed from the last block to the first.

    Args:
        queries: (batch, heads, query, head_dim), scaled.
        indices: (query,) int64, their indices into the key axis, in ascending order.
        end: number of keys.
    """
    device = indices.device
    starts = torch.arange(0, end, BLOCK, device=device)
    # Of each block: rows before `first` are before the block, and its keys are hidden from them;
    # rows from `last` on are after the block.
    firsts = torch.searchsorted(indices, starts).tolist()
    lasts = torch.searchsorted(indices, starts + BLOCK - 1).tolist()
    direct_sides, final_sides, on_keys, on_queries = (x.unbind(2) for x in blocks)
    blocks_of_scores = []
    transformed = queries[:, :, :0]  # of the rows so far, by all blocks so far
    for i in reversed(range(len(starts))):
        first = firsts[i]
        new_rows = queries[:, :, first : queries.shape[2] - transformed.shape[2]]
        transformed = torch.cat((new_rows, transformed), 2)  # (batch, heads, rows, head_dim)
        if first == lasts[i]:  # all of these rows are after the block
            scores, products = (transformed @ final_sides[i].mT).split(BLOCK, -1)
        else:
            scores, products = (transformed @ direct_sides[i].mT).split(BLOCK, -1)
            of_block = starts[i] + torch.arange(BLOCK, device=device)
            products = products * (indices[first:, None] >= of_block)  # (..., rows, block)
            scores = scores - products @ on_keys[i]
        blocks_of_scores.append(F.pad(scores, (0, 0, first, 0)))
        transformed = transformed - products @ on_queries[i]
    return torch.cat(blocks_of_scores[::-1], -1)[..., :end]
