"""The properties that every positional embedding must have: what `conformance` tries.

Each is a function of a setup that reads small random texts in two ways that must agree, from
the smallest up, and raises `Broken` where they first part; its docstring's first line is
its statement. Every weight is random and none is zero: with zero-initialised projections
the context has no effect, and half of this would hold of any code at all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import CATALOGUE
from ..base import PositionError
from ..reference_model import ReferenceCache, ReferenceModel
from ..spec import Part, Spec
from .declarations import facts, hooks
from .options import options_act, variants
from .setup import APART, CLOSE, Broken, NotApplicable, Setup, same
from .shared_state import alone

# What activations of 8 bits cost two layers: 0.01 of the spread; one wrong position, 0.3.
COARSE = 0.06


def has_effect(setup: Setup) -> None:
    """It changes what a model reads."""
    position = setup.bare()
    if not position.active_doors():
        raise NotApplicable("nothing acts at any door")
    none = replace(setup, spec=Spec(((Part("none"),),)), catalogue=CATALOGUE)
    for time in (9, 40):
        x = setup.text(2, time)
        apart = float(
            (setup.reference_model().read(x) - none.reference_model().read(x)).detach().abs().max()
        )
        if apart > APART:
            return
    raise Broken(f"{time} tokens: reads as without any embedding, to {apart:.2g}")


def cached(setup: Setup) -> None:
    """Read in pieces through a cache, a text is what it is read at once."""
    if not setup.causal:
        raise NotApplicable("only a causal model reads in pieces")
    reference = setup.reference_model()
    static = all(p.static_rotation for p in reference.position.sums)
    for time, cuts in ((2, (1,)), (3, (1, 2)), (9, (2, 3, 7)), (17, (5, 6, 13))):
        x = setup.text(2, time)
        for rotated in (False, True) if static else (False,):
            kept = "rotated keys" if rotated else "raw keys"
            what = f"{time} tokens, cut at {cuts}, {kept} kept"
            same(_in_pieces(reference, x, cuts, ReferenceCache(rotated)), reference.read(x), what)


def _in_pieces(
    reference: ReferenceModel,
    x: Tensor,
    cuts: tuple[int, ...],
    cache: ReferenceCache,
    positions: Tensor | None = None,
) -> Tensor:
    pieces = x.tensor_split(cuts, 1)
    places = [None] * len(pieces) if positions is None else positions.tensor_split(cuts, 1)
    read = [
        reference.read(piece, at, cache=cache) for piece, at in zip(pieces, places, strict=True)
    ]
    return torch.cat(read, 1)


def packed(setup: Setup) -> None:
    """Documents packed into one row are read as they are alone."""
    reference = setup.reference_model()
    for texts, time in ((2, 1), (2, 2), (3, 6)):
        x = setup.text(texts, time)
        slots = torch.arange(texts * time)[None]
        found = reference.read(x.view(1, texts * time, -1), slots % time, slots // time)
        same(found.view_as(x), reference.read(x), f"{texts} documents of {time} tokens")


def padded(setup: Setup) -> None:
    """Padding on the left changes nothing."""
    reference = setup.reference_model()
    for time, padding in ((2, 1), (9, 4)):
        x = setup.text(1, time + padding)
        positions = (torch.arange(time + padding)[None] - padding).clamp(min=0)
        documents = torch.where(torch.arange(time + padding)[None] < padding, -1, 0)
        found = reference.read(x, positions, documents)[:, padding:]
        same(found, reference.read(x[:, padding:]), f"{time} tokens after {padding} of padding")


def masked(setup: Setup) -> None:
    """Masked tokens are absent tokens: what is left has positions with a gap.

    A bias taken from the length of the cache has every property but this one.
    """
    reference = setup.reference_model()
    for time, hidden in ((3, (1,)), (9, (3, 4))):
        x = setup.text(1, time)
        kept = [i for i in range(time) if i not in hidden]
        documents = torch.zeros(1, time, dtype=torch.int64)
        documents[:, list(hidden)] = -1
        found = reference.read(x, torch.arange(time)[None], documents)[:, kept]
        alone = reference.read(x[:, kept], torch.tensor([kept]))
        same(found, alone, f"{time} tokens without {hidden}")


def shifted(setup: Setup) -> None:
    """Added to all positions, a number changes nothing, or is declared to."""
    reference, x = setup.reference_model(), setup.text(1, 9)
    plain = torch.arange(9)[None]
    shifts = sorted({setup.far(shift, 9) for shift in (1, 7, 1000, 1_000_000)})
    readings = [(shift, reference.read(x, plain + shift)) for shift in shifts]
    if all(p.shift_invariant for p in reference.position.instances):
        for shift, found in readings:
            what = f"positions from {shift} on, without shift_invariant = False declared"
            same(found, reference.read(x, plain), what)
    elif all((found - reference.read(x, plain)).abs().max() < CLOSE for _, found in readings):
        raise Broken("declares that a shift changes what is read, and none does")


def positions_alone(setup: Setup) -> None:
    """Only positions count, however they are given: at once, by row, out of step."""
    reference, x = setup.reference_model(), setup.text(3, 9)
    expected = reference.read(x)
    rows = torch.arange(9).expand(3, 9)
    same(reference.read(x, rows), expected, "positions given for each row")
    alone = torch.cat([reference.read(x[i : i + 1]) for i in range(3)])
    same(alone, expected, "rows read one by one")
    apart = torch.stack([torch.arange(9), torch.arange(9) + 3, torch.arange(9) * 2])
    alone = [reference.read(x[i : i + 1], apart[i : i + 1]) for i in range(3)]
    same(torch.cat(alone), reference.read(x, apart), "rows at positions of their own")


def between(setup: Setup) -> None:
    """Positions between whole numbers are read, or refused in a line."""
    x, halves = setup.text(1, 5), torch.arange(5)[None] / 2
    try:
        found = setup.reference_model().read(x, halves)
    except PositionError:
        return
    same(found, found, "5 tokens half a position apart")


def pair_by_pair(setup: Setup) -> None:
    """Asked for one score by itself, as a fused kernel asks, it says what it says of all."""
    reference = setup.reference_model()
    if "score" not in reference.position.active_hooks():
        raise NotApplicable("it has no function of scores")
    x = setup.text(2, 5)
    apart = torch.stack([torch.arange(5), torch.arange(5) * 2])
    for what, positions in (("2 texts of 5 tokens", None), ("at positions of their own", apart)):
        found = reference.read(x, positions, one_by_one=True)
        same(found, reference.read(x, positions), what)


def blind_to_the_future(setup: Setup) -> None:
    """No token is read differently for what comes after it."""
    if not setup.causal:
        raise NotApplicable("the model is bidirectional")
    reference, x = setup.reference_model(), setup.text(1, 9)
    other = torch.cat((x[:, :5], setup.text(1, 4, seed=9)), 1)
    same(reference.read(other)[:, :5], reference.read(x)[:, :5], "9 tokens, the last 4 replaced")
    same(reference.read(x[:, :5]), reference.read(x)[:, :5], "9 tokens, the last 4 left out")


def windowed(setup: Setup) -> None:
    """Under a sliding window, what lies before it changes nothing."""
    reference, x = setup.reference_model(), setup.text(1, 9)
    if leak := [type(p).__name__ for p in reference.position.instances if p.order_leak]:
        raise NotApplicable(f"{' and '.join(leak)} declares that more than attention reads a text")
    other = torch.cat((setup.text(1, 2, seed=9), x[:, 2:]), 1)
    # Two layers of 3 tokens reach 4 back.
    found, expected = (reference.read(each, window=3)[:, 6:] for each in (other, x))
    same(found, expected, "9 tokens under a window of 3, the first 2 replaced")


def forgetful(setup: Setup) -> None:
    """What was read before leaves no trace: the same text is always the same."""
    reference, x = setup.reference_model(), setup.text(1, 5)
    expected = setup.reference_model().read(x)
    for what, read in (
        ("float16 inputs", lambda: ReferenceModel(reference.position, 1, torch.float16).read(x)),
        ("a longer text", lambda: reference.read(setup.text(1, 40))),
        ("far positions", lambda: reference.read(x, torch.arange(5)[None] + setup.far(5000, 5))),
        ("another context length", lambda: reference.read(x, context_length=500)),
    ):
        read()
        same(reference.read(x), expected, f"5 tokens after {what}", 0.0)


def side_by_side(setup: Setup) -> None:
    """Two with other options do not disturb each other."""
    x, ours = setup.text(1, 9), setup.reference_model()
    expected, tried = ours.read(x), 0
    for _, other in variants(setup):
        theirs = other.reference_model()
        first = theirs.read(x)
        same(ours.read(x), expected, f"after one of {other.spec}", 0.0)
        same(theirs.read(x), first, f"{other.spec} after this one", 0.0)
        tried += 1
    if not tried:
        raise NotApplicable("no option has another value to try")


def coarse(setup: Setup) -> None:
    """In a bfloat16 or float16 model, far positions are as exact as in float32, cached or not.

    Large scores sharpen what rounding does to them: then bfloat16, of three bits less, may be off
    by 8 times float16's error, and by thrice that in a text so small. A position that was
    rounded is a whole one off in float16 too.
    """
    x = setup.text(1, 9)
    for start in sorted({0, setup.far(3001, 9), setup.far(100_000, 9)}):
        positions, most = torch.arange(start, start + 9)[None], COARSE
        for dtype in (torch.float16, torch.bfloat16):
            what = f"positions from {start} on, {str(dtype).removeprefix('torch.')}"
            error = _error(setup, x, positions, dtype, what)
            if not error < most:
                raise Broken(f"{what} model: off by {error:.2g} of the spread")
            most = max(COARSE, 24 * error)


@torch.no_grad()
def _error(setup: Setup, x: Tensor, positions: Tensor, dtype: torch.dtype, what: str) -> float:
    """Return how far a model of a dtype is off what one with its weights in float32 reads."""
    rounded = setup.build().to(dtype)
    kept = copy.deepcopy(rounded).float()
    expected = ReferenceModel(kept, setup.key_value_heads, torch.float32).read(x, positions)
    found = ReferenceModel(rounded, setup.key_value_heads, torch.float32).read(x, positions)
    same(found, expected, f"{what} weights", 1e-3)
    reference = ReferenceModel(rounded, setup.key_value_heads, dtype)
    readings = [reference.read(x, positions)]
    if setup.causal:
        readings.append(_in_pieces(reference, x, (3, 4), ReferenceCache(), positions))
    errors = [(found.float() - expected).square().mean().sqrt() for found in readings]
    return float(torch.stack(errors).max() / expected.std())


def movable(setup: Setup) -> None:
    """Made on `meta`, moved, copied, saved and loaded, it is the same."""
    x, ours = setup.text(1, 9), setup.build()
    expected = ReferenceModel(ours, setup.key_value_heads).read(x)
    if list(ours.buffers()):
        raise Broken("holds a buffer: what follows from the options must not be rounded or saved")
    with torch.device("meta"):
        moved = setup.bare()
    moved = moved.to_empty(device="cpu")
    moved.load_state_dict(ours.state_dict())
    other = setup.build(seed=5)
    other.load_state_dict(ours.state_dict())
    for what, position in (
        ("made on meta, then loaded", moved),
        ("loaded from a state dict", other),
        ("copied", copy.deepcopy(ours)),
        ("to float64 and back", copy.deepcopy(ours).double().float()),
    ):
        same(ReferenceModel(position, setup.key_value_heads).read(x), expected, what)


def initialised(setup: Setup) -> None:
    """Its own rule gives finite first values, the same ones for the same generator."""
    for instance in setup.bare().instances:
        if not list(instance.parameters()):
            continue
        if not hasattr(instance, "reset_parameters"):
            raise Broken(f"{type(instance).__name__} has parameters and no reset_parameters")
        values = []
        for _ in range(2):
            with torch.no_grad():
                for parameter in instance.parameters():
                    parameter.fill_(math.nan)
            instance.reset_parameters(torch.Generator().manual_seed(3))
            values.append([p.detach().clone() for p in instance.parameters()])
        if not all(torch.isfinite(value).all() for value in values[0]):
            raise Broken("reset_parameters leaves a value that is not finite, or as it was")
        if not all(torch.equal(a, b) for a, b in zip(*values, strict=True)):
            raise Broken("one generator gave two different starts")


def gradients(setup: Setup) -> None:
    """Slopes are those of the function, and reach every parameter."""
    reference, x = setup.reference_model(), setup.text(1, 7).requires_grad_()
    reference.position.double()
    parameters = reference.position.instances.named_parameters()
    waiting = {name: p for name, p in parameters if p.requires_grad}
    far = [position for position in (0, 1, 3, 9, 30, 90, 300) if position <= setup.far(300, 1)]
    slopes = _slopes(reference, x, None, {"the input": x, **waiting}, "7 tokens")
    # What nothing near by reaches, such as a rate past a threshold, may be reached far off.
    waiting = {name: p for name, p in waiting.items() if not slopes[name].any()}
    slopes = _slopes(reference, x[:, : len(far)], torch.tensor([far]), waiting, f"tokens at {far}")
    if lost := [name for name, slope in slopes.items() if not slope.any()]:
        raise Broken(f"7 tokens, or tokens at {far}: {', '.join(lost)} gets no slope")


def _slopes(
    reference: ReferenceModel,
    x: Tensor,
    positions: Tensor | None,
    tried: dict[str, Tensor],
    what: str,
) -> dict[str, Tensor]:
    """Return the slope of the loss by each, found to be that of the function."""
    if not tried:
        return {}
    loss, step = reference.read(x, positions).square().mean(), 1e-5
    generator = torch.Generator().manual_seed(2)
    found = torch.autograd.grad(loss, list(tried.values()), materialize_grads=True)
    slopes = dict(zip(tried, found, strict=True))
    for name, slope in slopes.items():
        values = tried[name]
        direction = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        direction = 0.5 * direction / direction.norm() + slope / slope.norm().clamp(min=1e-9)
        losses = []
        with torch.no_grad():
            for sign in (1, -1):
                values += sign * step * direction
                losses.append(float(reference.read(x, positions).square().mean()))
                values -= sign * step * direction
        moved, expected = (losses[0] - losses[1]) / (2 * step), float((slope * direction).sum())
        if abs(moved - expected) > 0.02 * abs(expected) + 1e-6:
            said = f"moved along {name}, the loss moves by {moved:.4g}"
            raise Broken(f"{what}: {said}, its slope says {expected:.4g}")
    return slopes


def placing(setup: Setup) -> None:
    """The positions that training feeds are in order and the generator's alone."""
    position = setup.build()
    if "sample_positions" not in position.active_hooks():
        raise NotApplicable("training feeds plain positions")
    plain = torch.arange(9).expand(3, 9)
    drawn = [
        position.sample_positions(plain, 3, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    if not torch.equal(drawn[0], drawn[1]) or torch.equal(drawn[0], drawn[2]):
        raise Broken("what is drawn does not follow from the generator")
    if drawn[0].shape != plain.shape or not (drawn[0].diff(dim=1) > 0).all() or drawn[0].min() < 0:
        raise Broken(f"positions that do not rise, or below 0: {drawn[0].tolist()}")
    longest = position.max_position
    if longest is not None and drawn[0].max() > longest:
        raise Broken(f"a position past the longest, {longest}")


CHECKS: dict[str, Callable[[Setup], None]] = {
    "hooks": hooks,
    "has effect": has_effect,
    "cached": cached,
    "packed": packed,
    "padded": padded,
    "masked": masked,
    "shifted": shifted,
    "positions alone": positions_alone,
    "between": between,
    "pair by pair": pair_by_pair,
    "causal": blind_to_the_future,
    "windowed": windowed,
    "forgetful": forgetful,
    "side by side": side_by_side,
    "options act": options_act,
    "alone": alone,
    "coarse": coarse,
    "movable": movable,
    "initialised": initialised,
    "gradients": gradients,
    "facts": facts,
    "placing": placing,
}
