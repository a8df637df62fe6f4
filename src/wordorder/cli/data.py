"""`wordorder data`: describes a corpus before training on it."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.errors import BadInput
from wordorder.model.config import VocabularySize
from wordorder.settings import ByteCount
from wordorder.table import Table
from wordorder.text.chat_template import ChatTemplate, template_for
from wordorder.text.corpus import BUILT_IN, Corpus
from wordorder.text.load import load_corpus
from wordorder.text.split import DevelopmentFraction, Split, ValidationFraction, split_corpus
from wordorder.text.split_notes import PARTS, described
from wordorder.text.store import open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.text.words import note_of_spaces

SAMPLE_CHARACTERS = 400
SAMPLE_TOKENS = 40


@dataclass(frozen=True)
class DataOptions:
    """Describe a corpus: documents, tokens, the split, and a sample.

    Args:
        data: python-docs, files, folders, or hf:NAME[:CONFIG][:SPLIT].
        field: column of tables and datasets that holds the text.
        most_bytes: text to read of each hf: dataset, such as 500MB or 2GB.
        tokenizer: bpe, bytes, characters, or the path of a tokenizer.json.
        vocabulary_size: largest vocabulary of bpe, special tokens included.
        validation_fraction: share for the reported loss, not used to train or to choose.
        development_fraction: share for choosing the weights to keep, not trained on; 0: none.
        validation_data: files or folders that are all validation text, instead of a share.
        development_data: files or folders that are all development text, instead of a share.
        json: print one JSON object instead of tables.
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[DATA ...]")] = (
        BUILT_IN,
    )
    field: str = "text"
    most_bytes: ByteCount = "200MB"
    tokenizer: str = "bpe"
    vocabulary_size: VocabularySize = 4096
    validation_fraction: ValidationFraction = 0.1
    development_fraction: DevelopmentFraction = 0.04
    validation_data: tuple[str, ...] = ()
    development_data: tuple[str, ...] = ()
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(DataOptions, arguments, command="wordorder data")
    not_bpe = BadInput(
        f"{{}} has an effect only with --tokenizer bpe, not {options.tokenizer}: leave it out",
        code="cli.data-vocabulary-size",
    )
    refuse_typed(typed_names(arguments), (options.tokenizer != "bpe", "vocabulary_size", not_bpe))
    logs = Console(stderr=True)
    with logs.status("reading"):
        corpus = load_corpus(
            options.data,
            field=options.field,
            most_bytes=options.most_bytes,
            validation=options.validation_data,
            development=options.development_data,
        )
    split = split_corpus(corpus, options.validation_fraction, options.development_fraction)
    template = template_for(corpus) if corpus.is_chat else None
    with logs.status("learning the tokenizer"):
        tokenizer = make_tokenizer(
            options.tokenizer,
            split.training,
            options.vocabulary_size,
            alphabet=corpus,
            special_tokens=template.special_tokens if template else (),
        )
    with logs.status("tokenizing"):
        facts = _facts(corpus, split, tokenizer, options, template)
    if options.json:
        print(json.dumps(facts))
    else:
        _show(facts, tokenizer)
    return 0


def _facts(
    corpus: Corpus,
    split: Split,
    tokenizer: Tokenizer,
    options: DataOptions,
    template: ChatTemplate | None,
) -> dict[str, Any]:
    parts = {
        name: _counts(part, tokenizer, template)
        for name in PARTS
        if (part := getattr(split, name)) is not None
    }
    tokens, size = (sum(part[what] for part in parts.values()) for what in ("tokens", "bytes"))
    lengths = sorted(len(document.text) for document in corpus.documents)
    median = statistics.median_low(lengths)
    requested_size = options.vocabulary_size if options.tokenizer == "bpe" else None
    typical = next(d for d in corpus.documents if len(d.text) == median)
    return {
        "options": asdict(options),
        "name": corpus.name,
        "notes": [
            *corpus.notes,
            *split.notes,
            *_note_of_spaces(corpus),
            *tokenizer.notes(split.training, requested_size),
        ],
        "content_hash": corpus.content_hash,
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "characters": corpus.characters,
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 3),
        "tokenizer": {"kind": tokenizer.kind, "vocabulary_size": tokenizer.vocabulary_size},
        "longest_document_characters": lengths[-1],
        "median_document_characters": median,
        "split": parts,
        "split_rule": split.facts,
        "held_out": described(split.facts),
        **({"chat_template": template.name} if template else {}),
        "sample": {"source": typical.source, "text": typical.text[:SAMPLE_CHARACTERS]},
    }


def _note_of_spaces(corpus: Corpus) -> tuple[str, ...]:
    texts = (document.text for document in corpus.documents)
    consequence = "Language models do not need spaces; word vectors do (wordorder words train)"
    return note_of_spaces(texts, corpus.name, consequence)


def _counts(corpus: Corpus, tokenizer: Tokenizer, template: ChatTemplate | None) -> dict[str, int]:
    store = open_store(corpus, tokenizer, template)
    return {
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "characters": corpus.characters,
        "tokens": len(store),
        **({"answer_tokens": store.targets} if template else {}),
    }


def _show(facts: dict[str, Any], tokenizer: Tokenizer) -> None:
    console = Console(highlight=False)
    console.print(Text(facts["name"], style="bold"))
    parts = {"all": facts, **facts["split"]}
    rows = [
        [what, *(f"{part[what]:,}" for part in parts.values())]
        for what in ("documents", "characters", "bytes", "tokens")
    ]
    if "chat_template" in facts:
        answers = [part["answer_tokens"] for part in facts["split"].values()]
        rows.append(["answer tokens", *(f"{count:,}" for count in (sum(answers), *answers))])
    console.print(Table(["", *parts], rows).terminal())
    console.print()
    for part in ("validation", "development"):
        console.print(f"{part}: {facts['held_out'][part]}", markup=False)
    console.print(
        f"\n{facts['bytes_per_token']:.2f} bytes per token with {facts['tokenizer']['kind']} "
        f"of {facts['tokenizer']['vocabulary_size']:,} tokens, <|endoftext|> included"
    )
    console.print(
        f"longest document {facts['longest_document_characters']:,} characters, "
        f"median {facts['median_document_characters']:,}"
    )
    console.print(
        f"content hash {facts['content_hash']} (compare figures only between texts of one hash)"
    )
    if "chat_template" in facts:
        console.print(f"conversations, written by the template {facts['chat_template']}")
    for note in facts["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False)
    _show_sample(console, facts["sample"], tokenizer)


def _show_sample(console: Console, sample: dict[str, str], tokenizer: Tokenizer) -> None:
    console.print(f"\n{sample['source']} begins:", style="bold", markup=False)
    console.print(Text(sample["text"].rstrip() + " ..."))
    console.print("\nas tokens:", style="bold")
    tokens = Text()
    for number, token in enumerate(tokenizer.encode(sample["text"])[:SAMPLE_TOKENS]):
        piece = (
            # A token may end inside a character: show its bytes as escapes.
            tokenizer.decode([token])
            if tokenizer.spellings is None
            else tokenizer.spellings[token].decode(errors="backslashreplace")
        ).replace("\n", "\\n")
        tokens.append(piece, style="reverse" if number % 2 else "")
        tokens.append("|", style="dim")
    console.print(tokens)
