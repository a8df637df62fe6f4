"""Tokens per second of preparing a store, relative to one process of Hugging Face tokenizers.

    python benchmarks/store.py [--data FILE] [--megabytes 20] [--rounds 3] [--processes 1 2]

Rates are per second, and per second of CPU time, which other work on the machine changes less.
All use one thread a process and the same tokenizer. The peer encodes documents that are in memory
and writes their tokens; wordorder reads them from disk, and writes shards with checksums. `whole`
adds what the peer does not do: reading the text, finding copies, splitting, and the index. Each
figure is the median over rounds, which take turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import tokenizers

from wordorder.text.corpus import Corpus, Document
from wordorder.text.load import load_corpus
from wordorder.text.sharded.folder import open_sharded
from wordorder.text.sharded.prepare import StoreConfig, prepare
from wordorder.text.tokenizer import make_tokenizer

DOCUMENTS_AT_ONCE = 16


class Moment(NamedTuple):
    """Seconds of a clock, and CPU seconds of this process and of those that have ended."""

    wall: float
    cpu: float

    def rates(self, end: Moment, tokens: int) -> tuple[float, float]:
        """Return the tokens per second until the end."""
        return tokens / (end.wall - self.wall), tokens / (end.cpu - self.cpu)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        documents = _documents(options.data, options.megabytes * 1_000_000)
        place = Path(folder)
        (place / "text.txt").write_text("\f".join(documents), encoding="utf-8")
        corpus = Corpus("text", [Document(text, "") for text in documents])
        make_tokenizer("bpe", corpus, 4096).save(place / "tokenizer.json")
        rates: dict[str, list[tuple[float, float]]] = {}
        for number in range(options.rounds):
            rates.setdefault("tokenizers, 1 process", []).append(_peer(place, documents))
            for processes in options.processes:
                shards, whole = _prepare(place, f"{number}-{processes}", processes)
                noun = "process" if processes == 1 else "processes"
                rates.setdefault(f"wordorder, {processes} {noun}", []).append(shards)
                rates.setdefault(f"  whole, {processes} {noun}", []).append(whole)
    medians = {way: np.median(np.array(values), axis=0) for way, values in rates.items()}
    base = medians["tokenizers, 1 process"]
    print(f"{corpus.bytes / 1e6:.0f} MB in {len(documents):,} documents, {options.rounds} rounds")
    print(f"{'M tokens per second':<26}{'':6}  ratio   {'CPU':>6}  ratio")
    for way, (wall, cpu) in medians.items():
        shares = (
            f"{wall / 1e6:6.2f}  {wall / base[0]:5.2f}   {cpu / 1e6:6.2f}  {cpu / base[1]:5.2f}"
        )
        print(f"{way:<26}{shares}")


def _now() -> Moment:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Moment(time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in used))


def _documents(data: str, most_bytes: int) -> list[str]:
    """Return documents of the data, until there are so many bytes; it may be repeated, numbered."""
    texts = [document.text.replace("\f", "\n") for document in load_corpus(data).documents]
    documents, size, copy = [], 0, 0
    while size < most_bytes:
        for text in texts:
            documents.append(text if not copy else text.replace(" the ", f" the{copy} "))
            size += len(documents[-1].encode())
            if size >= most_bytes:
                break
        copy += 1
    return documents


def _peer(place: Path, documents: list[str]) -> tuple[float, float]:
    backend = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
    began, tokens = _now(), 0
    with (place / "peer.bin").open("wb") as file:
        for begin in range(0, len(documents), DOCUMENTS_AT_ONCE):
            for encoding in backend.encode_batch(documents[begin : begin + DOCUMENTS_AT_ONCE]):
                ids = np.array(encoding.ids, np.uint16)
                ids.tofile(file)
                tokens += len(ids) + 1
    return began.rates(_now(), tokens)


def _prepare(
    place: Path, name: str, processes: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the rates of the shards alone, and of the whole preparation."""
    moments: dict[str, Moment] = {}

    def report(stage: str, done: int, total: int) -> None:
        moments.setdefault(stage, _now())

    config = StoreConfig(
        (str(place / "text.txt"),), tokenizer=str(place / "tokenizer.json"), chunk_bytes=1 << 22
    )
    began = _now()
    prepare(place / name, config, processes=processes, report=report)
    ended = _now()
    tokens = sum(part["tokens"] for part in open_sharded(place / name).index["parts"].values())
    shards = moments["tokenizing"].rates(moments["writing the index"], tokens)
    return shards, began.rates(ended, tokens)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="python-docs")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
