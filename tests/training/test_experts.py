"""Training of latent attention and experts: it learns, balances its loads, and resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from wordorder.model.experts import BIAS_STEP
from wordorder.training.plan import Plan, peak_bytes, plan_of
from wordorder.training.preparation import set_weights
from wordorder.training.size import operations_per_token

from .conftest import Clock, Killed, TinyRun, same

KINDS = {
    "softmax": {"attention": "latent", "query_latent_dim": 8, "experts": 4},
    "sigmoid": {"experts": 4, "shared_experts": 1, "router": "sigmoid"},
    "two batches": {"experts": 4, "attention": "latent"},
}


def make_run(tiny: Callable[..., TinyRun], name: str, kind: str) -> TinyRun:
    model = replace(tiny("base").config.model, **KINDS[kind])
    return tiny(name, model=model, accumulate=2 if kind == "two batches" else 1)


def clock() -> Clock:
    return Clock(lambda now: 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_a_killed_run_resumes_bit_by_bit(
    tiny: Callable[..., TinyRun], kind: str
) -> None:
    straight, killed = make_run(tiny, "straight", kind), make_run(tiny, "killed", kind)
    expected = straight.go(clock(), steps=30)
    with pytest.raises(Killed):
        killed.go(clock(), steps=30, kill_before=17)
    resumed = killed.go(clock(), steps=30, resume=True)
    assert same(resumed.model.state_dict(), expected.model.state_dict())
    losses = [r["loss"] for r in straight.records() if "loss" in r]
    assert len(losses) == 30
    assert sum(losses[-5:]) < sum(losses[:5]) - 2.0


def test_the_loads_of_experts_are_in_the_metrics(tiny: Callable[..., TinyRun]) -> None:
    run = make_run(tiny, "r", "softmax")
    run.go(clock(), steps=3)
    for record in (r for r in run.records() if "loss" in r):
        (shares,) = record["expert_shares"]
        assert len(shares) == 4 and sum(shares) == pytest.approx(1, abs=1e-3)
        assert record["busiest_expert"] == pytest.approx(4 * max(shares), abs=1e-3)
    dense = tiny("dense")
    dense.go(clock(), steps=1)
    assert not {"expert_shares", "busiest_expert"} & set(dense.records()[0])


def test_selection_biases_are_trained_and_saved(tiny: Callable[..., TinyRun]) -> None:
    training = make_run(tiny, "r", "sigmoid").go(clock(), steps=5)
    bias = training.model.state_dict()["blocks.0.feed_forward.router.selection_bias"]
    assert bias.abs().max() > 0 and bias.abs().max() <= 5 * BIAS_STEP + 1e-6


def test_the_auxiliary_loss_spreads_tokens(tiny: Callable[..., TinyRun]) -> None:
    """With a router that starts by sending everything to two of four experts."""
    shares = []
    for factor in (0.0, 1.0):
        base = tiny("base").config.model
        run = tiny(f"r{factor}", model=replace(base, experts=4, balance_loss=factor))

        def lopsided(training) -> None:
            if training.done == 0:
                with torch.no_grad():
                    router = training.model.blocks[0].feed_forward.router
                    router.weight[:2] = router.weight[0]
                    router.weight[2:] = -router.weight[0]

        run.go(clock(), steps=40, before_step=lopsided)
        steps = [r for r in run.records() if "loss" in r]
        shares.append(sum(r["busiest_expert"] for r in steps[-10:]) / 10)
    assert shares[1] < 1.5 < shares[0]


def test_the_plan_counts_active_parameters_and_operations(tiny: Callable[..., TinyRun]) -> None:
    run = make_run(tiny, "r", "softmax")
    training = run.go(clock(), steps=1)
    model, config = training.model, training.config
    plan: Plan = plan_of(config, training.compute, run.training_data, model, 1, None)
    counts = model.parameter_counts()
    rows = dict(plan.rows())
    assert f"{counts['total']:,} parameters, {counts['active']:,} active per token" in rows["model"]
    active = counts["active"] - sum(p.numel() for p in model.parameters() if p.dim() < 2)
    attention = 3 * 16 * 2 * 12  # 2 heads of 8 + 4 over 16 tokens
    assert operations_per_token(config.model) == 6 * active + 2 * attention
    assert peak_bytes(config, model) > 0


def test_timed_trial_steps_leave_no_selection_biases(tiny: Callable[..., TinyRun]) -> None:
    training = make_run(tiny, "r", "sigmoid").go(clock(), steps=5)
    set_weights(training.model, 0, None)
    for name, bias in training.model.state_dict().items():
        assert not name.endswith("selection_bias") or not bias.any(), name
