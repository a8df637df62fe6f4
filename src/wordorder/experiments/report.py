"""Writes the results of a comparison: table.csv, figures and report.html.

The only inputs are `comparison.json` (the settings) and `results.jsonl` (a line for each run), so
that the output can be generated again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text as Line

from wordorder.errors import BadInput
from wordorder.evaluation.effect import GAIN_NATS, SMALLEST_NATS, TOLERANCE_NATS
from wordorder.experiments import tables, views
from wordorder.experiments.comparison import FIGURES, Comparison
from wordorder.experiments.page import (
    Code,
    Emphasis,
    Figure,
    Heading,
    Items,
    Paragraph,
    Part,
    Section,
    page,
    write_files,
)
from wordorder.experiments.results import AtLength, Result, Summary
from wordorder.experiments.summary import summarise
from wordorder.experiments.verdict import MOST_LISTED, verdict
from wordorder.experiments.wording import listed, times
from wordorder.numerals import counted
from wordorder.panels import Panel
from wordorder.training.metrics import read

INTERVALS = (
    "Differences are paired: runs with the same seed share their data order and every initial "
    "weight of the same name and shape. Bars are 95% t-intervals of the paired difference, small "
    "marks are single seeds. A difference is significant if its interval excludes zero, its "
    "p-value with Holm's correction for the number of embeddings is below 0.05, and it is at least "
    f"{SMALLEST_NATS} nats."
)
GROWING = (
    "Each model predicts the same tokens with growing context, so only the context changes. By "
    f"the 95% interval of the change from the trained length: uses it: entirely below -{GAIN_NATS} "
    f"nats; breaks: entirely above +{TOLERANCE_NATS}; survives: otherwise, and entirely below "
    f"+{TOLERANCE_NATS}; undecided: it contains +{TOLERANCE_NATS}. Cannot: the embedding has no "
    "such position. Exploratory: each word is wrong in at most 2.5% of cases, without correction "
    "for multiple tests."
)
WHOLE = (
    "Disjoint windows of each length, over all tokens. Longer windows have fewer tokens with a "
    "short context, so the loss may fall although long context is not used: it is not comparable "
    "with the figures above."
)
DISTURBED = (
    "The rise of the loss of the same tokens with the order of their context disturbed, with 95% "
    "intervals over seeds, for these tokens. Without a rise, predictions do not use that order. "
    "Exploratory: without correction for multiple tests."
)
COSTS = (
    "Time of one training step, measured for one embedding after another before the runs, with "
    "the same number of threads; memory is the peak of a run's whole process, mean over seeds. "
    "Ratio and difference are relative to the baseline; added are the embedding's own parameters."
)


def write_report(folder: Path) -> Summary:
    """Write table.csv, figures/ and report.html of a comparison's folder; return its summary.

    Raises:
        BadInput: no comparison is there, it is damaged, or a package is missing.
    """
    summary = read_summary(folder)
    table, groups = tables.table_csv(summary), views.panels(summary)
    write_files(folder, table, groups, report_page(summary), FIGURES)
    return summary


def read_summary(folder: Path) -> Summary:
    """Return the summary of a comparison's folder.

    Raises:
        BadInput: no comparison is there, or it is damaged.
    """
    path, comparison = folder / "results.jsonl", Comparison.read(folder)
    try:
        return summarise(comparison, read(path, of_steps=False))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} is damaged ({error}): choose another --out", code="experiments.damaged-results"
        ) from None


def for_terminal(summary: Summary) -> RenderableType:
    """Return the verdict and a short table, for a rich console."""
    conclusion = verdict(summary)
    parts: list[RenderableType] = [Line(conclusion.headline, style="bold")]
    parts += [Padding(Line(line), (0, 0, 0, 2)) for line in conclusion.certainty]
    for section in conclusion.findings:
        parts += [Line(), Line(section.heading, style="bold")]
        parts += [Padding(Line(line), (0, 0, 0, 2)) for line in section.lines]
    return Group(
        *parts, Line(), tables.overview(summary).terminal(), Line(), Line(conclusion.scope)
    )


def report_page(summary: Summary) -> str:
    """Return the page of a comparison."""
    comparison = summary.comparison
    model, data = comparison.model, comparison.data
    names = [result.position for result in summary.results]
    lead = (
        f"{len(names)} positional embeddings, {counted(summary.seeds, 'seed')} each, "
        f"{comparison.tokens:,} tokens a run; {counted(model['layers'], 'layer')} of width "
        f"{model['width']}, trained on sequences of {comparison.trained_length:,} tokens of "
        f"{data['name']}."
    )
    sections = [
        Section("", _verdict(summary)),
        Section("Validation loss", list(_loss_parts(summary))),
        Section("Longer context: the same tokens", list(_length_parts(summary))),
        Section("Longer context: disjoint windows", list(_window_parts(summary))),
        Section("Order", list(_order_parts(summary))),
        Section("Speed, memory, parameters", [tables.costs(summary), Paragraph(COSTS)]),
        *_conditions(comparison),
        Section("Reproduce", list(_again(comparison))),
    ]
    few = len(names) <= MOST_LISTED
    title = f"Compared: {listed(names)}" if few else f"{len(names)} positional embeddings compared"
    return page(title, lead, [s for s in sections if s.parts])


def _verdict(summary: Summary) -> list[Part]:
    conclusion = verdict(summary)
    parts: list[Heading | Paragraph | Items] = (
        [Items(conclusion.certainty)] if conclusion.certainty else []
    )
    for section in conclusion.findings:
        parts += [Heading(section.heading), Items(section.lines)]
    return [
        Emphasis(conclusion.headline, [*parts, Paragraph(conclusion.scope)]),
        tables.overview(summary),
    ]


def _figures(panels: Iterable[Panel | None], caption: str) -> list[Part]:
    drawn = [panel for panel in panels if panel is not None]
    return [Figure(p, caption if p is drawn[-1] else "") for p in drawn]


def _loss_parts(summary: Summary) -> Iterable[Part]:
    yield from _figures([views.losses(summary)], INTERVALS)
    if any(result.losses for result in summary.results):
        yield tables.losses(summary)
    yield from _figures(
        [views.curves(summary)],
        "Thick: mean over seeds; thin: single seeds; the first quarter may lie above the frame. "
        "Measured on the beginning of a text, unlike the loss above, which is over all held-out "
        "text.",
    )
    if any(result.curves for result in summary.results):
        yield tables.training(summary)


def _length_parts(summary: Summary) -> Iterable[Part]:
    targets, documents = summary.targets or 0, summary.target_documents or 0
    caption = (
        f"{counted(targets, 'target token')} in {counted(documents, 'document')}. The grey band "
        f"is the tolerance; lines that leave the frame are complete in the figure before. {GROWING}"
    )
    drawn = [views.same_targets(summary), views.changes(summary)]
    yield from _figures(drawn, caption)
    if any(panel is not None for panel in drawn):
        yield tables.by_length(summary, lambda result: result.same_targets)
        yield from _cannot(summary, lambda result: result.same_targets)


def _window_parts(summary: Summary) -> Iterable[Part]:
    drawn = views.whole_windows(summary)
    if drawn is not None:
        yield Figure(drawn, WHOLE)
        yield tables.by_length(summary, lambda result: result.whole_windows)
        yield from _cannot(summary, lambda result: result.whole_windows)


def _cannot(summary: Summary, lengths: Callable[[Result], tuple[AtLength, ...]]) -> Iterable[Part]:
    """Yield the reasons of unmeasurable lengths, each at the first one."""
    firsts = [
        (result, next((at for at in lengths(result) if at.cannot), None))
        for result in summary.results
    ]
    lines = [
        f"{result.position} cannot at {times(at.factor)}: {at.cannot}"
        for result, at in firsts
        if at
    ]
    if lines:
        yield Items(lines)


def _order_parts(summary: Summary) -> Iterable[Part]:
    yield from _figures([views.order(summary)], DISTURBED)
    meanings = {d.how: d.meaning for result in summary.results for d in result.order}
    if meanings:
        yield Items([f"{how}: {meaning}" for how, meaning in meanings.items() if meaning])
        yield tables.order(summary)
    if leaks := summary.comparison.leaks:
        yield Paragraph("Sources of order in these models other than the positional embedding:")
        yield Items(leaks)


def _conditions(comparison: Comparison) -> list[Section]:
    listing = {
        "Held equal": comparison.held_equal,
        "Not equal": comparison.not_equal,
        "Left out": comparison.notes,
    }
    sections = [Section(heading, [Items(items)]) for heading, items in listing.items() if items]
    if tuned := comparison.tuned:
        chosen = [f"{name}: {factor:g} times" for name, factor in tuned.items()]
        curve = [tables.rates(comparison.tuning)] if comparison.tuning else []
        heading = "Learning rates, tuned for each embedding"
        sections.append(Section(heading, [Items(chosen), *curve]))
    return sections


def _again(comparison: Comparison) -> Iterable[Part]:
    yield Code(comparison.command or "started from Python: comparison.json has all settings")
    machine = comparison.machine
    compiled = "compiled" if machine["compile"] else "eager"
    yield Paragraph(
        f"wordorder {comparison.wordorder}, torch {machine['torch']}, {machine['device']}, "
        f"{counted(machine['threads'], 'thread')} a run, "
        f"{counted(comparison.processes, 'run')} at once, {machine['dtype']}, "
        f"{machine['kernel']} attention, {compiled}. This page is generated from comparison.json "
        f"and results.jsonl; table.csv has all numbers:"
    )
    yield tables.explained(tables.COLUMNS)
