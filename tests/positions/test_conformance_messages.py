"""What the kit says of a mistake: its cause and its remedy, once."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from wordorder.positions import ModelShape, Position, Rotary, TokenLayout
from wordorder.positions.conformance import check


class SinglePrecision(Position):
    """Interleaved rotary as in textbooks: its angles are float32."""

    door, static_rotation = "query-key", True

    def prepare(self, layout: TokenLayout) -> list[tuple[Tensor, Tensor]]:
        frequencies = Rotary(self.shape).frequencies().float()
        positions = layout.query_positions, layout.key_positions
        angles = [p.float()[:, None, :, None] * frequencies for p in positions]
        return [(angle.cos(), angle.sin()) for angle in angles]

    def turned(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        first, second = x[..., ::2], x[..., 1::2]
        pairs = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack(pairs, -1).flatten(-2).to(x.dtype)

    def transform_queries(self, queries, tables, state):
        return self.turned(queries, *tables[0])

    def transform_keys(self, keys, tables, state):
        return self.turned(keys, *tables[1])


class Misspelled(Position):
    door = "score"

    def distance_bais(self, distance: Tensor) -> Tensor:
        return -distance.abs().float().expand(self.shape.heads, *distance.shape)


class Nothing(Position):
    door = "row"


class Endless(Position):
    """A table that does not say where it ends."""

    door, absolute, shift_invariant = "input", True, False

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.table = nn.Parameter(torch.empty(shape.trained_length, shape.width))

    def reset_parameters(self, generator=None):
        nn.init.normal_(self.table, generator=generator)

    def embed(self, x: Tensor, layout: TokenLayout) -> Tensor:
        return x + self.table[layout.query_positions.long()].to(x.dtype)


class Uninitialised(Position):
    """Takes whatever memory holds."""

    door = "score"

    def __init__(self, shape: ModelShape, /) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.full((shape.heads,), next(MEMORY)))

    def distance_bias(self, distance: Tensor) -> Tensor:
        return -self.weight.view(-1, *[1] * distance.dim()) * distance.abs()


MEMORY = itertools.cycle([0.5, float("nan"), 1e30])


def detail_of(kind: type[Position], name: str) -> str:
    (finding,) = check(kind, only=(name,)).findings
    assert finding.holds is False
    return finding.detail


def test_angles_that_are_coarse_far_out_are_not_taken_for_a_false_fact() -> None:
    detail = detail_of(SinglePrecision, "shifted")
    assert "from 1000000 on" in detail and "far positions lose precision" in detail
    assert "compute angles in float64" in detail


def test_a_false_fact_is_not_taken_for_coarse_angles() -> None:
    class Counting(Endless):
        shift_invariant = True

        @property
        def max_position(self) -> int:
            return len(self.table) - 1

    assert "float64" not in detail_of(Counting, "shifted")


def test_a_hook_whose_name_is_misspelled_is_named_with_the_nearest() -> None:
    assert detail_of(Misspelled, "facts").startswith(
        "declares door='score', but overrides none of its hooks (slopes, distance_bias, score). "
        "distance_bais is no hook: did you mean distance_bias?"
    )
    assert "Override one of them." in detail_of(Nothing, "facts")


def test_a_table_without_a_last_position_is_told_to_declare_one_once() -> None:
    report = check(Endless)
    first, *others = (f.detail for f in report.findings if f.holds is False)
    assert "IndexError at test_conformance_messages.py" in first
    assert "declare its last position with the property max_position" in first
    assert others == ["the same reason as for 'shifted'"] * 2


def test_what_has_no_initial_values_is_told_so_alone() -> None:
    report = check(Uninitialised)
    assert report.broken == ["initialised"]
    assert "unknown until 'initialised' holds" in str(report)


def test_the_report_reads_as_a_page() -> None:
    shown = str(check("alibi", only=("cached", "sampling")))
    assert shown.splitlines() == [
        "alibi",
        "  holds   cached          "
        "Processing a sequence in pieces, through a cache, gives the same output as at once.",
        "  -       sampling        Training positions are ascending, and depend on the "
        "generator only.",
        "                          training feeds plain positions",
    ]
