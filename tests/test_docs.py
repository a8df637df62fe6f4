"""The documentation is true: its code runs, its output is today's, its links lead somewhere.

Every block of Python is run, by one of the tests below; every command line is parsed by the
command's own parser; recipes and the tour are run at a tiny size.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.cli.arguments import parse
from wordorder.cli.main import COMMANDS, main, options_module
from wordorder.positions import CATALOGUE, ModelShape, Sum, TokenLayout
from wordorder.positions.conformance import check
from wordorder.positions.reference_model import plain_attention

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# positions/*.md are written from the classes, and a test below compares them.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
README_LINES = 140  # two screens

# Python that stands by itself: each page is one program, and what follows it is its output.
PROGRAMS = ("data.md", "how-it-works.md", "plain-attention.md", "words.md")
# Python that reads a run and a text: it is run beside a tiny runs/mine and my.txt.
OF_A_RUN = ("api.md", "eval.md", "generate.md", "probe.md", "scale.md", "train.md")
OTHERWISE = {
    "add-an-embedding.md": "test_an_embedding_of_ones_own_holds",
    "compare.md": "test_a_comparison_in_python_runs",
    "export.md": "tests/journeys/test_export.py",
}
TINY = {
    **{"--width": "16", "--heads": "4", "--head-dim": "4", "--feed-forward-width": "24"},
    **{"--trained-length": "16", "--steps": "2"},
}
SMALL = shlex.split(
    "--data my.txt --tokenizer bytes --threads 1 --dtype float32 --kernel plain --compile no "
    "--batch-size 2"
)


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def code_of(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of every block of code."""
    yield from re.findall(
        r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield what is typed after `wordorder` in every command line of a page."""
    for language, text in blocks(page):
        if language in ("", "sh", "console"):
            for line in text.replace("\\\n", " ").splitlines():
                if match := re.match(r"(?:\$ )?wordorder (.+)", line):
                    yield shlex.split(match[1], comments=True)


def options_of(arguments: list[str]) -> object:
    """Return the options of a command line, read by the command's own parser."""
    command, rest = arguments[0], arguments[1:]
    if command == "data":
        from wordorder.cli.data import DataOptions

        return parse(DataOptions, rest, command="wordorder data")
    if command == "words":
        from wordorder.cli.words import VectorOptions, WordsOptions

        training = rest[0] == "train"
        kind: type = VectorOptions if training else WordsOptions
        return parse(kind, rest[training:], command="wordorder words")
    read = import_module(options_module(command)).read_options
    return read(rest)


@pytest.fixture(scope="module")
def run_and_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny runs/mine, my.txt and my.yaml, which the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "my.txt").write_text(TEXT * 4, encoding="utf-8")
    (folder / "my.yaml").write_text("layers: 2\n", encoding="utf-8")
    wo.train(small_config(folder / "my.txt", folder / "runs" / "mine"))
    return folder


@pytest.fixture
def folder_with_a_run(run_and_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_and_text)


def test_every_page_with_python_is_run_by_a_test() -> None:
    pages = {page.name for page in PAGES if "```python" in page.read_text(encoding="utf-8")}
    assert pages == {*PROGRAMS, *OF_A_RUN, *OTHERWISE}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_is_a_program_with_that_output(name: str) -> None:
    scope: dict = {}
    pairs = re.findall(
        r"```python\n(.*?)```(?:\n\n```(?:text)?\n(.*?)```)?", text_of(name), re.DOTALL
    )
    for code, expected in pairs:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, scope)
        if expected or name != "plain-attention.md":
            assert printed.getvalue() == expected


@pytest.mark.parametrize("name", OF_A_RUN)
def test_python_that_reads_a_run_runs(name: str, folder_with_a_run: None) -> None:
    tiny = "wo.ModelConfig(width=16, heads=2, layers=1, trained_length=16)"
    smaller = f"wo.TrainConfig(tokenizer='bytes', overwrite=True, model={tiny}, "
    for code in code_of(name):
        exec(code.replace("wo.TrainConfig(", smaller).replace("steps=500", "steps=2"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_one_that_the_command_takes(
    page: Path, folder_with_a_run: None
) -> None:
    for arguments in commands_of(page):
        if arguments[0] in COMMANDS:
            options_of(arguments)
        else:
            assert arguments[0] in ("COMMAND", "--version", "--help"), arguments


@pytest.mark.parametrize("number", range(7))
def test_a_recipe_trains(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(TEXT * 4, encoding="utf-8")
    commands = list(commands_of(DOCS / "recipes.md"))
    recipes = [arguments for arguments in commands if arguments[0] == "train"]
    assert len(recipes) == 7
    assert main([*shrunk(recipes[number]), *SMALL, "--steps", "2", "--out", "run"]) == 0


def shrunk(arguments: list[str]) -> list[str]:
    """Return a command line with its sizes made tiny, and without its steps and folder."""
    left, small = iter(arguments), []
    for word in left:
        if word in ("--steps", "--out", "--preset"):
            next(left)
        elif word in TINY:
            next(left)
            small += [word, TINY[word]]
        else:
            small.append(word)
    return small


def test_the_tour_comes_out_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its conclusions do not depend on size and training; the digits do, and are evidence."""
    monkeypatch.chdir(tmp_path)
    Path("my.txt").write_text(TEXT * 4, encoding="utf-8")
    tour = text_of("tour.md")
    for arguments in list(commands_of(DOCS / "tour.md"))[:6]:
        if arguments[0] == "train":
            sizes = ["--width", "16", "--heads", "2", "--layers", "2", "--trained-length", "16"]
            place = arguments[arguments.index("--out") + 1]
            extra = [*SMALL, *sizes, "--steps", "3", "--out", place]
            assert main([*shrunk(arguments), *extra]) == 0
            continue
        capsys.readouterr()
        assert main(arguments) == 0
        conclusion = capsys.readouterr().out.partition("\n=> ")[2]
        assert conclusion and f"\n=> {conclusion}" in tour, conclusion


def test_the_differences_of_the_tour_are_the_evidence() -> None:
    evidence = json.loads((ROOT / "evidence" / "tour.json").read_text(encoding="utf-8"))
    tour = text_of("tour.md")
    for values in evidence.values():
        shown = "   ".join(
            f"{'layer ' * bool(i)}{i or 'input'} {v if v > 1e-6 else 0:.2g}"
            for i, v in enumerate(values)
        )
        assert shown in tour


def test_the_figures_of_the_claims_are_the_evidence() -> None:
    written = runpy.run_path(str(DOCS / "write_claims.py"))["written"]
    page = text_of("claims.md")
    assert page == written(page), "docs/claims.md is old: run make docs"


def test_the_tables_and_figures_of_the_pages_are_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(DOCS)
    script = runpy.run_path(str(DOCS / "write_tables.py"))
    pages = list(script["pages"]())
    assert {"evidence.md", "measurements.md", "train.md"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text == script["written"](text), f"docs/{page.name} is old: run make docs"
    script["write_figures"](script["ten_million"](), tmp_path)
    for figure in tmp_path.iterdir():
        assert figure.read_bytes() == (DOCS / figure.name).read_bytes(), f"{figure.name} is old"


def test_the_pages_are_those_of_the_classes() -> None:
    written = runpy.run_path(str(DOCS / "write_positions.py"))
    for name, kind in CATALOGUE.items():
        page = text_of(f"positions/{name}.md")
        assert page == written["page"](name, kind), f"{name}.md is old: run make docs"
    assert text_of("positions/README.md") == written["listing"]()


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
    attended = scope["attend"](position, x, q, k, v, layout)
    whole = Sum(shape, (position,))
    tables, state = (position.prepare(layout),), whole.state(x, layout, None)
    expected = plain_attention(whole, q, k, v, tables, state, layout)
    torch.testing.assert_close(attended, expected, rtol=0, atol=1e-5)


def test_an_embedding_of_ones_own_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, table, tests = code_of("add-an-embedding.md")
    (tmp_path / "mine.py").write_text(f"{embedding}\n{table}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    scope: dict[str, Callable[[], None]] = {}
    exec(tests, scope)
    scope["test_it_has_every_property"]()
    scope["test_it_is_its_formula"]()
    report = check("mine.Rows")
    assert report.holds, str(report)


@pytest.mark.slow
def test_a_comparison_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = code_of("compare.md")
    scope: dict = {}
    exec(code.replace("steps=500", "steps=2").replace("seeds=6", "seeds=1"), scope)
    assert scope["summary"].baseline == "rotary"
    assert (scope["folder"] / "report.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "``", text)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Return what a link may name in a page: its headings, as GitHub and mkdocs spell them."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r' id="([^"]+)"', text))


def test_the_names_of_the_api_page_exist() -> None:
    names = re.findall(r"^::: (\S+)$", text_of("api.md"), re.MULTILINE)
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


def test_the_readme_fits_on_two_screens() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").count("\n")
    assert lines <= README_LINES
