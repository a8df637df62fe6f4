"""The claim that coupled positions carry addition past the trained length.

Digits of the same significance share a position, so that the relation between the digits of a sum
is the same at any length. Otherwise longer sums have positions, or combinations of positions, that
training never had.

The baselines are those of the source: a learned table with random offsets, so that every row is
trained, and the rotary models of the claim on addition. They have more layers than the models with
coupled positions, as in the source, whose baselines have six.

Training seldom reaches the first and the last of the offset positions, so a model knows them less
well. The source numbers digits from the most significant one, so that the first positions belong
to the end of the answer. Here they belong to its beginning, where models of the pilot erred in
longer sums. Tests therefore shift all positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from wordorder.claims.claim import Claim, ClaimPlan, Criterion, Measurements, Results, Work
from wordorder.claims.counting import ADDITION, JUDGED, ROTARY, Practice
from wordorder.claims.intervals import Contrast
from wordorder.experiments.task_training import Protocol

BEYOND = 10  # digits, of 8 trained
COUPLED_POSITIONS, RELATIVE = "coupled:most=16+learned:length=32", "coupled:most=16+rotary"
OFFSET_POSITIONS = "offset:most=16+learned:length=44"  # 28 rows in training, and the offsets
SHIFT = 4
COUPLED = Practice(
    "coupled-addition",
    Protocol("addition-reversed", length=8, steps=700, batch_size=64, layers=2),
    lengths=(8, BEYOND, 12),
    positions=(COUPLED_POSITIONS, RELATIVE),
    seconds=40,
    learned=ADDITION.learned,
    shift=SHIFT,
)
LEARNED = replace(ADDITION, name="addition-offset", positions=(OFFSET_POSITIONS,), shift=SHIFT)
PLAIN = replace(ADDITION, positions=(ROTARY,))  # its jobs are those of adding-past-the-length
RIVALS = {"learned": LEARNED, ROTARY: PLAIN}
AT = f"coupled at {BEYOND}"


def lead_over(rival: str) -> str:
    """Return the name of the lead of coupled positions over another embedding."""
    return f"coupled minus {rival} at {BEYOND}"


def _works(plan: ClaimPlan) -> list[Work]:
    return [work for task in (COUPLED, *RIVALS.values()) for work in task.works(plan)]


def _read(plan: ClaimPlan, results: Results) -> Measurements:
    coupled = COUPLED.right(plan, results, COUPLED_POSITIONS, BEYOND)
    leads = {
        lead_over(rival): Contrast(
            ((1.0, coupled), (-1.0, task.right(plan, results, task.positions[0], BEYOND)))
        )
        for rival, task in RIVALS.items()
    }
    learned = {
        name: share
        for task in (COUPLED, *RIVALS.values())
        for name, share in task.learned_by(plan, results).items()
    }
    return Measurements({AT: coupled, **leads, **learned}, tuple(_notes(plan, results)))


def _notes(plan: ClaimPlan, results: Results) -> Iterator[str]:
    for task in (COUPLED, *RIVALS.values()):
        yield from task.notes(plan, results)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="coupled-positions-add",
        of="literature",
        statement="Trained to add numbers of up to 8 digits, a model whose digits of the same "
        "significance share a position is right on most sums of 10 digits, where learned "
        "positions with random offsets and rotary are not.",
        source="Cho et al. 2024, Position Coupling (arXiv 2405.20671), figure 1; McLeish et al. "
        "2024, Abacus embeddings (arXiv 2405.17399)",
        theirs="trained to 30 digits, one layer with coupled positions adds 200 (abstract); "
        "without positions, or with learned ones from a random start, models do not (figure 1)",
        protocol=f"Models of width 64 add, both numbers and the sum from the least significant "
        f"digit, without padding: {COUPLED.protocol.layers} layers with coupled positions, "
        f"{COUPLED.protocol.steps} steps of {COUPLED.protocol.batch_size}; {PLAIN.protocol.layers} "
        f"layers with the others, {PLAIN.protocol.steps:,} steps of {PLAIN.protocol.batch_size}. "
        f"Learned positions are {SHIFT} larger in tests, because training seldom reaches the "
        f"first ones; coupled positions with rotary are reported too. One pilot seed, not "
        f"among these, chose layers, steps, offsets and shift. Of seven seeds that are right on "
        f"all sums or none, six must be right for the first criterion, and five, beside none of "
        f"the others, for a lead. {JUDGED}",
        criteria=(
            Criterion(AT, least=0.5, kind="proportion", neutral=None),
            *(Criterion(lead_over(rival), least=0.25, kind="difference") for rival in RIVALS),
        ),
        works=_works,
        read=_read,
        unit="of answers",
        gates=(
            COUPLED.gate(),
            *(replace(task.gate(), of=(lead_over(rival),)) for rival, task in RIVALS.items()),
        ),
        seeds_needed=7,
    ),
)
