import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from wordorder.errors import BadInput
from wordorder.text.corpus import Corpus
from wordorder.text.python_docs import prose_of, read_python_docs
from wordorder.text.split import split_corpus


def prose(*parts: str) -> str:
    return prose_of(list(parts), set())


READ_ELSEWHERE = """
import pickle, sys
from wordorder.text.load import load_corpus
corpus = load_corpus()
print([m for m in ("this", "antigravity", "turtle", "tkinter", "pydoc_data.topics", "torch")
       if m in sys.modules])
with open(sys.argv[1], "wb") as file:
    pickle.dump(corpus, file)
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, str]:
    """The text, read in a process of its own, and what that has imported."""
    path = tmp_path_factory.mktemp("read") / "corpus.pickle"
    command = [sys.executable, "-c", READ_ELSEWHERE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return pickle.loads(path.read_bytes()), done.stdout


@pytest.fixture(scope="module")
def corpus(elsewhere: tuple[Corpus, str]) -> Corpus:
    return elsewhere[0]


def test_it_is_a_megabyte_of_english_in_some_hundred_documents(corpus: Corpus) -> None:
    assert corpus.bytes > 1_000_000
    assert len(corpus.documents) > 300
    text = "".join(document.text for document in corpus.documents)
    letters = Counter(text)
    assert sum(n for c, n in letters.items() if c.isascii()) / len(text) > 0.9999
    assert sum(n for c, n in letters.items() if c.isalpha() or c == " ") / len(text) > 0.9
    assert ">>>" not in text and "::=" not in text
    assert text.count(" the ") > 10_000


def test_no_document_or_long_paragraph_comes_twice(corpus: Corpus) -> None:
    paragraphs = [p for document in corpus.documents for p in document.text.split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))


def test_split_is_about_a_tenth(corpus: Corpus) -> None:
    split = split_corpus(corpus, 0.1)
    training, validation = split.training, split.validation
    assert 0.05 < validation.bytes / corpus.bytes < 0.2
    assert training.bytes + validation.bytes == corpus.bytes


def test_tests_and_installed_packages_are_left_out(corpus: Corpus) -> None:
    sources = {document.source for document in corpus.documents}
    assert {"json.decoder", "argparse", "topic assert"} <= sources
    left_out = ("test.", "lib2to3.", "site-packages.", "idlelib.idle_test.")
    assert not [source for source in sources if source.startswith(left_out)]


def test_reading_imports_nothing_of_the_standard_library(elsewhere: tuple[Corpus, str]) -> None:
    assert elsewhere[1] == "[]\n"


def test_a_python_without_sources(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no sources to read documentation from"):
        read_python_docs(tmp_path)


def test_modules_are_documents_in_source_order(tmp_path: Path) -> None:
    long = "This sentence is here so that the document is as long as a document has to be. "
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text(
        f'"""{long}"""\nclass A:\n  """The class that is called A.\n\n  {long}Twice."""\n'
        f'  def f(self):\n    """The method of it.\n\n    Also this: {long}"""\n'
        'def g():\n  """The last of all of them."""\n'
    )
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.py").write_text(f'"""{long * 4}"""')
    (document,) = read_python_docs(tmp_path)
    assert document.source == "package"
    first = [paragraph.split(" is ")[0][:24] for paragraph in document.text.split("\n\n")]
    assert first == [
        "package", "This sentence", "The class that", f"{long}"[:13], "The method of it.",
        "Also this: This sentence", "The last of all of them.",
    ]  # fmt: skip


def test_hard_line_breaks_are_undone() -> None:
    assert prose("Return the number of\nitems that are in it.") == (
        "Return the number of items that are in it."
    )


def test_lists_keep_a_line_an_item() -> None:
    text = "* the first of the items\n  goes on here\n* and the second of them\n"
    assert prose(text) == "- the first of the items goes on here\n- and the second of them"
    text = "name -- the name that it is given\n        by its owner\nsize -- how large it is\n"
    assert prose(text) == (
        "name -- the name that it is given by its owner\nsize -- how large it is"
    )


@pytest.mark.parametrize(
    "left_out",
    [
        ">>> print(the, a, is, to)\n1",
        "S.join(iterable) -> str",
        "stmt ::= the | is | a | to",
        "+----+----+\n| a  | is |\n+----+----+",
        "x = f(a, b)\ny = g(x)\nreturn h(y)",
        "THE SOFTWARE IS PROVIDED AS IS AND THE AUTHOR IS NOT LIABLE.",
    ],
)
def test_what_is_not_english_is_left_out(left_out: str) -> None:
    kept = "This is the first of the paragraphs."
    assert prose(f"{kept}\n\n{left_out}\n\nAnd this is the last of them.") == (
        f"{kept}\n\nAnd this is the last of them."
    )
    announced = "This is the first of the paragraphs:"
    assert prose(f"{announced}\n\n{left_out}\n\nAnd this is the last of them.") == (
        f"{kept}\n\nAnd this is the last of them."
    )
    announced = f"{kept} The next is equivalent to:"
    assert prose(f"{announced}\n\n{left_out}\n\nAnd this is the last of them.") == (
        f"{kept}\n\nAnd this is the last of them."
    )


def test_markup_is_taken_off() -> None:
    text = "Use :class:`~io.StringIO` or ``x`` and `y` with *args* in **all of** it [1]_."
    assert prose(text) == "Use io.StringIO or x and y with args in all of it."


def test_titles_are_kept() -> None:
    text = 'The "assert" statement\n**********************\n\nIt is one of the statements.'
    assert prose(text) == 'The "assert" statement\n\nIt is one of the statements.'


def test_paragraphs_seen_before_are_not_said_again() -> None:
    seen: set[str] = set()
    assert prose_of(["It is what it is, and so on."], seen)
    assert prose_of(["It is what it is -- and so on!"], seen) == ""
