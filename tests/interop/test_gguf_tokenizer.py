"""llama.cpp tokenizes as the run does, and generates the same text."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
import tokenizers
from exported_runs import byte_tokenizer, write_run

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop.export import export
from wordorder.interop.gguf import algorithm
from wordorder.interop.gguf import tokenizer as gguf_tokenizer
from wordorder.interop.gguf.engine import GgufFile
from wordorder.interop.gguf.export import LLAMA_CPP
from wordorder.interop.gguf.llama_cpp import LlamaCpp
from wordorder.text.corpus import Corpus, Document
from wordorder.text.tokenizer import Tokenizer, make_tokenizer

TEXT = (
    "The small cat's hat, isn't it? 12345 नमस्ते दुनिया café naïve 東京 🙂👩‍🚀\r\n\n  x\t\ty; don't "
    "WE'LL they'd किताब e\u0301 ١٢٣ ² __init__ (x[1:])  # hi\n   \n"
)
CORPUS = Corpus("made", (Document(TEXT * 20, "all"),))


def bpe() -> Tokenizer:
    return make_tokenizer("bpe", CORPUS, 500)


def with_pattern_of_gpt2() -> Tokenizer:
    data = json.loads(bpe().backend.to_str())
    data["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))


TOKENIZERS = {"bpe": bpe, "GPT-2's pattern": with_pattern_of_gpt2, "bytes": byte_tokenizer}


def random_texts() -> Iterator[str]:
    """Yield texts of the corpus's characters, of spaces and marks, and of any characters."""
    generator = random.Random(0)
    characters = [TEXT, " \n\r\t'sSaA.1é\u093c", [chr(c) for c in (*range(0xD800), 0x1F600)]]
    for number in range(300):
        yield "".join(generator.choices(characters[number % 3], k=generator.randrange(1, 60)))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_llama_cpp_tokenizes_as_the_run_does(tmp_path: Path, kind: str) -> None:
    ours = TOKENIZERS[kind]()
    run = write_run(tmp_path / "run", ours)
    folder = export(run, LLAMA_CPP).folder
    special = "a <|endoftext|> b"
    with LlamaCpp(folder / "model-f32.gguf", context=16) as theirs:
        assert theirs.adds_start
        for text in (*random_texts(), special):
            ids = ours.encode(text)
            assert theirs.tokenize(text) == ids
            assert b"".join(map(theirs.piece, ids)) == text.encode()
        assert theirs.tokenize("a", start=True) == [ours.end_of_text, *ours.encode("a")]
    read_back = GgufFile(folder).tokenizer
    assert read_back.kind == ours.kind
    assert read_back.backend.to_str() == ours.backend.to_str()


@pytest.mark.parametrize("wrong", [gguf_tokenizer.GPT2, "default"])
def test_another_pattern_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(algorithm, "OURS", wrong)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", bpe()), LLAMA_CPP)
    assert caught.value.code == "interop.gguf-tokenizer-differs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("key", ["add_bos_token", "bos_token_id", "merges", "tokens"])
def test_a_mistake_in_the_tokenizer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    right = gguf_tokenizer.metadata

    def changed(*given: Any, **options: Any) -> dict:
        values = right(*given, **options)
        wrong = {
            "add_bos_token": False,
            "bos_token_id": 0,
            "merges": values["merges"][::-1],
            "tokens": [*values["tokens"][1:], values["tokens"][0]],
        }
        return {**values, key: wrong[key]}

    monkeypatch.setattr(gguf_tokenizer, "metadata", changed)
    with pytest.raises(Refused):
        export(write_run(tmp_path / "run", bpe()), LLAMA_CPP)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_characters_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_tokenizer("characters", CORPUS))
    with pytest.raises(BadInput, match="--tokenizer bpe") as caught:
        export(run, LLAMA_CPP)
    assert caught.value.code == "interop.gguf-tokenizer-not-held"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# -- generating ----------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, its export, and a run whose table of positions ends."""
    run = write_run(tmp_path / "run", bpe())
    export(run, LLAMA_CPP)
    write_run(
        tmp_path / "table",
        position="learned",
        norm="layer",
        qk_norm=False,
        biases=True,
        feed_forward="gelu_tanh",
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def generated(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Return what a command writes to stdout, also from below Python."""
    assert main(["generate", *command.split("|")]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        "--temperature|0",
        "--seed|3|--count|2",
        "--seed|4|--top-k|5|--top-p|0.9|--min-p|0.1|--repetition-penalty|1.3",
    ],
)
@pytest.mark.parametrize("prompt", ["The small cat", "The small "])
def test_llama_cpp_writes_what_wordorder_writes(
    runs: Path, capfd: pytest.CaptureFixture[str], prompt: str, options: str
) -> None:
    rest = f"|{prompt}|--max-tokens|20|{options}"
    ours = generated(f"run{rest}", capfd)
    assert len(ours) > len(prompt) + 10
    assert generated(f"run-gguf{rest}|--engine|llama.cpp", capfd) == ours


def test_a_run_a_folder_and_a_file_write_the_same(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rest = "|The|--max-tokens|9|--seed|1|--engine|llama.cpp"
    before = sorted(path for path in runs.rglob("*"))
    texts = {
        generated(source + rest, capfd) for source in ("run", "run-gguf", "run-gguf/model-f32.gguf")
    }
    assert len(texts) == 1
    assert sorted(path for path in runs.rglob("*")) == before


def test_a_table_of_positions_ends(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rest = "|abc|--temperature|0|--max-tokens|50|--seed|1|--json"
    ours = json.loads(generated(f"table{rest}", capfd))
    theirs = json.loads(generated(f"table{rest}|--engine|llama.cpp", capfd))
    assert theirs["sampling"] == ours["sampling"]
    assert theirs["texts"][0]["text"] == ours["texts"][0]["text"]
    stop = ours["texts"][0]["text"][2]
    stopped = json.loads(generated(f"table{rest}|--engine|llama.cpp|--stop|{stop}", capfd))
    text = ours["texts"][0]["text"].partition(stop)[0]
    assert (stopped["texts"][0]["text"], stopped["texts"][0]["reason"]) == (text, "stop")
    assert main(["generate", "table", "a" * 16, "--engine", "llama.cpp"]) == 2


@pytest.mark.parametrize(
    "option", ["--no-cache", "--window|4", "--sinks|4", "--compile|yes", "--device|cuda"]
)
def test_what_llama_cpp_lacks_is_refused(
    runs: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["generate", "run-gguf", "a", "--engine", "llama.cpp", *option.split("|")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and option.partition("|")[0] in error


def test_a_file_that_is_none_of_ours_is_named(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (runs / "other.gguf").write_bytes(b"GGUF, but no more")
    writer = gguf.GGUFWriter(runs / "foreign.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (runs / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (runs / "two" / name).write_bytes(b"")
    for source in ("other.gguf", "foreign.gguf", "two", "nowhere"):
        assert main(["generate", source, "a", "--engine", "llama.cpp"]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and source in error


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xe9-gguf")
    folder = export(write_run(tmp_path / "run", bpe()), LLAMA_CPP, tmp_path / name).folder
    assert GgufFile(folder).architecture == "qwen3"


def test_a_text_that_cannot_be_held_is_refused(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rest = ["--engine", "llama.cpp", "--max-tokens", "1000000"]
    assert main(["generate", "run-gguf", "a", *rest]) == 2
    assert "use at most 131,072" in capfd.readouterr().err


def test_a_rounded_context_does_not_change_the_frequencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    divisors = "short_factors=[1,1.1,1.2,1.3],long_factors=[1,2,3,4]"
    position = f"rotary:scaling=longrope,factor=8,original_length=64,{divisors}"
    run = write_run(tmp_path / "run", position=position, qk_norm=False, trained_length=512)
    export(run, LLAMA_CPP)
    rest = ["The", "--engine", "llama.cpp", "--temperature", "0", "--max-tokens"]
    assert main(["generate", "run-gguf", *rest, "8"]) == 2
    assert "rounds a context of 12 tokens up to 256" in capfd.readouterr().err
    assert main(["generate", "run-gguf", *rest, "100"]) == 0
