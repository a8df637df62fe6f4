"""What a positional embedding declares of itself is so: the property `facts` of the kit."""

from __future__ import annotations

import torch

from ..base import Position, TokenLayout
from ..composed import Composed
from ..reference_model import ReferenceModel
from .setup import CLOSE, HEAD_DIM, Broken, Setup


def facts(setup: Setup) -> None:
    """What it declares is so: options, door, slopes, additive scores, static rotation, limit."""
    position = setup.build()
    for instance in position.instances:
        _door(instance)
        if lost := [name for name in instance.options() if not hasattr(instance, name)]:
            raise Broken(f"its option {lost[0]} is not stored: say self.{lost[0]} = {lost[0]}")
        _matrices(instance)
        _slopes_are_the_bias(instance)
        if "distance_bias" in instance.active_hooks():
            found = instance.distance_bias(torch.arange(-4, 5).reshape(3, 3))
            if found.shape != (setup.heads, 3, 3) or found.dtype not in (torch.float32,):
                raise Broken(f"distance_bias gave {tuple(found.shape)} {found.dtype}")
        longest = instance.max_position
        if longest is not None:
            start = longest - 2
            ReferenceModel(position, setup.key_value_heads).read(
                setup.text(1, 3), torch.arange(start, longest + 1)[None]
            )
    _additive(setup, position)
    _static(setup, position)


def hooks(setup: Setup) -> None:
    """Its hooks give back what attention takes from them: shapes and dtypes."""
    position = setup.build()
    time, width = 5, setup.heads * HEAD_DIM
    layout = TokenLayout.of(torch.arange(time)[None], causal=setup.causal)
    for dtype in (torch.float32, torch.bfloat16):
        x = setup.text(2, time).to(dtype)
        heads = {
            count: torch.zeros(2, count, time, HEAD_DIM, dtype=dtype)
            for count in (setup.heads, setup.key_value_heads)
        }
        queries, keys = heads[setup.heads], heads[setup.key_value_heads]
        for instance in position.to(dtype).instances:
            _gives("embed", instance.embed(x, layout), x, (2, time, width))
            tables, state = instance.prepare(layout), instance.state(x, layout, None)
            turned = instance.transform_queries(queries, tables, state)
            _gives("transform_queries", turned, queries, (2, setup.heads, time, None))
            turned = instance.transform_keys(keys, tables, state)
            _gives("transform_keys", turned, keys, (2, None, time, None))


def _gives(hook: str, found: object, given: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise where a hook's result has another dtype than was given, or a shape it cannot have."""
    if not isinstance(found, torch.Tensor):
        raise Broken(f"{hook} gave {type(found).__name__}, not a tensor")
    fits = len(found.shape) == len(shape) and all(
        size is None or size == got for got, size in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != given.dtype:
        raise Broken(
            f"{hook} of {tuple(given.shape)} {given.dtype} gave {tuple(found.shape)} "
            f"{found.dtype}: give back the same"
        )


def _door(instance: Position) -> None:
    acts = instance.active_doors()
    if instance.door not in (acts or ("none",)):
        said = " and ".join(acts) or "none"
        raise Broken(f"declares door={instance.door!r}, and acts at {said}: declare that")


def _matrices(instance: Position) -> None:
    for name in instance.matrices:
        matrix = getattr(instance, name, None)
        if not isinstance(matrix, torch.nn.Parameter) or matrix.dim() not in (2, 3):
            raise Broken(
                f"declares matrices={instance.matrices}, and {name} is none: name parameters of "
                "(rows, columns), or of (heads, rows, columns)"
            )


def _slopes_are_the_bias(instance: Position) -> None:
    slopes = instance.slopes()
    if slopes is None:
        return
    distance = torch.tensor([0, 1, 5, 1000])
    bias = instance.distance_bias(distance)
    if bias is None or not torch.allclose(bias, -slopes[:, None] * distance, rtol=1e-6):
        raise Broken("distance_bias is not minus slopes times distance")


@torch.no_grad()
def _additive(setup: Setup, position: Composed) -> None:
    layout = TokenLayout.of(torch.arange(6)[None])
    q, k = torch.randn(2, 1, setup.heads, 6, HEAD_DIM, dtype=torch.float64).unbind()
    x = setup.text(1, 6)
    for instance in position.instances:
        state = instance.state(x, layout, None)
        score = instance.score(q, k, instance.prepare(layout), state)
        if score is None:
            continue
        where = [torch.tensor([index]) for index in (0, setup.heads - 1, 4, 2)]
        at = [score(torch.tensor([value], dtype=torch.float64), *where) for value in (0.0, 3.0)]
        adds = abs(float(at[1] - at[0]) - 3) < 1e-4
        if adds != instance.additive:
            raise Broken(f"declares additive={instance.additive}: a score 3 higher gave {at}")
        grid = [torch.arange(6).view(shape) for shape in ((1, 6, 1), (1, 1, 6))]
        heads = torch.arange(setup.heads)[:, None, None]
        zeros = torch.zeros(1, setup.heads, 6, 6, dtype=torch.float64)
        table = score(zeros, torch.zeros(1, 1, 1, 1, dtype=torch.int64), heads, *grid)
        if abs(float(table[0, -1, 4, 2] - at[0])) > CLOSE:
            raise Broken("a score by itself is not the score in its row")


def _static(setup: Setup, position: Composed) -> None:
    keys = torch.randn(1, setup.heads, 6, HEAD_DIM, dtype=torch.float64)
    for instance in position.instances:
        if not instance.static_rotation:
            continue
        layout = TokenLayout.of(torch.arange(6)[None])
        alone = TokenLayout.of(torch.tensor([[2]]), context_length=999)
        together = instance.transform_keys(keys, instance.prepare(layout), None)[:, :, 2:3]
        single = instance.transform_keys(keys[:, :, 2:3], instance.prepare(alone), None)
        if (together - single).abs().max() > CLOSE:
            raise Broken("declares a static rotation, and a key turns with its surroundings")
