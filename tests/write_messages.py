"""Writes tests/messages.md: every message of an error, by its code, to be read as a whole.

python tests/write_messages.py
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
ERRORS = ("BadInput", "Failed", "Refused", "PositionError")


class Message(NamedTuple):
    """One place that raises an error; the message as it is written, `{...}` where it varies."""

    package: str
    code: str
    error: str
    template: str
    where: str


@functools.cache
def messages() -> tuple[Message, ...]:
    """Return the message of every error that the package can raise."""
    return tuple(_messages())


def _messages() -> Iterator[Message]:
    source = ROOT / "src/wordorder"
    for path in sorted(source.rglob("*.py")):
        where = path.relative_to(source)
        package = where.parts[0] if len(where.parts) > 1 else "wordorder"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if any(k.arg == "code" for k in node.keywords) and not name:
                name = "BadInput" if ast.unparse(node.func) == "super().__init__" else ""
            if name not in ERRORS:
                continue
            codes = [k.value for k in node.keywords if k.arg == "code"]
            code = codes[0].value if codes and isinstance(codes[0], ast.Constant) else ""
            line = f"{where}:{node.lineno}"
            yield Message(package, str(code), name, _template(node.args[0]), line)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "{" + ast.unparse(node) + "}"


def page() -> str:
    """Return the page: a heading for each package, its messages in the order of their codes."""
    lines = [
        "# Every error message",
        "",
        "Written by `python tests/write_messages.py`. `{...}` stands for what varies.",
    ]
    found = sorted(messages())
    for package in dict.fromkeys(message.package for message in found):
        lines += ["", f"## {package}", ""]
        own = [message for message in found if message.package == package]
        lines += [f"- `{m.code}` ({m.error}): {' '.join(m.template.split())}" for m in own]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "tests/messages.md").write_text(page(), encoding="utf-8")
