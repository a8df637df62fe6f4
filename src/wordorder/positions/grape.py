"""GRAPE: queries and keys are rotated by exp(p w L), with learned frequencies and planes.

Rotary rotates fixed pairs of dimensions at fixed frequencies. In general a rotation that grows with
the position p is exp(p w L), where L is a skew-symmetric matrix. With L = a b' - b a' it rotates
the plane of the vectors a and b, and leaves what is perpendicular to it unchanged. Several such
rotations in perpendicular parts of a head commute, so that the product of a query and a key depends
on their distance alone. Rotary is the case of one plane for every two dimensions.

An orthogonal change of basis can be moved into the projections of queries and keys (except for the
weights of QK-norm), so N learned planes are equivalent to rotary on N pairs. What GRAPE adds to
rotary is that frequencies are learned.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import defaults
from .angles import exact
from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .rotary import Rotation, rotate
from .shape import ModelShape


class PlaneRotation(NamedTuple):
    """The rotation of planes by position.

    Args:
        rotation: cosines and sines, (batch, heads, time, planes) float32.
        axes: orthonormal vectors of each plane, two of (heads, planes, block) float32, where
            each plane has a block of dimensions; None: the two dimensions of its block.
    """

    rotation: Rotation
    axes: tuple[Tensor, Tensor] | None


class Grape(Position):
    """Rotates queries and keys by exp(p w L), with learned frequencies w and planes of L.

    A head is cut into as many blocks of neighbouring dimensions as it has planes. In each block
    the plane of two learned vectors rotates, at a learned frequency. A plane that fills its block
    of two dimensions has no vectors to learn. Heads and layers learn their own.

    Args:
        planes: planes per head, a divisor of the head size; 0: one for every two dimensions,
            with which the first values are rotary's.
        base: frequencies start as base^(-i/planes) for plane i; 0: scaled with the trained
            length, as in rotary; the paper uses 10,000. With fewer planes than pairs of
            dimensions head h of H starts at base^(-(i + h/H)/planes), so that the heads together
            cover the frequencies.
        learned: train the frequencies; the vectors are always trained.

    Raises:
        PositionError: an odd head size, a negative base, or planes that do not divide the head
            into blocks of at least two dimensions.

    Source: Zhang et al. 2025, "Group Representational Position Encoding" (arXiv 2512.07805),
    sections 2 and 3: G(n) = exp(n w L) = I + sin(n w) L - (1 - cos(n w)) P for L = a b' - b a'
    with orthonormal a and b, whose plane P projects to; the authors' code learns the logarithm
    of w, shared by heads, in planes of two fixed dimensions.
    Not here: planes that are not perpendicular, whose rotations do not commute; frequencies that
    depend on the token; the additive biases of the same paper, of which ALiBi and the forgetting
    gate are special cases.
    """

    summary = "Rotates queries and keys by exp(p ω L), with learned frequencies and planes."
    source = "Zhang et al. 2025 (arXiv 2512.07805), sections 2 and 3"
    door = "query-key"
    static_rotation = True
    formula = (
        "x′ at position p = exp(p ω L) x,  L = a bᵀ − b aᵀ for each block of a head, so that\n"
        "x′ = x + sin(p ω) (a (b·x) − b (a·x)) − (1 − cos(p ω)) (a (a·x) + b (b·x))\n"
        "with a, b made orthonormal;  q′ᵢ · k′ⱼ = qᵢᵀ exp((j − i) ω L) kⱼ"
    )
    traps = (
        "L rotates from b to a, in the opposite direction from rotary: weights are not "
        "interchangeable unless the two dimensions of each pair are swapped.",
        "The lengths of a and b scale the frequency too: here they are orthonormal, and ω alone "
        "counts.",
        "The gradient of a frequency is multiplied by the position: far from 0 a small step "
        "changes many angles at once.",
        "Angles of learned frequencies must be computed in float64, like those of fixed ones.",
        "Frequencies are per query head: with grouped queries each key is rotated once for every "
        "query head that uses it.",
    )
    follows = (defaults.FOLLOWS_BASE,)

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        planes: int = 0,
        base: float = 0.0,
        learned: bool = True,
    ) -> None:
        super().__init__(shape)
        if shape.head_dim % 2:
            raise PositionError(
                f"grape rotates planes, so the head size {shape.head_dim} must be even: choose "
                "another --head-dim",
                code="positions.grape-head-size",
            )
        count = planes or shape.head_dim // 2
        if planes < 0 or shape.head_dim % count or shape.head_dim // count < 2:
            raise PositionError(
                f"grape: planes={planes} must divide the head size {shape.head_dim} into blocks "
                f"of 2 dimensions or more; 0 takes {shape.head_dim // 2}",
                code="positions.grape-planes",
            )
        if not base >= 0:
            raise PositionError(
                f"grape: base={base} must be positive, or 0 to scale it with the trained length; "
                "the paper uses 10000",
                code="positions.grape-base",
            )
        self.planes = planes
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.learned = learned
        self.log_frequencies = nn.Parameter(torch.empty(shape.heads, count), requires_grad=learned)
        self.block = shape.head_dim // count
        self.reads_vectors = self.block > 2  # a plane of more than two dimensions
        if self.block > 2:
            self.axes = nn.Parameter(torch.empty(2, shape.heads, count, self.block))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set frequencies to those of `base`, and draw the vectors of planes from N(0, 1)."""
        heads, planes = self.log_frequencies.shape
        exponent = torch.arange(planes, dtype=torch.float64, device="cpu").expand(heads, planes)
        if self.block > 2:
            nn.init.normal_(self.axes, generator=generator)
            head = torch.arange(heads, dtype=torch.float64, device="cpu")
            exponent = exponent + head[:, None] / heads
        base = torch.tensor(self.resolved_base, dtype=torch.float64, device="cpu")
        self.log_frequencies.copy_(-exponent / planes * base.log())

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base}

    def prepare(self, layout: TokenLayout) -> tuple[PlaneRotation, PlaneRotation]:
        axes = None
        if self.block > 2:
            first, second = upcast(self.axes)
            first = F.normalize(first, dim=-1)
            along = (first * second).sum(-1, keepdim=True)
            axes = first, F.normalize(second - along * first, dim=-1)
        return layout.at_both(lambda positions: PlaneRotation(self.rotation(positions), axes))

    def rotation(self, positions: Tensor) -> Rotation:
        """Return the cosines and sines at positions (batch, time)."""
        angles = exact(positions)[:, None, :, None]
        angles = angles * exact(self.log_frequencies).exp()[:, None]  # (batch, heads, time, planes)
        dtype = upcast(self.log_frequencies).dtype
        cosine, sine = (
            each.to(dtype).to(positions.device) for each in (angles.cos(), -angles.sin())
        )
        eager = positions.is_cpu and not torch.compiler.is_compiling()
        return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)

    def transform_queries(
        self, queries: Tensor, tables: tuple[PlaneRotation, PlaneRotation], state: State
    ) -> Tensor:
        return turned(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[PlaneRotation, PlaneRotation], state: State
    ) -> Tensor:
        """Return rotated keys with as many heads as queries, because planes are per head."""
        keys = keys.repeat_interleave(self.shape.heads // keys.shape[1], 1)
        return turned(keys, tables[1])


def turned(x: Tensor, turn: PlaneRotation) -> Tensor:
    """Return x with its planes rotated.

    Shapes: x (batch, heads, time, head_dim); the result has its shape and dtype.
    """
    if turn.axes is None:
        return rotate(x, turn.rotation)
    cosine, sine, _ = turn.rotation
    wide = upcast(x)
    first, second = (axis.to(wide.dtype) for axis in turn.axes)
    blocks = wide.unflatten(-1, first.shape[1:])  # (batch, heads, time, planes, block)
    u, v = (torch.einsum("bhtpd,hpd->bhtp", blocks, axis) for axis in (first, second))
    # What is added along each axis, so that what is perpendicular to the plane stays exact.
    along_first, along_second = u * (cosine - 1) - v * sine, v * (cosine - 1) + u * sine
    added = torch.einsum("bhtp,hpd->bhtpd", along_first, first)
    added = added + torch.einsum("bhtp,hpd->bhtpd", along_second, second)
    return (blocks + added).flatten(-2).to(x.dtype)
