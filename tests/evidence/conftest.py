"""The modules of docs/ that read the evidence of the ten-million-word table and write its page."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def modules() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        import ten_million_evidence
        import ten_million_figures
        import ten_million_summary
        import ten_million_table

        yield ten_million_evidence, ten_million_table, ten_million_figures, ten_million_summary


@pytest.fixture
def evidence(modules: tuple[ModuleType, ...]) -> ModuleType:
    return modules[0]


@pytest.fixture
def table(modules: tuple[ModuleType, ...]) -> ModuleType:
    return modules[1]


@pytest.fixture
def summary(modules: tuple[ModuleType, ...]) -> ModuleType:
    return modules[3]
