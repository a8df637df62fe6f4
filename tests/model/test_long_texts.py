"""A long text never fills memory: no tensor holds its scores, whatever the embedding and kernel.

The sizes at which work is cut into parts are lowered, so that 512 tokens are a long text.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wordorder.model import LanguageModel, ModelConfig
from wordorder.model import attention as attention_module
from wordorder.model import plain_attention as plain_module
from wordorder.positions import CATALOGUE, dape, fire, whole_row

TIME, HEADS, HEAD_DIM = 512, 2, 4
LARGEST = 1 << 17  # of 2^19 scores
# What is linear in the length stays small beside it.
OPTIONS = {"deberta": ":span=8"}


class Sizes(TorchDispatchMode):
    """Notes the most numbers that any tensor made meanwhile holds."""

    largest = 0

    def __torch_dispatch__(self, made: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        found = made(*given, **(named or {}))
        for each in tree_leaves(found):
            if isinstance(each, torch.Tensor):
                held = each.untyped_storage().nbytes() // each.element_size()
                self.largest = max(self.largest, held)
        return found


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "LARGEST_MATRIX", 1 << 13)
    monkeypatch.setattr(plain_module, "LARGEST_SCORES", LARGEST)
    for module in (plain_module, whole_row, dape):
        monkeypatch.setattr(module, "PART", 1 << 13)
    for module in (plain_module, whole_row):
        monkeypatch.setattr(module, "FEWEST_ROWS", 4)
    monkeypatch.setattr(plain_module, "PIECE", 1 << 13)
    monkeypatch.setattr(fire, "PIECE", 1 << 11)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_no_tensor_holds_the_scores_of_a_long_text(name: str, kernel: str) -> None:
    config = ModelConfig(
        position=name + OPTIONS.get(name, ""),
        width=HEADS * HEAD_DIM,
        heads=HEADS,
        layers=1,
        trained_length=TIME,
        dropout=0.0,
    )
    model = LanguageModel(config)
    model.attention_kernel = kernel
    x = torch.randn(1, TIME, HEADS * HEAD_DIM, requires_grad=True)
    with Sizes() as sizes:
        geometry = model.geometry(torch.zeros(1, TIME, dtype=torch.long), None, None, None)
        scene = model.scenes(geometry, False)[0]
        model.blocks[0].attention(model.position.embed(x, geometry), scene).sum().backward()
    assert sizes.largest < LARGEST
