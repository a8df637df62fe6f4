"""FoPE, Fourier position embedding: each pair's cosine and sine are sums of many frequencies.

Layers mix the frequencies of rotary: after a nonlinearity a dimension no longer has one
frequency. FoPE begins with mixtures. In place of cos(p f_i), pair i has a weighted sum of the
cosines of all frequencies, in which its own has weight one and the others small random weights;
likewise the sine. A pair that is too slow to complete a turn within the trained length would show
training only part of that turn, so it does not depend on positions at all.

A mixture is not a rotation: the product of a query and a key depends mostly, but not only, on
their distance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import defaults
from .angles import cos_sin, turning
from .base import Position, PositionError, State, upcast
from .layout import TokenLayout
from .rotary import Rotation, rotate
from .shape import ModelShape


class Fope(Position):
    """Rotary whose cosines and sines are sums over all frequencies that turn.

    Args:
        base: frequencies are base^(-2i/d) for pair i; 0: scaled with the trained length, as in
            rotary; the paper uses 10,000.
        gain: the weights of other frequencies have standard deviation gain / sqrt(F) at the
            start, for F frequencies; 0 gives rotary without its slow pairs. The authors use
            0.3 to 0.6, with larger values for larger models.
        learned: train the weights; the authors keep their random initial values.
        period: pairs that need more positions than this for a full turn are constant; 0: the
            trained length.

    Raises:
        PositionError: an odd head size; a negative base, gain or period.

    Source: Hua et al. 2024, "Fourier Position Embedding", section 4: h_i(p) =
    exp(i p f_i) + sum_j a_j exp(i p f_j), or 1 if f_i < 2 pi / period. As in the authors' code,
    cosine and sine have weights of their own, for each head of each layer.
    Not here: more frequencies than pairs; the authors' code lets at most half of the pairs
    turn, and gives constant pairs a sine of 1 too, which doubles their product.
    """

    summary = "Rotary whose cosines and sines are sums over frequencies; slow pairs are constant."
    source = "Hua et al. 2024 (arXiv 2412.17739), section 4"
    door = "query-key"
    absolute = True
    shift_invariant = False
    formula = (
        "pair i at position p, as one complex number:  z′ = z · (cᵢ(p) + 𝑖 sᵢ(p))\n"
        "cᵢ(p) = Σⱼ Cᵢⱼ cos(p fⱼ),  sᵢ(p) = Σⱼ Sᵢⱼ sin(p fⱼ),  C, S = 1 + noise, per head\n"
        "fⱼ = base^(−2j/d) ≥ 2π/period;  slower pairs have c = 1, s = 0"
    )
    traps = (
        "Products depend on positions themselves, not on distances alone: moving a sequence "
        "changes them slightly.",
        "The weights are random but fixed: save them with the model, because drawing them again "
        "breaks it.",
        "The trained length decides which pairs are constant, not the length of a longer sequence "
        "at inference.",
        "Every head mixes differently, so grouped keys are mixed once for every query head.",
    )
    follows = (
        defaults.FOLLOWS_BASE,
        defaults.Follows("period", "the trained length"),
    )

    def __init__(
        self,
        shape: ModelShape,
        /,
        *,
        base: float = 0.0,
        gain: float = 0.3,
        learned: bool = False,
        period: int = 0,
    ) -> None:
        super().__init__(shape)
        if shape.head_dim % 2:
            raise PositionError(
                f"fope rotates pairs of dimensions, so the head size {shape.head_dim} must be "
                "even: choose another --head-dim",
                code="positions.fope-head-size",
            )
        if not base >= 0 or not gain >= 0 or period < 0:
            raise PositionError(
                f"fope: base={base}, gain={gain} and period={period} must be positive; base=0 and "
                "period=0 follow the trained length, gain=0 mixes nothing",
                code="positions.fope-option",
            )
        self.base = base
        self.resolved_base = base or defaults.rotary_base(shape.trained_length)
        self.gain = gain
        self.learned = learned
        self.period = period
        self.resolved_period = period or shape.trained_length
        # Python floats, which .to(), the meta device and tracing cannot change.
        self.turning = tuple(self._turning())
        count = len(self.turning)
        sizes = shape.heads, count, count  # [head, pair, frequency]
        self.cosine_weights = nn.Parameter(torch.empty(sizes), requires_grad=learned)
        self.sine_weights = nn.Parameter(torch.empty(sizes), requires_grad=learned)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, gain^2 / F), and add 1 to that of a pair's own frequency."""
        for weights in (self.cosine_weights, self.sine_weights):
            count = weights.shape[-1]
            nn.init.normal_(weights, std=self.gain * count**-0.5, generator=generator)
            weights.diagonal(dim1=-2, dim2=-1).add_(1.0)

    def resolved_options(self) -> dict[str, float]:
        return {"base": self.resolved_base, "period": self.resolved_period}

    def frequencies(self) -> Tensor:
        """Return the frequencies of pairs that turn, (F,) float64 on the CPU, descending."""
        return torch.tensor(self.turning, dtype=torch.float64, device="cpu")

    def _turning(self) -> list[float]:
        exponent = torch.arange(0, self.shape.head_dim, 2, dtype=torch.float64, device="cpu")
        every = self.resolved_base ** (-exponent / self.shape.head_dim)
        return every[: turning(every, self.resolved_period)].tolist()

    def mixtures(self, positions: Tensor) -> Rotation:
        """Return the cosines and sines of pairs, (batch, heads, time, F), at (batch, time)."""
        cosine, sine = cos_sin(positions[..., None], self.frequencies())
        of_cosines, of_sines = upcast(self.cosine_weights), upcast(self.sine_weights)
        cosine = cosine[:, None].to(of_cosines.dtype) @ of_cosines.mT
        sine = sine[:, None].to(of_sines.dtype) @ of_sines.mT
        eager = positions.is_cpu and not torch.compiler.is_compiling()
        return Rotation(cosine, sine, torch.complex(cosine, sine) if eager else None)

    def prepare(self, layout: TokenLayout) -> tuple[Rotation, Rotation]:
        return layout.at_both(self.mixtures)

    def transform_queries(
        self, queries: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        return rotate(queries, tables[0])

    def transform_keys(
        self, keys: Tensor, tables: tuple[Rotation, Rotation], state: State
    ) -> Tensor:
        """Return mixed keys with as many heads as queries, because mixtures are per head."""
        keys = keys.repeat_interleave(self.shape.heads // keys.shape[1], 1)
        return rotate(keys, tables[1])
