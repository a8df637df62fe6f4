"""The checks of the conformance kit: properties that every positional embedding must have.

Each check is a function of a setup. Most of them compute the output for small random inputs in
two ways that must agree, the smallest input first, and raise `CheckFailed` at the first
difference. The first line of the docstring is the property's statement in the report. Every
weight is random and not zero: with zero-initialised projections the context has no effect, and
half of the checks would pass for any code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import CATALOGUE
from ..base import PositionError
from ..reference_model import ReferenceCache, ReferenceModel
from ..spec import Part, Spec
from .creation import initialised, movable
from .declarations import facts, hooks
from .gradients import gradients
from .options import options_act, variants
from .setup import APART, CLOSE, CheckFailed, NotApplicable, Setup, require_equal
from .shared_state import unshared

# Largest error of a 16-bit model, as a fraction of the output's standard deviation. Rounding
# activations costs two layers 0.01; one wrong position costs 0.3.
COARSE = 0.06


# Shifts up to this one are small: float32 angles are exact enough.
NEAR = 7


def has_effect(setup: Setup) -> None:
    """The embedding changes the output of a model."""
    position = setup.build_default()
    if not position.active_doors():
        raise NotApplicable("it overrides no hook of any door")
    none = replace(setup, spec=Spec(((Part("none"),),)), catalogue=CATALOGUE)
    for time in (9, 40):
        x = setup.inputs(2, time)
        difference = setup.reference_model().read(x) - none.reference_model().read(x)
        largest = float(difference.detach().abs().max())
        if largest > APART:
            return
    raise CheckFailed(
        f"{time} tokens: outputs differ from those without an embedding by only {largest:.2g}"
    )


def cached(setup: Setup) -> None:
    """Processing a sequence in pieces, through a cache, gives the same output as at once."""
    if not setup.causal:
        raise NotApplicable("only a causal model can process a sequence in pieces")
    reference = setup.reference_model()
    static = all(p.static_rotation for p in reference.position.sums)
    for time, cuts in ((2, (1,)), (3, (1, 2)), (9, (2, 3, 7)), (17, (5, 6, 13))):
        x = setup.inputs(2, time)
        for rotated in (False, True) if static else (False,):
            keys = "rotated" if rotated else "raw"
            output = _in_pieces(reference, x, cuts, ReferenceCache(rotated))
            case = f"{time} tokens, cut at {cuts}, {keys} keys cached"
            require_equal(output, reference.read(x), case)


def _in_pieces(
    reference: ReferenceModel,
    x: Tensor,
    cuts: tuple[int, ...],
    cache: ReferenceCache,
    positions: Tensor | None = None,
) -> Tensor:
    pieces = x.tensor_split(cuts, 1)
    splits = [None] * len(pieces) if positions is None else positions.tensor_split(cuts, 1)
    outputs = [
        reference.read(piece, split, cache=cache)
        for piece, split in zip(pieces, splits, strict=True)
    ]
    return torch.cat(outputs, 1)


def packed(setup: Setup) -> None:
    """Documents packed into one row give the same outputs as they do alone."""
    reference = setup.reference_model()
    for documents, time in ((2, 1), (2, 2), (3, 6)):
        x = setup.inputs(documents, time)
        indices = torch.arange(documents * time)[None]
        output = reference.read(x.view(1, documents * time, -1), indices % time, indices // time)
        case = f"{documents} documents of {time} tokens"
        require_equal(output.view_as(x), reference.read(x), case)


def padded(setup: Setup) -> None:
    """Padding on the left changes nothing."""
    reference = setup.reference_model()
    for time, padding in ((2, 1), (9, 4)):
        x = setup.inputs(1, time + padding)
        positions = (torch.arange(time + padding)[None] - padding).clamp(min=0)
        documents = torch.where(torch.arange(time + padding)[None] < padding, -1, 0)
        output = reference.read(x, positions, documents)[:, padding:]
        case = f"{time} tokens after {padding} of padding"
        require_equal(output, reference.read(x[:, padding:]), case)


def masked(setup: Setup) -> None:
    """Masked tokens have the same effect as removed tokens, which leave a gap in positions.

    A bias computed from the length of the cache has every property except this one.
    """
    reference = setup.reference_model()
    for time, masked_indices in ((3, (1,)), (9, (3, 4))):
        x = setup.inputs(1, time)
        rest = [i for i in range(time) if i not in masked_indices]
        documents = torch.zeros(1, time, dtype=torch.int64)
        documents[:, list(masked_indices)] = -1
        output = reference.read(x, torch.arange(time)[None], documents)[:, rest]
        removed = reference.read(x[:, rest], torch.tensor([rest]))
        require_equal(output, removed, f"{time} tokens without {masked_indices}")


def shifted(setup: Setup) -> None:
    """Adding a number to all positions changes outputs only if shift_invariant is False."""
    reference, x = setup.reference_model(), setup.inputs(1, 9)
    plain = torch.arange(9)[None]
    shifts = sorted({setup.first_position(shift, 9) for shift in (1, NEAR, 1000, 1_000_000)})
    outputs = [(shift, reference.read(x, plain + shift)) for shift in shifts]
    expected = reference.read(x, plain)
    if all(p.shift_invariant for p in reference.position.embeddings):
        exact = -1
        for shift, output in outputs:
            case = f"positions from {shift} on, with shift_invariant = True"
            try:
                require_equal(output, expected, case)
            except CheckFailed as failure:
                if exact < NEAR or not torch.isfinite(output).all():
                    raise
                raise CheckFailed(
                    f"{failure}; with positions from {exact} on they do not, so far positions "
                    "lose precision: compute angles in float64 (positions.double() * frequencies)"
                ) from None
            exact = shift
    elif all((output - expected).abs().max() < CLOSE for _, output in outputs):
        raise CheckFailed("declares shift_invariant = False, but no shift changes the output")


def positions_alone(setup: Setup) -> None:
    """Outputs depend on the positions of a row only, not on how they are passed."""
    reference, x = setup.reference_model(), setup.inputs(3, 9)
    expected = reference.read(x)
    rows = torch.arange(9).expand(3, 9)
    require_equal(reference.read(x, rows), expected, "the same positions, passed for each row")
    single = torch.cat([reference.read(x[i : i + 1]) for i in range(3)])
    require_equal(single, expected, "each row in a batch by itself")
    different = torch.stack([torch.arange(9), torch.arange(9) + 3, torch.arange(9) * 2])
    single = torch.cat([reference.read(x[i : i + 1], different[i : i + 1]) for i in range(3)])
    require_equal(single, reference.read(x, different), "rows with different positions")


def training_mode(setup: Setup) -> None:
    """Training mode and evaluation mode give the same outputs."""
    reference, x = setup.reference_model(), setup.inputs(2, 40)
    expected = reference.read(x)
    reference.position.eval()
    require_equal(reference.read(x), expected, "40 tokens, after eval()", 0.0)


def fractional(setup: Setup) -> None:
    """Fractional positions give finite outputs, or raise a PositionError."""
    x, halves = setup.inputs(1, 5), torch.arange(5)[None] / 2
    try:
        output = setup.reference_model().read(x, halves)
    except PositionError:
        return
    require_equal(output, output, "5 tokens half a position apart")  # raises if not finite


def pair_by_pair(setup: Setup) -> None:
    """The score function gives single pairs the same scores as grids of pairs."""
    reference = setup.reference_model()
    if "score" not in reference.position.active_hooks():
        raise NotApplicable("it does not override score()")
    x = setup.inputs(2, 5)
    different = torch.stack([torch.arange(5), torch.arange(5) * 2])
    for case, positions in (
        ("2 sequences of 5 tokens", None),
        ("2 sequences with different positions", different),
    ):
        output = reference.read(x, positions, one_by_one=True)
        require_equal(output, reference.read(x, positions), case)


def blind_to_the_future(setup: Setup) -> None:
    """No output depends on later tokens."""
    if not setup.causal:
        raise NotApplicable("the model is bidirectional")
    reference, x = setup.reference_model(), setup.inputs(1, 9)
    other = torch.cat((x[:, :5], setup.inputs(1, 4, seed=9)), 1)
    require_equal(
        reference.read(other)[:, :5], reference.read(x)[:, :5], "9 tokens, the last 4 replaced"
    )
    require_equal(
        reference.read(x[:, :5]), reference.read(x)[:, :5], "9 tokens, the last 4 left out"
    )


def windowed(setup: Setup) -> None:
    """With a sliding window, tokens before the window change nothing."""
    reference, x = setup.reference_model(), setup.inputs(1, 9)
    if leaks := [type(p).__name__ for p in reference.position.embeddings if p.order_leak]:
        raise NotApplicable(
            f"{' and '.join(leaks)} declares order_leak: a window does not limit it"
        )
    other = torch.cat((setup.inputs(1, 2, seed=9), x[:, 2:]), 1)
    # Two layers with windows of 3 tokens reach 4 tokens back.
    output, expected = (reference.read(inputs, window=3)[:, 6:] for inputs in (other, x))
    require_equal(output, expected, "9 tokens with a window of 3, the first 2 replaced")


def stateless(setup: Setup) -> None:
    """Earlier inputs leave no trace: the same input always gives the same output."""
    reference, x = setup.reference_model(), setup.inputs(1, 5)
    expected = setup.reference_model().read(x)
    far = torch.arange(5)[None] + setup.first_position(5000, 5)
    for earlier, read in (
        ("float16 inputs", lambda: ReferenceModel(reference.position, 1, torch.float16).read(x)),
        ("a longer sequence", lambda: reference.read(setup.inputs(1, 40))),
        ("far positions", lambda: reference.read(x, far)),
        ("another context length", lambda: reference.read(x, context_length=500)),
    ):
        read()
        require_equal(reference.read(x), expected, f"5 tokens after {earlier}", 0.0)


def independent(setup: Setup) -> None:
    """Instances with different options do not affect each other."""
    x, reference = setup.inputs(1, 9), setup.reference_model()
    expected, count = reference.read(x), 0
    for _, other in variants(setup):
        variant = other.reference_model()
        first = variant.read(x)
        require_equal(reference.read(x), expected, f"after an instance of {other.spec}", 0.0)
        require_equal(variant.read(x), first, f"{other.spec} after this one", 0.0)
        count += 1
    if not count:
        raise NotApplicable("no option has another valid value")


def low_precision(setup: Setup) -> None:
    """In bfloat16 and float16 models, far positions are as exact as in float32.

    The limit for bfloat16 depends on the error of float16, because large scores amplify
    rounding: bfloat16 has three bits less, so 8 times the error, and by chance up to 3 times
    that in an input this small. A rounded position is wrong by one or more in float16 too.
    """
    x = setup.inputs(1, 9)
    for start in sorted({0, setup.first_position(3001, 9), setup.first_position(100_000, 9)}):
        positions, limit = torch.arange(start, start + 9)[None], COARSE
        for dtype in (torch.float16, torch.bfloat16):
            case = f"positions from {start} on, {str(dtype).removeprefix('torch.')}"
            error = _error(setup, x, positions, dtype, case)
            if not error < limit:
                raise CheckFailed(
                    f"{case} model: the error is {error:.2g} of the output's standard deviation, "
                    f"above {limit:.2g}"
                )
            limit = max(COARSE, 24 * error)


@torch.no_grad()
def _error(setup: Setup, x: Tensor, positions: Tensor, dtype: torch.dtype, case: str) -> float:
    """Return the error of a 16-bit model against a float32 model with the same weights.

    It is relative to the standard deviation of the output, the largest of a forward pass at
    once and one through a cache.
    """
    rounded = setup.build().to(dtype)
    exact = copy.deepcopy(rounded).float()
    expected = ReferenceModel(exact, setup.key_value_heads, torch.float32).read(x, positions)
    output = ReferenceModel(rounded, setup.key_value_heads, torch.float32).read(x, positions)
    require_equal(output, expected, f"{case} weights", 1e-3)
    reference = ReferenceModel(rounded, setup.key_value_heads, dtype)
    outputs = [reference.read(x, positions)]
    if setup.causal:
        outputs.append(_in_pieces(reference, x, (3, 4), ReferenceCache(), positions))
    errors = [(output.float() - expected).square().mean().sqrt() for output in outputs]
    return float(torch.stack(errors).max() / expected.std())


def sampling(setup: Setup) -> None:
    """Training positions are ascending, and depend on the generator only."""
    position = setup.build()
    if "sample_positions" not in position.active_hooks():
        raise NotApplicable("training feeds plain positions")
    plain = torch.arange(9).expand(3, 9)
    samples = [
        position.sample_positions(plain, 3, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    sample = samples[0]
    if not torch.equal(sample, samples[1]) or torch.equal(sample, samples[2]):
        raise CheckFailed(
            "the same generator gives different positions, or different ones the same"
        )
    if sample.shape != plain.shape or not (sample.diff(dim=1) > 0).all() or sample.min() < 0:
        raise CheckFailed(f"positions do not rise, or are negative: {sample.tolist()}")
    limit = position.max_position
    if limit is not None and sample.max() > limit:
        raise CheckFailed(f"a position is past max_position, {limit}")


CHECKS: dict[str, Callable[[Setup], str | None]] = {
    "hooks": hooks,
    "has effect": has_effect,
    "cached": cached,
    "packed": packed,
    "padded": padded,
    "masked": masked,
    "shifted": shifted,
    "positions alone": positions_alone,
    "training mode": training_mode,
    "fractional": fractional,
    "pair by pair": pair_by_pair,
    "causal": blind_to_the_future,
    "windowed": windowed,
    "stateless": stateless,
    "independent": independent,
    "options act": options_act,
    "unshared": unshared,
    "low precision": low_precision,
    "movable": movable,
    "initialised": initialised,
    "gradients": gradients,
    "facts": facts,
    "sampling": sampling,
}
