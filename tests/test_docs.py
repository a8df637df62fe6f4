"""What the documentation shows is so: its code runs, and its pages are those of the classes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from wordorder.positions import CATALOGUE, ModelShape, Sum, TokenLayout
from wordorder.positions.reference_model import plain_attention

DOCS = Path(__file__).parents[1] / "docs"


def code_of(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


def test_the_pages_are_those_of_the_classes() -> None:
    written = runpy.run_path(str(DOCS / "write_positions.py"))
    for name, kind in CATALOGUE.items():
        page = (DOCS / "positions" / f"{name}.md").read_text(encoding="utf-8")
        assert page == written["page"](name, kind), f"{name}.md is old: run make docs"
    listing = (DOCS / "positions" / "README.md").read_text(encoding="utf-8")
    assert listing == written["listing"]()


def test_every_embedding_says_what_it_is() -> None:
    for name, kind in CATALOGUE.items():
        assert kind.summary.endswith(".") and kind.formula and kind.traps, name
        assert kind.source, name


@pytest.mark.parametrize("name", CATALOGUE)
def test_plain_attention_holds_any_embedding(name: str) -> None:
    scope: dict = {}
    exec(code_of("plain-attention.md")[0], scope)
    shape = ModelShape(4, 16, trained_length=12)
    position = CATALOGUE[name](shape)
    layout = TokenLayout.of(torch.arange(12)[None])
    x, (q, k, v) = torch.randn(2, 12, 64), torch.randn(3, 2, 4, 12, 16).unbind()
    x = position.embed(x, layout)
    found = scope["attend"](position, x, q, k, v, layout)
    whole = Sum(shape, (position,))
    tables, state = (position.prepare(layout),), whole.state(x, layout, None)
    expected = plain_attention(whole, q, k, v, tables, state, layout)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_example_of_plain_attention_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec("".join(code_of("plain-attention.md")), {})
    assert capsys.readouterr().out == "torch.Size([2, 4, 32, 16])\n"


def test_the_example_of_a_split_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec("".join(code_of("data.md")), {})
    assert f"```\n{capsys.readouterr().out}```" in (DOCS / "data.md").read_text(encoding="utf-8")


def test_an_embedding_of_ones_own_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, tests = code_of("add-an-embedding.md")
    (tmp_path / "mine.py").write_text(embedding, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    scope: dict = {}
    exec(tests, scope)
    scope["test_it_has_every_property"]()
    scope["test_it_is_its_formula"]()


@pytest.mark.slow
def test_a_comparison_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = code_of("compare.md")
    scope: dict = {}
    exec(code.replace("steps=500", "steps=2").replace("seeds=6", "seeds=1"), scope)
    assert scope["summary"].baseline == "rotary"
    assert (scope["folder"] / "report.html").is_file()
