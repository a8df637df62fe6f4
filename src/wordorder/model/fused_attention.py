"""Attention by PyTorch's fused kernel, scaled_dot_product_attention.

It takes the causal mask, a boolean mask, ALiBi's slopes in an extra channel of queries and keys,
and in float32 a bias. In bfloat16 a bias would lose distances (ALiBi's 1000 to 1007 collapse into
3 values), so such layers take the plain kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask import AttentionMask
from .problem import AttentionProblem

# From this many keys on, slopes cost less in a channel of their own than as a bias.
CHANNEL_FROM = 512
# Scores in one matrix, up to this many: pieces are as fast then (1,024 tokens, four heads; at
# 2,048 they are 1.6 times faster), and at 16,384 tokens the matrix would take 4 GiB. A GPU wants
# more at once.
LARGEST_MATRIX, LARGEST_ON_GPU = 1 << 22, 1 << 26


def takes_mask(problem: AttentionProblem) -> bool:
    """Return whether a mask is all there is besides products."""
    return _is_fusible(problem) and problem.bias is None


def takes_slopes(problem: AttentionProblem) -> bool:
    """Return whether the bias is ALiBi's, and long enough for a channel of its own."""
    mask = problem.mask
    return (
        _is_fusible(problem)
        and problem.bias is not None
        and mask.layout.causal
        and mask.queries > 1
        and mask.keys >= CHANNEL_FROM
        and problem.position.slopes() is not None
        and problem.additive.rising
    )


def takes_bias(problem: AttentionProblem) -> bool:
    """Return whether the bias fits in one float32 matrix, and needs no gradient."""
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
    """Return whether the fused kernel is wanted, for scores that nothing but a bias changes."""
    if problem.kernel == "plain" or (problem.compiled_step and problem.queries.is_cpu):
        return False
    same_width = problem.queries.shape[-1] == problem.values.shape[-1]
    return same_width and problem.score is None and not problem.trains_pairs


def with_mask(problem: AttentionProblem) -> Tensor:
    """Return attention under a mask and nothing else."""
    return _masked(problem.queries, problem.keys, problem.values, problem.mask, problem.scale)


def _masked(
    queries: Tensor, keys: Tensor, values: Tensor, mask: AttentionMask, scale: float
) -> Tensor:
    """Return attention under a mask, some rows of a large mask at a time.

    Only these rows have a mask, and keys that none of them may attend to are left out: for
    2,048 tokens after 14,336 others the whole mask would take 32 MiB, made from distances of
    256 MiB.
    """
    if mask.causal_only or not mask.needed:
        causal = mask.causal_only
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=causal, scale=scale)
    at_once = _largest(queries) // mask.keys
    if at_once >= mask.queries:
        allowed = mask.may_attend()
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed, scale=scale)
    parts = []
    for first in range(0, mask.queries, max(1, at_once)):
        rows = slice(first, min(first + max(1, at_once), mask.queries))
        some = mask.keys_of(rows)
        parts.append(
            F.scaled_dot_product_attention(
                queries[:, :, rows],
                keys[:, :, some],
                values[:, :, some],
                attn_mask=mask.may_attend(rows, some),
                scale=scale,
            )
        )
    return torch.cat(parts, 2)


def with_slopes(problem: AttentionProblem) -> Tensor:
    """Return attention with ALiBi's bias in an extra channel of queries and keys.

    Softmax ignores what is constant along a row, so the bias -m(i - j) of a key j is m * j: a
    channel that holds 1 in the queries and m * j in the keys, counted from the last key. That
    needs every key that may be attended to to lie behind: ahead the bias falls, and m * j rises.
    In bfloat16 it is split over three channels, whose products are added in float32. Far
    apart scores are large numbers: at 16,384 keys they are exact to 0.0005.

    Source: Press et al. 2022, section 3, whose bias this is.
    """
    width = problem.values.shape[-1]
    return _masked(*widened(problem), problem.mask, problem.scale)[..., :width]


def widened(problem: AttentionProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values whose products hold -m * distance for each head."""
    keys = problem.keys
    positions = problem.mask.layout.key_positions
    positions = (positions - positions[:, -1:]).float()[:, None]  # (batch or 1, 1, key)
    slopes = problem.position.slopes().to(positions.device)
    channel = slopes[:, None] * positions / problem.scale
    parts = []
    for _ in range(1 if keys.dtype is torch.float32 else 3):
        parts.append(channel.to(keys.dtype))
        channel = channel - parts[-1].float()
    extra = torch.stack(parts, -1)
    more = extra.shape[-1]
    keys = torch.cat((keys, extra.expand(*keys.shape[:3], more)), -1)
    return F.pad(problem.queries, (0, more), value=1.0), keys, F.pad(problem.values, (0, more))


def with_bias(problem: AttentionProblem) -> Tensor:
    """Return attention with a bias and a mask in one float32 matrix."""
    return F.scaled_dot_product_attention(
        problem.queries,
        problem.keys,
        problem.values,
        problem.additive.whole(),
        scale=problem.scale,
    )


def _largest(queries: Tensor) -> int:
    return LARGEST_ON_GPU if queries.is_cuda else LARGEST_MATRIX
