"""The one place that chooses how attention is computed.

Kernels:
    plain  matrix product, softmax, matrix product, in pieces that stay in cache. Carries
           any bias and any score.
    fused  PyTorch's scaled_dot_product_attention. Carries the causal mask, ALiBi's slopes
           in an extra channel and, in float32, a bias: in bfloat16 a bias would lose
           distances (ALiBi's 1000 to 1007 collapse into 3 values), so such layers run plain.
    flex   one kernel made from the score function, with masks by blocks: for GPUs, and there
           for all but the plainly causal, which fused carries, and whole rows.

Which is faster depends on the machine and the length (bfloat16 backward of the fused
kernel is slow on some CPUs), so training measures them and sets `kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..positions import Sum
from .bias import Bias
from .flexible_attention import flexible, is_flexible
from .plain_attention import in_pieces, in_rows, one_row, whole_rows

Kernel = Literal["auto", "plain", "fused", "flex"]
# From this many keys on slopes cost less in a channel of their own than as a bias.
CHANNEL_FROM = 512
# Biases in one matrix up to this many: then pieces are as fast (1,024 tokens, four heads; at
# 2,048 1.6 times), and at 16,384 tokens the matrix would take 4 GiB. A GPU wants more at once.
LARGEST_MATRIX, LARGEST_ON_GPU = 1 << 22, 1 << 26


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Sum,
    tables: tuple,
    state: tuple,
    bias: Bias,
    *,
    kernel: Kernel = "auto",
) -> Tensor:
    """Return the attended values.

    Args:
        bias: the layer's masks and biases.

    Shapes: queries (batch, heads, query, head_dim), keys and values (batch,
    key_value_heads, key, head_dim), result as queries. An embedding may have made queries
    and keys wider.
    """
    scale = position.softmax_scale or position.shape.head_dim**-0.5
    keys, values = (_for_each_head(each, queries.shape[1]) for each in (keys, values))
    score = position.score(queries, keys, tables, state)
    if position.whole_row is not None:
        return whole_rows(queries, keys, values, position, tables, state, score, bias)
    unusual = score is not None or bias.biased or not bias.plainly_causal
    if kernel == "flex" and unusual and is_flexible(bias):
        return flexible(queries, keys, values, score, bias, scale)
    if score is not None or bias.trained_pairs:
        return in_rows(queries * scale, keys, values, score, bias)
    step = bias.queries == 1 and torch.compiler.is_compiling()  # of decoding
    if step and queries.is_cpu:
        return one_row(queries * scale, keys, values, bias)
    if kernel != "plain" and queries.shape[-1] == values.shape[-1]:
        if not bias.biased:
            return _fused(queries, keys, values, bias, scale)
        slopes = position.slopes() if bias.geometry.causal and bias.queries > 1 else None
        if slopes is not None and bias.keys >= CHANNEL_FROM and bias.rising:
            width = values.shape[-1]
            widened = with_slopes(queries, keys, values, slopes, bias, scale)
            return _fused(*widened, bias, scale)[..., :width]
        largest = LARGEST_ON_GPU if queries.is_cuda else LARGEST_MATRIX
        small = queries.shape[1] * bias.queries * bias.keys <= largest
        if queries.dtype is torch.float32 and small and not bias.trained:
            mask = bias.whole()
            return F.scaled_dot_product_attention(queries, keys, values, mask, scale=scale)
    if step:  # which pieces are not compiled for
        return one_row(queries * scale, keys, values, bias)
    return in_pieces(queries * scale, keys, values, bias)


def mixing_weights(attend: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights by which attention mixes values, on whatever road, and what it adds.

    A value that is 1 for one token and in one dimension comes out as that token's weight, so that
    as many tokens are asked for at once as a head is wide.

    Args:
        attend: from values to what attention makes of them, everything else as it was.

    Shapes: values (batch, key_value_heads, key, head_dim); weights (batch, heads, query, key), what
    is added (batch, heads, query, head_dim).
    """
    added = attend(torch.zeros_like(values))
    keys, width = values.shape[2:]
    found = []
    for first in range(0, keys, width):
        ones = torch.zeros_like(values)
        columns = torch.arange(min(width, keys - first), device=values.device)
        ones[:, :, first + columns, columns] = 1
        found.append((attend(ones) - added)[..., : len(columns)])
    return torch.cat(found, -1), added


def _for_each_head(x: Tensor, heads: int) -> Tensor:
    """Return keys or values repeated for the query heads that share them."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def _fused(queries: Tensor, keys: Tensor, values: Tensor, bias: Bias, scale: float) -> Tensor:
    """Return attention under a mask and nothing else, rows of a large mask some at a time.

    Only the rows at hand have a mask, and keys that none of them may see are left out: 2,048
    tokens after 14,336 others would have one of 32 MiB, made from distances of 256 MiB.
    """
    if bias.plainly_causal or not bias.hides:
        return F.scaled_dot_product_attention(
            queries, keys, values, is_causal=bias.plainly_causal, scale=scale
        )
    at_once = (LARGEST_ON_GPU if queries.is_cuda else LARGEST_MATRIX) // bias.keys
    if at_once >= bias.queries:
        mask = bias.visible()
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
    parts = []
    for first in range(0, bias.queries, max(1, at_once)):
        rows = slice(first, min(first + max(1, at_once), bias.queries))
        seen = bias.seen(rows)
        parts.append(
            F.scaled_dot_product_attention(
                queries[:, :, rows],
                keys[:, :, seen],
                values[:, :, seen],
                attn_mask=bias.visible(rows, seen),
                scale=scale,
            )
        )
    return torch.cat(parts, 2)


def with_slopes(
    queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor, bias: Bias, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values whose products hold -m * distance for each head.

    The softmax ignores what is constant along a row, so the bias -m(i - j) of a key j is
    m * j: a channel with 1 in the queries and m * j in the keys, counted from the last key. That
    is where no key that is seen lies ahead: ahead the bias falls, and m * j rises.
    In bfloat16 it is split over three channels, whose products are added in float32. Far
    apart scores are large numbers: at 16,384 keys they are exact to 0.0005.

    Source: Press et al. 2022, section 3, whose bias this is.
    """
    places = bias.geometry.key_positions
    places = (places - places[:, -1:]).float()[:, None]  # (batch or 1, 1, key)
    channel = slopes.to(places.device)[:, None] * places / scale
    parts = []
    for _ in range(1 if keys.dtype is torch.float32 else 3):
        parts.append(channel.to(keys.dtype))
        channel = channel - parts[-1].float()
    extra = torch.stack(parts, -1)
    more = extra.shape[-1]
    keys = torch.cat((keys, extra.expand(*keys.shape[:3], more)), -1)
    return F.pad(queries, (0, more), value=1.0), keys, F.pad(values, (0, more))
