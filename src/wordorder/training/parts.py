"""The part of a checkpoint that each rank of a split model writes.

PyTorch's distributed checkpoint writes the optimizer's state and the averaged weights to
safetensors files, which contain no pickles and record the place of each piece in its tensor. Rank 0
adds the whole weights, as in every checkpoint. One process can read all of it (`read_parts`).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from wordorder.training.ranks import Ranks, explained, lost


def seen_by_all(folder: Path, ranks: Ranks) -> bool:
    """Return whether all ranks see a folder; they call it together."""
    seen = torch.tensor(int(folder.is_dir()))
    with explained():
        dist.all_reduce(seen, dist.ReduceOp.MIN)
    return bool(seen)


class RankParts:
    """A copy of this rank's part of the tensors, for writing to a checkpoint.

    Args:
        folder: all ranks write into it.
        tensors: split or whole, with the same names on all ranks.
        processes: all ranks, in a gloo group of their own, because another thread uses it.
    """

    def __init__(
        self, folder: Path, tensors: Mapping[str, Tensor], processes: dist.ProcessGroup
    ) -> None:
        self.folder, self.processes = folder, processes
        self.tensors = {n: tensor.detach().to("cpu", copy=True) for n, tensor in tensors.items()}

    def write(self) -> None:
        """Write this rank's part, and wait for those of the others; all ranks call it.

        Raises:
            OSError: a rank cannot write its part.
            Failed: another rank has ended.
        """
        from torch.distributed.checkpoint import HuggingFaceStorageWriter, save
        from torch.distributed.checkpoint.api import CheckpointException

        writer = HuggingFaceStorageWriter(str(self.folder), save_distributed=True)
        try:
            with explained():
                save(self.tensors, storage_writer=writer, process_group=self.processes)
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values()]
            raise next((c for c in causes if isinstance(c, OSError)), lost()) from error


def read_parts(folder: Path, without: Collection[str]) -> dict[str, Tensor]:
    """Return the full tensors from all parts in a folder, read by this process alone.

    Args:
        without: names of tensors to leave out.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    reader = HuggingFaceStorageReader(str(folder))
    described = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(tensor.size, dtype=tensor.properties.dtype)
        for name, tensor in described.items()
        if name not in without and isinstance(tensor, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors
