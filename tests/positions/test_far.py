"""Every embedding at positions and distances to a million, against its formula in float64.

Two texts: eleven tokens that end at position 1,000,000, read as consecutive and as positions
that were given; and seven that stand up to 1,000,000 apart. What looks at positions must know
them there as well as near 0; what counts tokens must not mind how many there were.

Elsewhere: sinusoidal, rotary, xpos, t5 and sandwich have such a test in their own files, the
table of learned ends, and `test_many_tokens` reads a million of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.positions import (
    Alibi,
    Axial,
    Cope,
    Dape,
    Deberta,
    Fire,
    Forgetting,
    Kerple,
    ModelShape,
    Path,
    Pope,
    Position,
    Relative,
    Selective,
    SelfExtend,
    Shaw,
    ShawValues,
    TransformerXL,
)

MILLION = 1_000_000
END = list(range(MILLION - 10, MILLION + 1))
APART = [0, 1, 40, 500_000, 999_990, 999_999, MILLION]
HEADS, HEAD_DIM = 3, 8

# Table entries, whole numbers and float64 sums in another order.
EXACT = 1e-12
# Sines and cosines are float32, 3e-8 each, in sums of 4 to 24 products of size 1.
WAVES = 5e-7
# A bias of size 1 to 10 is float32, 6e-8 of it, and the softmax makes a weight of it below 1.
BIASES = 1e-6
# A query near 0 with keys a million ahead: FIRE's share is up to 40 there, its bias to 50.
AHEAD = 1e-5
# A float32 slope times a distance that is a whole number below 2^24: rounded twice.
ROUNDED_TWICE = 2.0**-23
# As that, with a logarithm or a power in float32 between: 4 roundings, and as many to spare.
ROUNDED_EIGHT_TIMES = 2.0**-21

Score = Callable[[int, int, int], float]


def shape(heads: int = HEADS, causal: bool = True) -> ModelShape:
    return ModelShape(heads, HEAD_DIM, trained_length=64, causal=causal)


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def texts() -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Yield where tokens stand and how attention is told so."""
    yield END, {"start": END[0]}
    yield END, {"positions": torch.tensor(END)}
    yield APART, {"positions": torch.tensor(APART)}


def holds(
    lab: Any,
    position: Position,
    scored: Callable[[list, list, list[int]], Score],
    bound: float,
    x: Tensor | None = None,
) -> None:
    """Compare attention with scores that are made of queries, keys and positions in scalars."""
    for places, told in texts():
        time = len(places)
        q, k, v = (lab.numbers(position.shape.heads, time, HEAD_DIM, seed=s) for s in range(3))
        score = below_its_row(scored(q.tolist(), k.tolist(), places), time, position.shape.causal)
        expected = lab.softmax_rows(score, v.tolist(), position.shape.causal)
        given = None if x is None else x[:time]
        for plainly in (True, False):
            found = lab.attended(position, q, k, v, x=given, plainly=plainly, **told)
            torch.testing.assert_close(found, expected, rtol=0, atol=bound)


def below_its_row(score: Score, time: int, causal: bool) -> Score:
    """Return scores less the largest of their row: exponentials of a million are no number."""
    largest: dict[tuple[int, int], float] = {}

    def lowered(h: int, i: int, j: int) -> float:
        if (h, i) not in largest:
            largest[h, i] = max(score(h, i, n) for n in range(i + 1 if causal else time))
        return score(h, i, j) - largest[h, i]

    return lowered


def biased(bias: Callable[[int, int, int], float]) -> Callable[[list, list, list[int]], Score]:
    """Return scores of products and a bias (head, query position, key position)."""

    def scored(q: list, k: list, places: list[int]) -> Score:
        root = math.sqrt(HEAD_DIM)
        return lambda h, i, j: dot(q[h][i], k[h][j]) / root + bias(h, places[i], places[j])

    return scored


# -- biases of distances ----------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 6, 8, 12])
@pytest.mark.parametrize("causal", [True, False])
def test_alibi(formula, lab, heads: int, causal: bool) -> None:
    bias = formula("alibi").bias
    holds(lab, Alibi(shape(heads, causal)), biased(lambda h, m, n: bias(heads, h, m, n)), BIASES)


@pytest.mark.parametrize("heads", [1, 6, 8, 12])
def test_alibi_at_every_distance(formula, heads: int) -> None:
    """The softmax hides what far keys get: here is the bias itself, and ahead it is the same."""
    distances = [*range(5001), 65_535, 65_537, *END]
    slopes = formula("alibi").slopes(heads)
    expected = torch.tensor([[-m * d for d in distances] for m in slopes], dtype=torch.float64)
    spot = formula("alibi").bias(heads, heads - 1, MILLION, 0)
    assert expected[-1, -1] == spot
    found = Alibi(shape(heads)).distance_bias(torch.tensor(distances))
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=ROUNDED_TWICE, atol=0)
    ahead = Alibi(shape(heads, False)).distance_bias(-torch.tensor(distances))
    assert torch.equal(ahead, found)


@pytest.mark.parametrize("kernel", ["log", "power"])
@pytest.mark.parametrize("causal", [True, False])
def test_kerple(formula, lab, kernel: str, causal: bool) -> None:
    """The power's bias is up to 1e12 there: attention, and the bias itself in parts of itself."""
    kerple = lab.drawn(Kerple(shape(causal=causal), kernel=kernel))
    paper = formula("kerple").logarithmic if kernel == "log" else formula("kerple").power
    r1, r2 = (r.tolist() for r in kerple.coefficients())
    holds(lab, kerple, biased(lambda h, m, n: paper(r1[h], r2[h], m, n)), BIASES)
    distances = [1, 5000, *END]
    found = kerple.distance_bias(torch.tensor(distances)).double()
    expected = [[paper(r1[h], r2[h], d, 0) for d in distances] for h in range(HEADS)]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=ROUNDED_EIGHT_TIMES, atol=0)


@pytest.mark.parametrize("options", [{}, {"threshold": 3.0}, {"c": 2.0, "hidden": 5}])
@pytest.mark.parametrize("causal", [True, False])
def test_fire(formula, lab, options: dict[str, Any], causal: bool) -> None:
    fire, paper = lab.drawn(Fire(shape(causal=causal), **options)), formula("fire").bias
    threshold = (fire.threshold or 16) * math.exp(fire.log_multiplier.item())
    c, out = math.exp(fire.log_c.item()), fire.out.tolist()
    network = fire.into.tolist(), fire.bias.tolist()
    bound = BIASES if causal else AHEAD
    holds(lab, fire, biased(lambda h, m, n: paper(c, threshold, *network, out[h], m, n)), bound)


@pytest.mark.parametrize("causal", [True, False])
def test_relative(formula, lab, causal: bool) -> None:
    relative, entry = lab.drawn(Relative(shape(causal=causal), clip=3)), formula("relative").entry
    table = relative.weight.tolist()
    holds(lab, relative, biased(lambda h, m, n: entry(table[h], m, n, 3, causal)), EXACT)


# -- vectors of distances ------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
def test_shaw(formula, lab, causal: bool) -> None:
    shaw, paper = lab.drawn(Shaw(shape(causal=causal), clip=3)), formula("shaw").score
    vectors = shaw.weight.tolist()

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper(q[h][i], k[h][j], vectors, places[i], places[j])

    holds(lab, shaw, scored, EXACT)


@pytest.mark.parametrize("causal", [True, False])
def test_shaw_values(formula, lab, causal: bool) -> None:
    position = lab.drawn(ShawValues(shape(causal=causal), clip=3))
    vectors, value_vectors = position.weight.tolist(), position.value_weight.tolist()
    paper = formula("shaw")
    for places, told in texts():
        time = len(places)
        q, k, v = (lab.numbers(HEADS, time, HEAD_DIM, seed=seed) for seed in range(3))

        def score(h: int, i: int, j: int, q=q, k=k, places=places) -> float:
            where = places[i], places[j]
            return paper.score(q[h][i].tolist(), k[h][j].tolist(), vectors, *where)

        ones = torch.eye(time).expand(HEADS, time, time).tolist()
        weights = lab.softmax_rows(score, ones, causal).tolist()
        rows = [
            [
                paper.output(weights[h][i], v[h].tolist(), value_vectors, places, places[i])
                for i in range(time)
            ]
            for h in range(HEADS)
        ]
        for plainly in (True, False):
            found = lab.attended(position, q, k, v, plainly=plainly, **told)
            expected = torch.tensor(rows, dtype=torch.float64)
            torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("causal", [True, False])
def test_deberta(formula, lab, causal: bool) -> None:
    position, paper = lab.drawn(Deberta(shape(causal=causal), span=3)), formula("deberta").score
    table, of_key = position.table.tolist(), position.key_weight.tolist()
    of_query = position.query_weight.tolist()

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper(
            q[h][i], k[h][j], table, of_key[h], of_query[h], places[i], places[j]
        )

    holds(lab, position, scored, EXACT)


@pytest.mark.parametrize("causal", [True, False])
def test_transformer_xl(formula, lab, causal: bool) -> None:
    position = lab.drawn(TransformerXL(shape(causal=causal)))
    weight, paper = position.weight.tolist(), formula("transformer_xl").score
    u, v = position.content_bias.tolist(), position.position_bias.tolist()

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper(q[h][i], k[h][j], weight[h], u[h], v[h], places[i], places[j])

    holds(lab, position, scored, WAVES)


# -- angles of positions -----------------------------------------------------------------------


@pytest.mark.parametrize("columns", [0, 7, 1000])
@pytest.mark.parametrize("causal", [True, False])
def test_axial(formula, lab, columns: int, causal: bool) -> None:
    """Rows to 1,000,000 / columns, and columns to 999."""
    axial, paper = Axial(shape(causal=causal), base=10000.0, columns=columns), formula("axial")
    pairs = paper.halves(HEAD_DIM, 10000.0)

    def scored(q: list, k: list, places: list[int]) -> Score:
        cells = [list(divmod(p, columns)) if columns else [p, p] for p in places]

        def score(h: int, i: int, j: int) -> float:
            product = paper.product(q[h][i], k[h][j], cells[i], cells[j], pairs)
            return product / math.sqrt(HEAD_DIM)

        return score

    holds(lab, axial, scored, WAVES)


@pytest.mark.parametrize("causal", [True, False])
def test_pope(formula, lab, causal: bool) -> None:
    """With offsets within their bounds, above them and below."""
    pope, paper = Pope(shape(causal=causal), base=10000.0), formula("pope").score
    with torch.no_grad():
        pope.offsets.copy_(3.5 * lab.numbers(HEADS, HEAD_DIM, seed=8) - math.pi)
    offsets = pope.offsets.tolist()

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper(q[h][i], k[h][j], places[i], places[j], offsets[h], 10000.0)

    holds(lab, pope, scored, WAVES)


@pytest.mark.parametrize(("group", "neighbours"), [(1, 2), (2, 4), (7, 3), (1000, 100_000)])
def test_self_extend(formula, lab, group: int, neighbours: int) -> None:
    position = SelfExtend(shape(), base=10000.0, group=group, neighbours=neighbours)
    theirs, rotary = formula("self_extend"), formula("rotary")
    pairs = rotary.dimensions("interleaved", HEAD_DIM)
    angles = [rotary.angle(i, HEAD_DIM, 10000.0) for i in range(HEAD_DIM // 2)]

    def scored(q: list, k: list, places: list[int]) -> Score:
        def score(h: int, i: int, j: int) -> float:
            apart = theirs.distance(places[i], places[j], group, neighbours)
            product = rotary.product(q[h][i], k[h][j], apart, 0, angles, pairs)
            return product / math.sqrt(HEAD_DIM)

        return score

    holds(lab, position, scored, WAVES)


# -- what counts tokens, not positions -----------------------------------------------------------


@pytest.mark.parametrize("bias", ["alibi", "kerple", "none"])
@pytest.mark.parametrize("causal", [True, False])
def test_dape(formula, lab, bias: str, causal: bool) -> None:
    dape, paper = lab.drawn(Dape(shape(causal=causal), bias=bias, hidden=5)), formula("dape")
    numbers = [r.tolist() for r in dape.static.coefficients()] if bias == "kerple" else None
    network = [
        weight.tolist()
        for weight in (dape.input_weight, dape.input_bias, dape.output_weight, dape.output_bias)
    ]

    def static(h: int, distance: int) -> float:
        if numbers is not None:
            return paper.kerple(numbers[0][h], numbers[1][h], distance)
        return paper.alibi(HEADS, h, distance)

    def scored(q: list, k: list, places: list[int]) -> Score:
        def score(h: int, i: int, j: int) -> float:
            products = [dot(q[n][i], k[n][j]) / math.sqrt(HEAD_DIM) for n in range(HEADS)]
            apart = places[i] - places[j]
            biases = [static(n, apart) for n in range(HEADS)] if bias != "none" else []
            return paper.score(products, biases, network, h, True)

        return score

    holds(lab, dape, scored, BIASES)


def test_cope(formula, lab) -> None:
    cope, paper = lab.drawn(Cope(shape(), most=3)), formula("cope").score
    table = cope.embeddings.tolist()
    holds(lab, cope, lambda q, k, _: lambda h, i, j: paper(q[h][i], k[h], table, i, j), EXACT)


def test_forgetting(formula, lab) -> None:
    position, paper = lab.drawn(Forgetting(shape())), formula("forgetting")
    x = lab.numbers(len(END), HEADS * HEAD_DIM, seed=3)
    gates = [
        [paper.gate(weight, bias, row) for row in x.tolist()]
        for weight, bias in zip(position.weight.tolist(), position.bias.tolist(), strict=True)
    ]

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: (
            dot(q[h][i], k[h][j]) / math.sqrt(HEAD_DIM) + paper.bias(gates[h], i, j)
        )

    holds(lab, position, scored, EXACT, x)


def test_selective(formula, lab) -> None:
    position, paper = lab.drawn(Selective(shape(), rank=3)), formula("selective")
    with torch.no_grad():
        position.up.mul_(300)
    x = lab.numbers(len(END), HEADS * HEAD_DIM, seed=3)
    weights = (position.down.tolist(), position.up.tolist(), position.convolution.tolist())
    angles = paper.angles(x.tolist(), *weights, None, HEADS, HEAD_DIM, position.base)

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper.score(q[h][i], k[h][j], angles[i][h], angles[j][h])

    holds(lab, position, scored, EXACT, x)


def test_path(formula, lab) -> None:
    position, paper = lab.drawn(Path(shape(), rank=3)), formula("path")
    xs = lab.numbers(len(END), HEADS * HEAD_DIM, seed=3)
    x, up, down = xs.tolist(), position.up.tolist(), position.down.tolist()
    convolution, weights = position.convolution.tolist(), position.beta_weight.tolist()
    constants = position.beta_bias.tolist()

    def transformation(h: int, t: int) -> list:
        w = paper.direction(x, t, down, up, convolution, HEAD_DIM, h)
        return paper.transformation(w, paper.beta(x[t], weights[h], constants[h]))

    taken = [[transformation(h, t) for t in range(len(x))] for h in range(HEADS)]

    def scored(q: list, k: list, places: list[int]) -> Score:
        return lambda h, i, j: paper.score(q[h][i], k[h][j], taken[h], i, j)

    holds(lab, position, scored, EXACT, xs)
