"""What counts tokens, after a million of them, against its formula in float64.

Positions have no part in these four: what could go wrong far into a text is their sums and
products of what tokens say. A float32 model is tried beside a float64 one.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.positions import Cope, Forgetting, ModelShape, Selective, TokenLayout, path

MILLION, PERIOD = 1_000_000, 1000
HEAD_DIM = 8


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@torch.no_grad()
def test_cope(formula, lab, dtype: torch.dtype, bound: float) -> None:
    """The last 50 keys are counted as in a short text, and those of zeros before them as alike."""
    cope, paper = lab.drawn(Cope(ModelShape(1, HEAD_DIM), most=40)), formula("cope").score
    near = 50
    q, v = lab.numbers(1, 1, 1, HEAD_DIM), lab.numbers(1, 1, near, HEAD_DIM, seed=1)
    k = lab.numbers(1, 1, near, HEAD_DIM, seed=2)
    far = torch.zeros(1, 1, MILLION - near, HEAD_DIM, dtype=torch.float64)
    keys, values = torch.cat((far, k), 2).to(dtype), torch.cat((far, v), 2).to(dtype)
    visible, last = torch.ones(1, 1, 1, MILLION, dtype=torch.bool), torch.tensor([MILLION - 1])
    found = cope.attend(q.to(dtype), keys, values, None, None, visible, None, last)[0, 0, 0]

    asked, known = q[0, 0, 0].tolist(), [[0.0] * HEAD_DIM] * 80 + k[0, 0].tolist()
    table = cope.embeddings.tolist()
    scores = [paper(asked, known, table, len(known) - 1, j) for j in range(len(known))]
    assert scores[0] == scores[1]  # as any before it: past the last position by 80 half gates
    assert found.norm() < 1e-2  # most look at the zeros
    weights, columns = [math.exp(score) for score in scores[-near:]], v[0, 0].T.tolist()
    expected = torch.tensor([dot(weights, column) for column in columns], dtype=torch.float64)
    # But for the size, which is one over the sum of a million weights: that is the softmax's.
    parts = found.double() / found.double().norm(), expected / expected.norm()
    torch.testing.assert_close(*parts, rtol=0, atol=bound)


def counted(position: Any, x: Tensor) -> Any:
    """Return the state of a text of a million tokens, x over and over, read in ten pieces."""
    state, piece = None, MILLION // 10
    x = x.repeat(1, piece // x.shape[1], 1)
    for start in range(0, MILLION, piece):
        slots = torch.arange(start, start + piece)
        layout = TokenLayout(slots[None], torch.arange(start + piece)[None], slots)
        new = position.state(x, layout, state)
        state = new if state is None else _joined(state, new)
    return state


def _joined(before: Any, new: Any) -> Any:
    if isinstance(new, tuple):
        return tuple(map(_joined, before, new))
    return torch.cat((before, new), 1)


@pytest.mark.parametrize(
    ("dtype", "near", "part"), [(torch.float64, 1e-9, 1e-12), (torch.float32, 2e-6, 2.0**-22)]
)
@torch.no_grad()
def test_forgetting(formula, lab, dtype: torch.dtype, near: float, part: float) -> None:
    """Sums of gates near -1,000,000 are float64, 1e-10 each: near keys lose as in a short text.

    In a float32 model every gate is rounded, so that far keys are exact to a part of themselves.
    """
    position, paper = lab.drawn(Forgetting(ModelShape(2, HEAD_DIM))), formula("forgetting")
    x = lab.numbers(1, PERIOD, 2 * HEAD_DIM, seed=3)
    states = counted(position, x.to(dtype))
    assert states[0, -1].max() < -500_000
    queries, keys = [MILLION - 3, MILLION - 1], [0, 500_000, *range(MILLION - 9, MILLION - 3)]
    zeros = torch.zeros(1, 2, 2, len(keys), dtype=dtype)
    query, key = torch.tensor(queries)[:, None], torch.tensor(keys)
    where = torch.zeros(1, 1, 1, 1, dtype=torch.int64), torch.arange(2)[:, None, None], query, key
    found = position.score(zeros, zeros, None, states)(zeros, *where)[0].double()
    for h in range(2):
        weight, bias = position.weight[h].tolist(), position.bias[h].tolist()
        logs = [math.log(paper.gate(weight, bias, row)) for row in x[0].tolist()]
        for a, i in enumerate(queries):
            for b, j in enumerate(keys):
                expected = math.fsum(logs[n % PERIOD] for n in range(j + 1, i + 1))
                assert float(found[h, a, b]) == pytest.approx(expected, rel=part, abs=near)


@pytest.mark.parametrize(
    ("dtype", "near", "from_start"), [(torch.float64, 1e-11, 1e-8), (torch.float32, 5e-7, 1e-3)]
)
@torch.no_grad()
def test_selective(formula, lab, dtype: torch.dtype, near: float, from_start: float) -> None:
    """Angles between near tokens are as in a short text, to the rounding of one within a turn.

    From the start it is a million float64 sums of size 1,000, 1e-13 each; in a float32 model
    every angle that is added is rounded first, by 1e-9 on average.
    """
    position = lab.drawn(Selective(ModelShape(1, 4, 5), taps=1, rank=3))
    with torch.no_grad():
        position.up.mul_(10)
    x = lab.numbers(1, PERIOD, 5, seed=3)
    weights = (position.down.tolist(), position.up.tolist(), position.convolution.tolist())
    paper = formula("selective").angles(x[0].tolist(), *weights, None, 1, 4, position.base)
    angles, _ = counted(position, x.to(dtype))
    found = angles[0, -PERIOD:, 0].double()
    expected = torch.tensor(paper, dtype=torch.float64)[:, 0]
    expected = expected + (MILLION // PERIOD - 1) * expected[-1]

    def turned(angle: Tensor) -> Tensor:
        return (torch.remainder(angle + math.pi, 2 * math.pi) - math.pi).abs().max()

    assert angles.dtype is torch.float64
    assert expected[-1].abs().max() > 1000
    assert turned(found - expected) < from_start
    assert turned((found - found[-1] - expected + expected[-1])[-10:]) < near


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [pytest.param(torch.float64, 1e-11, marks=pytest.mark.slow), (torch.float32, 3e-3)],
)
@torch.no_grad()
def test_path_through_a_hundred_thousand_reflections(lab, dtype: torch.dtype, bound: float) -> None:
    """Nothing shrinks what was rounded, and it adds up; a million would take gigabytes."""
    tokens, d = 100_000, 4
    directions = torch.nn.functional.normalize(lab.numbers(1, 1, tokens, d), dim=-1).to(dtype)
    keys, query = lab.numbers(1, 1, tokens, d, seed=1).to(dtype), lab.numbers(1, 1, 1, d, seed=2)
    blocks = path.blocks_of(keys, directions, torch.full((1, 1, tokens), 2.0, dtype=dtype))
    last = torch.tensor([tokens - 1])
    found = path.scores_by_block(query.to(dtype), blocks, last, tokens)[0, 0, 0].double()
    vector, scores = query[0, 0, 0].tolist(), []
    rows = zip(directions[0, 0].tolist(), keys[0, 0].tolist(), strict=True)
    for w, key in reversed(list(rows)):
        scores.append(dot(key, vector))
        product = 2 * dot(w, vector)
        vector = [a - product * b for a, b in zip(vector, w, strict=True)]
    expected = torch.tensor(scores[::-1], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)
