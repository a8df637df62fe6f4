"""One row times a matrix, which is what decoding multiplies, on both of its roads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wordorder.model import layers

CLOSE = 1e-5  # float32 sums in another order


@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("shape", [(48,), (1, 48), (1, 1, 48)])
@pytest.mark.parametrize("biased", [True, False])
def test_both_roads_give_the_product(
    monkeypatch: pytest.MonkeyPatch, dots: bool, shape: tuple[int, ...], biased: bool
) -> None:
    monkeypatch.setattr(layers, "dot_products_are_faster", lambda: dots)
    x, weight = torch.randn(shape), torch.randn(40, 48)
    bias = torch.randn(40) if biased else None
    with torch.no_grad():
        found = layers.linear(x, weight, bias)
    assert found.shape == (*shape[:-1], 40)
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=0, atol=CLOSE)


def test_the_faster_road_is_found_once_and_is_an_answer() -> None:
    assert layers.dot_products_are_faster() in (True, False)
    assert layers.dot_products_are_faster.cache_info().currsize == 1
