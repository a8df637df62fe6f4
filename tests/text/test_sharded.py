"""Texts prepared on disk: the same tokens as in memory, for any processes, and after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordorder.errors import BadInput, Refused
from wordorder.locks import held
from wordorder.text import large_files
from wordorder.text.chat_template import template_for
from wordorder.text.files import stamps_of
from wordorder.text.load import load_corpus
from wordorder.text.sharded import assignment, prepare, workers
from wordorder.text.sharded.array import ShardedArray
from wordorder.text.sharded.folder import INDEX, is_store, open_sharded
from wordorder.text.sharded.prepare import StoreConfig
from wordorder.text.split import PARTS, split_corpus
from wordorder.text.store import open_store
from wordorder.text.tokenizer import make_tokenizer

from .conftest import stop_while_reading

SMALL = {"chunk_bytes": 1500, "vocabulary_size": 300}


def document(number: int) -> str:
    return f"{number} bees see {7 * number % 31} seas, and the sea sees {number % 5} bees. " * 3


def many(folder: Path) -> Path:
    """Documents with copies, some of which differ in white space."""
    copies = [document(n).replace(" ", "\n" if n % 2 else " ") for n in range(0, 60, 4)]
    path = folder / "many.txt"
    path.write_text("\f".join([*map(document, range(60)), *copies]), encoding="utf-8")
    return path


def few(folder: Path) -> Path:
    """Files that are cut, one of them twice."""
    (folder / "few").mkdir()
    for name, first in {"a": 0, "b": 200, "c": 0}.items():
        lines = (f"{document(n)}\n" for n in range(first, first + 30))
        (folder / "few" / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return folder / "few"


def chats(folder: Path) -> Path:
    path = folder / "chats.jsonl"
    rows = ({"prompt": f"{n} bees", "answer": f"see {7 * n % 31} seas"} for n in range(300))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def instructions(folder: Path) -> Path:
    path = folder / "instructions.jsonl"
    rows = (
        {"instruction": f"{n} bees", "input": "\n" * (n % 2) + "a sea", "output": f"{7 * n % 31}"}
        for n in range(300)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("text", [many, few, chats, instructions])
@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_holds_what_memory_holds(tmp_path: Path, text: Callable[[Path], Path], kind: str) -> None:
    path = text(tmp_path)
    corpus = load_corpus(str(path))
    split = split_corpus(corpus, 0.1, 0.04)
    template = template_for(corpus) if corpus.is_chat else None
    special, words = (template.special_tokens, template.words) if template else ((), "")
    tokenizer = make_tokenizer(
        kind, split.training, 300, alphabet=corpus, special_tokens=special, written=words
    )
    prepare.prepare(tmp_path / "store", StoreConfig((str(path),), tokenizer=kind, **SMALL))
    stored = open_sharded(tmp_path / "store")
    stored.verify()
    assert stored.tokenizer.content_hash == tokenizer.content_hash
    assert stored.index["content_hash"] == corpus.content_hash
    assert stored.index["split"] == split.facts
    notes = tokenizer.notes(split.training, 300 if kind == "bpe" else None)
    assert stored.index["notes"] == [*corpus.notes, *split.notes, *notes]
    assert len(stored.index["shards"]) > 1
    for part in PARTS:
        expected = open_store(getattr(split, part), tokenizer, template)
        store = stored.store(part)
        assert store.bytes == expected.bytes and store.targets == expected.targets
        for name in ("tokens", "starts", "answers")[: 3 if template else 2]:
            array = getattr(store, name)
            assert np.array_equal(array, getattr(expected, name)), (part, name)
            assert array.dtype == getattr(expected, name).dtype


def test_the_number_of_processes_does_not_change_the_bytes(tmp_path: Path) -> None:
    config = StoreConfig((str(many(tmp_path)),), **SMALL)
    for processes in (1, 2):
        prepare.prepare(tmp_path / str(processes), config, processes=processes)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


KILLED = """
import os, signal, sys
from pathlib import Path
from wordorder.text.sharded.prepare import StoreConfig, prepare

def report(stage, done, total):
    if [stage, str(done)] == sys.argv[3:] or (stage == sys.argv[3] == "reading" and done > 4000):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    config = StoreConfig((sys.argv[1],), chunk_bytes=1500, vocabulary_size=300)
    prepare(Path(sys.argv[2]), config, report=report, command="the command")
"""


@pytest.mark.parametrize("stage", [("reading", "0"), ("learning the tokenizer", "0"),
                                   ("tokenizing", "3")])  # fmt: skip
def test_continues_after_a_kill_to_the_same_bytes(tmp_path: Path, stage: tuple[str, str]) -> None:
    path, script = many(tmp_path), tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    store = tmp_path / "store"
    done = subprocess.run([sys.executable, script, path, store, *stage], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(BadInput, match="continue with the command") as caught:
        open_sharded(store)
    assert caught.value.code == "text.store-unfinished"
    if stage[0] == "reading":
        as_it_was = path.stat()
        os.utime(path, ns=(0, 0))
        with pytest.raises(BadInput, match=r"many\S* has changed since .* or remove"):
            prepare.prepare(store, StoreConfig((str(path),), **SMALL))
        os.utime(path, ns=(as_it_was.st_atime_ns, as_it_was.st_mtime_ns))
    finished = {path: path.stat().st_mtime_ns for path in store.glob("shards/*/*")}
    assert len(finished) > 5 or stage[0] != "tokenizing"
    config = StoreConfig((str(path),), **SMALL)
    prepare.prepare(store, config)
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    prepare.prepare(tmp_path / "whole", config)
    assert bytes_of(store) == bytes_of(tmp_path / "whole")


def test_a_killed_dataset_is_read_on_from_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    rows = [None if n % 7 == 0 else document(n) for n in range(60)]
    table = pyarrow.table({"text": rows})
    parquet.write_table(table, tmp_path / "set" / "train-00000-of-00001.parquet")
    from datasets import IterableDataset

    skipped: list[int] = []
    skip = IterableDataset.skip
    monkeypatch.setattr(IterableDataset, "skip", lambda self, n: skipped.append(n) or skip(self, n))
    config = StoreConfig((f"hf:{tmp_path / 'set'}",), most_bytes="0.006MB", **SMALL)

    stop_while_reading(tmp_path / "store", config)
    prepare.prepare(tmp_path / "store", config)
    prepare.prepare(tmp_path / "whole", config)
    assert len(skipped) == 1 and skipped[0] > 5
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "whole")
    index = open_sharded(tmp_path / "store").index
    assert 6000 <= index["bytes"] < 6400
    assert index["notes"][0].startswith("only the first 0 MB of hf:")
    assert "have no text in column 'text'" in index["notes"][1]
    prepare.prepare(tmp_path / "all", replace(config, most_bytes=None))
    assert open_sharded(tmp_path / "all").index["documents"] == sum(row is not None for row in rows)


def test_a_text_has_the_stamps_of_what_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "store").mkdir(parents=True)
    path = many(folder)
    before = stamps_of(str(folder))
    assert [name for name, *_ in before] == [str(path)]
    (folder / ".hidden").touch()
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    assert stamps_of(str(folder)) == before
    os.utime(path, ns=(0, 0))
    assert stamps_of(str(folder)) != before
    assert stamps_of("hf:some/data") == []


def test_copies_are_found_in_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.txt"
    copies = [document(n).replace(" ", "\n") for n in range(0, 300, 3)]
    path.write_text("\f".join([*map(document, range(300)), *copies]), encoding="utf-8")
    monkeypatch.setattr(assignment, "DOCUMENTS_AT_ONCE", 70)
    prepare.prepare(tmp_path / "store", StoreConfig((str(path),), tokenizer="bytes"))
    expected = split_corpus(load_corpus(str(path)), 0.1, 0.04)
    assert open_sharded(tmp_path / "store").index["split"] == expected.facts


def test_a_long_document_is_cut_at_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_files, "LONGEST_DOCUMENT", 500)
    monkeypatch.setattr("wordorder.text.sharded.scan.LONGEST_DOCUMENT", 500)
    monkeypatch.setattr(large_files, "BLOCK_CHARACTERS", 64)
    text = "".join(f"{document(n)}\n" for n in range(200))
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    config = StoreConfig((str(tmp_path / "long.txt"),), tokenizer="bytes", chunk_bytes=4000)
    prepare.prepare(tmp_path / "store", config)
    index = open_sharded(tmp_path / "store").index
    assert index["characters"] == len(text) and index["split"]["rule"] == "hash"
    stored = open_sharded(tmp_path / "store")
    decoded = [
        stored.tokenizer.decode(tokens[:-1])
        for part in PARTS
        for tokens in np.split(np.asarray(stored.store(part).tokens), stored.store(part).starts[1:])
    ]
    assert all(piece.endswith("\n") and piece in text for piece in decoded)
    assert sum(map(len, decoded)) == len(text)


def read(path: Path, streamed: bool) -> list[str]:
    from wordorder.text.files import documents_of_path

    documents, _ = documents_of_path(str(path), "text", [], streamed=streamed)
    return [document.text for document in documents]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"\xef\xbb\xbf one \r\ntwo\rthree\n"),
        ("a.txt", " é one <|endoftext|>two\f\f three \n".encode()),
        ("a.txt", "two words\r\n\f and three".encode("utf-16")),
        ("a.jsonl", b'{"text": "one\\ntwo"}\r\n\n{"text": null}\n{"text": "three \xe2\x80\xa8"}'),
        ("a.csv", b'text,n\n"one\ntwo",1\nthree,2\n'),
        ("a.md", b"one <|endoftext|> two"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_block_by_block_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, packed: bool
) -> None:
    import gzip

    monkeypatch.setattr(large_files, "BLOCK_CHARACTERS", 5)
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read(path, True) == read(path, False)
    assert read(tmp_path, True) == read(tmp_path, False)


@pytest.mark.parametrize(
    "data", [b"caf\xe9 au lait. " * 9, b"a\0b" * 9, b"PK\x03\x04\0\0", "naïve".encode()[:3]]
)
def test_block_by_block_the_same_message(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    messages = set()
    for streamed in (False, True):
        with pytest.raises(BadInput) as caught:
            read(tmp_path / "a.txt", streamed)
        messages.add(f"{caught.value.code}: {caught.value}")
    assert len(messages) == 1


def test_a_sharded_array_is_an_array(tmp_path: Path) -> None:
    whole = np.arange(1000, 1023, dtype="<u2")
    pieces = np.split(whole, [4, 4, 15])
    for number, piece in enumerate(pieces):
        piece.tofile(tmp_path / str(number))
    paths = [tmp_path / str(number) for number in range(4)]
    array = ShardedArray(paths, [len(piece) for piece in pieces], "<u2")
    assert len(array) == 23 and array.shape == (23,) and array.sum() == whole.sum()
    assert np.array_equal(array, whole) and np.bincount(array).sum() == 23
    keys: list[Any] = [slice(None), slice(3, 17), slice(5, 5), slice(-4, None), slice(20, 2, -3), 7]
    keys += [-1, np.array([[0, 22, 4], [-1, 3, 15]]), whole > 1010, np.array([], np.int64)]
    for key in keys:
        assert np.array_equal(array[key], whole[key]), key
        assert array[key].dtype == whole.dtype
    with pytest.raises(IndexError):
        array[23]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    prepare.prepare(tmp_path / "store", StoreConfig((str(many(tmp_path)),), **SMALL))
    return tmp_path / "store"


def change_index(store: Path, **values: Any) -> None:
    index = json.loads((store / INDEX).read_text())
    (store / INDEX).write_text(json.dumps({**index, **values}))


def swap_shard(store: Path) -> None:
    other = store.with_name("other")
    config = StoreConfig((str(store.with_name("many.txt")),), tokenizer="bytes", chunk_bytes=1500)
    prepare.prepare(other, config)
    shutil.rmtree(store / "shards" / "00002")
    shutil.copytree(other / "shards" / "00002", store / "shards" / "00002")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard missing": (lambda store: shutil.rmtree(store / "shards/00001"), "text.store-damaged"),
    "tokens missing": (
        lambda store: (store / "shards/00000/training.tokens").unlink(),
        "text.store-damaged",
    ),
    "tokens cut": (
        lambda store: os.truncate(store / "shards/00001/training.tokens", 10),
        "text.store-damaged",
    ),
    "starts cut": (lambda store: os.truncate(store / "training.starts", 8), "text.store-damaged"),
    "a damaged index": (lambda store: (store / INDEX).write_text("{"), "text.store-damaged"),
    "another version": (lambda store: change_index(store, version=99), "text.store-version"),
    "another tokenizer": (
        lambda store: make_tokenizer("bytes", load_corpus(str(store.with_name("many.txt")))).save(
            store / "tokenizer.json"
        ),
        "text.store-other-tokenizer-file",
    ),
    "a shard of another tokenizer": (swap_shard, "text.store-other-tokenizer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(store: Path, fault: str) -> None:
    damage, code = FAULTS[fault]
    damage(store)
    with pytest.raises(BadInput) as caught:
        open_sharded(store).store("training")
    assert caught.value.code == code
    assert str(store) in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_start_is_found(store: Path) -> None:
    path = store / "training.starts"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"training\.starts is damaged"):
        open_sharded(store).verify()


def test_a_changed_token_has_another_checksum(store: Path) -> None:
    with (store / "shards/00001/training.tokens").open("r+b") as file:
        file.write(b"\1")
    assert open_sharded(store).store("training")
    with pytest.raises(BadInput, match=r"00001/training\.tokens is damaged") as caught:
        open_sharded(store).verify()
    assert caught.value.code == "text.store-damaged"


def test_a_folder_is_prepared_once(store: Path) -> None:
    config = StoreConfig((str(store.with_name("many.txt")),), **SMALL)
    before = bytes_of(store)
    prepare.prepare(store, config)
    assert bytes_of(store) == before
    for other in (replace(config, tokenizer="bytes"), replace(config, field="body")):
        with pytest.raises(BadInput) as caught:
            prepare.prepare(store, other)
        assert caught.value.code == "text.store-other-options"
    with held(store), pytest.raises(Refused):
        prepare.prepare(store, config)
    with pytest.raises(BadInput) as caught:
        prepare.prepare(store.parent, config)
    assert caught.value.code == "text.store-folder-not-empty"
    with pytest.raises(BadInput) as caught:
        load_corpus(str(store))
    assert caught.value.code == "text.store-not-text"
    assert is_store(store) and not is_store(store.parent) and not is_store("a\0b")


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        prepare.prepare(tmp_path / "store", StoreConfig((str(tmp_path / "a.txt"),)))
    assert caught.value.code == "text.too-short-to-split"


def test_a_lost_process_is_reported(tmp_path: Path) -> None:
    from wordorder.errors import Failed

    with pytest.raises(Failed) as caught:
        workers.run_all(os._exit, [1, 1], 2, lambda task: None)
    assert caught.value.code == "text.worker-lost"
