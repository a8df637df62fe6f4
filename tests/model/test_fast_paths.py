"""Every fast path equals the plain formula, in float64, gradients too.

The sizes at which work is cut into pieces are lowered, so that there are several.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordorder.model import cross_entropy as loss_module
from wordorder.model import fused_attention
from wordorder.model import plain_attention as plain_module
from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.cross_entropy import cross_entropy
from wordorder.model.fused_attention import widened
from wordorder.model.layers import RMSNorm, _RMSNorm
from wordorder.model.problem import AttentionProblem
from wordorder.positions import (
    Alibi,
    ModelShape,
    NoPosition,
    Position,
    Sum,
    TokenLayout,
    index_grid,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_cross_entropy_in_chunks_is_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", 40)
    hidden, weight = random(7, 5), random(11, 5, seed=1)
    targets = torch.tensor([1, 2, -1, 10, 0, 3, 3])
    expected = F.cross_entropy(hidden @ weight.T, targets, ignore_index=-1, reduction="none")
    torch.testing.assert_close(cross_entropy(hidden, weight, targets), expected)
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy(h, w, targets), (hidden, weight))


def test_cross_entropy_of_logits_that_overflow_an_exponential() -> None:
    hidden, weight = torch.tensor([[1000.0], [-1000.0]]), torch.tensor([[1.0], [0.0]])
    losses = cross_entropy(hidden, weight, torch.tensor([1, 0]))
    assert losses.tolist() == [1000.0, 1000.0]


class Table(Position):
    """A trained bias for each distance and head, in float64 for the sake of gradcheck."""

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(random(shape.heads, 41, seed=7).detach())

    def distance_bias(self, distance: Tensor) -> Tensor:
        return self.weight[:, distance + 20]


class Plain(Position):
    """Plain attention with whatever stands beside it, through the door of the whole row."""

    def attend(self, queries, keys, values, tables, state, visible, score, slots):
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        if score is not None:
            scores = score(scores, *index_grid(scores, slots))
        return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ values


class Content(Position):
    """A score with the query in it, at each distance."""

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions

    def score(self, queries, keys, tables, state):
        places = tables.expand(len(queries), -1)

        def scored(score, batch, head, query, key):
            return score * (1 + (places[batch, query] - places[batch, key]).abs())

        return scored


GEOMETRIES = {
    "plain": (None, None),
    "packed": (torch.tensor([[0, 0, 0, 1, 1, 1, 1]]), None),
    "padded": (torch.tensor([[-1, -1, 0, 0, 0, 0, 0], [0] * 7, [0] * 7]), None),
    "gaps": (None, torch.tensor([[0, 1, 3, 4, 9, 10, 12]])),
    "rows apart": (None, torch.arange(7) * torch.tensor([[1], [2], [1]])),
    "restarting": (torch.tensor([[0, 0, 0, 1, 1, 1, 1]]), torch.tensor([[0, 1, 2, 0, 1, 2, 3]])),
    "restarting unmasked": (None, torch.tensor([[0, 1, 2, 0, 1, 2, 3]])),
    "backwards": (None, torch.arange(7).flip(0)[None]),
}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_module, "PIECE", 60)
    monkeypatch.setattr(plain_module, "FEWEST_ROWS", 2)
    monkeypatch.setattr(plain_module, "MOST_WIDTHS", 2)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("where", GEOMETRIES)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("window", "scores_at_once"),
    [
        (None, 120),
        (3, 1 << 26),
        pytest.param(None, 1 << 26, marks=pytest.mark.slow),
        pytest.param(3, 120, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kinds", [(), (Table,), (Table, Plain), (Table, Content), (Plain,)])
def test_attention_in_pieces_is_attention(
    where: str,
    causal: bool,
    window: int | None,
    scores_at_once: int,
    kinds: tuple,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With and without room to keep what the backward pass needs, gradients of all."""
    monkeypatch.setattr(plain_module, "LARGEST_SCORES", scores_at_once)
    monkeypatch.setattr(plain_module, "ROW_SCORES", 60)
    shape = ModelShape(2, 4, causal=causal)
    position = Sum(shape, tuple(kind(shape) for kind in kinds) or (NoPosition(shape),))
    documents, positions = GEOMETRIES[where]
    given = torch.arange(7)[None] if positions is None else positions
    layout = TokenLayout.of(given, documents, causal=causal, consecutive=positions is None)
    tables = tuple(part.prepare(layout) for part in position.parts)
    parameters = [p for part in position.parts for p in part.parameters()]

    def attend(q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> Tensor:
        fresh = AdditiveMask.of(position, layout, window, torch.float64)
        state = (None,) * len(position.parts)
        return attention(
            AttentionProblem.of(q, k, v, position, tables, state, fresh, kernel="plain")
        )

    q, k, v = (random(3, 2, 7, 4, seed=n) for n in range(3))
    scores = q @ k.mT / 2
    if Content in kinds:
        scores = scores * (1 + (given[:, :, None] - given[:, None]).abs())[:, None]
    if Table in kinds:
        weight = position.parts[0].weight
        distances = given[:, :, None] - given[:, None]
        scores = scores + weight[:, distances + 20].transpose(0, 1)
    visible = layout.may_attend(window)
    expected = scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v), expected)
    loss = random(3, 2, 7, 4, seed=5).detach()
    found = torch.autograd.grad((attend(q, k, v) * loss).sum(), [q, k, v, *parameters])
    slopes = torch.autograd.grad((expected * loss).sum(), [q, k, v, *parameters])
    for ours, theirs in zip(found, slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("where", GEOMETRIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", [2, 6])
def test_slopes_in_a_channel_are_a_bias(
    where: str, dtype: torch.dtype, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_attention, "CHANNEL_FROM", 1)
    shape = ModelShape(heads, 4)
    position = Sum(shape, (Alibi(shape),))
    documents, positions = GEOMETRIES[where]
    given = torch.arange(7)[None] if positions is None else positions
    layout = TokenLayout.of(given, documents, consecutive=positions is None)
    calls = []
    fused = F.scaled_dot_product_attention
    with monkeypatch.context() as patch:
        record = lambda *a, **k: calls.append(a) or fused(*a, **k)  # noqa: E731
        patch.setattr(F, "scaled_dot_product_attention", record)
        found = {}
        for kernel in ("plain", "fused"):
            q, k, v = (random(3, heads, 7, 4, seed=n).detach().to(dtype) for n in range(3))
            q.requires_grad_()
            bias = AdditiveMask.of(position, layout, None, dtype)
            attended = attention(
                AttentionProblem.of(q, k, v, position, (None,), (None,), bias, kernel=kernel)
            )
            (slope,) = torch.autograd.grad(attended.float().square().sum(), q)
            found[kernel] = attended, slope
    # Where a key ahead may be seen, the bias is no channel.
    channels = (1 if dtype is torch.float32 else 3) if bias.rising else 0
    assert bias.rising == (where not in ("restarting", "restarting unmasked", "backwards"))
    assert [call[0].shape[-1] - 4 for call in calls] == [channels] or not (channels or calls)
    tolerance = 1e-5 if dtype is torch.float32 else 0.06
    for ours, theirs in zip(found["fused"], found["plain"], strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_far_slopes_in_bfloat16_keep_their_distances() -> None:
    """One channel would be off by 8 at 4,096; three are exact to what float32 sums are."""
    shape = ModelShape(4, 8)
    position = Sum(shape, (Alibi(shape),))
    layout = TokenLayout.of(torch.arange(4096)[None], consecutive=True)
    bias = AdditiveMask.of(position, layout, None, torch.bfloat16)
    zeros = torch.zeros(1, 4, 4096, 8, dtype=torch.bfloat16)
    problem = AttentionProblem.of(zeros, zeros, zeros, position, (None,), (None,), bias)
    q, k, _ = widened(problem._replace(scale=0.5))
    found = (q.float() @ k.float().mT)[0, :, -1] * 0.5
    expected = position.distance_bias(4095 - torch.arange(4096))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_rms_norm_is_rms_norm() -> None:
    norm = RMSNorm(6, eps=1e-6).double()
    norm.weight.data = random(6, seed=1).detach()
    x = random(2, 3, 6)
    expected = F.rms_norm(x, (6,), norm.weight, 1e-6)
    torch.testing.assert_close(norm(x), expected)
    weight = norm.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, w: _RMSNorm.apply(a, w, 1e-6), (x, weight))
