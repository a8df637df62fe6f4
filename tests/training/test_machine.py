"""How a machine is measured: what cannot be computed on it is no candidate."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from wordorder.errors import BadInput
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.batches import Batch
from wordorder.training import machine
from wordorder.training.config import TrainConfig

MODEL = ModelConfig(
    position="alibi", vocabulary_size=20, width=16, layers=1, heads=2, trained_length=8
)


@pytest.fixture
def measured() -> Callable[..., machine.Machine]:
    """Return a function that measures this machine with options of a training."""
    model = LanguageModel(MODEL)
    model.initialise(0)
    tokens = torch.randint(20, (2, 8), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens, tokens, None, None)

    def measure(**options: object) -> machine.Machine:
        config = TrainConfig(model=MODEL, dtype="float32", compile="no", **options)
        return machine.measure(config, model, batch, lambda seconds: seconds)

    return measure


def test_the_flexible_kernel_is_for_gpus(measured: Callable[..., machine.Machine]) -> None:
    with pytest.raises(BadInput, match="on cpu use auto"):
        measured(kernel="flex")


def test_a_kernel_that_was_asked_for_and_cannot_be_made_is_refused_in_a_line() -> None:
    def cannot(*_: object, **__: object) -> None:
        raise RuntimeError("Buffers cannot be created\nin a pointwise subgraph")

    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    model = SimpleNamespace(parameters=lambda: iter([on_gpu]), token_losses=cannot)
    batch = Batch(torch.zeros(2, 8), torch.zeros(2, 8), None, None)
    config = TrainConfig(model=MODEL, dtype="float32", kernel="flex")
    with pytest.raises(BadInput, match=r"no kernel of alibi \(Buffers cannot be created in"):
        machine.measure(config, model, batch, lambda seconds: seconds)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_cannot_be_computed_is_no_candidate(
    measured: Callable[..., machine.Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "KERNELS", ("flex", "plain"))  # no backward on a CPU
    chosen = measured()
    assert chosen.kernel == "plain"
    assert "float32 flex cannot, float32 plain" in chosen.reason
