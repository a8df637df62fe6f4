"""What the tests of every embedding share: small inputs, plain attention, papers' formulas.

A formula is written in `formulas/NAME.py`, in float64 scalars, and imports only `math`, so
that it shares nothing with what it judges.
"""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from wordorder.model.additive_mask import AdditiveMask
from wordorder.model.attention import attention
from wordorder.model.problem import AttentionProblem
from wordorder.positions import Position, Sum, TokenLayout
from wordorder.positions.reference_model import plain_attention

FORMULAS = Path(__file__).parent / "formulas"


def _numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _filled(position: Position, seed: int = 0) -> Position:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in position.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return position


def _drawn(position: Position) -> Position:
    """Return it with random weights that are the same at every call."""
    position.reset_parameters(torch.Generator().manual_seed(1))  # type: ignore[operator]
    return _filled(position)


def _attended(
    position: Position,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    start: int = 0,
    positions: Tensor | None = None,
    x: Tensor | None = None,
    plainly: bool = False,
) -> Tensor:
    """Return what attention with the embedding gives, (heads, time, head_dim).

    The model's attention by default, the reader's where `plainly`; both must agree.
    """
    time = queries.shape[1]
    whole = Sum(position.shape, (position,))
    given = torch.arange(start, start + time) if positions is None else positions
    causal = position.shape.causal
    layout = TokenLayout.of(given[None], causal=causal, consecutive=positions is None)
    tables = (position.prepare(layout),)
    state = whole.state(x[None] if x is not None else None, layout, None)
    q, k, v = queries[None], keys[None], values[None]
    if plainly:
        return plain_attention(whole, q, k, v, tables, state, layout)[0]
    q, k = whole.transform_queries(q, tables, state), whole.transform_keys(k, tables, state)
    bias = AdditiveMask.of(whole, layout, None, q.dtype)
    return attention(AttentionProblem.of(q, k, v, whole, tables, state, bias, kernel="plain"))[0]


def _softmax_rows(score: Callable[[int, int, int], float], values: Any, causal: bool) -> Tensor:
    """Return attention in scalars: `score(head, i, j)` of every pair, softmax, weighted values."""
    heads, time, width = len(values), len(values[0]), len(values[0][0])
    rows = torch.zeros(heads, time, width, dtype=torch.float64)
    for h in range(heads):
        for i in range(time):
            scores = [score(h, i, j) for j in range(i + 1 if causal else time)]
            total = sum(math.exp(s) for s in scores)
            for j, s in enumerate(scores):
                value = torch.tensor(values[h][j], dtype=torch.float64)
                rows[h, i] += math.exp(s) / total * value
    return rows


@pytest.fixture(scope="session")
def formula() -> Callable[[str], SimpleNamespace]:
    """Return a function from an embedding's name to what its formula file defines."""
    return lambda name: SimpleNamespace(**runpy.run_path(str(FORMULAS / f"{name}.py")))


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """numbers(*shape, seed), filled and drawn(position), attended(position, ...), softmax_rows."""
    return SimpleNamespace(
        numbers=_numbers,
        filled=_filled,
        drawn=_drawn,
        attended=_attended,
        softmax_rows=_softmax_rows,
    )
