"""--recompute stores less for the backward pass, and changes no bit of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from wordorder.errors import BadInput
from wordorder.model import ModelConfig, make_model
from wordorder.model.attention import KERNELS
from wordorder.training.config import TrainConfig
from wordorder.training.plan import out_of_memory, peak_bytes

from .conftest import Clock, TinyRun, same

SMALL = ModelConfig(width=16, layers=2, heads=2, trained_length=16, dropout=0.2)
EXPERTS = {"experts": 4, "expert_width": 8, "active_experts": 2}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rotary": ({"position": "rotary"}, {"kernel": "fused"}),
    "a trained bias, packed": ({"position": "t5"}, {"isolate_documents": True}),
    "a state": ({"position": "forgetting"}, {}),
    "attention of its own": ({"position": "cope"}, {}),
    "sampled positions": ({"position": "randomized+learned:length=64"}, {}),
    "masked tokens": ({"position": "fire", "causal": False}, {"objective": "masked-token"}),
    "experts with a loss": ({**EXPERTS, "router": "softmax"}, {}),
    "experts with biases": ({**EXPERTS, "router": "sigmoid"}, {}),
    "latent attention": ({"attention": "latent", "windows": (4, 0)}, {"accumulate": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_have_the_same_bits(tiny: Callable[..., TinyRun], name: str) -> None:
    of_model, of_run = CASES[name]
    model = replace(SMALL, **of_model)
    stored = tiny("stored", model=model, **of_run)
    repeated = tiny("repeated", model=model, recompute=True, **of_run)
    one, other = (run.go(Clock(lambda now: 1.0), steps=6) for run in (stored, repeated))
    assert same(one.model.state_dict(), other.model.state_dict())
    assert stored.records() == repeated.records()
    assert one.model.blocks[0].recompute is False and other.model.blocks[0].recompute is True


def test_less_is_stored_for_the_backward_pass() -> None:
    stored: dict[bool, int] = {}
    for recompute in (False, True):
        model = make_model(replace(SMALL, layers=6, trained_length=64))
        model.initialise(0)
        model.set_recompute(recompute)
        tensors: dict[int, int] = {}

        def pack(tensor: torch.Tensor, seen: dict[int, int] = tensors) -> torch.Tensor:
            seen[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.zeros(4, 64, dtype=torch.int64)).sum().backward()
        stored[recompute] = sum(tensors.values())
    assert stored[True] < stored[False] / 3


def test_each_kernel_runs_again_in_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from wordorder.model import attention as kernels

    calls: list[str] = []

    def counted(kernel: Any) -> Any:
        def run(problem: Any) -> Any:
            calls.append(kernel.name)
            return kernel.run(problem)

        return kernel._replace(run=run)

    monkeypatch.setattr(kernels, "KERNELS", tuple(counted(kernel) for kernel in KERNELS))
    model = make_model(SMALL)
    model.set_recompute(True)
    model(torch.zeros(1, 8, dtype=torch.int64)).sum().backward()
    assert len(calls) == 2 * SMALL.layers
    calls.clear()
    model.eval()
    model(torch.zeros(1, 8, dtype=torch.int64)).sum().backward()
    assert len(calls) == SMALL.layers


def test_the_plan_and_the_remedy_know_it() -> None:
    large = ModelConfig(width=256, layers=12, heads=4, trained_length=1024, dropout=0.0)
    config = TrainConfig(model=large)
    model = make_model(large)
    needed = peak_bytes(config, model)
    less = peak_bytes(replace(config, recompute=True), model)
    assert less < needed / 2
    error = out_of_memory(config, model, available=2 * less)
    assert "use --recompute, or --batch-size" in str(error)
    assert "--recompute" not in str(out_of_memory(replace(config, recompute=True), model, less))
    assert "--recompute" not in str(out_of_memory(config, model, available=less // 2))


def test_a_gru_cannot_recompute() -> None:
    with pytest.raises(BadInput) as caught:
        TrainConfig(model=ModelConfig(kind="gru"), recompute=True)
    assert caught.value.code == "training.gru-recomputes"


def test_results_of_earlier_versions_are_found_by_their_settings() -> None:
    """Settings at their defaults are left out, and a record with or without them comes back."""
    config = TrainConfig()
    assert not {"recompute", "average"} & set(config.to_dict())
    changed = replace(config, recompute=True, average="tail")
    for each in (config, changed):
        assert TrainConfig.from_dict(each.to_dict(), each.model) == each


def test_the_remedy_for_several_ranks_is_of_their_whole_batch() -> None:
    large = ModelConfig(width=256, layers=12, heads=4, trained_length=1024, dropout=0.0)
    config = TrainConfig(model=large, batch_size=32)
    model = make_model(large)
    each = peak_bytes(config, model, ranks=4)
    said = str(out_of_memory(config, model, available=each - 1, ranks=4))
    assert "batches of 8 on each of 4 ranks x 1024 tokens" in said
    rows = int(said.partition("--batch-size ")[2].split()[0].rstrip(","))
    assert rows < 32 and rows % 4 == 0
    assert peak_bytes(replace(config, batch_size=rows), model, ranks=4) < each
