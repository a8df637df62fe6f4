"""One row times a matrix, which is what decoding multiplies, cut into a part per thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from wordorder.model import layers

CLOSE = 1e-5  # float32 sums in another order


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(48,), (1, 48), (1, 1, 48)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_parts_give_the_product(threads: int, shape: tuple[int, ...], biased: bool) -> None:
    x, weight = torch.randn(shape), torch.randn(40, 48)
    bias = torch.randn(40) if biased else None
    with torch.no_grad():
        found = layers.linear(x, weight, bias)
    assert found.shape == (*shape[:-1], 40)
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=0, atol=CLOSE)
