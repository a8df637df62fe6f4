"""Every fast path equals the plain formula, in float64, gradients too.

The sizes at which work is cut into pieces are lowered, so that there are several.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wordorder.model import cross_entropy as loss_module
from wordorder.model import plain_attention as attention_module
from wordorder.model.cross_entropy import cross_entropy
from wordorder.model.layers import RMSNorm, _RMSNorm
from wordorder.model.plain_attention import plain_attention


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


@pytest.mark.parametrize("past_only", [True, False])
@pytest.mark.parametrize("bias_batch", [1, 3])
def test_attention_in_pieces_is_attention(
    past_only: bool, bias_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_module, "PIECE", 60)
    monkeypatch.setattr(attention_module, "FEWEST_ROWS", 2)
    queries, keys, values = (random(3, 2, 7, 4, seed=n) for n in range(3))
    bias = random(bias_batch, 1, 7, 7, seed=9).detach()
    if past_only:
        bias = bias.masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
    slots = torch.arange(7)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return plain_attention(q, k, v, bias, None, slots, past_only)

    expected = (queries @ keys.mT + bias).softmax(-1) @ values
    torch.testing.assert_close(attend(queries, keys, values), expected)
    assert torch.autograd.gradcheck(attend, (queries, keys, values))


def test_a_trained_bias_gets_its_gradient() -> None:
    queries, keys, values = (random(1, 2, 5, 4, seed=n) for n in range(3))
    bias, slots = random(1, 2, 5, 5, seed=3), torch.arange(5)
    plain_attention(queries, keys, values, bias, None, slots, False).sum().backward()
    assert bias.grad is not None and bias.grad.abs().max() > 0


def test_rms_norm_is_rms_norm() -> None:
    norm = RMSNorm(6, eps=1e-6).double()
    norm.weight.data = random(6, seed=1).detach()
    x = random(2, 3, 6)
    expected = F.rms_norm(x, (6,), norm.weight, 1e-6)
    torch.testing.assert_close(norm(x), expected)
    weight = norm.weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, w: _RMSNorm.apply(a, w, 1e-6), (x, weight))
