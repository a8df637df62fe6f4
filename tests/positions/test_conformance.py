"""The kit passes what is right and names what is wrong: one broken toy for each property."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from wordorder.positions import (
    CATALOGUE,
    ModelShape,
    Position,
    PositionError,
    Rotary,
    TokenLayout,
)
from wordorder.positions.conformance import CHECKS, check
from wordorder.positions.rotary import rotate, rotation

SUMS = ["learned+alibi", "rotary/none", "rotary+alibi"]
BOTH_WAYS = [f"rotary:{options}" for options in ("base=50", "fraction=0.5", "layout=half")]
BOTH_WAYS += ["rotary:fraction=0.5,proportional=true", "axial:columns=3", "axial:sections=[1,3]"]
CAUSAL_ONLY = {"xpos", "forgetting", "cope", "path", "self-extend", "stick-breaking"}
BOTH_WAYS += [name for name in CATALOGUE if name not in CAUSAL_ONLY]
BOTH_WAYS += ["rotary/none"]
# Checks whose result does not depend on the direction: run quickly for causal models only.
EITHER = "independent/options act/unshared/low precision/movable/stateless/initialised/sampling"
OF_A_DIRECTION = tuple(name for name in CHECKS if name not in [*EITHER.split("/"), "hooks"])


@pytest.mark.parametrize("spec", [*CATALOGUE, *SUMS])
def test_every_embedding_of_the_catalogue_holds(spec: str) -> None:
    assert (report := check(spec)).holds, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [1, 8, 12])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spec", CATALOGUE)
def test_it_holds_for_other_heads_and_directions(spec: str, heads: int, causal: bool) -> None:
    try:
        CATALOGUE[spec](ModelShape(heads, 8, causal=causal))
    except PositionError as error:
        pytest.skip(str(error))
    report = check(spec, heads=(heads,), causal=causal)
    assert report.holds, str(report)


@pytest.mark.parametrize("spec", BOTH_WAYS)
@pytest.mark.parametrize("only", [OF_A_DIRECTION, pytest.param((), marks=pytest.mark.slow)])
def test_it_holds_in_bidirectional_models(spec: str, only: tuple[str, ...]) -> None:
    assert (report := check(spec, causal=False, only=only)).holds, str(report)


class Slots(Position):
    """Takes slots for positions: left padding and packing stand elsewhere."""

    door, shift_invariant = "input", True

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        places = layout.query_indices.to(x.dtype)
        return x + torch.sin(places[:, None] * torch.linspace(0.1, 1, x.shape[-1])).to(x.dtype)


class SlotDistances(Position):
    """A bias of the distance of slots: a gap in the positions is lost on it."""

    door = "score"

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: score - 0.3 * (query - key).abs()


class Restarting(Position):
    """A running sum that does not go on from what was cached."""

    door = "score"

    def state(self, x, layout, previous):
        return x[..., :1].sigmoid().cumsum(1)

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: (
            score + (state[batch, query, 0] - state[batch, key, 0])
        )


class Absolute(Position):
    """Declares that a shift changes nothing, and adds sines of the position."""

    door = "input"

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        places = layout.query_positions.double()[..., None]
        return x + torch.sin(places * torch.linspace(0.1, 1, x.shape[-1])).to(x.dtype)


class FirstRow(Position):
    """Takes the positions of the first row for everyone's."""

    door = "score"

    def prepare(self, layout: TokenLayout) -> Tensor:
        return layout.key_positions[:1]

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: (
            score - 0.3 * (tables[0, query] - tables[0, key])
        )


class Foreseeing(Position):
    """Adds a mean over the whole text."""

    door = "input"

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x + x.mean(1, keepdim=True)


class Remembering(Position):
    """A table that is kept in the dtype it was first asked for in."""

    door, shift_invariant = "input", False

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        most = int(layout.query_positions.max()) + 1
        if len(getattr(self, "table", ())) < most:
            self.table = torch.arange(most, dtype=x.dtype)[:, None].sin()
        return x + self.table[layout.query_positions].to(x.dtype)


class OneTable(Position):
    """A table of the class, made for the first one's base."""

    door, shift_invariant = "input", False
    tables: ClassVar[dict] = {}

    def __init__(self, shape: ModelShape, /, *, base: float = 10.0) -> None:
        super().__init__(shape)
        self.base = base

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        places = layout.query_positions.double()
        scale = self.tables.setdefault("scale", self.base)
        self.tables["scale"] = self.base
        return x + (places / scale).sin()[..., None].to(x.dtype)


class Rounding(Position):
    """Rotary whose positions are in the queries' dtype."""

    door = "query-key"

    def prepare(self, layout: TokenLayout) -> TokenLayout:
        return layout

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        places = positions.to(x.dtype)[..., None]
        return rotate(x, rotation(places, Rotary(self.shape).frequencies()))

    def transform_queries(self, queries, tables, state):
        return self.turned(queries, tables.query_positions)

    def transform_keys(self, keys, tables, state):
        return self.turned(keys, tables.key_positions)


class Buffered(Position):
    """Rotary with its frequencies in a buffer, which the meta device leaves empty."""

    door = "query-key"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.register_buffer("frequencies", Rotary(shape).frequencies(), persistent=False)

    def prepare(self, layout: TokenLayout):
        angles = layout.query_positions.double()[..., None] * self.frequencies
        return angles[:, None].cos().float(), angles[:, None].sin().float()

    def transform_queries(self, queries, tables, state):
        first, second = queries[..., ::2], queries[..., 1::2]
        cosine, sine = tables
        pairs = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack(pairs, -1).flatten(-2).to(queries.dtype)


class Unset(Position):
    """Parameters without a rule for their first values."""

    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.ones(shape.heads))

    def distance_bias(self, distance: Tensor) -> Tensor:
        return -self.weight.view(-1, *[1] * distance.dim()) * distance.abs()


class Detached(Unset):
    """Parameters that no slope reaches."""

    def reset_parameters(self, generator=None):
        self.weight.data.fill_(1.0)

    def distance_bias(self, distance: Tensor) -> Tensor:
        return super().distance_bias(distance).detach() + 0 * self.weight.sum()


class Multiplying(Position):
    """Declares that it adds, and multiplies."""

    door = "score"

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: score * (1.0 + head)


class WrongSlopes(Position):
    """Slopes of the other sign than its bias."""

    door = "score"

    def slopes(self) -> Tensor:
        return torch.ones(self.shape.heads)

    def distance_bias(self, distance: Tensor) -> Tensor:
        return self.slopes().view(-1, *[1] * distance.dim()) * distance.abs()


class Rows(Position):
    """Takes positions for the rows of a table."""

    door, absolute, shift_invariant = "input", True, False

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x + torch.eye(len(x[0, 0]))[layout.query_positions]


class Heedless(Position):
    """Attends to all before a query, whatever may be seen."""

    door = "row"

    def attend(self, queries, keys, values, tables, state, visible, score, slots):
        past = slots[:, None] >= torch.arange(keys.shape[2])
        return (queries @ keys.mT).masked_fill(~past, float("-inf")).softmax(-1) @ values


class Undeclared(Position):
    """Adds to the input, and declares no door."""

    absolute, shift_invariant = True, False

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x + layout.query_positions[..., None]


class Unstatic(Position):
    """Declares a static rotation, and turns slower in a longer context."""

    door, static_rotation = "query-key", True

    def prepare(self, layout: TokenLayout):
        return Rotary(self.shape, base=100.0 + layout.context_length).prepare(layout)

    def transform_queries(self, queries, tables, state):
        return rotate(queries, tables[0])

    def transform_keys(self, keys, tables, state):
        return rotate(keys, tables[1])


class Shuffled(Position):
    """Feeds positions out of order."""

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        order = torch.randperm(positions.shape[1], generator=generator)
        return positions[:, order]


class Gridded(Position):
    """Takes the first text's keys for every text, where it is asked for pairs one by one."""

    door = "score"

    def score(self, queries, keys, tables, state):
        def biased(score, batch, head, query, key):
            batch = batch if query.dim() else 0 * batch
            return score + keys[batch, 0, key, 0]

        return biased


class Idle(Position):
    """Goes through a door and does nothing."""

    door = "score"

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: score


class Precise(Position):
    """Gives back float32, whatever it was given."""

    door = "query-key"

    def transform_queries(self, queries, tables, state):
        return queries.float() * 1.5


class Ignoring(WrongSlopes):
    """Has an option that it stores and never reads."""

    def __init__(self, shape: ModelShape, /, *, sharpness: float = 1.0) -> None:
        super().__init__(shape)
        self.sharpness = sharpness


class ForLength(Position):
    """A table of the class that forgets for which trained length it was made."""

    door, shift_invariant, rates = "input", False, None

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        ForLength.rates = (
            self.rates if self.rates is not None else torch.tensor(1 / self.shape.trained_length)
        )
        return x + (layout.query_positions * self.rates).sin()[..., None].to(x.dtype)


class Dropping(Position):
    """A bias that is halved while training, as a badly placed dropout would."""

    door = "score"

    def distance_bias(self, distance: Tensor) -> Tensor:
        rate = 0.5 if self.training else 1.0
        return -rate * distance.abs().float().expand(self.shape.heads, *distance.shape)


BROKEN = {
    "training mode": Dropping,
    "hooks": Precise,
    "has effect": Idle,
    "cached": Restarting,
    "packed": Slots,
    "padded": Slots,
    "masked": SlotDistances,
    "shifted": Absolute,
    "positions alone": FirstRow,
    "fractional": Rows,
    "pair by pair": Gridded,
    "causal": Foreseeing,
    "windowed": Heedless,
    "stateless": Remembering,
    "independent": OneTable,
    "options act": Ignoring,
    "unshared": ForLength,
    "low precision": Rounding,
    "movable": Buffered,
    "initialised": Unset,
    "gradients": Detached,
    "sampling": Shuffled,
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_property_can_be_broken(name: str) -> None:
    report = check(BROKEN[name], only=(name,))
    assert report.broken == [name], str(report)
    (finding,) = report.findings
    assert finding.detail and f"({6} heads)" in finding.detail


@pytest.mark.parametrize("kind", [Multiplying, Undeclared, WrongSlopes, Unstatic, Gridded])
def test_each_fact_can_be_false(kind: type[Position]) -> None:
    assert check(kind, only=("facts",)).broken == ["facts"]


def test_a_bias_from_the_length_of_the_cache_has_every_property_but_one() -> None:
    assert check(SlotDistances).broken == ["masked"]


def test_every_property_is_broken_by_a_toy() -> None:
    assert {*BROKEN, "facts"} == set(CHECKS)


def test_options_of_a_class_are_given_as_arguments() -> None:
    assert check(Rotary, base=100.0, only=("cached",)).embedding == "Rotary:base=100"
    with pytest.raises(PositionError, match=r"base=-1.0") as caught:
        check(Rotary, base=-1.0)
    assert caught.value.code == "positions.rotary-base"
