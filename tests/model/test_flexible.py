"""The kernel made from score functions gives what the plain road gives.

A CPU computes it step by step and without a backward pass; on a GPU the slopes are tested too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from wordorder.model import LanguageModel
from wordorder.positions import CATALOGUE

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
SPECS = [*CATALOGUE, "rotary/none", "learned+alibi", "t5+forgetting"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("windows", [(), (5, 0)])
@pytest.mark.parametrize("spec", SPECS)
def test_it_is_the_plain_road(
    make_random: Callable[..., LanguageModel], spec: str, windows: tuple, documents: bool
) -> None:
    model = make_random(spec, windows=windows)
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0] * 6 + [1] * 8, [0] * 3 + [1] * 9 + [-1] * 2]) if documents else None
    found = {}
    with torch.inference_mode():
        for kernel in ("plain", "flex"):
            model.attention_kernel = kernel
            found[kernel] = model(tokens, documents=ids)
    torch.testing.assert_close(found["flex"], found["plain"], **CLOSE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="on a CPU it has no backward pass")
@pytest.mark.parametrize("spec", ["alibi", "t5", "kerple", "sandwich", "relative", "forgetting"])
def test_on_a_gpu_its_slopes_are_those_of_the_plain_road(
    make_random: Callable[..., LanguageModel], spec: str
) -> None:
    model = make_random(spec, width=64).cuda()
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0)).cuda()
    found = {}
    for kernel in ("plain", "flex"):
        model.attention_kernel = kernel
        model.zero_grad()
        model.loss(tokens, tokens.roll(-1, 1)).backward()
        found[kernel] = [p.grad for p in model.parameters() if p.grad is not None]
    for ours, theirs in zip(found["flex"], found["plain"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
