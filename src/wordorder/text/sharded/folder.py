"""The folder of a prepared text: an index, a tokenizer, and the tokens of each part in shards.

    wordorder-store.json     what it holds; written last
    tokenizer.json
    training.starts          the index of each document's first token, int64
    shards/00000/            the documents of one piece of the text
        shard.json           tokens, documents and checksums
        training.tokens      uint16 if the vocabulary fits, otherwise uint32
        training.sizes       tokens of each document, uint32
        training.answers     of conversations: whether a token is a target, one byte each
    preparing/               until it is finished

Numbers are little-endian. Files of `development` and `validation` are like those of `training`;
a part without documents has none.
"""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordorder.errors import BadInput
from wordorder.text.sharded.array import ShardedArray
from wordorder.text.store import TokenStore
from wordorder.text.tokenizer import Tokenizer
from wordorder.text.user_text import printable, user_path

VERSION = 1  # increase it when this version cannot read older folders
INDEX, SHARD, TOKENIZER = "wordorder-store.json", "shard.json", "tokenizer.json"
PREPARING = "preparing"
BLOCK_BYTES = 1 << 24


def starts_of(
    part: str, folders: Sequence[Path], counts: Sequence[Mapping[str, int]]
) -> Iterator[NDArray[np.int64]]:
    """Yield the index of each document's first token in a part, for one shard after another.

    Args:
        folders: of the shards.
        counts: documents and tokens of the part in each.
    """
    begin = 0
    for folder, count in zip(folders, counts, strict=True):
        if count["documents"]:
            sizes = np.fromfile(folder / f"{part}.sizes", "<u4")
            yield (begin + np.cumsum(sizes, dtype=np.int64) - sizes).astype("<i8")
            begin += count["tokens"]


@dataclass(frozen=True)
class ShardedText:
    """A prepared text.

    Args:
        folder: where it is.
        index: its description, as JSON.
        tokenizer: the tokenizer that encoded it.
    """

    folder: Path
    index: Mapping[str, Any]
    tokenizer: Tokenizer

    def store(self, part: str, tokenizer: Tokenizer | None = None) -> TokenStore | None:
        """Return the tokens of a part; None if it has none.

        Args:
            tokenizer: one that has further special tokens; None: the tokenizer of this text.

        Raises:
            BadInput: a file is missing, or has another size.
        """
        facts = self.index["parts"].get(part)
        if facts is None:
            return None
        tokenizer = tokenizer or self.tokenizer
        starts = self.folder / f"{part}.starts"
        self._check_size(starts, 8 * facts["documents"])
        return TokenStore(
            tokens=self._array(part, "tokens", self.index["token_type"]),
            starts=np.memmap(starts, "<i8", "r", shape=(facts["documents"],)),
            bytes=facts["bytes"],
            end_of_text=tokenizer.end_of_text,
            vocabulary_size=tokenizer.vocabulary_size,
            lossless=facts["lossless"],
            answers=self._array(part, "answers", "?") if self.index["chat"] else None,
            folder=self.folder,
            part=part,
        )

    @cached_property
    def content_hash(self) -> str:
        """A hash of the text and the tokenizer, which all ranks compare."""
        return f"{self.index['content_hash']} {self.index['tokenizer']['content_hash']}"

    def verify(self) -> None:
        """Read every shard and compare its checksums, and what follows from the shards.

        Raises:
            BadInput: a file is missing or damaged.
        """
        for number, shard in enumerate(self.index["shards"]):
            for name, checksum in shard["checksums"].items():
                path = shard_folder(self.folder, number) / name
                if not path.is_file() or checksum_of(path) != checksum:
                    raise damaged(path, self.folder, "is damaged")
        shards = self.index["shards"]
        folders = [shard_folder(self.folder, number) for number in range(len(shards))]
        for part, facts in self.index["parts"].items():
            path = self.folder / f"{part}.starts"
            self._check_size(path, 8 * facts["documents"])
            expected = starts_of(part, folders, [shard["parts"][part] for shard in shards])
            with path.open("rb") as file:
                if any(file.read(starts.nbytes) != starts.tobytes() for starts in expected):
                    raise damaged(path, self.folder, "is damaged")

    def _array(self, part: str, what: str, dtype: str) -> ShardedArray:
        sizes = [shard["parts"][part]["tokens"] for shard in self.index["shards"]]
        folders = [shard_folder(self.folder, number) for number in range(len(sizes))]
        paths = [folder / f"{part}.{what}" for folder in folders]
        for folder, path, size in zip(folders, paths, sizes, strict=True):
            if size:
                self._check_shard(folder)
                self._check_size(path, size * np.dtype(dtype).itemsize)
        return ShardedArray(paths, sizes, dtype)

    def _check_shard(self, folder: Path) -> None:
        try:
            shard = json.loads((folder / SHARD).read_text())
            tokenizer = shard["tokenizer"]
        except (OSError, ValueError, KeyError, TypeError):
            raise damaged(folder / SHARD, self.folder, "is missing or damaged") from None
        if tokenizer != self.index["tokenizer"]["content_hash"]:
            raise BadInput(
                f"{printable(folder)} was encoded by another tokenizer than {INDEX} names: copy "
                "the store again, or prepare its text again",
                code="text.store-other-tokenizer",
            )

    def _check_size(self, path: Path, size: int) -> None:
        if not path.is_file():
            raise damaged(path, self.folder, "is missing")
        if (actual := path.stat().st_size) != size:
            raise damaged(path, self.folder, f"has {actual:,} bytes instead of {size:,}")


def damaged(path: Path, folder: Path, fault: str) -> BadInput:
    """Return the error for a missing or damaged file of a prepared text."""
    return BadInput(
        f"{printable(path)} {fault}: copy the store {printable(folder)} again, or remove it and "
        "prepare its text again",
        code="text.store-damaged",
    )


def is_store(name: str | Path) -> bool:
    """Return whether a name is that of a folder with a prepared text, finished or not."""
    path = user_path(name)
    try:
        return any((folder / INDEX).is_file() for folder in (path, path / PREPARING))
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


def refuse_store(path: Path) -> None:
    """Raise BadInput if a folder holds tokens, in place of text."""
    if is_store(path):
        raise BadInput(
            f"{printable(path)} is a store of tokens, and this needs their text: give the files "
            "that it was prepared from",
            code="text.store-not-text",
        )


def open_sharded(name: str | Path) -> ShardedText:
    """Open a prepared text.

    Raises:
        BadInput: it is not finished, damaged, or of another version.
    """
    folder = user_path(name)
    try:
        index = json.loads((folder / INDEX).read_text())
        version = index["version"]
    except FileNotFoundError:
        raise _unfinished(folder) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise damaged(folder / INDEX, folder, "is damaged") from None
    if version != VERSION:
        raise BadInput(
            f"the store {printable(folder)} has version {version}, and this wordorder reads "
            f"version {VERSION}: prepare its text again, or install the wordorder that wrote it",
            code="text.store-version",
        )
    if not (folder / TOKENIZER).is_file():
        raise damaged(folder / TOKENIZER, folder, "is missing")
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if tokenizer.content_hash != index["tokenizer"]["content_hash"]:
        raise BadInput(
            f"{printable(folder / TOKENIZER)} is not the tokenizer of the tokens beside it: copy "
            "the store again, or prepare its text again",
            code="text.store-other-tokenizer-file",
        )
    return ShardedText(folder, index, tokenizer)


def _unfinished(folder: Path) -> BadInput:
    try:
        command = json.loads((folder / PREPARING / INDEX).read_text())["command"]
    except (OSError, ValueError, KeyError, TypeError):
        command = f"wordorder data DATA --store {shlex.quote(printable(folder))}"
    return BadInput(
        f"the store {printable(folder)} is not finished: continue with {command}",
        code="text.store-unfinished",
    )


def shard_folder(folder: Path, number: int) -> Path:
    """Return the folder of a shard."""
    return folder / "shards" / f"{number:05}"


def checksum_of(path: Path) -> int:
    """Return the CRC-32 of a file, read block by block."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum
