"""`wordorder data`: describes a corpus before training on it."""

from __future__ import annotations

import json
import shlex
import statistics
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from wordorder.cli.arguments import parse, refuse_typed, typed_names
from wordorder.cli.prepare_store import (
    describe_store,
    prepare_store,
    show_description,
    whole_tokenizer,
)
from wordorder.cli.printed import screen
from wordorder.control_characters import escaped
from wordorder.errors import BadInput
from wordorder.model.config import VocabularySize
from wordorder.numerals import counted
from wordorder.settings import ByteCount, DataName, NotNegative, PathName, TokenizerName
from wordorder.text.chat_template import ChatTemplate, check_no_template, template_for
from wordorder.text.corpus import BUILT_IN, Corpus, merged
from wordorder.text.data_names import check_alike, mixture_of
from wordorder.text.load import load_corpus
from wordorder.text.objective import TemplateName
from wordorder.text.sharded.folder import is_store
from wordorder.text.sharded.prepare import StoreConfig
from wordorder.text.split import DevelopmentFraction, Split, ValidationFraction, split_corpus
from wordorder.text.split_notes import PARTS, described
from wordorder.text.store import open_store
from wordorder.text.tokenizer import Tokenizer, make_tokenizer
from wordorder.text.words import note_of_spaces
from wordorder.training.config import whole_paths

SAMPLE_CHARACTERS = 400
SAMPLE_TOKENS = 40


@dataclass(frozen=True)
class DataOptions:
    """Describe a corpus: documents, tokens, the split, and a sample.

    Args:
        data: python-docs, files, folders, or hf:NAME[:CONFIG][:SPLIT]; a store; or NAME=WEIGHT for
            the parts of a mixture.
        field: column of tables and datasets that holds the text.
        most_bytes: text to read of each hf: dataset, such as 500MB or 2GB; with --store all of it,
            unless this is given.
        tokenizer: bpe, bytes, characters, the path of a tokenizer.json, or hf:NAME for one on the
            Hugging Face Hub.
        vocabulary_size: largest vocabulary of bpe, special tokens included.
        validation_fraction: share for the reported loss, not used to train or to choose.
        development_fraction: share for choosing the weights to keep, not trained on; 0: none.
        validation_data: files or folders that are all validation text, instead of a share.
        development_data: files or folders that are all development text, instead of a share.
        chat_template: how conversations are written: plain or chatml; auto: plain for prompts and
            answers, chatml for other forms.
        store: a folder in which to prepare the text: tokens in shards on disk, for train --data;
            the text may be larger than memory. Given again after a kill, the command continues.
        processes: processes that prepare a store; 0: one for each core.
        json: print one JSON object instead of tables.
    """

    data: Annotated[
        tuple[DataName, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[DATA ...]")
    ] = (BUILT_IN,)
    field: str = "text"
    most_bytes: ByteCount = "200MB"
    tokenizer: TokenizerName = "bpe"
    vocabulary_size: VocabularySize = 4096
    validation_fraction: ValidationFraction = 0.1
    development_fraction: DevelopmentFraction = 0.04
    validation_data: tuple[DataName, ...] = ()
    development_data: tuple[DataName, ...] = ()
    chat_template: TemplateName = "auto"
    store: PathName | None = None
    processes: NotNegative = 0
    json: tyro.conf.FlagCreatePairsOff[bool] = False


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(DataOptions, arguments, command="wordorder data")
    not_bpe = BadInput(
        f"{{}} has an effect only with --tokenizer bpe, not {options.tokenizer}: leave it out",
        code="cli.data-vocabulary-size",
    )
    no_store = BadInput("{} has an effect only with --store: leave it out", code="cli.data-store")
    no_held_out = BadInput(
        "{} goes with one text, neither with a mixture nor with --store: leave it out",
        code="cli.data-held-out",
    )
    whole = BadInput(
        "{} has no effect, because that part has data of its own: leave out one of the two",
        code="cli.data-whole-part",
    )
    one_text_only = options.store is not None or bool(mixture_of(options.data))
    typed, fraction = typed_names(arguments), options.development_fraction
    refuse_typed(
        typed,
        (options.tokenizer != "bpe", "vocabulary_size", not_bpe),
        (options.store is None, "processes", no_store),
        (one_text_only, "validation_data development_data", no_held_out),
        (bool(options.validation_data), "validation_fraction", whole),
        (bool(options.development_data and fraction), "development_fraction", whole),
    )
    if any(map(is_store, options.data)) and not mixture_of(options.data):
        _describe_stores(options, typed)
    elif options.store is not None:
        _prepare(options, typed, arguments)
    else:
        _describe(options)
    return 0


def _describe(options: DataOptions) -> None:
    """Read texts and print what they hold: one, or each part of a mixture."""
    mixture = mixture_of(options.data)
    names: list[tuple[str, ...]] = [(part.name,) for part in mixture] or [options.data]
    logs = screen(stderr=True)
    fractions = options.validation_fraction, options.development_fraction
    if stores := [name for (name, *_) in names if is_store(name)]:
        raise BadInput(
            f"{stores[0]} is a store, which is described by itself: give it without a weight",
            code="cli.data-store-in-mixture",
        )
    with logs.status("reading"):
        corpora = [
            load_corpus(
                name,
                field=options.field,
                most_bytes=options.most_bytes,
                validation=options.validation_data,
                development=options.development_data,
            )
            for name in names
        ]
    check_alike(corpus.is_chat for corpus in corpora)
    splits = [split_corpus(corpus, *fractions) for corpus in corpora]
    whole, training = merged(corpora), merged([split.training for split in splits])
    template = _template(whole, options.chat_template)
    with logs.status("learning the tokenizer"):
        tokenizer = make_tokenizer(
            options.tokenizer,
            training,
            options.vocabulary_size,
            alphabet=whole,
            special_tokens=template.special_tokens if template else (),
            written=template.words if template else "",
        )
    with logs.status("tokenizing"):
        facts = [
            _facts(corpus, split, tokenizer, options, template)
            for corpus, split in zip(corpora, splits, strict=True)
        ]
    for part, one in zip(mixture, facts, strict=False):
        one["weight"] = part.weight
    if options.json:
        print(json.dumps({"parts": facts} if mixture else facts[0]))
        return
    for number, one in enumerate(facts):
        print(end="\n" if number else "")
        _show(one, tokenizer)


def _template(corpus: Corpus, name: TemplateName) -> ChatTemplate | None:
    """Return the template of a corpus of conversations; None for text."""
    if corpus.is_chat:
        return template_for(corpus, name)
    check_no_template(name, corpus.name)
    return None


def _prepare(options: DataOptions, typed: frozenset[str], arguments: list[str]) -> None:
    """Prepare a store and print what it holds."""
    assert options.store is not None
    if mixture_of(options.data):
        raise BadInput(
            "a store holds one text: prepare a store of each part of a mixture, and give them "
            "their weights in wordorder train --data",
            code="cli.data-mixture-in-store",
        )
    config = StoreConfig(
        data=whole_paths(options.data),
        field=options.field,
        most_bytes=options.most_bytes if "most_bytes" in typed else None,
        tokenizer=whole_tokenizer(options.tokenizer),
        vocabulary_size=options.vocabulary_size,
        validation_fraction=options.validation_fraction,
        development_fraction=options.development_fraction,
        chat_template=options.chat_template,
    )
    store = prepare_store(options.store, config, options.processes, arguments)
    describe_store(store, as_json=options.json)
    logs = screen(stderr=True)
    next_command = f"next: wordorder train --data {shlex.quote(options.store)}"
    logs.print(next_command, style="dim", markup=False, soft_wrap=True)


def _describe_stores(options: DataOptions, typed: frozenset[str]) -> None:
    """Print what a store holds.

    Raises:
        BadInput: there is other data, or an option that was decided when the store was prepared.
    """
    if len(options.data) > 1:
        raise BadInput(
            f"a store is described by itself, and {counted(len(options.data), 'name')} are given: "
            "give one",
            code="cli.data-several-stores",
        )
    decided = BadInput(
        "{} was decided when the store was prepared: leave it out", code="cli.data-store-option"
    )
    others = " ".join(field.name for field in fields(DataOptions) if field.name != "json")
    refuse_typed(typed, (True, others, decided))
    describe_store(options.data[0], as_json=options.json)


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
    console = screen()
    weight = f" ({facts['weight']:.1%} of the tokens trained on)" if "weight" in facts else ""
    console.print(Text(f"{facts['name']}{weight}", style="bold"))
    counts = ["characters", "bytes", "tokens"]
    if "chat_template" in facts:
        counts.append("answer_tokens")
    lengths = (
        f"longest document {facts['longest_document_characters']:,} characters, "
        f"median {facts['median_document_characters']:,}"
    )
    show_description(console, facts, counts, lengths=lengths)
    _show_sample(console, facts["sample"], tokenizer)


def _show_sample(console: Console, sample: dict[str, str], tokenizer: Tokenizer) -> None:
    console.print(f"\n{sample['source']} begins:", style="bold", markup=False)
    more = " ..." if len(sample["text"]) == SAMPLE_CHARACTERS else ""
    console.print(Text(escaped(sample["text"].rstrip()) + more))
    console.print("\nas tokens:", style="bold")
    tokens = Text()
    for number, token in enumerate(tokenizer.encode(sample["text"])[:SAMPLE_TOKENS]):
        piece = (
            # A token may end inside a character: show its bytes as escapes.
            tokenizer.decode([token])
            if tokenizer.spellings is None
            else tokenizer.spellings[token].decode(errors="backslashreplace")
        ).replace("\n", "\\n")
        tokens.append(escaped(piece), style="reverse" if number % 2 else "")
        tokens.append("|", style="dim")
    console.print(tokens)
