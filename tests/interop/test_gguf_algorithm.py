"""Imported tokenizers in GGUF files: llama.cpp gets the algorithm that gives the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from exported_runs import write_run
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop.export import export
from wordorder.interop.gguf import algorithm, llama_cpp
from wordorder.interop.gguf import tokenizer as gguf_tokenizer
from wordorder.interop.gguf.algorithm import algorithm_of
from wordorder.interop.gguf.engine import GgufFile
from wordorder.interop.gguf.export import LLAMA_CPP
from wordorder.interop.gguf.tokenizer import WHOLE, composes, read_back
from wordorder.text.tokenizer import Tokenizer

TEXT = (
    "The small cat's hat, isn't it? The SMALL CAT'S HAT. In 1234567 or 12345678 they'd say 2024.\n"
    "\n\n  indented = f(x)[1:]  # café naïve 東京 नमस्ते\r\n\tHTTPServer 3.14 1,000 ...!!\n\n"
)
END = "<|endoftext|>"
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"


def split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


# The patterns of llama.cpp, as the tokenizer.json of a model with this name has them.
PATTERNS = {
    "qwen2": [split(rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}")],
    "llama-bpe": [split(rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}")],
    "smollm": [pre_tokenizers.Digits(individual_digits=True), "gpt-2"],
    "gpt-2": ["gpt-2"],
}


def byte_level(steps: list[Any]) -> Tokenizer:
    """Return a byte-level BPE whose merges were learned from text that these steps split."""
    backend = tokenizers.Tokenizer(models.BPE())
    uses_regex = "gpt-2" in steps
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=uses_regex)
    before = [step for step in steps if step != "gpt-2"]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*before, last])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 20, trainer)
    return Tokenizer(backend)


def sentencepiece(*, prefix: bool = True) -> Tokenizer:
    """Return SentencePiece's BPE as Llama 2 has it; without a prefix, as Gemma has it.

    As in a conversion, a token has a merge for each pair of tokens that gives it.
    """
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = split("▁*[^▁]*")
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL + BYTES, show_progress=False
    )
    backend.train_from_iterator([TEXT.replace(" ", "▁")] * 20, trainer)
    data = json.loads(backend.to_str())
    data["added_tokens"] = data["added_tokens"][: len(SPECIAL)]
    data["pre_tokenizer"] = None
    model = data["model"]
    learned = dict.fromkeys("".join(pair) for pair in model["merges"])
    cuts = ([token[:i], token[i:]] for token in learned for i in range(1, len(token)))
    model["merges"] = [pair for pair in cuts if all(part in model["vocab"] for part in pair)]
    backend = tokenizers.Tokenizer.from_str(json.dumps(data))
    before = [normalizers.Prepend("▁")] if prefix else []
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return Tokenizer(backend, "<s>")


def changed(tokenizer: Tokenizer, **parts: Any) -> Tokenizer:
    """Return a tokenizer with other parts of its JSON."""
    data = {**json.loads(tokenizer.backend.to_str()), **parts}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_found_by_its_tokens(tmp_path: Path, name: str) -> None:
    chosen = algorithm_of(byte_level(PATTERNS[name]), tmp_path / "v.gguf")
    assert chosen == {"model": "gpt2", "pre": name, "add_space_prefix": False}


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_with_and_without_a_space_before_a_text(tmp_path: Path, prefix: bool) -> None:
    tokenizer = sentencepiece(prefix=prefix)
    text = "The cat's hat é東"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    chosen = algorithm_of(tokenizer, tmp_path / "v.gguf")
    assert chosen == {"model": "llama", "pre": "default", "add_space_prefix": prefix}


TOKENIZERS = {
    "llama-bpe": lambda: byte_level(PATTERNS["llama-bpe"]),
    "sentencepiece": sentencepiece,
    "no prefix": lambda: sentencepiece(prefix=False),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_run_is_exported_and_generated_from(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = TOKENIZERS[kind]()
    ours.backend.add_tokens([AddedToken("<tool>", normalized=False)])
    ours = Tokenizer(ours.backend, "<s>")
    folder = export(write_run(tmp_path / "run", ours), LLAMA_CPP).folder
    assert GgufFile(folder).tokenizer.backend.to_str() == ours.backend.to_str()
    with llama_cpp.LlamaCpp(folder / "model-f32.gguf", context=16) as theirs:
        for text in (TEXT, "a <tool> b", "</s> is text", ""):
            assert theirs.tokenize(text) == ours.encode(text)
    rest = ["The small", "--temperature", "0", "--max-tokens", "12"]
    assert main(["generate", "run", *rest]) == 0
    written = capfd.readouterr().out
    assert main(["generate", "run-gguf", *rest, "--engine", "llama.cpp"]) == 0
    assert capfd.readouterr().out == written


def test_text_is_compared_as_it_is_composed(tmp_path: Path) -> None:
    """Qwen's tokenizer normalizes to NFC, which llama.cpp does not do: the export says so."""
    in_sequence = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    assert composes(changed(byte_level(PATTERNS["qwen2"]), normalizer=in_sequence))
    ours = changed(byte_level(PATTERNS["qwen2"]), normalizer={"type": "NFC"})
    written = export(write_run(tmp_path / "run", ours), LLAMA_CPP).written
    assert any("NFC" in note for note in written.notes)


def test_a_space_that_begins_a_text_is_not_compared(tmp_path: Path) -> None:
    """Metaspace puts none before it, as the original sentencepiece and llama.cpp do."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    ours = changed(sentencepiece(), normalizer=None, pre_tokenizer=metaspace)
    written = export(write_run(tmp_path / "run", ours), LLAMA_CPP).written
    assert any("begins with one" in note for note in written.notes)


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_a_space_after_added_tokens_is_stated(tmp_path: Path, scheme: str) -> None:
    """llama.cpp puts a space after each of them; Metaspace may not, before the first word alone."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    ours = changed(sentencepiece(), normalizer=None, pre_tokenizer=metaspace)
    ours.backend.add_tokens([AddedToken("<tool>", normalized=False)])
    ours = Tokenizer(ours.backend, "<s>")
    written = export(write_run(tmp_path / "run", ours), LLAMA_CPP).written
    assert any(note.startswith("beside <") for note in written.notes)
    plain = export(write_run(tmp_path / "plain", sentencepiece()), LLAMA_CPP).written
    assert not any(note.startswith("beside <") for note in plain.notes)


def test_a_damaged_tokenizer_of_another_program_is_refused() -> None:
    for fields in ({WHOLE: "{"}, {WHOLE: "{}", "tokenizer.ggml.bos_token_id": 0}):
        with pytest.raises(BadInput) as caught:
            read_back(fields, "other.gguf")
        assert caught.value.code == "interop.gguf-other-tokenizer"


def test_a_pattern_that_llama_cpp_lacks_is_refused(tmp_path: Path) -> None:
    vowels = byte_level([split("[aeiou]+")])
    with pytest.raises(Refused, match="--to hf") as caught:
        export(write_run(tmp_path / "run", vowels), LLAMA_CPP)
    assert caught.value.code == "interop.gguf-no-such-pattern"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_name_that_llama_cpp_does_not_know_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(algorithm, "PATTERNS", ("of-the-future", "gpt-2"))
    assert algorithm_of(byte_level(PATTERNS["gpt-2"]), tmp_path / "v.gguf")["pre"] == "gpt-2"


def test_a_wrong_choice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole file is compared once more."""
    wrong = {"model": "gpt2", "pre": "qwen2", "add_space_prefix": False}
    monkeypatch.setattr("wordorder.interop.gguf.export.algorithm_of", lambda *_: wrong)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", byte_level(PATTERNS["gpt-2"])), LLAMA_CPP)
    assert caught.value.code == "interop.gguf-tokenizer-differs"


@pytest.mark.parametrize("missing", ["<0x0A>", None])
def test_other_kinds_are_refused(tmp_path: Path, missing: str | None) -> None:
    """Without a token for each byte, llama.cpp could end the process."""
    ours = sentencepiece()
    data = json.loads(ours.backend.to_str())
    if missing:
        vocabulary = data["model"]["vocab"]
        vocabulary["<other>"] = vocabulary.pop(missing)
    else:
        words = {END: 0, "[UNK]": 1, "a": 2}
        data["model"] = {"type": "WordPiece", "vocab": words, "unk_token": "[UNK]"}
        data["model"] |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
        data["added_tokens"] = []
    ours = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))
    with pytest.raises(BadInput, match="--tokenizer bpe") as caught:
        algorithm_of(ours, tmp_path / "v.gguf")
    assert caught.value.code == "interop.gguf-tokenizer-not-held"


def test_tokens_have_llama_cpps_types() -> None:
    ours = sentencepiece()
    ours.backend.add_tokens([AddedToken("<tool>", normalized=False)])
    ours = Tokenizer(ours.backend, "<s>")
    chosen = {"model": "llama", "pre": "default", "add_space_prefix": True}
    values = gguf_tokenizer.metadata(ours, ours.vocabulary_size + 1, chosen)
    types = dict(zip(values["tokens"], values["token_type"], strict=True))
    names = ("<unk>", "<s>", "<0x41>", "t", "<tool>", f"<unused {ours.vocabulary_size}>")
    assert [types[name] for name in names] == [2, 3, 6, 1, 4, 5]


@pytest.mark.parametrize("special", [[END], ["<s>", "<pad>", "</s>"]])
def test_special_tokens_that_come_first_are_read_back(
    tmp_path: Path, special: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Hugging Face's trainer numbers them; wordorder's own come last."""
    data = json.loads(byte_level(["gpt-2"]).backend.to_str())
    ordinary = [token for token in data["model"]["vocab"] if token != END]
    data["model"]["vocab"] = {token: i for i, token in enumerate([*special, *ordinary])}
    added = data["added_tokens"][0]
    data["added_tokens"] = [{**added, "id": i, "content": s} for i, s in enumerate(special)]
    data["pre_tokenizer"] = data["pre_tokenizer"]["pretokenizers"][0]
    ours = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(data)))
    assert ours.kind == "bpe"
    there = GgufFile(export(write_run(tmp_path / "run", ours), LLAMA_CPP).folder).tokenizer
    assert there.end_of_text == ours.end_of_text == len(special) - 1
    assert there.special_ids == ours.special_ids
    assert there.encode(TEXT) == ours.encode(TEXT)


def test_a_space_is_compared_where_none_is_put_before_a_text(tmp_path: Path) -> None:
    never = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}
    ours = changed(sentencepiece(prefix=False), normalizer=None, pre_tokenizer=never)
    written = export(write_run(tmp_path / "run", ours), LLAMA_CPP).written
    assert not any("begins with one" in note for note in written.notes)
