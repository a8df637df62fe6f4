"""The checks `facts` and `hooks`: declarations of an embedding, and what its hooks return."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace

import torch

from ..base import DOORS, HOOKS, Position, PositionError, State, Tables
from ..composed import Composed
from ..layout import TokenLayout
from ..reference_model import ReferenceModel
from ..spec import Part, Spec
from .setup import CLOSE, HEAD_DIM, CheckFailed, Setup


def facts(setup: Setup) -> None:
    """Declared facts are true: options, door, slopes, additive, static rotation, limit."""
    position = setup.build()
    for instance in position.embeddings:
        _door(instance)
        if missing := [name for name in instance.options() if not hasattr(instance, name)]:
            name = missing[0]
            raise CheckFailed(f"the option {name} is not stored: add self.{name} = {name}")
        _matrices(instance)
        _slopes_are_the_bias(instance)
        limit = instance.max_position
        if limit is not None:  # positions up to the declared limit must work
            ReferenceModel(position, setup.key_value_heads).read(
                setup.inputs(1, 3), torch.arange(limit - 2, limit + 1)[None]
            )
    _additive(setup, position)
    _static(setup, position)
    _order(setup, position)
    _products(setup, position)


def hooks(setup: Setup) -> None:
    """Hooks return tensors with the shapes and dtypes that attention expects."""
    position = setup.build()
    time, width = 5, setup.heads * HEAD_DIM
    layout = TokenLayout.of(torch.arange(time)[None], causal=setup.causal)
    for dtype in (torch.float32, torch.bfloat16):
        x = setup.inputs(2, time).to(dtype)
        heads = {
            count: torch.zeros(2, count, time, HEAD_DIM, dtype=dtype)
            for count in (setup.heads, setup.key_value_heads)
        }
        queries, keys = heads[setup.heads], heads[setup.key_value_heads]
        for instance in position.to(dtype).embeddings:
            _check_result("embed", instance.embed(x, layout), x, (2, time, width))
            tables, state = instance.prepare(layout), instance.state(x, layout, None)
            result = instance.transform_queries(queries, tables, state)
            _check_result("transform_queries", result, queries, (2, setup.heads, time, None))
            result = instance.transform_keys(keys, tables, state)
            _check_result("transform_keys", result, keys, (2, None, time, None))
            if "distance_bias" in instance.active_hooks():
                _check_distance_bias(instance, setup.heads)


def _check_distance_bias(instance: Position, heads: int) -> None:
    """Raise if a bias has another shape than (heads, *distance.shape), or is not in float32."""
    bias, shape = instance.distance_bias(torch.arange(-4, 5).view(3, 3)), (heads, 3, 3)
    if bias is None or bias.shape != shape or bias.dtype is not torch.float32:
        returned = None if bias is None else f"{tuple(bias.shape)} {bias.dtype}"
        raise CheckFailed(
            f"distance_bias of (3, 3) returned {returned}: return {shape} torch.float32"
        )


def _check_result(
    hook: str, result: object, argument: torch.Tensor, shape: tuple[int | None, ...]
) -> None:
    """Raise if a hook's result has another dtype than its argument, or another shape.

    Args:
        shape: the expected shape; None where any size is allowed.
    """
    if not isinstance(result, torch.Tensor):
        raise CheckFailed(f"{hook} returned {type(result).__name__}, not a tensor")
    fits = len(result.shape) == len(shape) and all(
        expected is None or expected == size
        for size, expected in zip(result.shape, shape, strict=True)
    )
    if not fits or result.dtype != argument.dtype:
        raise CheckFailed(
            f"{hook} of {tuple(argument.shape)} {argument.dtype} returned {tuple(result.shape)} "
            f"{result.dtype}: return the same shape and dtype"
        )


def _door(instance: Position) -> None:
    doors = instance.active_doors()
    if instance.door in (doors or ("none",)):
        return
    if doors or instance.door not in DOORS:
        actual = " and ".join(doors) or "none"
        raise CheckFailed(
            f"declares door={instance.door!r}, but overrides hooks of {actual}: declare that"
        )
    hooks = DOORS[instance.door]
    misspelled = [
        f"{name} is no hook: did you mean {close[0]}?"
        for name in _public_methods(type(instance))
        if (close := difflib.get_close_matches(name, HOOKS, n=1))
    ]
    raise CheckFailed(
        f"declares door={instance.door!r}, but overrides none of its hooks "
        f"({', '.join(hooks)}). {' '.join(misspelled) or 'Override one of them.'}"
    )


def _public_methods(kind: type[Position]) -> list[str]:
    """Return the names of the public methods that a class adds to those of `Position`."""
    return [
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not hasattr(Position, name)
    ]


def _matrices(instance: Position) -> None:
    for name in instance.matrices:
        matrix = getattr(instance, name, None)
        if not isinstance(matrix, torch.nn.Parameter) or matrix.dim() not in (2, 3):
            raise CheckFailed(
                f"declares matrices={instance.matrices}, but {name} is not a parameter of shape "
                "(rows, columns) or (heads, rows, columns)"
            )


def _slopes_are_the_bias(instance: Position) -> None:
    slopes = instance.slopes()
    if slopes is None:
        return
    distance = torch.tensor([0, 1, 5, 1000])
    bias = instance.distance_bias(distance)
    if bias is None or not torch.allclose(bias, -slopes[:, None] * distance, rtol=1e-6):
        raise CheckFailed("distance_bias is not -slopes * distance")


@torch.no_grad()
def _additive(setup: Setup, position: Composed) -> None:
    layout = TokenLayout.of(torch.arange(6)[None])
    q, k = torch.randn(2, 1, setup.heads, 6, HEAD_DIM, dtype=torch.float64).unbind()
    x = setup.inputs(1, 6)
    for instance in position.embeddings:
        state = instance.state(x, layout, None)
        score = instance.score(q, k, instance.prepare(layout), state)
        if score is None:
            continue
        pair = [torch.tensor([index]) for index in (0, setup.heads - 1, 4, 2)]
        at_0, at_3 = (score(torch.tensor([s], dtype=torch.float64), *pair) for s in (0.0, 3.0))
        adds = abs(float(at_3 - at_0) - 3) < 1e-4
        if adds != instance.additive:
            raise CheckFailed(
                f"declares additive={instance.additive}, but scores of 0 and 3 became "
                f"{float(at_0):.4g} and {float(at_3):.4g}"
            )
        grid = [torch.arange(6).view(shape) for shape in ((1, 6, 1), (1, 1, 6))]
        heads = torch.arange(setup.heads)[:, None, None]
        zeros = torch.zeros(1, setup.heads, 6, 6, dtype=torch.float64)
        scores = score(zeros, torch.zeros(1, 1, 1, 1, dtype=torch.int64), heads, *grid)
        if abs(float(scores[0, -1, 4, 2] - at_0)) > CLOSE:
            raise CheckFailed("the score of a single pair differs from that pair's in a grid")


def _static(setup: Setup, position: Composed) -> None:
    keys = torch.randn(1, setup.heads, 6, HEAD_DIM, dtype=torch.float64)
    for instance in position.embeddings:
        if not instance.static_rotation:
            continue
        layout = TokenLayout.of(torch.arange(6)[None])
        alone = TokenLayout.of(torch.tensor([[2]]), context_length=999)
        together = instance.transform_keys(keys, instance.prepare(layout), None)[:, :, 2:3]
        single = instance.transform_keys(keys[:, :, 2:3], instance.prepare(alone), None)
        if (together - single).abs().max() > CLOSE:
            raise CheckFailed(
                "declares static_rotation, but a key's rotation depends on the other tokens or the "
                "context length"
            )


def _order(setup: Setup, position: Composed) -> None:
    """Raise if embeddings that declare tells_order = False distinguish two orders."""
    if any(instance.tells_order for instance in position.embeddings):
        return
    try:  # in a causal model the mask tells the order
        reference = replace(setup, causal=False).reference_model()
    except PositionError:
        return
    x, order = setup.inputs(1, 9), torch.arange(9).flip(0)
    if (reference.read(x[:, order]) - reference.read(x)[:, order]).abs().max() > CLOSE:
        raise CheckFailed(
            "declares tells_order = False, but reversing 9 tokens changes the output of a "
            "bidirectional model"
        )


class _Scaled(Position):
    """Multiplies pairs of query dimensions by factors, and divides those of keys by them."""

    door = "query-key"

    def factors(self, x: torch.Tensor) -> torch.Tensor:
        """Return the factor of each dimension: 2 2 3 3 4 4 ..."""
        pairs = torch.arange(2, x.shape[-1] // 2 + 2, device=x.device, dtype=x.dtype)
        return pairs.repeat_interleave(2)

    def transform_queries(
        self, queries: torch.Tensor, tables: Tables, state: State
    ) -> torch.Tensor:
        return queries * self.factors(queries)

    def transform_keys(self, keys: torch.Tensor, tables: Tables, state: State) -> torch.Tensor:
        return keys / self.factors(keys)


def _products(setup: Setup, position: Composed) -> None:
    """Raise if an embedding with reads_vectors = False depends on more than products."""
    if any(instance.reads_vectors for instance in position.embeddings):
        return
    layers = tuple((Part("scaled"), *layer) for layer in setup.spec.layers)
    catalogue: dict[str, type[Position]] = {"scaled": _Scaled, **setup.catalogue}
    scaled = replace(setup, spec=Spec(layers), catalogue=catalogue).reference_model()
    x = setup.inputs(1, 9)
    if (scaled.read(x) - setup.reference_model().read(x)).abs().max() > CLOSE:
        raise CheckFailed(
            "declares reads_vectors = False, but uses queries or keys by themselves, or mixes "
            "dimensions other than neighbouring pairs: declare reads_vectors = True"
        )
