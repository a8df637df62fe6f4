"""The interface of every positional embedding: `Position`.

Positions are data, and a positional embedding is a function of them. It enters the
transformer through one of four doors: the input, the queries and keys, the scores, or the
whole row of attention. `Position` has hooks for these doors. By default each hook does
nothing, so the base class behaves as `none`; an embedding overrides one or two of them.
`TokenLayout` (layout.py) describes the sequence to the hooks.

Nothing here depends on the rest of wordorder: an embedding works in any transformer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .defaults import Follows
from .layout import TokenLayout
from .shape import ModelShape

Tables = Any  # what `prepare` returns: angles, a bias by distance, or None
State = Any  # tensors with time on axis 1, cached beside keys and values
Score = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

# The hooks of each door; `Position.active_hooks` returns those that an embedding overrides.
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

# Old names of hooks and facts, and their new names. An old name in a subclass would be silently
# ignored, so defining one raises an error.
RENAMED = {
    "rotate_queries": "transform_queries",
    "rotate_keys": "transform_keys",
    "place": "sample_positions",
    "pinned": "resolved_options",
    "longest": "max_position",
    "farthest_fed": "max_training_position",
}


class PositionError(ValueError):
    """A spec, an option or a position is invalid for an embedding.

    Args:
        code: identifies the message in tests and programs, such as `positions.rotary-base`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Position(nn.Module):
    """Base class of every positional embedding; by itself it behaves as `none`.

    The constructor is the configuration: `__init__(self, shape, /, *, option=default)`
    stores every option under its own name. Subclass `Position` directly; do not subclass an
    existing embedding: wrap it.

    Facts are class attributes, or properties where they depend on options:
        summary: one sentence.
        source: paper, section, equation.
        formula: plain text, printed in a terminal.
        traps: common mistakes in implementing or using it, a sentence or two each.
        door: "none", "input", "query-key", "score" or "row".
        absolute: the embedding depends on positions themselves, not only on differences.
        shift_invariant: adding one number to all positions changes nothing.
        additive: `score` adds a term that does not depend on the score it is passed.
        static_rotation: a rotated key changes only if its position does.
        product_only: transformed queries and keys are meaningful only in their dot product:
            each has a factor that cancels there, or is wider than a head.
        reads_vectors: it uses queries or keys by themselves, not only in their product; or its
            transform is not a complex factor for each pair of neighbouring dimensions. Such an
            embedding cannot follow one that is `product_only`.
        widest: the largest difference of query positions in one forward pass; None: no limit.
            A longer sequence is processed in pieces, with a cache.
        shared: one instance with its parameters serves all layers.
        tells_order: without other embeddings it distinguishes permutations of the same tokens.
            False if it only counts keys or only changes the positions used in training.
        task_positions: it takes the positions that a task provides for its examples.
        order_leak: a clause inserted into messages, naming a component that reveals order
            without positions, such as a convolution; "" if there is none.
        follows: options whose default, 0, means "computed from the trained length".
        matrices: names of the parameters that multiply hidden states; they are trained as
            the model's matrices are (with Muon).
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
    product_only: bool = False
    reads_vectors: bool = False
    widest: int | None = None
    shared: bool = False
    tells_order: bool = True
    task_positions: bool = False
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
                raise PositionError(
                    f"{cls.__name__}.{old} is now called {new}: rename it",
                    code="positions.renamed-hook",
                )

    def __setattr__(self, name: str, value: Any) -> None:
        existing = getattr(Position, name, None)
        if callable(existing) or isinstance(existing, property):
            raise PositionError(
                f"{type(self).__name__} sets self.{name}, but {name} is an attribute of Position: "
                "rename the option or weight",
                code="positions.reserved-attribute",
            )
        super().__setattr__(name, value)

    @property
    def max_position(self) -> int | None:
        """The largest position this embedding can represent, or None if there is no limit."""
        return None

    @property
    def max_training_position(self) -> int | None:
        """The largest position used in training for a sequence of the trained length.

        None if `sample_positions` does not change positions.
        """
        return None

    @classmethod
    def word_scale(cls, width: int) -> float | None:
        """Return the multiplier of word vectors in the embedding's paper, or None.

        A model whose configuration sets no multiplier uses this one; if it is None, the
        model's default.
        """
        return None

    @property
    def softmax_scale(self) -> float | None:
        """The factor of q.k in the scores; None: 1/sqrt(score_dim) of its shape."""
        return None

    @classmethod
    def options(cls) -> Mapping[str, Any]:
        """Return the options and their defaults, read from the constructor."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    @classmethod
    def required_options(cls) -> list[str]:
        """Return the names of the constructor's keyword-only arguments without a default."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]

    def resolved_options(self) -> Mapping[str, Any]:
        """Return the values of options that were 0 and so depend on the trained length.

        Written into the spec, they keep the embedding the same at another trained length.
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
        """Return the doors in `DOORS` through which this embedding enters a model."""
        active = cls.active_hooks()
        return tuple(door for door, hooks in DOORS.items() if active & set(hooks))

    # Once per forward pass.

    def prepare(self, layout: TokenLayout) -> Tables:
        """Return tables that all layers with this instance share in one forward pass."""
        return None

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        """Return the positions to use in training; evaluation uses plain positions.

        Shapes: positions (batch or 1, time) int64; a single row applies to every sequence of the
        batch. The result has the same layout, as integers or float64.
        """
        return positions

    # Door 1: the input.

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """Return word embeddings (batch, time, width) combined with positions."""
        return x

    # Door 2: queries and keys, before their dot product.

    def transform_queries(self, queries: Tensor, tables: Tables, state: State) -> Tensor:
        """Return queries (batch, heads, query, head_dim) combined with positions.

        The last axis may come out wider, if `transform_keys` widens keys equally.
        """
        return queries

    def transform_keys(self, keys: Tensor, tables: Tables, state: State) -> Tensor:
        """Return keys (batch, key_value_heads, key, head_dim) combined with positions.

        If each query head transforms its keys differently, the result has `heads` heads.
        """
        return keys

    # Door 3: the scores, from the most specific form to the most general.

    def slopes(self) -> Tensor | None:
        """Return m (heads,) float32 if the bias is -m * distance, else None."""
        return None

    def distance_bias(self, distance: Tensor) -> Tensor | None:
        """Return the bias (heads, *distance.shape) float32, or None.

        Args:
            distance: query position minus key position; positive for past keys. Integers, or
                floats where positions are fractional.
        """
        return None

    def score(self, queries: Tensor, keys: Tensor, tables: Tables, state: State) -> Score | None:
        """Return an elementwise function of scores, or None.

        The function is called as (score, batch, head, query_index, key_index): with index
        grids that broadcast on a CPU, and with scalars inside a fused kernel. `score` is
        scaled already. `query_index` counts along the key axis, cached keys included; it is not
        a row of `queries`. For an `additive` embedding it may be 0 instead of the actual score,
        and the result is then used as a bias.
        """
        return None

    # Door 4: the whole row of attention.

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: Tables,
        state: State,
        may_attend: Tensor,
        score: Score | None,
        query_indices: Tensor,
    ) -> Tensor | None:
        """Return the output of attention (batch, heads, query, head_dim), or None.

        Long sequences are passed in pieces: some queries at a time, with all keys.

        Args:
            may_attend: (batch or 1, 1, query, key) bool, the mask.
            score: the score function of the layer's other embeddings, or None.
            query_indices: (query,) int64, index of each of these queries into the key axis.
        """
        return None

    # Cached beside keys and values.

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> State:
        """Return the state of the new tokens: None, or tensors with time on axis 1.

        Args:
            x: the layer's normalised input (batch, query, width).
            previous: the cached state of all earlier tokens; None at the start.
        """
        return None


@runtime_checkable
class Resettable(Protocol):
    """An embedding with parameters, which sets their initial values."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set every parameter to its initial value, drawn with the generator."""


def upcast(x: Tensor) -> Tensor:
    """Return x in float64 if it is float64, else in float32: the dtype of position math."""
    return x if x.dtype == torch.float64 else x.float()
