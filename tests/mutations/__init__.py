"""Mistakes that projects shipped, that their users hit, or that are easily made, as edits.

Code is quoted as it stands, and each quotation occurs once in its file.
"""

from . import experts, imports, model, positions, rotary
from .mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *rotary.MUTANTS,
    *positions.MUTANTS,
    *model.MUTANTS,
    *experts.MUTANTS,
    *imports.MUTANTS,
)
