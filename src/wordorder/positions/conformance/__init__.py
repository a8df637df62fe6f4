"""The conformance kit: checks every property that a positional embedding must have.

    from wordorder.positions.conformance import CHECKS, check
    print(check("rotary:base=500000"))
    print(check(MyEmbedding))

    @pytest.mark.parametrize("name", CHECKS)
    def test_my_embedding(name):
        report = check(MyEmbedding, only=(name,))
        assert report.holds, str(report)

Properties are not enough: an embedding with a flipped sign has them all. Compare it with its
paper's formula too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from .. import CATALOGUE, parse
from ..base import Position
from ..spec import Part, Spec, as_line
from .checks import CHECKS
from .setup import TRAINED_LENGTH, CheckFailed, NotApplicable, Setup

PAST_TABLE = ": if a table ends there, declare its last position with the property max_position"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        name: of the property.
        statement: the property, in a sentence.
        holds: None if the property does not apply to this embedding.
        detail: why it does not hold or apply, or what was not tested.
    """

    name: str
    statement: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """The results of all checks of one embedding; `str` formats them as a page."""

    embedding: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return not self.broken

    @property
    def broken(self) -> list[str]:
        """The names of the properties that the embedding lacks."""
        return [finding.name for finding in self.findings if finding.holds is False]

    def __str__(self) -> str:
        marks = {True: "holds", False: "BROKEN", None: "-"}
        lines = [self.embedding]
        for finding in self.findings:
            lines.append(f"  {marks[finding.holds]:<7} {finding.name:<15} {finding.statement}")
            if finding.detail:
                lines.append(f"{'':26}{finding.detail}")
        return "\n".join(lines)


def check(
    embedding: str | Spec | type[Position],
    *,
    heads: tuple[int, ...] = (6,),
    causal: bool = True,
    trained_length: int = TRAINED_LENGTH,
    only: tuple[str, ...] = (),
    **options: Any,
) -> Report:
    """Check which properties an embedding has, and return a report.

    Args:
        embedding: a spec, or a class.
        heads: numbers of heads to check with; 6 because it is not a power of two, where
            slopes are easily wrong.
        causal: check in a causal model, or in a bidirectional one.
        trained_length: of the model; some options scale with it. Inputs have up to 40 tokens.
        only: names of properties to check; if empty, all.
        options: options of the class.

    Raises:
        PositionError: an invalid spec or option.
    """
    spec, catalogue = _spec_of(embedding, options)
    setup = Setup(spec, catalogue, causal=causal, trained_length=trained_length)
    for count in heads:
        _with_heads(setup, count).build_default()  # raises for an invalid spec before any check
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # inputs are small, and synchronising threads would take longer
    try:
        findings = [
            _run_check(name, function, setup, heads)
            for name, function in CHECKS.items()
            if not only or name in only
        ]
    finally:
        torch.set_num_threads(threads)
    for cause in ("initialised", "hooks"):
        findings = _without_consequences(findings, cause)
    return Report(str(spec), _without_repetition(findings))


def _without_consequences(findings: list[Finding], cause: str) -> list[Finding]:
    """Return the findings; if the property `cause` is broken, mark other failures as unknown.

    Other checks mean nothing without initial values, or if a hook returns a tensor of the wrong
    shape or dtype.
    """
    if not any(finding.name == cause and finding.holds is False for finding in findings):
        return findings
    return [
        replace(finding, holds=None, detail=f"unknown until '{cause}' holds")
        if finding.holds is False and finding.name != cause
        else finding
        for finding in findings
    ]


def _without_repetition(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings, with repeated details replaced by a reference to the first."""
    first: dict[str, str] = {}
    distinct = []
    for finding in findings:
        cause = PAST_TABLE if PAST_TABLE in finding.detail else finding.detail
        earlier = first.setdefault(cause, finding.name)
        if finding.holds is False and earlier != finding.name:
            finding = replace(finding, detail=f"the same reason as for '{earlier}'")
        distinct.append(finding)
    return tuple(distinct)


def _spec_of(
    embedding: str | Spec | type[Position], options: Mapping[str, Any]
) -> tuple[Spec, Mapping[str, type[Position]]]:
    if isinstance(embedding, Spec):
        return embedding, CATALOGUE
    if isinstance(embedding, str):
        return parse(embedding), CATALOGUE
    part = Part(embedding.__name__, tuple(options.items()))
    return Spec(((part,),)), {embedding.__name__: embedding}


def _run_check(
    name: str, function: Callable[[Setup], str | None], setup: Setup, heads: tuple[int, ...]
) -> Finding:
    statement, note = (function.__doc__ or "").partition("\n")[0], None
    for count in heads:
        try:
            note = function(_with_heads(setup, count))
        except NotApplicable as reason:
            return Finding(name, statement, None, str(reason))
        except CheckFailed as failure:
            return Finding(name, statement, False, f"{failure} ({_heads(count)})")
        except (Exception, SystemExit) as error:  # of a user's hook: later checks may still pass
            hint = PAST_TABLE if _is_past_a_table(error, setup) else ""
            return Finding(name, statement, False, f"{as_line(error)}{hint} ({_heads(count)})")
    return Finding(name, statement, True, note or "")


def _is_past_a_table(error: BaseException, setup: Setup) -> bool:
    """Return whether an index is out of bounds and `max_position` is not declared."""
    out_of_bounds = isinstance(error, IndexError) and "out of" in str(error)
    return out_of_bounds and setup.build_default().max_position is None


def _with_heads(setup: Setup, count: int) -> Setup:
    """Return the setup with this many heads, and key heads for 4, 2 or 1 query heads each."""
    groups = 1 if count % 4 == 0 else count // 2 if count % 2 == 0 else count
    return replace(setup, heads=count, key_value_heads=groups)


def _heads(count: int) -> str:
    return "1 head" if count == 1 else f"{count} heads"


__all__ = ["CHECKS", "Finding", "Report", "check"]


def __getattr__(name: str) -> object:
    if name == "PROPERTIES":
        raise ImportError("wordorder.positions.conformance.PROPERTIES is now called CHECKS")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
