"""The order of rotated dimensions in a head: interleaved pairs, or the halves of other programs.

wordorder rotates dimensions (0, 1), (2, 3), ... of a head as pairs. Other programs pair dimension i
of n rotated ones with i + n/2. For the same embedding, rows are then permuted in the projections of
queries and keys, in their biases and in the weights of their norms.
"""

from __future__ import annotations

from torch import Tensor

from wordorder.positions import Rotary

# Linear scaling by this factor rotates position 10,000 by at most 1e-8 radians. Cosines are then
# exactly 1 in float32, so a class that always rotates ignores positions.
POSITION_FREE_FACTOR = 1e12
TURNED = ("attention.query.", "attention.key.", "attention.query_norm.", "attention.key_norm.")


def turned_dimensions(rotary: Rotary | None) -> int:
    """Return how many leading dimensions of a head are stored in interleaved pairs."""
    if rotary is None or rotary.layout == "half":
        return 0
    return rotary.shape.head_dim if rotary.proportional else 2 * rotary.pairs


def half_split(rows: Tensor, head_dim: int, turned: int, *, inverse: bool = False) -> Tensor:
    """Return rows of heads with their first `turned` dimensions in half-split order.

    For turned = 6 of head_dim = 8:  0 1 2 3 4 5 6 7  ->  0 2 4 1 3 5 6 7

    Shapes: rows (heads * head_dim, ...), a projection's weight or bias, or one head's norm.

    Args:
        inverse: from half-split order back to interleaved pairs.
    """
    order = [*range(0, turned, 2), *range(1, turned, 2), *range(turned, head_dim)]
    if inverse:
        order = sorted(range(head_dim), key=order.__getitem__)
    heads = rows.reshape(-1, head_dim, *rows.shape[1:])
    return heads[:, order].reshape(rows.shape)


def in_halves(layer: dict[str, Tensor], rotary: Rotary | None, head_dim: int) -> dict[str, Tensor]:
    """Return a layer's weights with the rotated dimensions in half-split order."""
    turned = turned_dimensions(rotary)
    return {
        name: half_split(value, head_dim, turned) if name.startswith(TURNED) else value
        for name, value in layer.items()
    }


def in_pairs(layer: dict[str, Tensor], rotary: Rotary | None, head_dim: int) -> dict[str, Tensor]:
    """Return a layer's weights with the rotated dimensions in pairs: undoes `in_halves`."""
    turned = turned_dimensions(rotary)
    return {
        name: half_split(value, head_dim, turned, inverse=True)
        if name.startswith(TURNED)
        else value
        for name, value in layer.items()
    }
