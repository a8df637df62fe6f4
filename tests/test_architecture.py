"""The rules of the house that a machine can hold: arrows, sizes, finality, names, lazy imports."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from importlinter import cli as import_linter

import wordorder

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PYTHON_FILES = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted(ROOT.glob("benchmarks/*.py")),
]

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
FORBIDDEN_NAMES = ("utils", "helpers", "common", "manager", "factory")

# What takes longer to import than `wordorder --help` may take in all.
HEAVY = {"torch", "numpy", "tyro", "rich", "tokenizers", "matplotlib"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    """Parse a file anew: trees that are kept slow the collection of garbage, and so the rest."""
    return ast.parse(path.read_text(encoding="utf-8"))


def statements_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a tree without their expressions, which are most of it."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, [])
            left += inner if isinstance(inner, list) else []  # of an expression, one node


def imported_by(code: str) -> set[str]:
    """The top-level modules in memory after running some code in a fresh interpreter."""
    code += "; import sys; print('\\n'.join(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_arrows_point_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert import_linter.lint_imports(no_cache=True) == import_linter.EXIT_STATUS_SUCCESS


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Imports inside functions and for type hints count."""
    graph = grimp.build_graph("wordorder", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in PYTHON_FILES:
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE:
            large.append(named(path))
        for node in statements_of(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                large += [f"{named(path)}: {node.name}"] * (lines > MOST_LINES_OF_A_FUNCTION)
    assert large == []


def test_modules_say_what_they_are() -> None:
    assert [named(path) for path in SOURCES if not ast.get_docstring(tree_of(path))] == []
    assert [named(path) for path in SOURCES if path.stem in FORBIDDEN_NAMES] == []


def test_a_class_name_stands_for_one_class() -> None:
    nodes = (node for path in SOURCES for node in statements_of(tree_of(path)))
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    public = {name: count for name, count in names.items() if not name.startswith("_")}
    assert [name for name, count in public.items() if count > 1] == []


def test_every_embedding_is_final() -> None:
    from wordorder.positions import CATALOGUE, Position

    for name, embedding in CATALOGUE.items():
        assert issubclass(embedding, Position), name
        others = [other for other in CATALOGUE.values() if other is not embedding]
        assert not issubclass(embedding, tuple(others)), name


def test_public_names_are_sorted_and_resolve() -> None:
    assert wordorder.__all__ == sorted(wordorder.__all__)
    assert dir(wordorder) == sorted(wordorder.__all__)
    assert all(getattr(wordorder, name) is not None for name in wordorder.__all__)
    assert callable(wordorder.load)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'wordorder' has no attribute 'trian'"):
        wordorder.trian  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import wordorder",
        "from wordorder.cli.main import main; main(['--help'])",
        "from wordorder.cli.main import main; main(['--version'])",
        "from wordorder.cli.main import main; main(['trian'])",
    ],
)
def test_help_is_light(code: str) -> None:
    assert not imported_by(code) & HEAVY


def test_the_heart_imports_only_torch() -> None:
    """import-linter keeps ours out; this keeps everyone else's out."""
    allowed = {"torch", "wordorder", "__future__", *sys.stdlib_module_names}
    for path in (ROOT / "src/wordorder/positions").glob("*.py"):
        for node in ast.walk(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
