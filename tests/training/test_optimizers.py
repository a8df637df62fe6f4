"""Muon against its definition and against PyTorch's own; the schedules' shapes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from wordorder.training.optimizers import Muon, orthogonalise
from wordorder.training.schedules import learning_rate_factor


@pytest.mark.parametrize("shape", [(3, 16, 48), (2, 48, 16), (1, 32, 32)])
def test_orthogonalised_singular_values_are_near_one(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    values = torch.linalg.svdvals(orthogonalise(matrices, torch.float32))
    assert values.max() < 1.3  # Jordan et al.: the coefficients bring them to [0.7, 1.2]
    assert values.median() > 0.6


def test_muon_moves_as_pytorchs_does() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(24, 40, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    muon = Muon([("w", ours)])
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.95, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(24, 40, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step(0.1)
        reference.step()
    # PyTorch orthogonalises in bfloat16: three steps of 0.1 with entries near 0.15 each.
    torch.testing.assert_close(ours, theirs, atol=3e-3, rtol=0)


def test_schedule_rises_stays_and_falls() -> None:
    factors = [
        learning_rate_factor(s, 100, schedule="warmup-stable-decay", warmup=10, decay=0.4)
        for s in range(100)
    ]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:61] == [1.0] * 51
    assert factors[99] == pytest.approx(1 / 40)
    assert all(a >= b for a, b in pairwise(factors[60:]))


def test_cosine_ends_at_a_tenth() -> None:
    factor = learning_rate_factor(10**6, 10**6, schedule="cosine", warmup=10, decay=0.0)
    assert factor == pytest.approx(0.1, abs=1e-6)
