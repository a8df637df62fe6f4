"""PaTH: keys reach a query through a product of reflections, one for every token between.

Rotary turns by the same angle at every step. Here each token holds a transformation of its
own, I - beta w wᵀ, a projection or reflection along a direction w that it chooses from its
content, and the score of a pair takes the product of all those between key and query. A
layer can so track what the text does to a state (a value overwritten, two things swapped),
which no sum of distances can.

The product over every pair would take a matrix for each. Instead keys are taken in blocks:
in a block the product is I - Wᵀ M W with one small triangular M (the UT transform), and
queries are carried from block to block, latest first. The cost is that of attention, a
few times over; numbers are float32 throughout, since products of many rounded steps drift.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ModelShape, Position, PositionError, Score, State, Tables, TokenLayout, upcast
from .short_convolution import recent
from .whole_row import Part, attend_in_parts, worked

# Keys in a block: about the head size, where the work in blocks and between them balances.
BLOCK = 64


class Blocks(NamedTuple):
    """What a block of keys does to scores and to the queries that pass it.

    With L the products of queries and directions, zero for directions past the query, a
    block's scores are q kᵀ - L `on_keys`, and queries leave it as q - L `on_queries`. For
    queries past the block the first is q `led`ᵀ: keys that all of the block has acted on.

    Shapes: sides (batch, heads, blocks, 2 * block, head_dim), keys and then directions; led
    likewise; on_keys (batch, heads, blocks, block, block); on_queries (..., block, head_dim).
    """

    sides: Tensor
    led: Tensor
    on_keys: Tensor
    on_queries: Tensor


class Path(Position):
    """Carries keys to queries by I - beta w wᵀ of every token in between.

    Args:
        rank: of the projection that gives directions w; the authors' 32.
        taps: tokens that the short convolution on w sees, the newest its own; the paper's
            3; 1 leaves it out.

    Raises:
        PositionError: a bidirectional model; a rank or number of taps below 1.

    Source: Yang et al. 2025, section 2.2 and, for the blocks, sections 3.1 to 3.3: the score
    is k_jᵀ H_{j+1} ... H_i q_i / sqrt(d) with H_t = I - beta_t w_t w_tᵀ, beta_t =
    2 sigmoid(u.x_t + b) for each head, and w_t a low-rank linear layer of x_t, then a short
    convolution, then scaled to length 1.
    Not here: the SiLU that the authors' library has after the convolution and the paper does
    not; PaTH-FoX, which is `path+forgetting`; keys changed in place while decoding, which
    would leave nothing to read anew.
    """

    summary = "Keys reach a query through one learned reflection for every token between."
    source = "Yang et al. 2025, sections 2.2 and 3"
    door = "row"
    matrices = ("down", "up", "beta_weight")
    formula = (
        "score = qᵢᵀ Hᵢ Hᵢ₋₁ … Hⱼ₊₁ kⱼ / √d\n"
        "Hₜ = I − βₜ wₜ wₜᵀ,  βₜ = 2σ(u·xₜ + b),  wₜ = convolution(W xₜ) / ‖…‖"
    )
    traps = (
        "The product runs over tokens after the key, up to and with the query: the key's own "
        "transformation is not in it.",
        "Transformations do not commute: the one nearest the key acts on it first.",
        "Products of hundreds of rounded matrices drift: they need float32, whatever the model.",
        "Padding and masked tokens must be the identity, or they change what lies beyond.",
        "A token evicted from the cache takes its transformation with it, and every older key "
        "is then read differently.",
    )

    def __init__(self, shape: ModelShape, /, *, rank: int = 32, taps: int = 3) -> None:
        super().__init__(shape)
        if not shape.causal:
            raise PositionError(
                "path goes from a key forward to a query, but this model sees both ways: "
                "use --position rotary, or a causal model"
            )
        if rank < 1 or taps < 1:
            raise PositionError(f"path: rank={rank} and taps={taps} must be at least 1")
        self.rank = rank
        self.taps = taps
        inner = shape.heads * shape.head_dim
        self.down = nn.Parameter(torch.empty(rank, shape.width))
        self.up = nn.Parameter(torch.empty(inner, rank))
        self.convolution = nn.Parameter(torch.empty(taps, inner))
        self.beta_weight = nn.Parameter(torch.empty(shape.heads, shape.width))
        self.beta_bias = nn.Parameter(torch.empty(shape.heads))
        self.reset_parameters()

    @property
    def order_leak(self) -> str:
        return f"its convolution shows the order of {self.taps} tokens" if self.taps > 1 else ""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw uniformly up to 1/sqrt(inputs), PyTorch's own rule, which the authors leave."""
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
        """Return directions (batch, time, heads, head_dim), betas and what is convolved."""
        x = upcast(x)
        down, up, convolution, beta_weight, beta_bias = (
            weight.to(x.dtype)
            for weight in (self.down, self.up, self.convolution, self.beta_weight, self.beta_bias)
        )
        low = x @ down.mT
        every = low if previous is None else torch.cat((previous[2], low), 1)
        # Up and then convolved is one product: each tap's weights scale the rows of `up`.
        taps = (convolution[..., None] * up).transpose(1, 2).flatten(0, 1)
        directions = recent(every, layout, self.taps).flatten(2) @ taps
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
        visible: Tensor,
        score: Score | None,
        slots: Tensor,
    ) -> Tensor:
        queries = upcast(queries) * self.shape.head_dim**-0.5
        directions, betas = state[0].transpose(1, 2), state[1].transpose(1, 2)
        blocks = blocks_of(upcast(keys), directions, betas)

        def scores_of(part: Part, queries: Tensor, *blocks: Tensor) -> Tensor:
            end = part.seen.indices(keys.shape[2])[1]
            own = queries[:, :, part.rows]
            return worked(carried(own, Blocks(*blocks), slots[part.rows], end), score, slots)

        return attend_in_parts(
            scores_of,
            (queries, *blocks),
            values,
            visible,
            slots,
            causal=True,
            together=score is not None,
        )


def blocks_of(keys: Tensor, directions: Tensor, betas: Tensor) -> Blocks:
    """Return what each block of keys does; the last is filled up with the identity.

    Shapes: keys and directions (batch, heads, key, head_dim), betas (batch, heads, key).
    """
    more = -keys.shape[2] % BLOCK
    keys, directions = (
        F.pad(each, (0, 0, 0, more)).unflatten(2, (-1, BLOCK)) for each in (keys, directions)
    )
    betas = F.pad(betas, (0, more)).unflatten(2, (-1, BLOCK))[..., None]
    scaled = betas * directions
    chain = (scaled @ directions.mT).tril(-1)  # the solver takes its diagonal as ones
    sides = torch.cat(((scaled @ keys.mT).tril(-1), scaled), -1)
    solved = torch.linalg.solve_triangular(chain, sides, upper=False, unitriangular=True)
    on_keys, on_queries = solved.split((BLOCK, keys.shape[-1]), -1)
    led = keys - on_keys.mT @ directions
    both = [torch.cat((each, directions), -2) for each in (keys, led)]
    return Blocks(*both, on_keys, on_queries)


def carried(queries: Tensor, blocks: Blocks, slots: Tensor, end: int) -> Tensor:
    """Return scores (batch, heads, query, end) of queries, carried back block by block.

    Args:
        queries: (batch, heads, query, head_dim), scaled.
        slots: (query,) where they stand, in order.
        end: how many keys to score.
    """
    device = slots.device
    starts = torch.arange(0, end, BLOCK, device=device)
    # Rows from `first` on stand in a block or past it: earlier ones have not come this far;
    # those from `last` on are past it.
    firsts = torch.searchsorted(slots, starts).tolist()
    lasts = torch.searchsorted(slots, starts + BLOCK - 1).tolist()
    sides, led, on_keys, on_queries = (each.unbind(2) for each in blocks)
    found = []
    past = queries[:, :, :0]
    for i in reversed(range(len(starts))):
        first = firsts[i]
        past = torch.cat((queries[:, :, first : queries.shape[2] - past.shape[2]], past), 2)
        if first == lasts[i]:
            scores, along = (past @ led[i].mT).split(BLOCK, -1)
        else:
            direct, along = (past @ sides[i].mT).split(BLOCK, -1)
            own = starts[i] + torch.arange(BLOCK, device=device)
            along = along * (slots[first:, None] >= own)
            scores = direct - along @ on_keys[i]
        found.append(F.pad(scores, (0, 0, first, 0)))
        past = past - along @ on_queries[i]
    return torch.cat(found[::-1], -1)[..., :end]
