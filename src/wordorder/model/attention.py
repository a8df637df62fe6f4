"""The one place that chooses how attention is computed.

Kernels:
    plain  matrix product, softmax, matrix product, in pieces that stay in cache. Carries
           any bias and any score.
    fused  PyTorch's scaled_dot_product_attention. Carries the causal mask and, in
           float32, a bias: in bfloat16 a bias would lose distances (ALiBi's 1000 to
           1007 collapse into 3 values), so such layers run plain.

Which is faster depends on the machine and the length (bfloat16 backward of the fused
kernel is slow on some CPUs), so training measures both and sets `kernel`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..positions import Geometry, Sum
from .plain_attention import plain_attention

Kernel = Literal["auto", "plain", "fused"]

def mask_and_bias(
    position: Sum, geometry: Geometry, window: int | None, dtype: torch.dtype
) -> Tensor | None:
    """Return what is added to the scores before the softmax, or None for nothing.

    It holds minus infinity where a key is hidden, and the bias of distances elsewhere.

    Shapes: (batch or 1, heads or 1, query, key), float32 where distances count, for which
    bfloat16 is too coarse; a mask alone has the `dtype` of the activations.
    """
    bias = _distance_bias(position, geometry)
    if not geometry.hides(window):
        return bias
    hidden = ~geometry.visible(window)
    if bias is None:
        bias = torch.zeros((), device=hidden.device, dtype=dtype)
    return bias.masked_fill(hidden, float("-inf"))


def plainly_causal(position: Sum, geometry: Geometry, window: int | None) -> bool:
    """Return whether the causal mask is all there is, so that a kernel can imply it."""
    lone = geometry.key_documents is None and geometry.whole and geometry.causal
    narrow = window is not None and window < geometry.key_positions.shape[1]
    return lone and not narrow and not position.has_distance_bias


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Sum,
    tables: tuple,
    state: tuple,
    bias: Tensor | None,
    *,
    causal: bool = False,
    past_only: bool = False,
    slots: Tensor,
    kernel: Kernel = "auto",
) -> Tensor:
    """Return the attended values.

    Args:
        bias: from `mask_and_bias`; ignored where `causal` says that the mask is plain.
        causal: the causal mask is all there is.
        past_only: row i sees no key past i, whatever else the bias says.
        slots: (query,) index of each query into the key axis.

    Shapes: queries (batch, heads, query, head_dim), keys and values (batch,
    key_value_heads, key, head_dim), result as queries.
    """
    scale = position.softmax_scale or queries.shape[-1] ** -0.5
    group = queries.shape[1] // keys.shape[1]
    if group > 1:
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    score = position.score(queries, keys, tables, state)
    if position.whole_row is not None:
        visible = torch.isfinite(bias) if bias is not None else _all(queries, keys)
        total = _added(bias, score)
        return position.attend(queries, keys, values, tables, state, visible, total)
    fits = score is None and (bias is None or causal or bias.dtype is queries.dtype)
    if fits and kernel != "plain":
        mask = None if causal else bias
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=causal, scale=scale
        )
    return plain_attention(queries * scale, keys, values, bias, score, slots, past_only)


def _distance_bias(position: Sum, geometry: Geometry) -> Tensor | None:
    """Return the bias of distances, (batch or 1, heads, query, key) float32, or None.

    Where positions are consecutive there are only 2T-1 distances: each is evaluated
    once, and every row of the matrix is a window on that list.
    """
    if not position.has_distance_bias:
        return None
    keys = geometry.key_positions.shape[1]
    device = geometry.key_positions.device
    if geometry.consecutive and geometry.whole:
        distances = torch.arange(keys - 1, -keys, -1, device=device)
        rows = position.distance_bias(distances).unfold(-1, keys, 1)  # last query first
        return rows.flip(1)[None]
    if geometry.consecutive:
        slots = torch.arange(keys, device=device)
        return position.distance_bias(geometry.query_slots[:, None] - slots)[None]
    return position.distance_bias(geometry.distances()).transpose(0, 1)


def _all(queries: Tensor, keys: Tensor) -> Tensor:
    shape = (1, 1, queries.shape[2], keys.shape[2])
    return torch.ones(shape, dtype=torch.bool, device=queries.device)


def _added(bias: Tensor | None, score):
    """Return the score function that also adds a bias, for whole-row embeddings."""
    if bias is None:
        return score
    finite = bias.masked_fill(bias == float("-inf"), 0.0)

    def total(value: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        value = value if score is None else score(value, batch, head, query, key)
        return value + finite

    return total
