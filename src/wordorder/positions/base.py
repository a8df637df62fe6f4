"""The one interface that every positional embedding fits.

Positions are data; a positional embedding is a function of them; it enters the
transformer through one of four doors: the input, the queries and keys, the scores,
or the whole row of attention. `Position` holds the hooks of these doors, each doing
nothing by default, so that `none` is the base behaviour itself and an embedding
overrides one or two. `TokenLayout` (layout.py) is what a hook may know of a sequence.

Nothing here depends on the rest of wordorder: an embedding works in any transformer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .defaults import Follows
from .layout import TokenLayout
from .shape import ModelShape

Tables = Any  # whatever `prepare` returns: angles, a bias by distance, nothing
State = Any  # tensors with time on axis 1, cached beside keys and values
Score = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

# The hooks of each door. Which of them an embedding uses, `Position.active_hooks` says.
DOORS: dict[str, tuple[str, ...]] = {
    "input": ("embed",),
    "query-key": ("transform_queries", "transform_keys"),
    "score": ("slopes", "distance_bias", "score"),
    "row": ("attend",),
}
HOOKS = (
    *(hook for hooks in DOORS.values() for hook in hooks),
    "prepare",
    "state",
    "sample_positions",
)

# Hooks and facts that had other names in earlier versions.
RENAMED = {
    "rotate_queries": "transform_queries",
    "rotate_keys": "transform_keys",
    "place": "sample_positions",
    "pinned": "resolved_options",
    "longest": "max_position",
    "farthest_fed": "max_training_position",
}


class PositionError(ValueError):
    """A spec, an option or a position that an embedding cannot take.

    Args:
        code: identifies the message in tests and programs, as in `rotary.odd-head`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Position(nn.Module):
    """Base of every positional embedding, and the embedding `none` in all but name.

    The constructor is the configuration: `__init__(self, shape, /, *, option=default)`
    stores every option under its own name. `Position` is abstract, each embedding
    final: to change one, wrap it.

    Facts are class attributes (or properties where they depend on options):
        summary, source: one sentence; paper, section, equation.
        formula, traps: to be read in a terminal; what goes wrong in practice.
        door: "none", "input", "query-key", "score" or "row".
        absolute: sees positions themselves; otherwise only their differences.
        shift_invariant: adding one number to all positions changes nothing.
        additive: its score is the score plus something independent of the score.
        static_rotation: a rotated key never changes while its position does not.
        shared: one instance with its parameters serves all layers.
        order_leak: what in it shows order beside positions, such as a convolution; "": nothing.
        follows: the options that follow from the trained length where they are 0.
        matrices: parameters that multiply hidden states: trained as the model's matrices are.
    """

    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    traps: ClassVar[tuple[str, ...]] = ()
    door: ClassVar[str] = "none"
    absolute: bool = False
    shift_invariant: bool = True
    additive: bool = True
    static_rotation: bool = False
    shared: bool = False
    order_leak: str = ""
    follows: ClassVar[tuple[Follows, ...]] = ()
    matrices: tuple[str, ...] = ()

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__()
        self.shape = shape

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for old, new in RENAMED.items():
            if old in vars(cls):
                raise PositionError(f"{cls.__name__}.{old} is called {new} now: rename it")

    def __setattr__(self, name: str, value: Any) -> None:
        taken = getattr(Position, name, None)
        if callable(taken) or isinstance(taken, property):
            raise PositionError(
                f"{type(self).__name__} sets self.{name}, and every Position has a {name} that "
                "means something else: give the option or weight another name"
            )
        super().__setattr__(name, value)

    @property
    def max_position(self) -> int | None:
        """The largest position this embedding can represent; None: no limit."""
        return None

    @property
    def max_training_position(self) -> int | None:
        """The largest position that training feeds for a sequence of the trained length.

        None: `sample_positions` does not change it.
        """
        return None

    @classmethod
    def word_scale(cls, width: int) -> float | None:
        """Return what its source multiplies word vectors by before positions are added.

        A model that is asked for no multiplier takes this one; None: the model's own.
        """
        return None

    @property
    def softmax_scale(self) -> float | None:
        """What attention multiplies q.k by; None: 1/sqrt(head_dim)."""
        return None

    @classmethod
    def options(cls) -> Mapping[str, Any]:
        """Return the options and their defaults, read from the constructor."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def resolved_options(self) -> Mapping[str, Any]:
        """Return the options that stand for the trained length, with what they come to here.

        Written out, they hold where the trained length is another.
        """
        return {}

    def extra_repr(self) -> str:
        values = {name: getattr(self, name) for name in self.options()} | dict(
            self.resolved_options()
        )
        return ", ".join(f"{name}={value!r}" for name, value in values.items())

    @classmethod
    def active_hooks(cls) -> frozenset[str]:
        """Return the names in `HOOKS` that this embedding overrides."""
        return frozenset(h for h in HOOKS if getattr(cls, h) is not getattr(Position, h))

    @classmethod
    def active_doors(cls) -> tuple[str, ...]:
        """Return the doors, of `DOORS`, through which this embedding enters a model."""
        active = cls.active_hooks()
        return tuple(door for door, hooks in DOORS.items() if active & set(hooks))

    # -- what runs once per forward pass --------------------------------------------

    def prepare(self, layout: TokenLayout) -> Tables:
        """Return what all layers with this instance share in one forward pass."""
        return None

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        """Return the positions that training feeds; evaluation feeds plain ones.

        Shapes: positions and the result are (batch or 1, time) int64: one row stands for every
        sequence of the batch.
        """
        return positions

    # -- door 1: the input -----------------------------------------------------------

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """Return word embeddings (batch, time, width) with positions worked in."""
        return x

    # -- door 2: queries and keys, before their dot product ---------------------------

    def transform_queries(self, queries: Tensor, tables: Tables, state: State) -> Tensor:
        """Return queries (batch, heads, query, head_dim) with positions worked in."""
        return queries

    def transform_keys(self, keys: Tensor, tables: Tables, state: State) -> Tensor:
        """Return keys (batch, key_value_heads, key, head_dim) with positions worked in.

        Where every query head turns its keys in its own way, there may come as many heads.
        """
        return keys

    # -- door 3: the scores, from the most special form to the most general -------------

    def slopes(self) -> Tensor | None:
        """Return (heads,) float32 m where the bias is -m * distance; None otherwise."""
        return None

    def distance_bias(self, distance: Tensor) -> Tensor | None:
        """Return the bias (heads, *distance.shape) float32 of integer distances, or None.

        `distance` is query position minus key position: positive looks back.
        """
        return None

    def score(self, queries: Tensor, keys: Tensor, tables: Tables, state: State) -> Score | None:
        """Return an elementwise function of scores, or None.

        It is called as (score, batch, head, query_index, key_index), on broadcast index
        grids on a CPU and on scalars inside a fused kernel; `score` is already scaled
        and real unless the embedding is `additive`, when it may be zero and the result
        is used as a bias.
        """
        return None

    # -- door 4: the whole row -----------------------------------------------------------

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: State,
        visible: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor | None:
        """Return (batch, heads, query, head_dim) in place of attention, or None.

        Long texts come in pieces: some queries at a time, with all keys.

        Args:
            visible: (batch or 1, 1, query, key) bool, which keys each query may attend to.
            score: what the other embeddings of this layer do to the scores, or None.
            query_indices: (query,) int64, index of each of these queries into the key axis.
        """
        return None

    # -- what is cached beside keys and values ---------------------------------------------

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> State:
        """Return per-token state of the new tokens, every tensor with time on axis 1.

        Args:
            x: the layer's normalised input (batch, query, width).
            previous: the state cached for the tokens before these, None at the start.
        """
        return None


def upcast(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it is: the dtype that positions are worked in."""
    return x if x.dtype == torch.float64 else x.float()
