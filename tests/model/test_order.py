"""What a model knows of order: nothing, unless a mask or a position tells it.

The statement this project starts from: attention without positions reads a bag of
words. And the one behind every causal model: the future never reaches the past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from mechanisms import MECHANISMS, each
from torch import Tensor

from wordorder.batch import Batch
from wordorder.model import LanguageModel
from wordorder.positions import CATALOGUE

# Float32 sums in another order, of logits that spread by about 6; and what is no rounding.
ROUNDING, APART = 1e-4, 1e-2
ORDERED = [name for name, kind in CATALOGUE.items() if kind.tells_order]
TOKENS = torch.arange(10)[None]

MakeModel = Callable[..., LanguageModel]


def moved(model: LanguageModel, tokens: Tensor) -> float:
    """How far logits are from moving along with their tokens."""
    order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((model(tokens[:, order]) - model(tokens)[:, order]).abs().max())


def test_without_positions_attention_reads_a_bag_of_words(make_random: MakeModel) -> None:
    assert moved(make_random("none", causal=False), TOKENS) < ROUNDING


@pytest.mark.parametrize("spec", ORDERED)
def test_a_position_tells_the_order(make_random: MakeModel, both_ways, spec: str) -> None:
    if not both_ways(spec):
        pytest.skip("for causal models, which see order anyway")
    assert moved(make_random(spec, causal=False), TOKENS) > APART


def test_a_repeated_word_is_one_word_without_positions(make_random: MakeModel) -> None:
    """ "I love AI" and "AI love I": the same word has the same logits wherever it stands."""
    tokens = torch.tensor([[4, 7, 4, 9, 4]])
    with torch.no_grad():
        bag = make_random("none", causal=False)(tokens)[0, ::2]
        read = make_random("rotary", causal=False)(tokens)[0, ::2]
    assert (bag - bag[0]).abs().max() < ROUNDING
    assert (read - read[0]).abs().max() > APART


@pytest.mark.parametrize(("layers", "sees"), [(1, False), (2, True)])
def test_a_mask_alone_tells_order_from_the_second_layer_on(
    make_random: MakeModel, layers: int, sees: bool
) -> None:
    """The last token of a causal model without positions; Haviv et al. 2022."""
    model = make_random("none", layers=layers)
    swapped = TOKENS[:, [2, 5, 0, 1, 8, 3, 7, 6, 4, 9]]
    with torch.no_grad():
        difference = (model(swapped) - model(TOKENS))[0, -1].abs().max()
    assert difference > APART if sees else difference < ROUNDING


def reaches(model: LanguageModel, asked: int, expected: Iterable[int], **where: Tensor) -> None:
    """Assert which places' word embeddings the logits at one place depend on at all."""
    tokens = torch.arange(12)[None]
    logits = model(Batch(tokens, **where))[0, asked]
    generator = torch.Generator().manual_seed(2)
    total = (logits * torch.randn(logits.shape, generator=generator)).sum()
    (slopes,) = torch.autograd.grad(total, model.embedding.weight)
    slopes = slopes[:12].abs().sum(1)
    assert slopes[list(expected)].all()
    beyond = [place for place in range(12) if place not in expected]
    # Differences of running sums, which some embeddings cache, leave a rounding.
    cached = any("state" in p.active_hooks() for p in model.position.instances)
    assert (slopes[beyond] <= (1e-5 * slopes.max() if cached else 0)).all()


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("spec", each(CATALOGUE))
def test_the_future_never_reaches_the_past(
    make_random: MakeModel, both_ways, spec: str, kernel: str
) -> None:
    model = make_random(spec, tied_embeddings=False)
    model.attention_kernel = kernel
    for asked in (0, 4, 11):
        reaches(model, asked, range(asked + 1))
    if not both_ways(spec):
        return
    both = make_random(spec, tied_embeddings=False, causal=False)
    both.attention_kernel = kernel
    reaches(both, 4, range(12))


WINDOWS = [
    ({"windows": (3, 2)}, 7, range(4, 8)),
    ({"windows": (3,), "layers": 1, "causal": False}, 7, range(5, 10)),
]
MORE_WINDOWS = [
    ({"windows": (3,), "layers": 1}, 7, range(5, 8)),
    ({"windows": (3,)}, 7, range(3, 8)),
    ({"windows": (3, 0)}, 7, range(8)),
    ({"windows": (2, 3), "layers": 3}, 9, range(5, 10)),
    ({"windows": (12,), "layers": 1}, 11, range(12)),
    ({"windows": (11,), "layers": 1}, 11, range(1, 12)),
]

OTHERS = [(spec, *w) for spec in CATALOGUE if spec not in MECHANISMS for w in WINDOWS]


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize(
    ("spec", "options", "asked", "expected"),
    [
        *((spec, *window) for spec in CATALOGUE if spec in MECHANISMS for window in WINDOWS),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in OTHERS),
        # Of each kind: nothing, rotation, a bias, scores of content, whole rows.
        *((s, *w) for s in ("none", "rotary", "alibi", "shaw", "dape") for w in MORE_WINDOWS),
    ],
)
def test_a_layer_sees_its_window(
    make_random: MakeModel, spec: str, kernel: str, options: dict, asked: int, expected: range
) -> None:
    """A window of w is the token itself and w - 1 before it; layers add up."""
    if "taps" in CATALOGUE[spec].options():  # a short convolution reaches beyond the window
        spec += ":taps=1"
    if spec == "key-offset":
        pytest.skip("the first key in the window comes from the token before it")
    model = make_random(spec, tied_embeddings=False, **options)
    model.attention_kernel = kernel
    reaches(model, asked, expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spec", each(CATALOGUE))
def test_documents_and_padding_are_out_of_reach(
    make_random: MakeModel, spec: str, causal: bool
) -> None:
    model = make_random(spec, tied_embeddings=False, causal=causal)
    documents = torch.tensor([[0, 0, 0, -1, 0, 1, 1, 1, 1, -1, -1, 0]])
    expected = {2: [0, 1, 2], 4: [0, 1, 2, 4], 8: [5, 6, 7, 8], 11: [0, 1, 2, 4, 11]}
    if any("state" in p.active_hooks() for p in model.position.instances):
        documents[:, 11], expected[11] = 2, [11]  # running sums: each document is in one piece
    for asked, seen in expected.items():
        full = seen if causal else [i for i in range(12) if documents[0, i] == documents[0, asked]]
        reaches(model, asked, full, documents=documents)
    reaches(model, 9, [9], documents=documents)
