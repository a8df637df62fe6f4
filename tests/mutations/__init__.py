"""Mistakes that projects shipped, that their users hit, or that are easily made, as edits.

Code is quoted as it stands, and each quotation occurs once in its file.
"""

from . import experts, imports, model, newer_positions, positions, rotary
from .mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *rotary.MUTANTS,
    *positions.MUTANTS,
    *newer_positions.MUTANTS,
    *model.MUTANTS,
    *experts.MUTANTS,
    *imports.MUTANTS,
)
