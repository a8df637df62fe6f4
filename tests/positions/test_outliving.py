"""State that outlives an instance: wherever it is kept, the kit finds it; a whole key passes."""

from __future__ import annotations

import functools
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from wordorder.positions import ModelShape, Position, TokenLayout
from wordorder.positions.conformance import check
from wordorder.positions.conformance.shared_state import _containers

IN_MODULE: dict[int, Tensor] = {}
OF_MODULE: Tensor | None = None
BASES: list[float] = []


class Waves(Position):
    """Sines of the position, at rates that subclasses keep somewhere."""

    door, absolute, shift_invariant = "input", True, False

    def __init__(self, shape: ModelShape, /, *, base: float = 10.0, size: float = 1.0) -> None:
        super().__init__(shape)
        self.base, self.size = base, size

    def rates(self, dtype: torch.dtype) -> Tensor:
        return made(self.base, self.shape.width)

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        angles = layout.query_positions.double()[..., None] * self.rates(x.dtype)
        return x + (self.size * angles.sin()).to(x.dtype)


def made(base: float, width: int) -> Tensor:
    return base ** -(torch.arange(width, dtype=torch.float64) / width)


class InModule(Waves):
    def rates(self, dtype: torch.dtype) -> Tensor:
        return IN_MODULE.setdefault(self.shape.width, made(self.base, self.shape.width))


class OfModule(Waves):
    def rates(self, dtype: torch.dtype) -> Tensor:
        global OF_MODULE
        if OF_MODULE is None or len(OF_MODULE) != self.shape.width:
            OF_MODULE = made(self.base, self.shape.width)
        return OF_MODULE


class InClass(Waves):
    kept: ClassVar[dict] = {}

    def rates(self, dtype: torch.dtype) -> Tensor:
        return self.kept.setdefault(self.shape.width, made(self.base, self.shape.width))


class OfClass(Waves):
    kept: Tensor | None = None

    def rates(self, dtype: torch.dtype) -> Tensor:
        if OfClass.kept is None or len(OfClass.kept) != self.shape.width:
            OfClass.kept = made(self.base, self.shape.width)
        return OfClass.kept


class InDefault(Waves):
    def rates(self, dtype: torch.dtype, kept: dict = {}) -> Tensor:  # noqa: B006
        return kept.setdefault(self.shape.width, made(self.base, self.shape.width))


@functools.cache
def of_last_base(width: int) -> Tensor:
    return made(BASES[-1], width)


class InCachedFunction(Waves):
    def rates(self, dtype: torch.dtype) -> Tensor:
        BASES.append(self.base)
        return of_last_base(self.shape.width)


def in_closure() -> type[Position]:
    kept: dict[int, Tensor] = {}

    class InClosure(Waves):
        def rates(self, dtype: torch.dtype) -> Tensor:
            return kept.setdefault(self.shape.width, made(self.base, self.shape.width))

    return InClosure


@pytest.mark.parametrize(
    "kind", [InModule, OfModule, InClass, OfClass, InDefault, InCachedFunction, in_closure()]
)
@pytest.mark.parametrize("first", [pytest.param(10.0, marks=pytest.mark.slow), 7.0])
def test_a_key_that_forgets_an_option_is_found(kind: type[Position], first: float) -> None:
    """Whether the first instance had the default or not."""
    kind(ModelShape(6, 8), base=first).embed(
        torch.zeros(1, 3, 48), TokenLayout.of(torch.arange(3)[None])
    )
    assert check(kind).broken == ["options act", "unshared"]


class ForDtype(Waves):
    kept: ClassVar[dict] = {}

    def rates(self, dtype: torch.dtype) -> Tensor:
        key = self.base, self.shape.width
        return self.kept.setdefault(key, made(*key).to(dtype)).double()


class ForLength(Waves):
    kept: ClassVar[dict] = {}

    def rates(self, dtype: torch.dtype) -> Tensor:
        key = self.base, self.shape.width
        return self.kept.setdefault(key, made(*key) * 48 / self.shape.trained_length)


class BaseElsewhere(Waves):
    """Forgets its base, which acts on the size too."""

    kept: ClassVar[dict] = {}

    def rates(self, dtype: torch.dtype) -> Tensor:
        width = self.shape.width
        return self.kept.setdefault(width, made(self.base, width)) * self.base / 10


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ForDtype, "float16, after other instances that share ForDtype.kept: outputs"),
        (ForLength, "trained_length=96, after other instances that share ForLength.kept: outputs"),
        (BaseElsewhere, "after other instances that share BaseElsewhere.kept: outputs"),
    ],
)
def test_a_key_that_forgets_something_else_is_found(kind: type[Position], said: str) -> None:
    report = check(kind)
    assert report.broken == ["unshared"]
    assert said in str(report)


class WholeKey(Waves):
    kept: ClassVar[dict] = {}

    def rates(self, dtype: torch.dtype) -> Tensor:
        key = self.base, self.shape.width
        return self.kept.setdefault(key, made(*key))


cached = functools.cache(made)


class WholeCachedKey(Waves):
    def rates(self, dtype: torch.dtype) -> Tensor:
        return cached(self.base, self.shape.width)


TURNS = {"slow": 0.5, "fast": 2.0}


class OfConstants(Waves):
    """Reads a table of constants, which is no state and stays as it is."""

    def rates(self, dtype: torch.dtype) -> Tensor:
        return TURNS["slow"] * super().rates(dtype)


@pytest.mark.parametrize("kind", [Waves, WholeKey, WholeCachedKey, OfConstants])
def test_what_is_kept_under_its_whole_key_passes(kind: type[Position]) -> None:
    report = check(kind)
    assert report.holds, str(report)
    assert TURNS == {"slow": 0.5, "fast": 2.0}


def test_what_was_kept_is_there_afterwards() -> None:
    IN_MODULE.clear()
    IN_MODULE[48] = kept = made(3.0, 48)
    assert "unshared" in check(InModule, only=("unshared",)).broken
    assert list(IN_MODULE) == [48] and IN_MODULE[48] is kept


def test_an_option_may_wait_for_another() -> None:
    class Waiting(Waves):
        def __init__(
            self, shape: ModelShape, /, *, base: float = 10.0, on: bool = False, by: float = 2.0
        ) -> None:
            super().__init__(shape, base=base * by if on else base)
            self.base, self.on, self.by = base, on, by

        def rates(self, dtype: torch.dtype) -> Tensor:
            return made(self.base * (self.by if self.on else 1), self.shape.width)

    assert check(Waiting, only=("options act",)).holds


def test_an_option_that_changes_nothing_is_named_with_what_was_tried() -> None:
    class Idle(Waves):
        def __init__(self, shape: ModelShape, /, *, base: float = 10.0, by: int = 3) -> None:
            super().__init__(shape, base=base)
            self.by = by

    (finding,) = check(Idle, only=("options act",)).findings
    assert finding.detail.startswith("the option by has no effect: ")
    assert "by=5 and by=6 and by=37;" in finding.detail


def test_places_are_named_as_in_the_code() -> None:
    assert {"InClass.kept"} <= {place.name for place in _containers(InClass)}
    assert {"the cache of cached"} <= {place.name for place in _containers(WholeCachedKey)}
