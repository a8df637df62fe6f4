"""Each embedding against its paper's formula, in float64 scalars that import only `math`.

Properties are not enough: a flipped ALiBi sign passes them all. Positions start past the
trained length too.
"""

from __future__ import annotations

import math

import pytest
import torch

from wordorder.model.attention import attention
from wordorder.model.bias import Bias
from wordorder.positions import Geometry, ModelShape, build

HEADS, HEAD_DIM, TIME = 3, 4, 6
# Angles are float64, their sines float32: 6e-8 each, summed over a few products.
CLOSE = 2e-6


def attended(spec: str, queries: list, keys: list, values: list, start: int) -> torch.Tensor:
    """What our attention gives, (heads, time, head_dim)."""
    position = build(spec, ModelShape(HEADS, HEAD_DIM, trained_length=TIME)).sums[0]
    geometry = Geometry.of(torch.arange(start, start + TIME)[None], consecutive=True)
    tables = tuple(part.prepare(geometry) for part in position.parts)
    q, k, v = (torch.tensor([part], dtype=torch.float32) for part in (queries, keys, values))
    q = position.rotate_queries(q, tables, (None,))
    k = position.rotate_keys(k, tables, (None,))
    bias = Bias(position, geometry, None, torch.float32)
    return attention(q, k, v, position, tables, (None,), bias, kernel="plain")[0]


def formula(queries: list, keys: list, values: list, start: int, turn, bias) -> list:
    """Causal attention with scalars: `turn(vector, position)`, `bias(head, i, j)`."""
    result = []
    for head in range(HEADS):
        rows = []
        for i in range(TIME):
            q = turn(queries[head][i], start + i)
            scores = []
            for j in range(i + 1):
                k = turn(keys[head][j], start + j)
                product = sum(a * b for a, b in zip(q, k, strict=True))
                scores.append(product / math.sqrt(HEAD_DIM) + bias(head, start + i, start + j))
            total = sum(math.exp(s) for s in scores)
            weights = [math.exp(s) / total for s in scores]
            rows.append(
                [
                    sum(w * values[head][j][d] for j, w in enumerate(weights))
                    for d in range(HEAD_DIM)
                ]
            )
        result.append(rows)
    return result


def numbers(seed: int) -> list:
    return [
        [
            [math.sin(1 + seed + 7 * h + 3.1 * t + 1.7 * d) for d in range(HEAD_DIM)]
            for t in range(TIME)
        ]
        for h in range(HEADS)
    ]


def no_turn(vector: list, position: int) -> list:
    return vector


def no_bias(head: int, i: int, j: int) -> float:
    return 0.0


def rotary_turn(vector: list, position: int) -> list:
    """Su et al. 2021, equation 34: pairs (0,1), (2,3), ..."""
    turned = []
    for pair in range(HEAD_DIM // 2):
        angle = position * 10000.0 ** (-2 * pair / HEAD_DIM)
        x, y = vector[2 * pair], vector[2 * pair + 1]
        turned += [
            x * math.cos(angle) - y * math.sin(angle),
            x * math.sin(angle) + y * math.cos(angle),
        ]
    return turned


def alibi_bias(head: int, i: int, j: int) -> float:
    """Press et al. 2022: two heads of 2^-4, 2^-8, and the third takes 2^-2 of four."""
    return -(2.0 ** -(4, 8, 2)[head]) * (i - j)


@pytest.mark.parametrize("start", [0, 3, 1000, 1_000_000])
@pytest.mark.parametrize(
    ("spec", "turn", "bias"),
    [
        ("none", no_turn, no_bias),
        ("rotary", rotary_turn, no_bias),
        ("alibi", no_turn, alibi_bias),
    ],
)
def test_attention_is_the_papers(spec: str, turn, bias, start: int) -> None:
    queries, keys, values = numbers(0), numbers(1), numbers(2)
    ours = attended(spec, queries, keys, values, start)
    theirs = torch.tensor(formula(queries, keys, values, start, turn, bias))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("position", [0, 1, 17, 5000, 1_000_000])
def test_sinusoidal_is_the_papers(position: int) -> None:
    made = build("sinusoidal", ModelShape(2, 4, trained_length=16))
    geometry = Geometry.of(torch.tensor([[position]]))
    ours = made.embed(torch.zeros(1, 1, 8), geometry)[0, 0]
    expected = []
    for i in range(4):
        angle = position / 10000.0 ** (2 * i / 8)
        expected += [math.sin(angle), math.cos(angle)]
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=CLOSE)


def test_learned_adds_the_row_of_each_position() -> None:
    made = build("learned", ModelShape(2, 4, trained_length=16))
    x = torch.ones(1, 3, 8)
    ours = made.embed(x, Geometry.of(torch.tensor([[2, 0, 15]])))
    table = made.instances[0].weight
    torch.testing.assert_close(ours[0], 1 + table[torch.tensor([2, 0, 15])])
