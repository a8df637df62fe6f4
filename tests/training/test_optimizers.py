"""Muon against its definition and against PyTorch's own; the schedules' shapes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from wordorder.model import ModelConfig, make_model
from wordorder.model.parts import ParameterPart
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import FusedAdamW, Muon, Optimizer, orthogonalise
from wordorder.training.schedules import learning_rate_factor, momentum_at
from wordorder.training.shared_matrices import owners_of


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
    muon = Muon([ParameterPart("w", ours)])
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.95, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(24, 40, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step(0.1)
        reference.step()
    # PyTorch orthogonalises in bfloat16: three steps of 0.1 with entries near 0.15 each.
    torch.testing.assert_close(ours, theirs, atol=3e-3, rtol=0)


def test_rows_of_a_joined_matrix_move_as_matrices_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    joined = torch.nn.Parameter(torch.randn(40, 24, generator=generator))
    alone = [torch.nn.Parameter(rows.clone()) for rows in joined.detach().split((24, 8, 8))]
    ends = (slice(0, 24), slice(24, 32), slice(32, 40))
    one = Muon([ParameterPart("rows", joined, rows) for rows in ends])
    three = Muon([ParameterPart("whole", p) for p in alone])
    for _ in range(3):
        joined.grad = torch.randn(40, 24, generator=generator)
        for p, rows in zip(alone, ends, strict=True):
            p.grad = joined.grad[rows].clone()
        one.step(0.1, weight_decay=0.1)
        three.step(0.1, weight_decay=0.1)
    assert torch.equal(joined, torch.cat(alone))


def test_matrices_are_shared_out_by_cost() -> None:
    shapes = [torch.Size(s) for s in ((8, 8), (8, 8), (32, 8), (8, 32), (32, 32), (2, 2))]
    owners = owners_of(shapes, 2)
    assert owners == owners_of(shapes, 2)
    assert owners[4] != owners[2] == owners[3]  # the largest alone costs more than all others
    assert set(owners_of(shapes, 8)) == set(range(6))


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


def test_the_momentum_rises_to_its_value() -> None:
    """modded-nanogpt and nanochat: 0.85 to 0.95 over 300 steps."""
    risen = [momentum_at(step, 0.95) for step in (0, 150, 300, 5000)]
    assert risen == pytest.approx([0.85, 0.90, 0.95, 0.95])
    assert [momentum_at(step, 0.5) for step in (0, 150, 5000)] == [0.5, 0.5, 0.5]


def test_a_step_takes_the_momentum_of_its_number() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(8, 8, generator=generator)
    gradients = [torch.randn(8, 8, generator=generator) for _ in range(3)]
    moved = []
    for momenta in ((0.85, 0.85, 0.85), (0.85, 0.9, 0.95)):
        parameter = torch.nn.Parameter(start.clone())
        muon = Muon([ParameterPart("w", parameter)])
        for gradient, momentum in zip(gradients, momenta, strict=True):
            parameter.grad = gradient.clone()
            muon.step(0.1, momentum=momentum)
        moved.append(parameter.detach())
    assert not torch.allclose(*moved, atol=1e-3)


def test_adamw_is_pytorchs_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(5, 7, generator=generator), torch.randn(7, generator=generator)]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in first] for _ in range(2))
    decays = (0.1, 0.0)
    groups = [{"params": [p], "weight_decay": d} for p, d in zip(ours, decays, strict=True)]
    adam = FusedAdamW(groups)
    reference = torch.optim.AdamW(
        [{"params": [p], "weight_decay": d} for p, d in zip(theirs, decays, strict=True)],
        **{"betas": (0.9, 0.95), "eps": 1e-10, "fused": True},
    )
    for rate in (0.1, 0.02, 0.03):
        for group, other in zip(groups, reference.param_groups, strict=True):
            group["lr"] = other["lr"] = rate
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        adam.step()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)
        assert adam.state[p].keys() == reference.state[q].keys()
        assert all(
            torch.equal(adam.state[p][name], reference.state[q][name]) for name in adam.state[p]
        )
    ours[0].grad = None  # one without a gradient stays as it is
    before = ours[0].detach().clone()
    adam.step()
    assert torch.equal(ours[0], before)


@pytest.mark.parametrize(("width", "moved"), [(8, 8**0.5), (128, 128**0.5), (512, 128**0.5)])
def test_words_of_a_wide_model_move_no_further_than_at_128(width: int, moved: float) -> None:
    model = make_model(
        ModelConfig(width=width, layers=1, heads=1, vocabulary_size=9, trained_length=8)
    )
    before = model.word_vectors(torch.arange(9)).detach().clone()
    optimizer = Optimizer(model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(matrix_rate=0.0, rate=0.01)  # AdamW's first step is its rate
    step = (before - model.word_vectors(torch.arange(9)).detach()).mean()
    assert float(step) == pytest.approx(0.01 * moved, rel=1e-3)


def test_a_share_that_is_given_and_runs_of_before() -> None:
    model = make_model(ModelConfig(width=512, layers=1, heads=1, vocabulary_size=9))
    own = Optimizer(
        model, muon_dtype=torch.float32, use_muon=True, weight_decay=0.0, embedding_rate=0.3
    )
    assert [group["share"] for group in own.adam.param_groups] == [0.3, 1.0]
    assert TrainConfig.from_dict({}, ModelConfig()).embedding_rate == 1.0
