"""On a GPU: every kernel against the plain one, and decoding with a cache; run with `-m gpu`.

Without a GPU, that a model computes on its own device alone is tested on PyTorch's device `meta`,
which has shapes and no numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig
from wordorder.model.decoding import CompiledStep, Sampling, generate
from wordorder.positions import CATALOGUE

LENGTH = 48
BIASED = ["alibi", "t5", "kerple", "sandwich", "relative", "forgetting"]
KERNELS = [(spec, "fused") for spec in ("rotary", "alibi", "t5")]
KERNELS += [(spec, "flex") for spec in ("rotary", *BIASED)]
# They read numbers of a tensor, such as the largest position, which `meta` does not have.
READ_NUMBERS = {"xpos", "path"}


def on_gpu(test: Any) -> Any:
    """Mark a test that needs a GPU, and skip it without one."""
    test = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")(test)
    test = pytest.mark.filterwarnings("ignore")(test)  # PyTorch's own, while it compiles
    return pytest.mark.gpu(test)


def documents_of(device: str) -> dict[str, Any]:
    """Return two rows of packed documents, with positions that restart in each."""
    ids = torch.tensor([[0] * 20 + [1] * 28, [0] * 9 + [1] * 30 + [2] * 9], device=device)
    places = torch.arange(LENGTH, device=device).expand_as(ids)
    begins = ids.diff(dim=1, prepend=ids[:, :1]) != 0
    places = places - torch.where(begins, places, 0).cummax(1).values
    return {"documents": ids, "positions": places, "consecutive": True}


def results(model: LanguageModel, kernel: str, given: dict[str, Any]) -> list[Tensor]:
    """Return the losses of a batch and the gradients of all weights."""
    device = model.embedding.weight.device
    tokens = torch.randint(40, (2, LENGTH), generator=torch.Generator().manual_seed(0)).to(device)
    model.attention_kernel = kernel
    model.zero_grad()
    losses = model(Batch(tokens, tokens.roll(-1, 1), **given))
    losses.float().mean().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [losses.detach(), *gradients]


@on_gpu
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("spec", "kernel"), KERNELS)
def test_a_kernel_is_the_plain_one(
    make_random: Callable[..., LanguageModel], spec: str, kernel: str, packed: bool
) -> None:
    torch._dynamo.reset()
    model = make_random(spec, width=64).cuda()
    given = documents_of("cuda") if packed else {}
    expected = results(model, "plain", given)
    for ours, plain in zip(results(model, kernel, given), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3)


@on_gpu
@pytest.mark.parametrize("kernel", ["plain", "fused", "flex"])
@pytest.mark.parametrize("spec", ["rotary", "alibi", "t5"])
def test_in_bfloat16_losses_are_near_those_in_float32(
    make_random: Callable[..., LanguageModel], spec: str, kernel: str
) -> None:
    torch._dynamo.reset()
    model = make_random(spec, width=64).cuda()
    expected = results(model, "plain", {})[0]
    model.compute_dtype = torch.bfloat16
    # Eight bits of mantissa through two layers; a wrong bias is off by far more.
    torch.testing.assert_close(results(model, kernel, {})[0].float(), expected, rtol=0.05, atol=0.1)


@on_gpu
@pytest.mark.parametrize("spec", ["rotary", "alibi", "t5"])
def test_a_gpu_computes_what_a_cpu_does(
    make_random: Callable[..., LanguageModel], spec: str
) -> None:
    model = make_random(spec, width=64)
    expected = results(model, "plain", {})
    for ours, cpu in zip(results(model.cuda(), "fused", {}), expected, strict=True):
        torch.testing.assert_close(ours.cpu(), cpu, rtol=1e-3, atol=1e-3)


@on_gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("spec", ["rotary", "alibi", "t5"])
def test_decoding_with_a_cache_is_decoding_without(
    make_random: Callable[..., LanguageModel], spec: str, compiled: bool
) -> None:
    torch._dynamo.reset()
    model = make_random(spec, width=64).cuda()
    sampling = Sampling(temperature=0, max_tokens=12)
    whole = list(generate(model, [3, 1, 4, 1, 5], sampling, use_cache=False))
    step = CompiledStep(model) if compiled else None
    assert list(generate(model, [3, 1, 4, 1, 5], sampling, step=step)) == whole


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kernel", [pytest.param("plain", marks=pytest.mark.slow), "fused"])
@pytest.mark.parametrize("spec", [name for name in CATALOGUE if name not in READ_NUMBERS])
def test_a_step_stays_on_the_models_device(
    monkeypatch: pytest.MonkeyPatch, spec: str, kernel: str, packed: bool
) -> None:
    """A tensor created on the CPU would meet one of `meta`, which is an error, as on a GPU."""
    monkeypatch.setattr(LanguageModel, "check_positions", lambda model, last: None)
    config = ModelConfig(
        vocabulary_size=40, width=32, layers=1, heads=4, trained_length=64, position=spec
    )
    model = LanguageModel(config).to("meta")
    model.attention_kernel, model.compute_dtype = kernel, torch.bfloat16
    model.train()
    tokens = torch.zeros(2, LENGTH, dtype=torch.long, device="meta")
    ids = {"documents": tokens, "positions": tokens, "consecutive": True} if packed else {}
    if packed and model.position.max_position is not None:
        pytest.skip("compares the positions of packed documents with the longest")
    loss = model(Batch(tokens, tokens, **ids)).mean()
    loss.backward()
    assert loss.device.type == "meta"
