"""The built-in corpus: the documentation of the running Python, as English prose.

Every Python installation has about two megabytes of documentation under one licence (PSF), so a
first model needs no download. The sources are parsed, never imported: importing every module of the
standard library opens windows, patches modules and prints poems.

One document is one module: its name and its docstrings, in the order of its source. A single
docstring is a sentence (median length about 90 characters) and would teach a model to stop early;
the docstrings of a module stay on one subject for kilobytes.

Signatures, doctests, tables and grammar are left out, because they are not English. Hard line
breaks within a paragraph are removed. Repeated paragraphs are dropped: copied docstrings would be
memorised in training and appear again in the validation text.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

from wordorder.errors import BadInput
from wordorder.text.corpus import Document

TOPICS = "pydoc_data/topics.py"

# Docstrings of tests address their authors; the others are copies, bundles or generated tables.
LEFT_OUT = {
    "site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "ensurepip",
    "pydoc_data", "encodings", "__pycache__", "__phello__",
}  # fmt: skip

SHORTEST_DOCUMENT = 200  # characters: shorter ones are single remarks

ASCII = str.maketrans(
    {"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "—": "-", "–": "-", "\xa0": " "}
)

# The most common English words: at least a sixth of the words of prose, fewer in code and tables.
COMMON_WORDS = """
a about after all also an and any are as at be been before but by can do does each either else for
from get given has have how if in into is it its like may more must no not of on one only or other
out return returns same set should since so some such than that the their them then there these they
this to up use used uses using was were when where whether which while will with within without
would you your
"""
COMMON = frozenset(COMMON_WORDS.split())
ANNOUNCING = {"code", "example", "examples", "follows", "following", "form", "g", "syntax", "usage"}

BULLET = re.compile(r"(?:[*+-]|\(?\d{1,2}[.)]|\([a-z]\))\s+(?=\S)")
TERM = re.compile(
    r"\S{1,30}(?:(?: or|,) \S{1,30}){0,3}\s*(?: -- | - |:\s)|[^\s.?!:,]{1,30}\s{2,}(?=\S)"
)
ROLE = re.compile(r":[a-z:]+:`[~!]?([^`<]+?)(?: <[^`>]*>)?`")
QUOTED = re.compile(r"`+([^`]+)`+'?_?")
STARRED = re.compile(r"(?<![\w*])(\*{1,2})(\w(?:[^*\n]*[\w.:])?)\1(?![\w*])")
FOOTNOTE = re.compile(r" ?\[\d{1,2}\]_?")
RULE = re.compile(r"^[ ]*([=*~^\"'#-])\1{2,}[ ]*$", re.MULTILINE)
ODD = re.compile(r"[^\w\s.,;:'\"()?!/-]")
CODE = re.compile(r"[=*~^#-]{4,}|^\s*(?:>>>|\.\.\. |\$ |% )|::=|^\s*\.\. |-->|==>", re.MULTILINE)
WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
LAST_SENTENCE = re.compile(r"(?:(?<=[.?!])|^)\s*[^.?!]*(?:[.](?=\S)[^.?!]*)*$")


def read_python_docs(library: Path | None = None) -> tuple[Document, ...]:
    """Read the pydoc topics and the standard library's docstrings as documents.

    Args:
        library: the folder of the standard library; None: that of the running Python.

    Raises:
        BadInput: this Python was installed without its sources.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    documents = [
        Document(text, source)
        for source, parts in (*_topics(library), *_modules(library))
        if len(text := prose_of(parts, seen)) >= SHORTEST_DOCUMENT
    ]
    if not documents:
        raise BadInput(
            f"the standard library in {library} has no sources to read documentation from: "
            "give other text with --data",
            code="text.no-python-docs",
        )
    return tuple(documents)


def _topics(library: Path) -> Iterator[tuple[str, list[str]]]:
    tree = _parse(library / TOPICS)
    for statement in tree.body if tree else ():
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(statement.value)
            yield from ((f"topic {name}", [text]) for name, text in sorted(topics.items()))


def _modules(library: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(_sources(library)):
        inside = path.relative_to(library)
        tree = _parse(path)
        if tree is not None and (parts := list(_docstrings(tree))):
            name = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
            yield name, [name, *parts]


def _sources(library: Path) -> Iterator[Path]:
    # Not rglob(): it would walk through all of site-packages to leave it out.
    for folder, inside, files in os.walk(library):
        inside[:] = [name for name in inside if name not in LEFT_OUT]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _parse(path: Path) -> ast.Module | None:
    try:
        source = path.read_bytes()
        with warnings.catch_warnings():
            # Old modules contain invalid escapes, of which Python warns.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return None


def _docstrings(tree: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the docstrings of a module or class in source order."""
    if text := ast.get_docstring(tree, clean=False):
        yield inspect.cleandoc(text)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            yield from _docstrings(statement)
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and (
            text := ast.get_docstring(statement, clean=False)
        ):
            yield inspect.cleandoc(text)


def prose_of(parts: list[str], seen: set[str]) -> str:
    """Return the English prose of some documentation: paragraphs with empty lines between.

    Args:
        parts: docstrings or topics without their common indentation.
        seen: paragraphs of earlier documents, which are dropped; new paragraphs are added to it.
    """
    paragraphs: list[str] = []
    for part in parts:
        for paragraph in _paragraphs(part):
            key = re.sub(r"\W+", " ", paragraph).casefold()
            if key not in seen:
                seen.add(key)
                paragraphs.append(paragraph)
    # A name or title alone is not a document.
    return "\n\n".join(paragraphs) if any(map(_is_prose, paragraphs)) else ""


def _paragraphs(part: str) -> Iterator[str]:
    held = ""
    text = RULE.sub(r"\g<0>\n", part.expandtabs().translate(ASCII))
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").splitlines()
        title = len(lines) == 2 and RULE.fullmatch(lines[1])
        if title or re.fullmatch(r"[\w.]+", block):
            if held:
                yield held
            held = _plain(lines[0])
            continue
        items = ["\n"] if CODE.search(block) else _items(lines)
        if all(_is_prose(item) for item in items):
            if held:
                yield held
            held = "\n".join(items)
        elif held.endswith((":", " to", " as", " is", " like")):
            held = _unannounced(held)
    if held and not held.endswith(":"):
        yield held


def _unannounced(text: str) -> str:
    """End a paragraph before removed code: `... is the same as:` goes, `for a call:` stays."""
    last = WORD.findall(text)[-1].lower()
    if last in COMMON or last in ANNOUNCING:
        return LAST_SENTENCE.sub("", text).rstrip()
    return text.removesuffix(":") + "."


def _items(lines: list[str]) -> list[str]:
    """Remove hard line breaks: a paragraph becomes one line, a list one line per item."""
    items: list[str] = []
    first_indent = deepest = 0
    for line in textwrap.dedent("\n".join(lines)).splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        starts = (
            not items
            or BULLET.match(text)
            or (indent <= first_indent and (deepest > first_indent or TERM.match(text)))
            or (items[-1].endswith(":") and indent > first_indent)
        )
        if starts:
            items.append(_plain(text))
            first_indent = deepest = indent
        else:
            items[-1] += " " + _plain(text)
            deepest = max(deepest, indent)
    return items


def _plain(text: str) -> str:
    """Return text without markup: roles, backquotes, starred arguments, footnote marks."""
    text = BULLET.sub("- ", text, count=1) if text[:1] in "*+" and BULLET.match(text) else text
    text = STARRED.sub(r"\2", ROLE.sub(r"\1", text))
    text = QUOTED.sub(r"\1", text)
    return re.sub(r"\s+", " ", FOOTNOTE.sub("", text)).strip()


def _is_prose(text: str) -> bool:
    """Return whether text is English prose, and not code, a signature or a table."""
    words = WORD.findall(text)
    if len(words) < 4 or not re.match(r"[\w\"'(*-]", text):
        return False
    common = sum(word.lower() in COMMON for word in words)
    odd = len(ODD.findall(text))
    loud = sum(character.isupper() for character in text)  # licences are in capitals
    return (
        common * 6 >= len(words)
        and odd * 25 <= len(text)
        and loud * 4 <= len(text)
        and len(words) * 14 >= len(text)
    )
