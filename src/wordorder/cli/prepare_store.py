"""`wordorder data --store`: prepares a text on disk, and describes one that is prepared."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from wordorder import stopping
from wordorder.cli.printed import screen
from wordorder.control_characters import escaped
from wordorder.cores import cores
from wordorder.table import Table
from wordorder.text.sharded.folder import ShardedText, open_sharded
from wordorder.text.sharded.prepare import Report, StoreConfig, prepare
from wordorder.text.split_notes import PARTS, described
from wordorder.text.tokenizer_file import KINDS
from wordorder.text.user_text import user_path, whole_path

SECONDS_BETWEEN_LINES = 10.0  # without a terminal
SAMPLE_TOKENS = 100


def prepare_store(
    folder: str, config: StoreConfig, processes: int, arguments: Sequence[str]
) -> Path:
    """Prepare a text in a folder, with its progress on stderr, and return the folder.

    Args:
        processes: 0 takes one for each core.
        arguments: of the command, which continues the work after a kill.
    """
    store = user_path(folder)
    command = shlex.join(["wordorder", "data", *arguments])
    try:
        with _progress() as report:
            workers = processes or cores()
            if not prepare(store, config, processes=workers, command=command, report=report):
                print(
                    f"note: {folder} is already prepared, so its text was not read again: remove "
                    "it first if the text has changed",
                    file=sys.stderr,
                )
    except KeyboardInterrupt as error:
        print(line := f"stopped: continue with {command}", file=sys.stderr)
        stopping.report(error, line)
        raise
    return store


def whole_tokenizer(name: str) -> str:
    """Return the absolute path of a tokenizer's file, or the name of a kind."""
    return name if name in KINDS or not Path(name).exists() else str(whole_path(name))


def describe_store(name: str | Path, *, as_json: bool) -> None:
    """Compare the checksums of a store, and print what it holds.

    Raises:
        BadInput: the store is not finished, or damaged.
    """
    text = open_sharded(name)
    with screen(stderr=True).status("comparing checksums"):
        text.verify()
        for part in PARTS:
            text.store(part)
    if as_json:
        print(json.dumps({**facts_of_store(text), "store": str(text.folder)}))
    else:
        show_store(text)


def facts_of_store(text: ShardedText) -> dict[str, Any]:
    """Return the description of a store, as far as it is that of a text in memory."""
    index = text.index
    parts = {name: dict(index["parts"][name]) for name in PARTS if name in index["parts"]}
    tokens, size = (sum(part[what] for part in parts.values()) for what in ("tokens", "bytes"))
    if index["chat"]:
        size = index["bytes"]
        for part in parts.values():
            part["answer_bytes"] = part.pop("bytes")
    names = ("name", "notes", "content_hash", "documents", "bytes", "characters", "sources")
    return {
        **{name: index[name] for name in names},
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 3),
        "tokenizer": {k: v for k, v in index["tokenizer"].items() if k != "content_hash"},
        "split": parts,
        "split_rule": index["split"],
        "held_out": described(index["split"]),
        "shards": len(index["shards"]),
        **({"chat_template": index["chat"]["template"]} if index["chat"] else {}),
    }


def show_store(text: ShardedText) -> None:
    """Print what a store holds."""
    facts, console = facts_of_store(text), screen()
    console.print(Text(facts["name"], style="bold"))
    chat = "chat_template" in facts
    counts = ("tokens", "answer_tokens", "answer_bytes") if chat else ("bytes", "tokens")
    show_description(console, facts, counts, shards=f"; shards: {facts['shards']:,}")
    training = text.store("training")
    assert training is not None  # a split has training text
    console.print("\nThe training text begins:", style="bold")
    sample = text.tokenizer.decode(training.tokens[:SAMPLE_TOKENS].tolist())
    console.print(Text(escaped(sample.rstrip()) + " ..."))


def show_description(
    console: Console,
    facts: dict[str, Any],
    counts: Sequence[str],
    *,
    shards: str = "",
    lengths: str = "",
) -> None:
    """Print the counts, held-out parts, tokenizer, hash and notes of a text.

    Args:
        facts: of a text in memory, or of a store.
        counts: what is counted in each part, besides documents.
        shards, lengths: what is added about shards or about the lengths of documents.
    """
    parts, rows = facts["split"], []
    for what in ("documents", *counts):
        numbers = [part[what] for part in parts.values()]
        whole = facts[what] if what == "documents" else sum(numbers)  # one may be cut in two
        rows.append([what.replace("_", " "), *(f"{n:,}" for n in (whole, *numbers))])
    console.print(Table(["", "all", *parts], rows).terminal())
    console.print()
    for part in ("validation", "development"):
        console.print(f"{part}: {facts['held_out'][part]}", markup=False)
    console.print(
        f"\n{facts['bytes_per_token']:.2f} bytes per token with {facts['tokenizer']['kind']} "
        f"of {facts['tokenizer']['vocabulary_size']:,} tokens, <|endoftext|> included{shards}"
    )
    if lengths:
        console.print(lengths)
    console.print(
        f"content hash {facts['content_hash']} (compare figures only between texts of one hash)"
    )
    if "chat_template" in facts:
        console.print(f"conversations, written by the template {facts['chat_template']}")
    for note in facts["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False)


@contextmanager
def _progress() -> Iterator[Report]:
    """Yield a function that shows the progress: a bar in a terminal, otherwise lines."""
    console = screen(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task: TaskID | None = None
        stage, before = "", 0.0

        def report(name: str, done: int, total: int) -> None:
            nonlocal task, stage, before
            line, new, now = _line(name, done, total), name != stage, time.monotonic()
            stage = name
            if not console.is_terminal:
                if new or now - before > SECONDS_BETWEEN_LINES:
                    before = now
                    console.print(line, style="dim", markup=False, soft_wrap=True)
                return
            if new and task is not None:
                bar.remove_task(task)
            if new or task is None:
                task = bar.add_task(line)
            bar.update(task, description=line, completed=done, total=total or None)

        yield report


def _line(stage: str, done: int, total: int) -> str:
    if total:
        return f"{stage}: {done:,} of {total:,} shards"
    return f"{stage}: {done / 1e6:,.0f} MB" if done else stage
