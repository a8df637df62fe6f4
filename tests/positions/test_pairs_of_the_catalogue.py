"""Any two embeddings in one layer either are refused at construction or keep their promises."""

from __future__ import annotations

import pytest
import torch

from wordorder.positions import CATALOGUE, ModelShape, PositionError, composed
from wordorder.positions.reference_model import ReferenceCache, ReferenceModel
from wordorder.positions.spec import parse

SHAPE = ModelShape(2, 8, layers=2, trained_length=16)
# What reads or transforms queries and keys: all others add a bias by distance, or to the input.
HOOKS = {"transform_queries", "transform_keys", "score", "attend"}
PAIRED = [name for name, kind in CATALOGUE.items() if HOOKS & kind.active_hooks()]
PAIRED += ["alibi", "rotary:layout=half", "grape:planes=2", "self-extend:layout=half"]
TIME, FIRST = 8, 3  # tokens, and those of the first of two packed documents


def built(spec: str) -> ReferenceModel:
    """Return a model with random weights, none of them zero."""
    position = composed.build(parse(spec, CATALOGUE), SHAPE, CATALOGUE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in position.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return ReferenceModel(position, 1, torch.float64)


@pytest.mark.parametrize("first", PAIRED)
def test_two_embeddings_are_refused_or_causal_cached_and_packed(first: str) -> None:
    """Each two in one order, in turn the one and the other; the slow test has the rest."""
    index = PAIRED.index(first)
    others = [s for n, s in enumerate(PAIRED) if n == index or (n < index) == (n + index) % 2]
    assert wrong_with(first, others) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", PAIRED)
def test_so_are_two_in_the_other_order(first: str) -> None:
    assert wrong_with(first, PAIRED) == []


@torch.no_grad()
def wrong_with(first: str, others: list[str]) -> list[str]:
    """Return the promises that are broken by an embedding with each of others."""
    x = torch.randn(1, TIME, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wrong = []
    for second in others:
        try:
            model = built(f"{first}+{second}")
        except PositionError as error:
            assert error.code.startswith("positions."), str(error)
            continue
        alone = torch.cat((model.read(x[:, :FIRST]), model.read(x[:, FIRST:])), 1)
        indices = torch.arange(TIME)[None]
        documents = (indices >= FIRST).long()
        packed = model.read(x, indices - FIRST * documents, documents)
        cache = ReferenceCache()
        pieces = [
            model.read(x[:, part], indices[:, part], cache=cache)
            for part in (slice(0, FIRST), slice(FIRST, None))
        ]
        whole = model.read(x)
        for promise, output, expected in (
            ("packed", packed, alone),
            ("cached", torch.cat(pieces, 1), whole),
            ("causal", whole[:, :FIRST], alone[:, :FIRST]),
        ):
            if not torch.allclose(output, expected, atol=2e-5, rtol=0):
                wrong.append(f"{first}+{second} {promise}")
    return wrong
