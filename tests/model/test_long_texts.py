"""A long text never fills memory: no tensor holds its scores, whatever the embedding and kernel.

The sizes at which work is cut into parts are lowered, so that 512 tokens are a long text.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mechanisms import MECHANISMS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wordorder.batch import Batch
from wordorder.model import LanguageModel, ModelConfig, fused_attention
from wordorder.model import plain_attention as plain_module
from wordorder.positions import CATALOGUE, dape, fire, whole_row

TIME, HEADS, HEAD_DIM = 512, 2, 4
LARGEST = 1 << 17  # of 2^19 scores
# These have a fused kernel; for the others the plain kernel is used even if "fused" is requested.
BOTH = ["none", "rotary", "alibi"]
QUICK = [name for name in CATALOGUE if name in MECHANISMS]
# What is linear in the length stays small beside it.
OPTIONS = {"deberta": ":span=8", "inkling": ":extent=8"}


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
    monkeypatch.setattr(fused_attention, "LARGEST_MATRIX", 1 << 14)
    monkeypatch.setattr(plain_module, "LARGEST_SCORES", LARGEST)
    monkeypatch.setattr(plain_module, "ROW_SCORES", 1 << 14)
    for module in (whole_row, dape):
        monkeypatch.setattr(module, "TILE_SCORES", 1 << 14)
    for module in (plain_module, whole_row):
        monkeypatch.setattr(module, "FEWEST_ROWS", 4)
    monkeypatch.setattr(plain_module, "PIECE", 1 << 14)
    monkeypatch.setattr(fire, "PIECE", 1 << 11)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        *((name, "fused") for name in QUICK),
        *((name, "plain") for name in BOTH),
        *(pytest.param(n, "fused", marks=pytest.mark.slow) for n in CATALOGUE if n not in QUICK),
        *(pytest.param(n, "plain", marks=pytest.mark.slow) for n in CATALOGUE if n not in BOTH),
    ],
)
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
        layout = model.layout(torch.zeros(1, TIME, dtype=torch.long))
        context = model.contexts(layout)[0]
        model.blocks[0].attention(model.position.embed(x, layout), context).sum().backward()
    assert sizes.largest < LARGEST


def read(model: LanguageModel, how: str) -> torch.Tensor:
    """Return hidden states of two texts, read so that a mask beyond the causal one is needed."""
    tokens = torch.randint(40, (2, TIME), generator=torch.Generator().manual_seed(0))
    documents = (torch.arange(TIME) // 200).expand(2, -1)
    with torch.no_grad():
        if how == "packed":
            return model.hidden(Batch(tokens, documents=documents))
        if how == "after others":
            cache = model.new_cache(context_length=TIME)
            model.hidden(tokens[:, :100], cache=cache)
            return model.hidden(tokens[:, 100:], cache=cache)
        return model.hidden(tokens)


@pytest.mark.parametrize(
    ("how", "position", "options"),
    [
        ("packed", "rotary", {}),
        ("after others", "rotary", {}),
        ("after others", "alibi", {}),
        ("in a window", "alibi", {"windows": (30,)}),
        ("both ways", "rotary", {"windows": (30,), "causal": False}),
    ],
)
def test_no_mask_of_a_fused_kernel_holds_all_pairs(
    how: str, position: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of a batch share a mask of queries and keys, so that half the pairs are enough."""
    config = ModelConfig(
        position=position, vocabulary_size=40, width=8, heads=2, layers=2, trained_length=TIME,
        dropout=0.0, **options,
    )  # fmt: skip
    model = LanguageModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    model.attention_kernel = "fused"
    monkeypatch.setattr(fused_attention, "CHANNEL_FROM", 1)
    whole = read(model, how)
    monkeypatch.setattr(fused_attention, "LARGEST_MATRIX", 1 << 13)
    with Sizes() as sizes:
        parts = read(model, how)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    assert sizes.largest < LARGEST
