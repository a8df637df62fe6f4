"""Sums of embeddings in a layer, and patterns of them over layers.

An input embedding acts once, before all layers, so it must be in every layer of a pattern or
in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor, nn

from .base import Position, PositionError, Score, State, Tables
from .layout import TokenLayout
from .shape import ModelShape
from .spec import Part, Spec, as_line, find


def build(spec: Spec, shape: ModelShape, catalogue: Mapping[str, type[Position]]) -> Composed:
    """Return the embeddings of a spec for a model of this shape.

    Raises:
        PositionError: an option out of range, an input embedding that is not in every
            layer, or two whole-row embeddings or softmax scales in one sum.
    """
    pattern = [spec.layers[i % len(spec.layers)] for i in range(shape.layers)]
    for part in {part for layer in pattern for part in layer}:
        everywhere = all(part in layer for layer in pattern)
        if "embed" in find(part.name, catalogue).active_hooks() and not everywhere:
            raise PositionError(
                f"{spec}: {part.name} is added to the input, before all layers: "
                "put it in every layer of the pattern, or in none",
                code="positions.input-in-some-layers",
            )
    return Composed(pattern, shape, catalogue)


class Sum(Position):
    """The embeddings of one layer, as one embedding that attention uses.

    Tables and state are tuples with one entry per part.
    """

    def __init__(self, shape: ModelShape, parts: tuple[Position, ...], /) -> None:
        super().__init__(shape)
        self.parts = parts  # a tuple, not a ModuleList: Composed registers all instances
        whole_rows = [type(p).__name__ for p in parts if "attend" in p.active_hooks()]
        if len(whole_rows) > 1:
            raise PositionError(
                f"{' and '.join(whole_rows)} both replace attention: use only one of them in a "
                "layer",
                code="positions.two-whole-rows",
            )
        scaled = [p for p in parts if p.softmax_scale is not None]
        if whole_rows and any("attend" not in p.active_hooks() for p in scaled):
            raise PositionError(
                f"{whole_rows[0]} replaces attention, so the softmax scale of "
                f"{type(scaled[0]).__name__} would have no effect: use only one of them",
                code="positions.whole-row-softmax-scale",
            )
        if mismatched := [p for p in parts if p.shape.heads != shape.heads]:
            raise PositionError(
                f"{type(mismatched[0]).__name__} was constructed for "
                f"{mismatched[0].shape.heads} heads, but the model has {shape.heads}: construct "
                "it with the model's shape",
                code="positions.other-heads",
            )
        scales = {scale for p in parts if (scale := p.softmax_scale) is not None}
        if len(scales) > 1:
            raise PositionError(
                f"the embeddings of a sum have different softmax scales, {sorted(scales)}: use "
                "only one of them",
                code="positions.softmax-scales-differ",
            )
        _check_products(parts)
        self.scale = scales.pop() if scales else None
        # Keys that a part does not transform never change.
        self.static_rotation = all(
            p.static_rotation or "transform_keys" not in p.active_hooks() for p in parts
        )
        self.whole_row = next(
            (i for i, p in enumerate(parts) if "attend" in p.active_hooks()), None
        )
        self.scored = any("score" in p.active_hooks() for p in parts)
        self.biased = tuple(p for p in parts if "distance_bias" in p.active_hooks())

    @property
    def softmax_scale(self) -> float | None:
        return self.scale

    def transform_queries(self, queries: Tensor, tables: Tables, state: State) -> Tensor:
        for i, part in enumerate(self.parts):
            queries = part.transform_queries(queries, tables[i], state[i])
        return queries

    def transform_keys(self, keys: Tensor, tables: Tables, state: State) -> Tensor:
        for i, part in enumerate(self.parts):
            keys = part.transform_keys(keys, tables[i], state[i])
        return keys

    @property
    def trains_bias(self) -> bool:
        """Whether a bias by distance has parameters."""
        return any(True for part in self.biased for _ in part.parameters())

    def slopes(self) -> Tensor | None:
        each = [p.slopes() for p in self.biased]
        slopes = [slope for slope in each if slope is not None]
        complete = slopes and len(slopes) == len(self.biased)
        return sum(slopes[1:], start=slopes[0]) if complete else None

    def distance_bias(self, distance: Tensor) -> Tensor | None:
        biases = self._biases(distance)
        return sum(biases[1:], start=biases[0]) if biases else None

    def total_bias(self, distance: Tensor) -> Tensor:
        """Return the sum of the biases by distance; the layer must have one."""
        biases = self._biases(distance)
        return sum(biases[1:], start=biases[0])

    def _biases(self, distance: Tensor) -> list[Tensor]:
        biases = []
        for part in self.biased:
            bias = part.distance_bias(distance)
            if bias is not None:
                _check_bias(part, bias, distance)
                biases.append(bias)
        return biases

    def score(self, queries: Tensor, keys: Tensor, tables: Tables, state: State) -> Score | None:
        scores = [p.score(queries, keys, tables[i], state[i]) for i, p in enumerate(self.parts)]
        present = [score for score in scores if score is not None]
        if len(present) < 2:
            return present[0] if present else None

        def composed(value: Tensor, *where: Tensor) -> Tensor:
            for score in present:
                value = score(value, *where)
            return value

        return composed

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
    ) -> Tensor:
        """Return the output of the embedding that replaces attention; the layer must have one."""
        i = self.whole_row
        attended = None
        if i is not None:
            attended = self.parts[i].attend(
                queries, keys, values, tables[i], state[i], may_attend, score, query_indices
            )
        if attended is None:
            names = " and ".join(type(part).__name__ for part in self.parts)
            raise PositionError(
                f"attend of {names} returned None: return the output of attention",
                code="positions.attend-returned-none",
            )
        return attended

    def state(self, x: Tensor, layout: TokenLayout, previous: State) -> State:
        before = previous if previous is not None else (None,) * len(self.parts)
        return tuple(p.state(x, layout, before[i]) for i, p in enumerate(self.parts))


def _check_bias(part: Position, bias: Tensor, distance: Tensor) -> None:
    """Raise if a bias has a shape that would fail, or broadcast, inside of attention."""
    expected = (part.shape.heads, *distance.shape)
    if bias.shape != expected:
        raise PositionError(
            f"distance_bias of {type(part).__name__} returned the shape {tuple(bias.shape)} for "
            f"distances {tuple(distance.shape)}: return (heads, *distance.shape), here {expected}",
            code="positions.bias-shape",
        )


def _check_products(parts: tuple[Position, ...]) -> None:
    """Raise if an embedding would read queries or keys that are right only in a product.

    Score functions and `attend` get queries and keys that all of a layer's embeddings have
    transformed; a transform gets those of the embeddings before it.
    """
    for (i, only), (j, reader) in permutations(enumerate(parts), 2):
        if not (only.product_only and reader.reads_vectors):
            continue
        names = type(only).__name__, type(reader).__name__
        reason = (
            f"queries and keys that {names[0]} has transformed are right only in a product of the "
            f"two, and {names[1]} uses them otherwise"
        )
        neither_first = only.reads_vectors and reader.product_only
        if neither_first or {"score", "attend"} & reader.active_hooks():
            raise PositionError(
                f"{' and '.join(names)} cannot be in one layer: {reason}: use only one of them, "
                "or in different layers, with a slash instead of the plus",
                code="positions.needs-product",
            )
        if i < j:
            raise PositionError(
                f"{' and then '.join(names)} is the wrong order: {reason}: put {names[0]} last",
                code="positions.needs-product-last",
            )


class Composed(nn.Module):
    """All embeddings of a model: those that act at the input, and a `Sum` for each layer.

    An embedding that has no parameters, is declared `shared` or acts at the input has one
    instance for all layers; any other embedding has one instance per layer.

    Attributes:
        embeddings: every instance once.
        instances: the same, as the module that registers them.
        indices: for each layer, the indices of its instances.
        sums: for each layer, its `Sum`.
    """

    def __init__(
        self,
        pattern: list[tuple[Part, ...]],
        shape: ModelShape,
        catalogue: Mapping[str, type[Position]],
    ) -> None:
        super().__init__()
        self.shape = shape
        instances: list[Position] = []
        shared: dict[Part, int] = {}

        def index_of(part: Part) -> int:
            """Return the index of a part's instance, after constructing it if necessary."""
            if part in shared:
                return shared[part]
            instance = _construct(part, shape, catalogue)
            instances.append(instance)
            index = len(instances) - 1
            once = instance.shared or "embed" in instance.active_hooks()
            if once or not list(instance.parameters()):
                shared[part] = index
            return index

        self.indices = tuple(tuple(index_of(part) for part in parts) for parts in pattern)
        self.embeddings = tuple(instances)
        self.instances = nn.ModuleList(instances)
        self._check_training_positions()
        self.sums = tuple(Sum(shape, tuple(instances[i] for i in layer)) for layer in self.indices)

    def _check_training_positions(self) -> None:
        """Raise if training would feed positions that one of the embeddings cannot represent."""
        largest = self.max_training_position
        fed = [p for p in self.embeddings if p.max_training_position is not None]
        source = type(fed[0]).__name__ if fed else "the trained length"
        if self.max_position is not None and largest > self.max_position:
            limited = next(p for p in self.embeddings if p.max_position == self.max_position)
            remedy = f": set length={largest + 1}" if "length" in limited.options() else ""
            raise PositionError(
                f"{source} leads to positions up to {largest} in training, but the largest that "
                f"{type(limited).__name__} can represent is {self.max_position}{remedy}",
                code="positions.table-too-short",
            )
        if fed and self.widest is not None and largest > self.widest:
            limited = next(p for p in self.embeddings if p.widest == self.widest)
            raise PositionError(
                f"{source} leads to distances up to {largest} in training, but the largest that "
                f"{type(limited).__name__} with these options can represent is {self.widest}: "
                "train at shorter distances, or use another embedding",
                code="positions.too-far-apart",
            )

    def active_hooks(self) -> frozenset[str]:
        """Return the hooks that any of the embeddings overrides."""
        return frozenset(hook for each in self.embeddings for hook in each.active_hooks())

    def active_doors(self) -> frozenset[str]:
        """Return the doors through which any of the embeddings enters the model."""
        return frozenset(door for each in self.embeddings for door in each.active_doors())

    @property
    def max_position(self) -> int | None:
        """The largest position that all of them can represent, or None if there is no limit."""
        # Not `:=` inside one comprehension: PyTorch's compiler cannot trace it.
        each = [p.max_position for p in self.embeddings]
        limits = [limit for limit in each if limit is not None]
        return min(limits) if limits else None

    @property
    def max_training_position(self) -> int:
        """The largest position that training may feed: samplers add to one another."""
        last = self.shape.trained_length - 1
        fed = [m for p in self.embeddings if (m := p.max_training_position) is not None]
        return last + sum(most - last for most in fed)

    @property
    def widest(self) -> int | None:
        """The largest difference of query positions in one forward pass; None: no limit."""
        limits = [limit for p in self.embeddings if (limit := p.widest) is not None]
        return min(limits) if limits else None

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """Return word embeddings (batch, time, width) combined with every input embedding."""
        for instance in self.embeddings:
            x = instance.embed(x, layout)
        return x

    def prepare(self, layout: TokenLayout, rotated_keys: bool = False) -> list[Tables]:
        """Return each layer's tables, computed once per instance.

        Args:
            rotated_keys: the cache keeps rotated keys, so an embedding with a static rotation
                needs tables for the new tokens only.
        """
        newest = layout.newest() if rotated_keys else layout
        tables = [p.prepare(newest if p.static_rotation else layout) for p in self.embeddings]
        return [tuple(tables[i] for i in layer) for layer in self.indices]

    def sample_positions(
        self, positions: Tensor, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        """Return the positions that training feeds, (batch or 1, time)."""
        for instance in self.embeddings:
            positions = instance.sample_positions(positions, batch_size, generator)
        return positions


def _shape_for(kind: type[Position], name: str, shape: ModelShape) -> ModelShape:
    """Return the shape that an embedding of this class is constructed with.

    With a decoupled part of each head, embeddings that transform queries and keys receive that
    part alone; score functions receive whole queries and keys.

    Raises:
        PositionError: an embedding that would need both, or that replaces attention.
    """
    doors = kind.active_doors()
    if not shape.decoupled_dim or ("query-key" not in doors and "row" not in doors):
        return shape
    if "row" in doors:
        raise PositionError(
            f"{name} replaces attention, and so cannot be combined with latent attention: use "
            "--attention standard, or an embedding such as rotary, alibi or none",
            code="positions.latent-whole-row",
        )
    if "score" in kind.active_hooks():
        raise PositionError(
            f"{name} overrides both transform_queries or transform_keys and score, which latent "
            "attention does not support: use --attention standard, or two separate embeddings",
            code="positions.latent-two-doors",
        )
    return shape.decoupled


def _construct(part: Part, shape: ModelShape, catalogue: Mapping[str, type[Position]]) -> Position:
    kind = find(part.name, catalogue)
    shape = _shape_for(kind, part.name, shape)
    if part.name in catalogue:
        try:
            return kind(shape, **dict(part.options))
        except (RuntimeError, OverflowError, MemoryError) as error:  # a table of an absurd size
            raise PositionError(
                f"{part} cannot be constructed: {as_line(error)}",
                code="positions.constructor-failed-on-size",
            ) from None
    if required := kind.required_options():
        raise PositionError(
            f"{part.name} has options without a default, {', '.join(required)}: give each one a "
            "default in the constructor",
            code="positions.option-without-default",
        )
    try:  # a user's constructor may raise anything
        instance = kind(shape, **dict(part.options))
    except PositionError:
        raise
    except Exception as error:
        if "before Module.__init__() call" not in str(error):
            raise PositionError(
                f"{part.name} cannot be constructed: {as_line(error)}",
                code="positions.constructor-failed",
            ) from error
        instance = None
    if instance is None or not hasattr(instance, "shape"):
        raise PositionError(
            f"{part.name}: its constructor must first call super().__init__(shape)",
            code="positions.constructor-without-super",
        )
    return instance
