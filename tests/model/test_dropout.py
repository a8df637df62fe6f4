"""Dropout: the share that was asked for, the mean kept, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from wordorder.model.layers import Dropout

NUMBERS = 250_001  # odd: the last draw is used in part


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_that_was_asked_for(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(NUMBERS, dtype=dtype, requires_grad=True)
    y = Dropout(share).train()(x)
    spread = (share * (1 - share) / NUMBERS) ** 0.5
    assert float((y == 0).double().mean()) == pytest.approx(share, abs=4 * spread)
    kept = y.detach()[y.detach() != 0]
    assert (kept == kept[0]).all()
    assert float(kept[0]) == pytest.approx(1 / (1 - share), rel=0.01)  # bfloat16's eight bits
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.5).train()(torch.ones(NUMBERS)) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        together = float((dropped[lag:] * dropped[:-lag]).mean()) * 4
        assert abs(together) < 4 / NUMBERS**0.5


def test_one_seed_one_mask_and_none_outside_training() -> None:
    layer, x = Dropout(0.3).train(), torch.randn(7, 5)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(layer(x) == 0)
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert layer.eval()(x) is x
    assert Dropout(0.0).train()(x) is x
