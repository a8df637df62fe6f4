"""One array over several memory-mapped files: only the pages that are read are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ShardedArray:
    """A read-only array of one axis, in consecutive files.

    It has the part of NumPy's interface that token stores use: `len`, indexing by a slice or by an
    array of any shape, `sum`, and conversion to an array, which reads all of it.

    Args:
        paths: the files, little-endian, without a header.
        sizes: number of elements of each.
        dtype: of the elements.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int], dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        whole = [(path, size) for path, size in zip(paths, sizes, strict=True) if size]
        self._shards = [np.memmap(path, self.dtype, "r", shape=(size,)) for path, size in whole]
        self._ends = np.cumsum([size for _, size in whole], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shape(self) -> tuple[int]:
        """The number of elements, as a tuple."""
        return (len(self),)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self._slice(*key.indices(len(self)))
        places = np.asarray(key)
        if places.dtype == np.bool_:
            places = np.flatnonzero(places)
        flat = places.reshape(-1).astype(np.int64)
        flat = np.where(flat < 0, flat + len(self), flat)
        if len(flat) and not (flat.min() >= 0 and flat.max() < len(self)):
            raise IndexError(f"index out of range for {len(self)} elements")
        return self._gather(flat).reshape(places.shape)[()]

    def sum(self) -> int:
        """Return the sum of all elements, shard by shard."""
        return sum(int(shard.sum()) for shard in self._shards)

    def _gather(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the elements at these places, (places,)."""
        values = np.empty(len(places), self.dtype)
        if not len(places):
            return values
        small = np.uint16 if len(self._shards) < 1 << 16 else np.int64
        shard_of = np.searchsorted(self._ends, places, side="right").astype(small)
        order = np.argsort(shard_of, kind="stable")  # of 16 bits: a radix sort
        used, firsts = np.unique(shard_of[order], return_index=True)
        for number, rows in zip(used, np.split(order, firsts[1:]), strict=True):
            shard = self._shards[number]
            values[rows] = shard[places[rows] - (self._ends[number] - len(shard))]
        return values

    def _slice(self, start: int, stop: int, step: int) -> NDArray[Any]:
        if step != 1:
            return self._gather(np.arange(start, stop, step))
        pieces, begin = [np.empty(0, self.dtype)], 0
        for shard in self._shards:
            first, last = max(start - begin, 0), min(stop - begin, len(shard))
            if first < last:
                pieces.append(np.asarray(shard[first:last]))
            begin += len(shard)
        return np.concatenate(pieces)
