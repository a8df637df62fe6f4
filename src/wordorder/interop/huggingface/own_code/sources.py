"""The source files that one model needs: the model's, and those of its positional embeddings.

Two files are cut to what the model needs: the catalogue of embeddings to its own, and the
configuration to the fields and sizes, without the validation of what a user types.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import typing
from functools import cache
from pathlib import Path

from wordorder import settings
from wordorder.errors import BadInput
from wordorder.model import ModelConfig
from wordorder.positions import Position, find, foreign, parse

from .flatten import PACKAGE, REMOVED, SourceFile, edited, flattened, shaken

FIRST = tuple(f"{__package__}.{name}_wordorder" for name in ("modelling", "configuration"))
CATALOGUE, CONFIG = f"{PACKAGE}.positions", f"{PACKAGE}.model.config"
# What the model calls of these two modules.
CATALOGUE_NAMES = ("build", "canonical", "word_scale")
CONFIG_NAMES = ("ModelConfig", "EMBEDDING_STD")
# Of ModelConfig: the conversion from and to the records of run folders.
LEFT_OUT = ("to_dict", "from_dict")
CODING = re.compile(r"[ \t\f]*#.*?coding[:=]")  # PEP 263
# Packages that transformers needs anyway.
PRESENT = {"torch", "numpy", "transformers"}


def source_files(config: ModelConfig) -> dict[str, str]:
    """Return the text of every file that a model of this configuration needs, by name.

    Raises:
        BadInput: a user's file of an embedding has imports that cannot come along.
    """
    classes = {part.name: find(part.name) for part in parse(config.position).parts}
    given = {CATALOGUE: _catalogue(classes), CONFIG: _config()}
    for name in foreign(config.position):
        source = _users_source(classes[name])
        given[source.module] = source
    return flattened(FIRST, given)


def requirements(config: ModelConfig) -> list[str]:
    """Return the packages that users' files import beside torch, numpy and transformers."""
    packages = set()
    for name in foreign(config.position):
        for module in _imported(_users_source(find(name))):
            packages.add(module.partition(".")[0])
    return sorted(packages - PRESENT - {PACKAGE} - set(sys.stdlib_module_names))


def _catalogue(classes: dict[str, type[Position]]) -> SourceFile:
    """Return the catalogue of these embeddings alone, by the names of a spec."""
    source = SourceFile.of(CATALOGUE)
    tree = ast.parse(source.text)
    table = next(n for n in tree.body if isinstance(n, ast.AnnAssign) and n.value is not None)
    assert isinstance(table.value, ast.Dict)  # CATALOGUE, the module's one table
    entries = [f'    "{name}": {kind.__name__},\n' for name, kind in classes.items()]
    text = edited(source.text, [(table.value, "{\n" + "".join(entries) + "}")])
    users = [kind for kind in classes.values() if not kind.__module__.startswith(f"{PACKAGE}.")]
    imports = "".join(f"from {kind.__module__} import {kind.__name__}\n" for kind in users)
    first = tree.body[1]  # after the docstring
    lines = text.splitlines(keepends=True)
    text = "".join([*lines[: first.lineno - 1], imports, *lines[first.lineno - 1 :]])
    return SourceFile(source.module, shaken(text, CATALOGUE_NAMES), source.origin)


@cache
def _config() -> SourceFile:
    """Return the configuration without validation, which needs a package of its own."""
    source = SourceFile.of(CONFIG)
    tree = ast.parse(source.text)
    config = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "ModelConfig")
    changes: list[tuple[ast.AST, str]] = []
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            changes.append((node, ast.unparse(node.slice.elts[0])))
            inside.update(ast.walk(node))
    for node in ast.walk(config):
        is_method = isinstance(node, ast.FunctionDef) and node.name in LEFT_OUT
        if is_method or (isinstance(node, ast.Expr) and ast.unparse(node) == "check(self)"):
            changes.append((node, REMOVED))
            inside.update(ast.walk(node))
    for node in ast.walk(config):
        if isinstance(node, ast.Name) and node not in inside and (kind := _plain_type(node.id)):
            changes.append((node, kind))
    return SourceFile(
        source.module, shaken(edited(source.text, changes), CONFIG_NAMES), source.origin
    )


def _plain_type(name: str) -> str | None:
    """Return the name of the type that a name of `settings` annotates with limits, or None."""
    annotated = getattr(settings, name, None)
    if typing.get_origin(annotated) is not typing.Annotated:
        return None
    return str(typing.get_args(annotated)[0].__name__)


def _as_utf8(path: Path) -> str:
    """Return Python's source as text, decoded as Python decodes it, without a coding line."""
    with tokenize.open(path) as file:
        *first, rest = file.read().split("\n", 2)
    return "\n".join([*("#" if CODING.match(line) else line for line in first), rest])


def _users_source(kind: type[Position]) -> SourceFile:
    """Return the file of a user's embedding.

    Raises:
        BadInput: it imports another file of the user, or more of wordorder than its embeddings.
    """
    path = Path(str(sys.modules[kind.__module__].__file__))
    source = SourceFile(kind.__module__, _as_utf8(path), path.name)
    for module in _imported(source):
        local = module.startswith(".") or _is_beside(module, path.parent)
        ours = module.partition(".")[0] == PACKAGE
        if local or (ours and module.partition(".positions")[0] != PACKAGE):
            raise BadInput(
                f"{path.name} imports {module}, which does not come along with an export: it may "
                f"import {PACKAGE}.positions and installed packages",
                code="interop.import-not-exported",
            )
    return source


def _is_beside(module: str, folder: Path) -> bool:
    """Return whether a module is a file or a package in a folder."""
    path = folder / module.partition(".")[0]
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def _imported(source: SourceFile) -> list[str]:
    """Return the modules that a file imports, relative ones with their dots."""
    modules = []
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append("." * node.level + (node.module or ""))
    return modules
