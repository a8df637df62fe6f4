"""Attention with PyTorch's fused kernel, scaled_dot_product_attention.

It supports the causal mask, a boolean mask, ALiBi's slopes in extra dimensions of queries and
keys, sinks as a further key, and in float32 a bias matrix. In bfloat16 a bias matrix is too coarse
(ALiBi's distances 1000 to 1007 round to 3 values), so such layers use the plain kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask import AttentionMask
from .problem import AttentionProblem

# From this many keys on, slopes in an extra dimension are faster than a bias matrix.
CHANNEL_FROM = 512
# Largest number of scores in a bias matrix: 1,024 tokens with four heads, where the plain kernel's
# pieces are as fast (at 2,048 tokens 1.6 times faster; at 16,384 the matrix would take 4 GiB). A
# GPU needs larger matrices to be busy.
LARGEST_MATRIX, LARGEST_ON_GPU = 1 << 22, 1 << 26


def takes_mask(problem: AttentionProblem) -> bool:
    """Return whether the fused kernel applies, and there is no bias."""
    return _is_fusible(problem) and problem.bias is None


def takes_slopes(problem: AttentionProblem) -> bool:
    """Return whether the bias is linear in the distance, and worth an extra dimension.

    The extra dimension gives the bias up to a constant per row. The softmax ignores it, but a sink
    would need the same constant, so problems with sinks are not supported.
    """
    mask = problem.mask
    return (
        _is_fusible(problem)
        and problem.bias is not None
        and problem.sinks is None
        and mask.layout.causal
        and mask.queries > 1
        and mask.keys >= CHANNEL_FROM
        and problem.position.slopes() is not None
        and problem.additive.rising
    )


def takes_bias(problem: AttentionProblem) -> bool:
    """Return whether the bias needs no gradient and fits in one float32 matrix."""
    queries, bias = problem.queries, problem.bias
    mask = problem.mask
    return (
        _is_fusible(problem)
        and bias is not None
        and queries.dtype is torch.float32
        and queries.shape[1] * mask.queries * mask.keys <= _largest(queries)
        and not bias.trained
    )


def _is_fusible(problem: AttentionProblem) -> bool:
    """Return whether the fused kernel may be used, and scores have at most a bias."""
    if problem.kernel == "plain" or (problem.compiled_step and problem.queries.is_cpu):
        return False
    same_width = problem.queries.shape[-1] == problem.values.shape[-1]
    return same_width and problem.score is None and not problem.trains_pairs


def with_mask(problem: AttentionProblem) -> Tensor:
    """Return attention with a mask and no bias."""
    width, is_sunk = problem.values.shape[-1], problem.sinks is not None
    attended = _masked(*_sunk(problem), problem.mask, problem.scale, is_sunk=is_sunk)
    return attended[..., :width]


def _sunk(problem: AttentionProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values; sinks, if any, are a key before all others.

    That key has no value, and its product with any query is the head's sink:

        query:     q ... 1
        sink:      0 ... s / scale      (q, 1) . (0, s / scale) * scale = s
        key j:     k ... 0              (q, 1) . (k, 0)                 = q . k
    """
    queries, keys, values, sinks = problem.queries, problem.keys, problem.values, problem.sinks
    if sinks is None:
        return queries, keys, values
    extra = _terms(sinks / problem.scale, keys.dtype)  # (heads, 1 or 3)
    count = extra.shape[-1]
    sink = F.pad(extra, (keys.shape[-1], 0))[:, None].expand(len(keys), -1, -1, -1)
    keys = torch.cat((sink, F.pad(keys, (0, count))), 2)
    return F.pad(queries, (0, count), value=1.0), keys, F.pad(values, (0, count, 1, 0))


def _terms(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """Return terms of a dtype whose sum in float32 is nearly exact, in a last dimension."""
    terms, rest = [], numbers
    for _ in range(1 if dtype is torch.float32 else 3):
        terms.append(rest.to(dtype))
        rest = rest - terms[-1].float()
    return torch.stack(terms, -1)


def _masked(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: AttentionMask,
    scale: float,
    *,
    is_sunk: bool = False,
) -> Tensor:
    """Return attention with a mask, some rows at a time if the mask is large.

    Then only the mask of these rows is computed, and keys that none of them may attend to are
    left out: for 2,048 tokens after 14,336 others the whole mask would take 32 MiB, and computing
    it 256 MiB.

    Args:
        is_sunk: the first key is a sink, which the mask does not cover: every query attends to it.
    """
    if mask.causal_only or not mask.needed:
        causal, first = mask.causal_only, int(is_sunk and mask.causal_only)
        queries = F.pad(queries, (0, 0, first, 0)) if first else queries  # a row for the first key
        attended = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=causal, scale=scale
        )
        return attended[:, :, first:]
    height = _largest(queries) // mask.keys
    if height >= mask.queries:
        allowed = _with_sink(mask.may_attend(), is_sunk)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed, scale=scale)
    outputs = []
    for first in range(0, mask.queries, max(1, height)):
        rows = slice(first, min(first + max(1, height), mask.queries))
        some = mask.keys_of(rows)
        allowed = _with_sink(mask.may_attend(rows, some), is_sunk)
        some = slice(0, allowed.shape[-1])
        outputs.append(
            F.scaled_dot_product_attention(
                queries[:, :, rows],
                keys[:, :, some],
                values[:, :, some],
                attn_mask=allowed,
                scale=scale,
            )
        )
    return torch.cat(outputs, 2)


def _with_sink(allowed: Tensor, is_sunk: bool) -> Tensor:
    return F.pad(allowed, (1, 0), value=True) if is_sunk else allowed


def with_slopes(problem: AttentionProblem) -> Tensor:
    """Return attention with ALiBi's bias in an extra dimension of queries and keys.

    Softmax ignores what is constant along a row, so the bias -m(i - j) of query i and key j can
    be replaced by m * j:

        query i:  q ... 1          (q, 1) . (k, m * j) = q . k + m * j
        key j:    k ... m * j

    Positions j are counted from the last key. This is right for past keys only: for future keys
    ALiBi's bias falls with j, but m * j rises. In bfloat16 m * j is split over three dimensions,
    whose products are added in float32. Scores of distant keys are large numbers: with 16,384 keys
    they are exact to 0.0005.

    Source: Press et al. 2022, section 3, for the bias.
    """
    width = problem.values.shape[-1]
    return _masked(*widened(problem), problem.mask, problem.scale)[..., :width]


def widened(problem: AttentionProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values with one or three extra dimensions for the bias."""
    keys = problem.keys
    positions = problem.mask.layout.key_positions
    positions = (positions - positions[:, -1:]).float()[:, None]  # (batch or 1, 1, key)
    slopes = problem.position.slopes()
    assert slopes is not None  # `takes_slopes` has checked it
    rest = (
        slopes.to(positions.device)[:, None] * positions / problem.scale
    )  # (batch or 1, heads, key)
    extra = _terms(rest, keys.dtype)  # (batch or 1, heads, key, 1 or 3)
    count = extra.shape[-1]
    keys = torch.cat((keys, extra.expand(*keys.shape[:3], count)), -1)
    return F.pad(problem.queries, (0, count), value=1.0), keys, F.pad(problem.values, (0, count))


def with_bias(problem: AttentionProblem) -> Tensor:
    """Return attention with a bias and a mask in one float32 matrix."""
    queries, keys, values = _sunk(problem)
    added = problem.additive.whole()
    if added is not None and problem.sinks is not None:
        added = F.pad(added, (1, 0))
    attended = F.scaled_dot_product_attention(queries, keys, values, added, scale=problem.scale)
    return attended[..., : problem.values.shape[-1]]


def _largest(queries: Tensor) -> int:
    return LARGEST_ON_GPU if queries.is_cuda else LARGEST_MATRIX
