"""ALiBi against its paper's formula, and the traps its users hit."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import Alibi, ModelShape

CLOSE = 2e-6  # biases are float32, of size 1 here


@pytest.mark.parametrize("heads", [1, 3, 6, 8, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("plainly", [True, False])
def test_attention_is_the_papers(formula, lab, heads: int, causal: bool, plainly: bool) -> None:
    alibi = Alibi(ModelShape(heads, 4, causal=causal))
    q, k, v = (lab.numbers(heads, 5, 4, seed=seed) for seed in range(3))
    bias = formula("alibi").bias

    def score(h: int, i: int, j: int) -> float:
        product = sum(a * b for a, b in zip(q[h][i].tolist(), k[h][j].tolist(), strict=True))
        return product / 2 + bias(heads, h, i, j)

    expected = lab.softmax_rows(score, v.tolist(), causal)
    found = lab.attended(alibi, q, k, v, start=7, plainly=plainly)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)
