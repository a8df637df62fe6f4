"""Prepares a text for training: reads, splits and tokenizes it, in stages that survive a kill.

    scan       the text becomes chunks of documents on disk         one process
    keys       a key of each document, by which copies are found    several
    split      a part for each document                             one
    tokenizer  is fitted on the training part                       one
    shards     the tokens of each chunk                             several

Each file is written beside its place and renamed. A command that is given again does what is
missing, and any number of processes gives the same bytes. Memory holds a chunk per process and 40
bytes for each of at most two million documents.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from wordorder.atomic import cannot_write, reclaim, replacing, write_text
from wordorder.errors import BadInput
from wordorder.locks import held
from wordorder.text.chat_template import (
    ChatTemplate,
    check_no_template,
    recorded_template,
    template_for,
)
from wordorder.text.corpus import BUILT_IN, Corpus
from wordorder.text.load import PLAIN_FIELD, check_names
from wordorder.text.objective import TemplateName
from wordorder.text.sharded.assignment import Assignment, assign, part_of, write_keys
from wordorder.text.sharded.encode import ShardTask, write_shard
from wordorder.text.sharded.folder import (
    INDEX,
    PREPARING,
    SHARD,
    TOKENIZER,
    VERSION,
    damaged,
    shard_folder,
    starts_of,
)
from wordorder.text.sharded.scan import Scan, scan
from wordorder.text.sharded.spool import Chunk
from wordorder.text.sharded.workers import run_all
from wordorder.text.split import Split, check_fractions
from wordorder.text.split_notes import PARTS
from wordorder.text.store import no_tokens, token_dtype
from wordorder.text.tokenizer import FITTED_ON, Tokenizer, make_tokenizer
from wordorder.text.user_text import printable

SPLIT, FITTED = "split.json", "tokenizer.json"
CHUNK_BYTES = 1 << 25  # the most work that a kill loses, per process

# Called with a stage, the amount done, and the total; 0: unknown.
Report = Callable[[str, int, int], None]
Task = TypeVar("Task")


@dataclass(frozen=True)
class StoreConfig:
    """What is prepared, and how.

    Args:
        data: names of data, as in `load_corpus`.
        field: the field or column of tables and datasets that holds the text.
        most_bytes: text to read of each `hf:` dataset, such as 500MB; None: all of it.
        tokenizer: bpe, bytes, characters, or the path of a tokenizer.json.
        vocabulary_size: largest vocabulary of bpe, special tokens included.
        validation_fraction: share of the text for the reported loss.
        development_fraction: share of the text for choosing the weights; 0: none.
        chat_template: how conversations are written: auto, plain or chatml.
        chunk_bytes: bytes of text in a shard.
    """

    data: tuple[str, ...] = (BUILT_IN,)
    field: str = PLAIN_FIELD
    most_bytes: str | None = None
    tokenizer: str = "bpe"
    vocabulary_size: int = 4096
    validation_fraction: float = 0.1
    development_fraction: float = 0.04
    chat_template: TemplateName = "auto"
    chunk_bytes: int = CHUNK_BYTES


def prepare(
    folder: Path,
    config: StoreConfig,
    *,
    processes: int = 1,
    command: str = "the same command",
    report: Report = lambda stage, done, total: None,
) -> bool:
    """Prepare a text in a folder, or finish what an earlier process has begun.

    Args:
        folder: new, empty, or with an unfinished store of the same configuration.
        processes: how many work at once; the bytes do not depend on it.
        command: continues the work, for messages.
        report: receives the progress.

    Returns:
        Whether anything was done: a finished store is left as it is, and its text is not read.

    Raises:
        BadInput: the text cannot be read, split or tokenized, or the folder has other contents.
        Failed: the disk is full, or a process has ended.
        Refused: another process is preparing this folder.
    """
    check_names(config.data)
    check_fractions(config.validation_fraction, config.development_fraction)
    with held(folder, remedy="choose another --store"):
        try:
            return _Preparation(folder, config, processes, report).run(command)
        except OSError as error:
            remedy = "check its permissions, and run the command again to continue"
            raise cannot_write(error.filename or folder, error, remedy) from None


class _Preparation:
    """The stages of a preparation."""

    def __init__(self, folder: Path, config: StoreConfig, processes: int, report: Report) -> None:
        self.folder, self.config = folder, config
        self.processes, self.report = processes, report
        self.work = folder / PREPARING
        self.fractions = config.validation_fraction, config.development_fraction

    def run(self, command: str) -> bool:
        if not self._begin(command):
            return False
        text = self._scan()
        corpus, chunks = text.corpus, text.chunks
        self._each("finding copies", write_keys, [c for c in chunks if not c.keys.exists()], chunks)
        assignment = self._assign(corpus, chunks)
        template, fitted = self._fit(corpus, assignment)
        chat = template.record() if template else None
        tasks = [
            ShardTask(self.folder, n, chunk, chat) for n, chunk in enumerate(assignment.chunks)
        ]
        missing = [task for task in tasks if not self._shard(task).exists()]
        self._each("tokenizing", write_shard, missing, tasks)
        self._finish(text, assignment, fitted, chat)
        shutil.rmtree(self.work)
        return True

    def _begin(self, command: str) -> bool:
        """Create the folder for the work, or check that it is of the same configuration.

        Returns:
            Whether anything is to be done.
        """
        finished, begun = self.folder / INDEX, self.work / INDEX
        config = json.loads(json.dumps(asdict(self.config)))
        for record in (finished, begun):
            if not record.exists():
                continue
            other = self._recorded(record)
            changed = [name for name in config if other.get(name) != config[name]]
            if changed:
                name = changed[0]
                raise BadInput(
                    f"the store {printable(self.folder)} was prepared with {name} "
                    f"{_shown(other.get(name))}, not {_shown(config[name])}: choose another "
                    "--store, or remove this one",
                    code="text.store-other-options",
                )
            if record == finished:
                shutil.rmtree(self.work, ignore_errors=True)
                return False
        if not begun.exists() and any(not p.name.startswith(".") for p in self.folder.iterdir()):
            raise BadInput(
                f"the folder {printable(self.folder)} is not empty and holds no store: choose "
                "another --store",
                code="text.store-folder-not-empty",
            )
        self.work.mkdir(exist_ok=True)
        write_text(begun, json.dumps({"config": config, "command": command}))
        for folder in (self.work, self.folder / "shards"):
            reclaim(folder, also_own=True)
        return True

    def _recorded(self, record: Path) -> dict[str, Any]:
        try:
            return dict(json.loads(record.read_text())["config"])
        except (ValueError, KeyError, TypeError):
            raise damaged(record, self.folder, "is damaged") from None

    def _scan(self) -> Scan:
        config = self.config
        return scan(
            self.work,
            config.data,
            config.field,
            config.most_bytes,
            config.chunk_bytes,
            lambda size: self.report("reading", size, 0),
        )

    def _each(
        self,
        stage: str,
        function: Callable[[Task], None],
        missing: Sequence[Task],
        tasks: Sequence[Any],
    ) -> None:
        """Run a function on the missing tasks, and report progress on all tasks."""
        done = len(tasks) - len(missing)

        def count(task: Task) -> None:
            nonlocal done
            done += 1
            self.report(stage, done, len(tasks))

        self.report(stage, done, len(tasks))
        run_all(function, missing, self.processes, count)

    def _assign(self, corpus: Corpus, chunks: Sequence[Chunk]) -> Assignment:
        record = self.work / SPLIT
        if not record.exists():
            self.report("splitting", 0, 0)
            new = assign(corpus, chunks, self.fractions, self.work)
            places = [[chunk.path.name, chunk.first, chunk.documents] for chunk in new.chunks]
            write_text(record, json.dumps({"chunks": places, "facts": new.facts}))
        recorded = json.loads(record.read_text())
        found = tuple(Chunk(self.work / name, *rest) for name, *rest in recorded["chunks"])
        return Assignment(found, recorded["facts"])

    def _fit(
        self, corpus: Corpus, assignment: Assignment
    ) -> tuple[ChatTemplate | None, dict[str, Any]]:
        """Fit the tokenizer if not yet done; return the chat template and facts about the fit."""
        record = self.work / FITTED
        if not record.exists():
            self.report("learning the tokenizer", 0, 0)
            self._write_tokenizer(corpus, assignment, record)
        fitted = json.loads(record.read_text())
        chat = fitted.pop("chat")
        return (None if chat is None else recorded_template(chat)), fitted

    def _write_tokenizer(self, corpus: Corpus, assignment: Assignment, record: Path) -> None:
        config, template = self.config, None
        if corpus.is_chat:
            template = template_for(corpus, config.chat_template)
        else:
            check_no_template(config.chat_template, corpus.name)
        training = part_of(corpus, assignment.chunks, "training")
        tokenizer = make_tokenizer(
            config.tokenizer,
            training,
            config.vocabulary_size,
            alphabet=corpus,
            special_tokens=template.special_tokens if template else (),
            written=template.words if template else "",
        )
        tokenizer.save(self.folder / TOKENIZER)
        held_out = part_of(corpus, assignment.chunks, "validation")
        split = Split(training, None, held_out, assignment.facts)
        size = config.vocabulary_size if config.tokenizer == "bpe" else None
        fitted = {
            "chat": template.record() if template else None,
            "fitted_on": FITTED_ON.get(config.tokenizer),
            "notes": [*split.notes, *tokenizer.notes(training, size)],
        }
        write_text(record, json.dumps(fitted))

    def _shard(self, task: ShardTask) -> Path:
        return shard_folder(self.folder, task.number) / SHARD

    def _finish(
        self,
        text: Scan,
        assignment: Assignment,
        fitted: Mapping[str, Any],
        chat: Mapping[str, Any] | None,
    ) -> None:
        """Write the starts of all documents, and the index."""
        self.report("writing the index", 0, 0)
        tokenizer = Tokenizer.load(self.folder / TOKENIZER)
        folders = [shard_folder(self.folder, n) for n in range(len(assignment.chunks))]
        shards = [json.loads((folder / SHARD).read_text()) for folder in folders]
        parts = {}
        for name in PARTS:
            counts = [shard["parts"][name] for shard in shards]
            total = {what: sum(count[what] for count in counts) for what in counts[0]}
            if not total["documents"]:
                continue
            if name == PARTS[0] and chat is None and total["tokens"] == total["documents"]:
                raise no_tokens(text.facts["name"])
            part = part_of(text.corpus, assignment.chunks, name)
            parts[name] = {**total, "lossless": tokenizer.round_trip(part).lossless}
            self._write_starts(name, folders, counts)
        facts = {k: v for k, v in text.facts.items() if k != "chunks"}
        index = {
            "version": VERSION,
            "config": asdict(self.config),
            **facts,
            "tokenizer": {
                "kind": tokenizer.kind,
                "vocabulary_size": tokenizer.vocabulary_size,
                "content_hash": tokenizer.content_hash,
            },
            "token_type": np.dtype(token_dtype(tokenizer)).newbyteorder("<").str,
            "fitted_on": fitted["fitted_on"],
            "split": assignment.facts,
            "parts": parts,
            "chat": chat,
            "notes": [*facts["notes"], *fitted["notes"]],
            "shards": [{k: shard[k] for k in ("parts", "checksums")} for shard in shards],
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=1))

    def _write_starts(
        self, name: str, folders: Sequence[Path], counts: Sequence[Mapping[str, int]]
    ) -> None:
        with replacing(self.folder / f"{name}.starts") as beside, beside.open("wb") as file:
            for starts in starts_of(name, folders, counts):
                starts.tofile(file)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
