"""The conformance kit: every property a positional embedding must have, tried on anyone's.

    from wordorder.positions.conformance import CHECKS, check
    print(check("rotary:base=500000"))
    print(check(MyEmbedding))

    @pytest.mark.parametrize("name", CHECKS)
    def test_my_embedding(name):
        report = check(MyEmbedding, only=(name,))
        assert report.holds, str(report)

Properties are not enough: a flipped sign has them all. An embedding is also to be held to
its paper's formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from .. import CATALOGUE
from ..base import Position
from ..spec import Part, Spec, as_line, parse
from .checks import CHECKS
from .setup import TRAINED_LENGTH, Broken, NotApplicable, Setup


@dataclass(frozen=True)
class Finding:
    """One property tried: `holds` is None where it does not apply."""

    name: str
    statement: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What was found about one embedding; `str` gives a page to read."""

    embedding: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether no property is broken."""
        return not self.broken

    @property
    def broken(self) -> list[str]:
        """The names of the properties that do not hold."""
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
    """Return which properties an embedding has.

    Args:
        embedding: a spec, or a class of one's own.
        heads: head counts to try; six is no power of two, where slopes go wrong.
        causal: in a model that hides the future, or in a bidirectional one.
        trained_length: of the model, which some defaults follow from; texts of 40 tokens are
            read.
        only: names of properties; all if empty.
        options: of the class.

    Raises:
        PositionError: a spec or option that is wrong.
    """
    spec, catalogue = _named(embedding, options)
    setup = Setup(spec, catalogue, causal=causal, trained_length=trained_length)
    for count in heads:
        _with_heads(setup, count).bare()  # what is refused, is before anything is tried
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for one another, and texts here are small
    try:
        findings = [
            _try(name, function, setup, heads)
            for name, function in CHECKS.items()
            if not only or name in only
        ]
    finally:
        torch.set_num_threads(threads)
    return Report(str(spec), _each_once(findings))


def _each_once(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings; what was said of one before is not said again."""
    first: dict[str, str] = {}
    told = []
    for finding in findings:
        where = first.setdefault(finding.detail, finding.name)
        again = finding.holds is False and where != finding.name
        told.append(replace(finding, detail=f"as said of {where}") if again else finding)
    return tuple(told)


def _named(
    embedding: str | Spec | type[Position], options: Mapping[str, Any]
) -> tuple[Spec, Mapping[str, type[Position]]]:
    if isinstance(embedding, Spec):
        return embedding, CATALOGUE
    if isinstance(embedding, str):
        return parse(embedding, CATALOGUE), CATALOGUE
    part = Part(embedding.__name__, tuple(options.items()))
    return Spec(((part,),)), {embedding.__name__: embedding}


def _try(
    name: str, function: Callable[[Setup], None], setup: Setup, heads: tuple[int, ...]
) -> Finding:
    statement = (function.__doc__ or "").partition("\n")[0]
    for count in heads:
        try:
            function(_with_heads(setup, count))
        except NotApplicable as why:
            return Finding(name, statement, None, str(why))
        except Broken as broken:
            return Finding(name, statement, False, f"{broken} ({_heads(count)})")
        except Exception as error:  # of somebody's hook: the properties after it may still hold
            return Finding(name, statement, False, f"{as_line(error)} ({_heads(count)})")
    return Finding(name, statement, True)


def _with_heads(setup: Setup, count: int) -> Setup:
    """Return the setup with one key head for all where heads are many, for two, or for each."""
    groups = 1 if count % 4 == 0 else count // 2 if count % 2 == 0 else count
    return replace(setup, heads=count, key_value_heads=groups)


def _heads(count: int) -> str:
    return "1 head" if count == 1 else f"{count} heads"


__all__ = ["CHECKS", "Finding", "Report", "check"]


def __getattr__(name: str) -> object:
    if name == "PROPERTIES":
        raise ImportError("wordorder.positions.conformance.PROPERTIES is called CHECKS now")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
