"""Muon's matrices shared out over the ranks of a machine: each orthogonalises some for all.

    rank 0   momentum of all matrices ─ orthogonalise 0, 3, … ─┬─ all updates ─ same weights
    rank 1   momentum of all matrices ─ orthogonalise 1, 2, … ─┘

Every rank keeps the momentum of all matrices, whose update is cheap, so a checkpoint is that of one
process. Each machine computes all matrices by itself: sending them between machines would take
longer than computing them where the network is slow.

Not here: weights that are split over the ranks, see `sharding.SplitMuon`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from wordorder.model.parts import ParameterPart
from wordorder.training.optimizers import NEWTON_SCHULZ_ROUNDS, orthogonalise


def owners_of(shapes: Sequence[torch.Size], ranks: int) -> list[int]:
    """Return the rank that orthogonalises each matrix.

    The most expensive matrices are given out first, each to the rank with the least work.
    """
    loads, owners = [0] * ranks, [0] * len(shapes)
    costs = [_multiplications(shape) for shape in shapes]
    for number in sorted(range(len(shapes)), key=lambda number: -costs[number]):
        owners[number] = loads.index(min(loads))
        loads[owners[number]] += costs[number]
    return owners


def _multiplications(shape: torch.Size) -> int:
    short, long = sorted(shape)
    return NEWTON_SCHULZ_ROUNDS * short * short * (2 * long + short)


class SharedMatrices:
    """Orthogonalises this rank's matrices, and receives the others.

    Args:
        groups: the matrices by shape, equal on all ranks.
        dtype: dtype of the orthogonalisation, in which results are sent.
        processes: the ranks that share them; None: all.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[ParameterPart]],
        dtype: torch.dtype,
        processes: dist.ProcessGroup | None = None,
    ) -> None:
        self.dtype, self.processes = dtype, processes
        self.rank, self.count = dist.get_rank(processes), dist.get_world_size(processes)
        names = [name for name, group in groups.items() for _ in group]
        shapes = [part.value.shape for group in groups.values() for part in group]
        sizes = [0] * self.count
        # By shape: for each matrix, its rank and its offset in the buffer that this rank sends.
        self.places: dict[str, list[tuple[int, int]]] = {name: [] for name in groups}
        for name, shape, owner in zip(names, shapes, owners_of(shapes, self.count), strict=True):
            self.places[name].append((owner, sizes[owner]))
            sizes[owner] += shape.numel()
        self.size = max(sizes)

    def orthogonalised(
        self, directions: Iterator[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Sequence[Tensor]]]:
        """Yield the orthogonalised matrices of each shape; all ranks call it together.

        Args:
            directions: all matrices of each shape, (count, rows, columns).
        """
        sent, shapes = None, {}
        for name, matrices in directions:
            shapes[name] = matrices.shape[1:]
            if sent is None:
                sent = matrices.new_zeros(self.size, dtype=self.dtype)
            places = self.places[name]
            own = [number for number, (owner, _) in enumerate(places) if owner == self.rank]
            if own:
                results = orthogonalise(matrices[own], self.dtype)
                for number, result in zip(own, results, strict=True):
                    begin = places[number][1]
                    sent[begin : begin + result.numel()] = result.flatten()
        if sent is None:
            return
        received = sent.new_empty(self.count, self.size)
        dist.all_gather(list(received), sent, self.processes)
        for name, shape in shapes.items():
            size = shape.numel()
            yield (
                name,
                [received[o, b : b + size].view(shape).float() for o, b in self.places[name]],
            )
