"""The tolerance of another program's logits, and the table of largest differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wordorder.errors import Refused
from wordorder.model import LanguageModel
from wordorder.table import Table

# Largest difference of logits in float32; sums in another order differ by 1e-5.
TOLERANCE = 1e-4
LONGER = 1024  # most tokens past the trained length: some classes hold whole matrices of scores
# Limits of an export's comparison, so that an imported model with a context of 131,072 tokens and
# as many words can be exported: multiply-adds of one forward pass (about ten seconds of two cores),
# bytes of activations, and logits of one sequence.
MOST_OPERATIONS, MOST_BYTES, MOST_LOGITS = 4e11, 1 << 30, 1 << 26
NUMBERS = 40  # floats per token, relative to the feed-forward width; measured for two sequences
FEWEST_TOKENS = 32
COLUMNS = {
    "alone": "alone",
    "padded": "beside a padded one",
    "batched": "in one batch",
    "cached": "with the cache",
}


@dataclass(frozen=True)
class LogitComparison:
    """The largest difference of logits in one way of reading.

    Args:
        reading: "alone", "padded", "batched" or "cached".
        tokens: length of the longest sequence.
        difference: largest absolute difference of two logits.
        tolerance: largest difference that is allowed.
    """

    reading: str
    tokens: int
    difference: float
    tolerance: float = TOLERANCE

    @property
    def is_exact(self) -> bool:
        """Whether the difference is at most the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def lengths(trained: int, *limits: int | None) -> list[int]:
    """Return the lengths to compare at, ascending: half, once and twice the trained length.

    Args:
        trained: tokens in one training sequence.
        limits: most tokens that the model or the other program has positions for; None: any number.
    """
    wanted = {max(1, trained // 2), trained, trained + min(trained, LONGER)}
    return sorted({min([length, *(limit for limit in limits if limit)]) for length in wanted})


def affordable(
    model: LanguageModel, *, operations: float = MOST_OPERATIONS, memory: float = MOST_BYTES
) -> int:
    """Return how many tokens a comparison can read in a reasonable time and memory.

    Args:
        operations: multiply-adds of one forward pass.
        memory: bytes of activations.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    per_token = 4 * NUMBERS * model.config.feed_forward_width
    return max(FEWEST_TOKENS, int(min(operations / parameters, memory / per_token)))


def most_logits(model: LanguageModel) -> int:
    """Return of how many tokens of one sequence logits are compared at most; at least one."""
    return max(1, MOST_LOGITS // model.config.vocabulary_size)


def notes_on_lengths(trained: int, comparisons: Sequence[LogitComparison]) -> tuple[str, ...]:
    """Say if no compared text was as long as the sequences of training, of `trained` tokens."""
    longest = max(each.tokens for each in comparisons)
    if longest >= trained:
        return ()
    return (
        "the model or its vocabulary is large: logits were compared on texts of at most "
        f"{longest:,} tokens, and it was trained on sequences of {trained:,}",
    )


def exact(
    comparisons: Iterable[LogitComparison], *, holder: str, original: str
) -> tuple[LogitComparison, ...]:
    """Return the comparisons, each within its tolerance.

    Args:
        holder: what was compared with the original, such as a class of transformers.
        original: the run.

    Raises:
        Refused: one that is not exact; later ones are not made.
    """
    passed = []
    for comparison in comparisons:
        if not comparison.is_exact:
            raise Refused(
                f"{holder} differs from {original}: logits of {comparison.tokens:,} tokens "
                f"({comparison.reading}) by up to {comparison.difference:.2g}, and "
                f"{comparison.tolerance:g} is allowed: nothing was written",
                code="interop.logits-differ",
            )
        passed.append(comparison)
    return tuple(passed)


def comparison_table(comparisons: Sequence[LogitComparison]) -> Table:
    """Return the largest differences: a row for each length, a column for each way of reading."""
    rows, columns = [], [name for name in COLUMNS if any(c.reading == name for c in comparisons)]
    for tokens in dict.fromkeys(each.tokens for each in comparisons):
        row = {each.reading: each.difference for each in comparisons if each.tokens == tokens}
        cells = [f"{row[reading]:.1e}" if reading in row else "-" for reading in columns]
        rows.append([f"{tokens:,}", *cells])
    headings = [COLUMNS[name] for name in columns]
    return Table(["tokens", *headings], rows, left=frozenset())
