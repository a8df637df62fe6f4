"""The one interface that every positional embedding fits.

Positions are data; a positional embedding is a function of them; it enters the
transformer through one of four doors: the input, the queries and keys, the scores,
or the whole row of attention. `Position` holds the hooks of these doors, each doing
nothing by default, so that `none` is the base behaviour itself and an embedding
overrides one or two. `Geometry` is what a hook may know of a sequence: three things
that most bugs of this field confuse are three fields here, positions (what the
embedding sees), slots (order and causality) and documents (the mask).

Nothing here depends on the rest of wordorder: an embedding works in any transformer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .defaults import Follows
from .shape import ModelShape

Tables = Any  # whatever `prepare` returns: angles, a bias by distance, nothing
State = Any  # tensors with time on axis 1, cached beside keys and values
Score = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class PositionError(ValueError):
    """A spec, an option or a position that an embedding cannot take."""


@dataclass(frozen=True)
class Geometry:
    """Where the tokens of one forward pass stand; made once, shared by all layers.

    Args:
        query_positions: (batch, query), what the embedding sees; integers, or floats
            where positions are interpolated; a last axis holds grid coordinates.
        key_positions: (batch, key), the same for the keys.
        query_slots: (query,) int64, index of each query into the key axis. Order and
            causality come from slots, never from positions.
        query_documents: (batch, query) int64 or None for one document; -1 is padding.
        key_documents: (batch, key), likewise.
        context_length: what length-dependent scaling divides by, fixed by the caller.
        causal: whether the future is hidden.
        consecutive: declares that positions step by one inside a document, so that for
            every visible pair the distance of positions is the distance of slots.
        trailing: declares that the queries are the last slots of the key axis.
    """

    query_positions: Tensor
    key_positions: Tensor
    query_slots: Tensor
    query_documents: Tensor | None = None
    key_documents: Tensor | None = None
    context_length: int = 0
    causal: bool = True
    consecutive: bool = False
    trailing: bool = False

    @classmethod
    def of(
        cls,
        positions: Tensor,
        documents: Tensor | None = None,
        *,
        context_length: int = 0,
        causal: bool = True,
        consecutive: bool = False,
    ) -> Geometry:
        """Return the geometry of whole sequences, where every token is query and key.

        Shapes: `positions` (batch, time), `documents` (batch, time) or None.
        """
        time = positions.shape[1]
        slots = torch.arange(time, device=positions.device)
        return cls(
            positions,
            positions,
            slots,
            documents,
            documents,
            context_length or time,
            causal,
            consecutive,
            trailing=True,
        )

    @property
    def whole(self) -> bool:
        """Whether every key is also a query: a forward pass without a cache."""
        return self.query_positions is self.key_positions

    def newest(self) -> Geometry:
        """Return the same queries with themselves as the only keys.

        This is what rotating only the new keys needs, when a cache keeps rotated ones.
        """
        if self.whole:
            return self
        slots = torch.arange(len(self.query_slots), device=self.query_slots.device)
        return replace(
            self,
            key_positions=self.query_positions,
            key_documents=self.query_documents,
            query_slots=slots,
            trailing=True,
        )

    def of_sequences(self, sequences: slice) -> Geometry:
        """Return the geometry of some rows of the batch; what all rows share stays."""

        def cut(each: Tensor | None) -> Tensor | None:
            return each if each is None or len(each) == 1 else each[sequences]

        return replace(
            self,
            query_positions=cut(self.query_positions),
            key_positions=cut(self.key_positions),
            query_documents=cut(self.query_documents),
            key_documents=cut(self.key_documents),
        )

    def distances(self) -> Tensor:
        """Return query position minus key position, (batch, query, key)."""
        return self.query_positions[:, :, None] - self.key_positions[:, None, :]

    def hides(self, window: int | None = None) -> bool:
        """Return whether any key is hidden from any query, as far as shapes tell."""
        single = self.trailing and len(self.query_slots) == 1
        keys = self.key_positions.shape[1]
        narrow = window is not None and keys > window
        return self.key_documents is not None or (self.causal and not single) or narrow

    def visible(
        self, window: int | None = None, rows: slice = slice(None), seen: slice = slice(None)
    ) -> Tensor:
        """Return which keys each query may attend to.

        Args:
            window: this layer's sliding window: a query sees at most this many slots,
                its own included; without `causal` as many on either side.
            rows, seen: only these queries and these keys.

        Shapes: (batch or 1, 1, query, key) bool. The mask comes from slots and
        documents, never from positions. A padding query sees itself alone, so that no
        row is empty and no softmax divides by zero.
        """
        device = self.key_positions.device
        query = torch.arange(len(self.query_slots), device=device)[None, rows, None]
        key = torch.arange(self.key_positions.shape[1], device=device)[seen]
        texts = 1 if self.query_documents is None else len(self.query_documents)
        sequence = torch.arange(texts, device=device)[:, None, None]
        return self.sees(sequence, query, key, window)[:, None]

    def sees(
        self, sequence: Tensor, query: Tensor, key: Tensor, window: int | None = None
    ) -> Tensor:
        """Return whether a query may attend to a key, bool: the rule of `visible`, pair by pair.

        Args:
            sequence, query, key: indices, as grids that broadcast, or scalars inside a fused
                kernel.
        """
        behind = self.query_slots[query] - key
        seen = behind >= 0 if self.causal else torch.ones_like(behind, dtype=torch.bool)
        if window is not None:
            seen = seen & (behind.abs() < window)
        if self.query_documents is None or self.key_documents is None:
            return seen
        source = self.key_documents[sequence, key]
        same = self.query_documents[sequence, query] == source
        return (seen & same & (source >= 0)) | (behind == 0)


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

    def __setattr__(self, name: str, value: Any) -> None:
        taken = getattr(Position, name, None)
        if callable(taken) or isinstance(taken, property):
            raise PositionError(
                f"{type(self).__name__} sets self.{name}, and every Position has a {name} that "
                "means something else: give the option or weight another name"
            )
        super().__setattr__(name, value)

    @property
    def longest(self) -> int | None:
        """The largest position this embedding can represent; None: no limit."""
        return None

    @property
    def farthest_fed(self) -> int | None:
        """The largest position that `place` feeds for a text of the trained length; None: as is."""
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

    def pinned(self) -> Mapping[str, Any]:
        """Return the options that stand for the trained length, with what they come to here.

        Written out, they hold where the trained length is another.
        """
        return {}

    def extra_repr(self) -> str:
        values = {name: getattr(self, name) for name in self.options()} | dict(self.pinned())
        return ", ".join(f"{name}={value!r}" for name, value in values.items())

    # -- what runs once per forward pass --------------------------------------------

    def prepare(self, geometry: Geometry) -> Tables:
        """Return what all layers with this instance share in one forward pass."""
        return None

    def place(self, positions: Tensor, generator: torch.Generator) -> Tensor:
        """Return the positions that training feeds; evaluation feeds plain ones."""
        return positions

    # -- door 1: the input -----------------------------------------------------------

    def embed(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Return word embeddings (batch, time, width) with positions worked in."""
        return x

    # -- door 2: queries and keys, before their dot product ---------------------------

    def rotate_queries(self, queries: Tensor, tables: Tables, state: State) -> Tensor:
        """Return queries (batch, heads, query, head_dim) with positions worked in."""
        return queries

    def rotate_keys(self, keys: Tensor, tables: Tables, state: State) -> Tensor:
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

        It is called as (score, batch, head, query_slot, key_slot), on broadcast index
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
        slots: Tensor,
    ) -> Tensor | None:
        """Return (batch, heads, query, head_dim) in place of attention, or None.

        Long texts come in pieces: some queries at a time, with all keys.

        Args:
            visible: (batch or 1, 1, query, key) bool, which keys each query may attend to.
            score: what the other embeddings of this layer do to the scores, or None.
            slots: (query,) int64, where these queries stand on the key axis.
        """
        return None

    # -- what is cached beside keys and values ---------------------------------------------

    def state(self, x: Tensor, geometry: Geometry, previous: State) -> State:
        """Return per-token state of the new tokens, every tensor with time on axis 1.

        Args:
            x: the layer's normalised input (batch, query, width).
            previous: the state cached for the tokens before these, None at the start.
        """
        return None


def wide(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it is: the dtype that positions are worked in."""
    return x if x.dtype == torch.float64 else x.float()


def index_grid(scores: Tensor, slots: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the indices (batch, head, query_slot, key_slot) of scores, as grids that broadcast.

    Shapes: scores (batch, heads, query, key), slots (query,) of these queries.
    """
    batch, heads, _, source = scores.shape
    device = scores.device
    return (
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(heads, device=device)[:, None, None],
        slots[:, None],
        torch.arange(source, device=device),
    )


def overrides(position: Position | type[Position], hook: str) -> bool:
    """Return whether an embedding, or a class of them, does anything at this hook."""
    kind = position if isinstance(position, type) else type(position)
    return getattr(kind, hook) is not getattr(Position, hook)
