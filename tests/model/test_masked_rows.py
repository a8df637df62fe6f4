"""A row of scores with everything hidden: NaN written out, 0 in PyTorch; here there is none.

Padding has nothing to see, and what it computes is never read. But one NaN there is in every
gradient, so that a padding token sees itself.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mechanisms import each
from torch.nn import functional

from wordorder.batch import Batch
from wordorder.model import LanguageModel
from wordorder.positions import CATALOGUE


def test_a_fully_masked_row_is_nan_written_out_and_zero_in_pytorchs_kernel() -> None:
    """Its kernel once gave NaN too (pytorch #103963). One such row, unread, spoils all slopes."""
    queries, values = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    scores = torch.zeros(1, 1, 2, 3).masked_fill(~mask, float("-inf"))
    written = scores.softmax(-1) @ values
    fused = functional.scaled_dot_product_attention(queries, values, values, attn_mask=mask)
    assert written[0, 0, 0].isfinite().all() and written[0, 0, 1].isnan().all()
    assert fused[0, 0, 0].all() and not fused[0, 0, 1].any()
    (slopes,) = torch.autograd.grad(written[0, 0, 0].sum(), values)
    assert slopes.isnan().all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("spec", each(CATALOGUE))
def test_rows_of_padding_are_finite_there_and_back(
    make_random: Callable[..., LanguageModel], spec: str, kernel: str, causal: bool
) -> None:
    model = make_random(spec, causal=causal)
    model.attention_kernel = kernel
    documents = torch.tensor([[-1, -1, 0, 0, -1, 0], [-1] * 6])
    logits = model(Batch(torch.arange(12).view(2, 6), documents=documents))
    logits.square().mean().backward()
    slopes = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert logits.isfinite().all() and all(each.isfinite().all() for each in slopes)
    assert any(each.any() for each in slopes)
