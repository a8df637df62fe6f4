"""The same weights under another embedding."""

from __future__ import annotations

import pytest
import torch
from random_weights import filled

from wordorder.extension.methods import Stretch, respelled
from wordorder.extension.with_position import with_position
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import Learned

TOKENS = torch.randint(30, (2, 16), generator=torch.Generator().manual_seed(1))


def random_model(position: str) -> LanguageModel:
    config = ModelConfig(
        vocabulary_size=30, width=16, layers=2, heads=2, trained_length=16, position=position
    )
    return filled(LanguageModel(config)).eval()


def test_same_spec_is_the_same_model() -> None:
    for spec in ("rotary", "t5+rotary/none+rotary", "learned", "kerple/fire"):
        model = random_model(spec)
        torch.testing.assert_close(
            with_position(model, spec)(TOKENS), model(TOKENS), rtol=0, atol=0
        )


def test_own_weights_of_other_embeddings_go_with_their_place() -> None:
    """Dropping rotary makes two layers' parts one, and with it the numbers of all others."""
    model = random_model("rotary+t5/none+kerple")
    found = with_position(model, "none+t5/none+kerple")
    for layer in range(2):
        old, new = (m.position.sums[layer].parts[1] for m in (model, found))
        for one, two in zip(old.parameters(), new.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert not torch.equal(found(TOKENS), model(TOKENS))


def test_a_learned_table_is_stretched() -> None:
    model = random_model("learned+alibi")
    found = with_position(model, "learned:length=61+alibi", 61)
    table, old = found.position.instances[0].table(), model.position.instances[0].table()
    torch.testing.assert_close(table[[0, 60]], old[[0, 15]])
    torch.testing.assert_close(table[::4], old)  # 60 steps over 15: every fourth is a row
    assert found.config.trained_length == 61


@pytest.mark.parametrize(
    ("position", "trained", "rows"),
    [
        ("learned:length=32", 16, 32),
        ("learned:length=32,rank=14", 16, 32),
        ("randomized:limit=64+learned:length=64", 64, 64),
        ("offset:most=8+learned", 24, 40),
    ],
)
def test_rows_that_were_never_trained_are_left_out(position: str, trained: int, rows: int) -> None:
    """Resampling a table of more rows than training read must not spread the others."""
    model = random_model(position if "offset" not in position else f"{position}:length=30")
    stretch = Stretch(16, 32, 8)
    found = with_position(model, respelled("resample", model.config, stretch), 32)
    (table,), (old,) = (
        [part.table() for part in each.position.instances if isinstance(part, Learned)]
        for each in (found, model)
    )
    assert len(table) == rows
    torch.testing.assert_close(table[[0, -1]], old[[0, trained - 1]])
    torch.testing.assert_close(table[1], torch.lerp(old[0], old[1], (trained - 1) / (rows - 1)))


def test_the_compute_dtype_goes_along() -> None:
    model = random_model("rotary")
    model.compute_dtype, model.attention_kernel = torch.bfloat16, "plain"
    found = with_position(model, "rotary:scaling=linear,factor=2")
    assert found.compute_dtype is torch.bfloat16
    assert found.attention_kernel == "plain"
    assert not found.training
