"""The numbers that pictures of embeddings show are those of the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.positions import CATALOGUE, Cope, ModelShape, Position, Rotary, find
from wordorder.positions import picture as measured
from wordorder.positions.picture import angles, bias_by_distance, product_by_distance

SHAPE = ModelShape(heads=2, head_dim=8, trained_length=16)
UNWEIGHED = ["coupled", "offset", "randomized", "shaw-values"]
LENGTH = 32
CLOSE = 1e-5


def of(name: str, shape: ModelShape = SHAPE, **options: object) -> Position:
    return measured.initialised(find(name)(shape, **options))


def content() -> list[list[float]]:
    """The query and key vector of each head where content matters."""
    position = of("none")
    return measured._heads(measured._copies(position, 1), SHAPE)[0, :, 0].tolist()


def test_the_table_of_sinusoids(formula) -> None:
    table = measured.input_table(of("sinusoidal"), LENGTH)
    rows = [formula("sinusoidal").embedding(p, SHAPE.width, 10000) for p in range(LENGTH)]
    torch.testing.assert_close(table, torch.tensor(rows), atol=CLOSE, rtol=0)
    cosines = measured.similarity_by_distance(table, torch.arange(LENGTH))
    pairs = SHAPE.width // 2
    expected = [
        sum(math.cos(d * 10000 ** (-i / pairs)) for i in range(pairs)) / pairs
        for d in range(LENGTH)
    ]
    torch.testing.assert_close(cosines, torch.tensor(expected), atol=CLOSE, rtol=0)


def test_the_table_that_is_learned() -> None:
    learned = of("learned")
    table = measured.input_table(learned, 16)
    assert torch.equal(table, learned.get_parameter("weight"))
    cosine = torch.nn.functional.cosine_similarity(table[3:], table[:-3]).mean()
    assert measured.similarity_by_distance(table, torch.tensor([3])) == pytest.approx(float(cosine))


@pytest.mark.parametrize(
    ("name", "options", "frequencies"),
    [
        ("rotary", {"base": 100.0}, [100 ** (-i / 4) for i in range(4)]),
        ("rotary", {"base": 100.0, "fraction": 0.5}, [1.0, 0.1]),
        (
            "rotary",
            {"base": 100.0, "scaling": "linear", "factor": 4.0},
            [100 ** (-i / 4) / 4 for i in range(4)],
        ),
        ("xpos", {"base": 100.0}, [100 ** (-i / 4) for i in range(4)]),
        ("axial", {"base": 100.0}, [1.0, 0.1, 1.0, 0.1]),
        ("pope", {"base": 100.0}, [100 ** (-c / 8) for c in range(8)]),
        ("self-extend", {"base": 100.0}, [100 ** (-i / 4) for i in range(4)]),
    ],
)
def test_the_angles_of_pairs(name, options, frequencies) -> None:
    found = angles(of(name, **options), torch.tensor([0, 1, 7, 31]))
    expected = [[f * p for p in (0, 1, 7, 31)] for f in frequencies]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_angles_of_a_grid_follow_its_coordinates() -> None:
    found = angles(of("axial", base=100.0, columns=4), torch.tensor([0, 3, 4, 9]))
    rows, columns = [0, 0, 1, 2], [0, 3, 0, 1]
    expected = [rows, [0.1 * r for r in rows], columns, [0.1 * c for c in columns]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"rotary", "xpos", "axial", "pope"}))
def test_only_fixed_frequencies_have_angles(name: str) -> None:
    found = angles(of(name), torch.arange(4))
    assert (found is None) == (name != "self-extend")


def scaled(products: list[float]) -> torch.Tensor:
    values = torch.tensor(products)
    return (values / values.abs().max()).expand(2, -1)


def test_the_product_of_rotary(formula) -> None:
    ones, pairs = [1.0] * 8, [(0, 1), (2, 3), (4, 5), (6, 7)]
    thetas = [formula("rotary").angle(i, 8, 100) for i in range(4)]
    found = product_by_distance(of("rotary", base=100.0), LENGTH)
    expected = scaled(
        [formula("rotary").product(ones, ones, d, 0, thetas, pairs) for d in range(LENGTH)]
    )
    torch.testing.assert_close(found, expected, atol=CLOSE, rtol=0)


def test_the_products_of_xpos_and_pope(formula) -> None:
    ones, d = [1.0] * 8, range(LENGTH)
    found = product_by_distance(of("xpos", base=100.0, scale_base=16.0), LENGTH)
    expected = scaled([formula("xpos").product(ones, ones, n, 0, 100, 16) for n in d])
    torch.testing.assert_close(found, expected, atol=CLOSE, rtol=0)
    found = product_by_distance(of("pope", base=100.0), LENGTH)
    expected = scaled([formula("pope").score(ones, ones, n, 0, [0.0] * 8, 100) for n in d])
    torch.testing.assert_close(found, expected, atol=CLOSE, rtol=0)


def test_the_product_of_a_grid(formula) -> None:
    ones = [1.0] * 8
    found = product_by_distance(of("axial", base=100.0), LENGTH)
    halves = formula("axial").halves(8, 100)
    expected = scaled(
        [formula("axial").product(ones, ones, (d, d), (0, 0), halves) for d in range(LENGTH)]
    )
    torch.testing.assert_close(found, expected, atol=CLOSE, rtol=0)


def test_the_product_of_selective(formula) -> None:
    position, ones = of("selective", rank=3), [1.0] * 8
    x = measured._copies(position, LENGTH)[0].tolist()
    weights = {name: p.tolist() for name, p in position.named_parameters()}
    totals = formula("selective").angles(
        x, weights["down"], weights["up"], weights["convolution"], None, 2, 8, 500000.0
    )
    found = product_by_distance(position, LENGTH)
    for head in range(2):
        of_query = totals[LENGTH - 1][head]
        expected = scaled(
            [
                formula("selective").score(ones, ones, of_query, totals[LENGTH - 1 - d][head])
                for d in range(LENGTH)
            ]
        )[0]
        torch.testing.assert_close(found[head], expected, atol=CLOSE, rtol=0)


def reference_bias(name, position, formula, head: int, i: int, j: int) -> float:
    """What the paper's formula adds to the score of query i and key j."""
    paper, weights = formula(name), {n: p.tolist() for n, p in position.named_parameters()}
    x, width = content()[head], SHAPE.head_dim
    plain = sum(a * a for a in x) / math.sqrt(width)
    if name == "alibi":
        return paper.bias(2, head, i, j)
    if name == "kerple":
        r1, r2 = (r.tolist() for r in position.coefficients())
        return paper.logarithmic(r1[head], r2[head], i, j)
    if name == "sandwich":
        divisor = [2 / 3, 8.0][head] / ((head + 1) * 8 / 2)  # few heads: geometric, not even
        at_zero = paper.bias(2, head, j, j, 128, 10000)
        return (paper.bias(2, head, i, j, 128, 10000) - at_zero) / divisor
    if name == "relative":
        return paper.entry(weights["weight"][head], i, j, position.resolved_clip, True)
    if name == "t5":
        return paper.score(0.0, width, True, weights["weight"], head, i, j, 16, True)
    if name == "fire":
        into, shift, out = weights["into"], weights["bias"], weights["out"][head]
        return paper.bias(0.1, 4.0, into, shift, out, i, j)
    if name == "forgetting":
        tokens = measured._copies(position, 1)[0, 0].tolist()
        gate = paper.gate(weights["weight"][head], weights["bias"][head], tokens)
        return paper.bias([gate] * LENGTH, i, j)
    if name == "shaw":
        return paper.score(x, x, weights["weight"], i, j) - plain
    if name == "transformer-xl":
        u, v = weights["content_bias"][head], weights["position_bias"][head]
        return formula("transformer_xl").score(x, x, weights["weight"][head], u, v, i, j) - plain
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    "alibi kerple sandwich relative t5 fire forgetting shaw transformer-xl".split(),
)
def test_the_bias_by_distance(name, formula) -> None:
    def paper(name: str):
        return formula(name.replace("-", "_"))

    position = of(name, **({"buckets": 8, "max_distance": 16} if name == "t5" else {}))
    query = LENGTH - 1
    distances, found = bias_by_distance(position, 2 * LENGTH, query)
    assert distances.tolist() == list(range(LENGTH))
    expected = [
        [reference_bias(name, position, paper, head, query, query - d) for d in range(LENGTH)]
        for head in range(2)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-5, rtol=1e-5)


def test_the_bias_of_deberta(formula) -> None:
    position = of("deberta", span=3)
    names = {name: p.tolist() for name, p in position.named_parameters()}
    _, found = bias_by_distance(position, LENGTH, LENGTH - 1)
    of_keys, of_queries = names["key_weight"], names["query_weight"]
    for head, x in enumerate(content()):
        plain = sum(a * a for a in x) / math.sqrt(3 * len(x))
        expected = [
            formula("deberta").score(x, x, names["table"], of_keys[head], of_queries[head], d, 0)
            - plain
            for d in range(LENGTH)
        ]
        torch.testing.assert_close(found[head], torch.tensor(expected), atol=CLOSE, rtol=0)


def test_later_keys_have_negative_distances() -> None:
    position = of("alibi", ModelShape(2, 8, trained_length=16, causal=False))
    distances, bias = bias_by_distance(position, 9, 4)
    assert distances.tolist() == list(range(-4, 5))
    assert torch.equal(bias, bias.flip(-1)) and float(bias[0, 0]) == -4 / 16


def test_the_positions_that_cope_counts(formula) -> None:
    position = of("cope", most=5)
    assert isinstance(position, Cope)
    sizes = (2, 2, LENGTH, 8)
    queries, keys = torch.randn(sizes, generator=torch.Generator().manual_seed(0)).tolist()
    last = LENGTH - 1
    expected = [
        [
            formula("cope").position(queries[head][last], keys[head], last, last - d, 5)
            for d in range(LENGTH)
        ]
        for head in range(2)
    ]
    found = measured.positions_counted(position, LENGTH)
    torch.testing.assert_close(found, torch.tensor(expected), atol=CLOSE, rtol=0)


def test_the_distances_of_self_extend(formula) -> None:
    position = of("self-extend", group=4, neighbours=6)
    found = position.rotated_distances(50, torch.arange(51))
    assert found.tolist() == [formula("self_extend").distance(50, n, 4, 6) for n in range(51)]


def test_the_attention_of_copies_is_a_softmax_of_the_bias() -> None:
    alibi = of("alibi")
    weights = measured.weights_of_copies(alibi, 20)
    expected = alibi.distance_bias(torch.arange(19, -1, -1)).softmax(-1)
    torch.testing.assert_close(weights, expected, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("name", sorted({*CATALOGUE} - {*UNWEIGHED}))
def test_the_attention_of_the_last_copy_sums_to_one(name: str) -> None:
    weights = measured.weights_of_copies(of(name), 12)
    assert weights is not None and weights.shape == (2, 12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", UNWEIGHED)
def test_what_attention_weights_do_not_show_has_none(name: str) -> None:
    assert measured.weights_of_copies(of(name), 12) is None


def test_a_map_of_weights_has_more_tokens_than_a_head_is_wide() -> None:
    weights = measured.weight_map_of_copies(of("alibi"), 20)
    last = measured.weights_of_copies(of("alibi"), 20)
    assert weights is not None and last is not None and torch.equal(weights[:, -1], last)
    distance = torch.arange(20)[:, None] - torch.arange(20)
    bias = of("alibi").distance_bias(distance).masked_fill(distance < 0, -torch.inf)
    torch.testing.assert_close(weights, bias.softmax(-1))


def test_each_kind_of_picture() -> None:
    learned = of("learned")
    table = measured.picture_of(learned, 50)  # only as many positions as there are
    assert table is not None and table.kind == "table" and torch.equal(table.values, learned.weight)
    rotary = of("rotary")
    rotation = measured.picture_of(rotary, 6)
    assert rotation is not None and rotation.kind == "rotation"
    angles = torch.arange(6)[:, None] * rotary.frequencies()
    torch.testing.assert_close(rotation.values, angles.cos().float())
    bias = measured.picture_of(of("alibi"), 5, head=1)
    slopes = of("alibi").slopes()
    assert bias is not None and bias.kind == "bias" and slopes is not None
    assert bias.values[4, 1] == -3 * slopes[1] and bias.values[1, 4] == -torch.inf
    kinds = {name: measured.picture_of(of(name), 8) for name in CATALOGUE}
    assert {name for name, each in kinds.items() if each is None} == {"shaw-values"}


def test_scalings_are_those_of_rotary() -> None:
    options = {"base": 500.0, "fraction": 0.5}
    scaled = measured.scaled_frequencies(Rotary(SHAPE, scaling="yarn", factor=2, **options), 4)
    assert "longrope" not in scaled
    for scaling in ("linear", "ntk", "yarn", "llama3"):
        expected = Rotary(SHAPE, scaling=scaling, factor=4, **options).frequencies()
        assert torch.equal(scaled[scaling], expected)
    searched = Rotary(SHAPE, scaling="longrope", factor=4, long_factors=(1, 2, 3, 4))
    long = measured.scaled_frequencies(searched, 4)["longrope"]
    torch.testing.assert_close(
        of("rotary").frequencies() / long, torch.tensor([1.0, 2, 3, 4]).double()
    )
