"""Compiled, a model with any embedding computes what it does in eager mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from wordorder.batch import Batch
from wordorder.model import LanguageModel, fused_attention
from wordorder.positions import CATALOGUE

# PyTorch 2.13's backward of softplus fails under this backend; under inductor it does not.
NO_SLOPES = {"pope"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")
@pytest.mark.parametrize("spec", CATALOGUE)
def test_compiled_is_eager(make_random: Callable[..., LanguageModel], spec: str) -> None:
    model = make_random(spec)
    model.attention_kernel = "plain"
    tokens = torch.randint(40, (2, 24), generator=torch.Generator().manual_seed(0))
    weight = model.blocks[0].attention.input.weight
    compiled = torch.compile(model, backend="aot_eager")
    found = {}
    for name, forward in (("eager", model), ("compiled", compiled)):
        with torch.set_grad_enabled(spec not in NO_SLOPES):
            losses = forward(Batch(tokens, tokens.roll(-1, 1)))
        slopes = () if spec in NO_SLOPES else torch.autograd.grad(losses.sum(), weight)
        found[name] = losses.detach(), *slopes
    for ours, theirs in zip(found["compiled"], found["eager"], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("spec", "windows"), [("rotary", (5, 7)), ("alibi", (5,))])
def test_what_the_fused_kernel_takes_is_one_graph(
    make_random: Callable[..., LanguageModel],
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    windows: tuple,
) -> None:
    monkeypatch.setattr(fused_attention, "CHANNEL_FROM", 1)
    model = make_random(spec, windows=windows, layers=len(windows))
    tokens = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0] * 6 + [1] * 8, [0] * 14])
    places = torch.tensor([[*range(6), *range(8)], [*range(14)]])
    torch._dynamo.reset()
    compiled = torch.compile(model.forward, backend="eager", fullgraph=True)
    for given in ({}, {"documents": ids, "positions": places, "consecutive": True}):
        with torch.no_grad():
            torch.testing.assert_close(
                compiled(Batch(tokens, **given)), model(Batch(tokens, **given))
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_alibi_at_positions_that_fall_is_eager(
    make_random: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code cannot look whether they rise, and takes no channel unless it is declared."""
    monkeypatch.setattr(fused_attention, "CHANNEL_FROM", 1)
    model = make_random("alibi", layers=1)
    model.attention_kernel = "fused"
    tokens = torch.randint(40, (2, 12), generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[5, 0, 9, 1, 30, 2, 8, 3, 40, 4, 6, 7]]).expand(2, -1)
    with torch.no_grad():
        expected = model(Batch(tokens, positions=positions))
        found = torch.compile(model.forward, backend="eager")(Batch(tokens, positions=positions))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch._dynamo.reset()
