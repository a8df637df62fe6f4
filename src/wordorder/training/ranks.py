"""Several processes that train one model: rank 0 leads, the others follow.

torchrun starts the processes, and PyTorch's DistributedDataParallel sums the gradients. The batch
depends on the seed and the step alone; a rank reads and computes every n-th row of it, and the loss
is divided by the number of targets of the whole batch. So the data, the masks and the losses are
those of one process, but for rounding.

    leader     read, plan, write ─ send state ─┬ announce ─ rows 0, n, … ┐
                                               │                         ├ sum ─ update ─ validate …
    follower   wait ───────────── receive ─────┴ listen ─── rows r, … ───┘

Followers read no file: the leader sends them the configuration, the tokens, the weights and the
optimizer's state. They write none, except their part of a split model's checkpoint (`parts`).
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wordorder.batch import RowShare
from wordorder.cores import cores
from wordorder.errors import BadInput, Failed
from wordorder.version import __version__

if TYPE_CHECKING:
    from torch.distributed import Store

STEP = 0  # a header of 0 announces a step; any other value is the size of a message
# A follower waits this long for the leader, which may read much text and measure the machine.
# Processes that end are noticed at once, because their connections close.
LONGEST_WAIT = timedelta(days=2)
CONNECTING = timedelta(minutes=10)  # until the last rank has started
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Message(NamedTuple):
    """What the leader sends: JSON values and tensors by name."""

    values: dict[str, Any]
    tensors: dict[str, Tensor]


class Ranks:
    """The processes that train one model; without arguments, this process alone.

    Args:
        rank: number of this process, from 0; the leader is 0.
        count: number of processes.
        on_this_machine: how many of them share this machine's cores.
        connected: whether results are summed over ranks; otherwise this process only computes the
            rows of its share, which is how a step is timed before the ranks start.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, on_this_machine: int = 1, connected: bool = False
    ) -> None:
        self.rank, self.count, self.on_this_machine = rank, count, on_this_machine
        self.connected = connected
        # Between steps the followers listen; within one they wait for the sum over all ranks.
        self.listening = connected
        self.ended = False

    @property
    def leads(self) -> bool:
        """Whether this process plans, validates and writes the run."""
        return self.rank == 0

    @property
    def rows(self) -> RowShare:
        """The rows of a batch that this process computes."""
        return RowShare(self.rank, self.count)

    def unconnected(self) -> Ranks:
        """Return the same share of the rows, with no sums over ranks."""
        return Ranks(self.rank, self.count, self.on_this_machine)

    def check_batch_size(self, size: int) -> None:
        """Raise BadInput unless every rank has the same number of rows in a batch."""
        if size % self.count:
            multiple = self.count * -(-size // self.count)
            raise BadInput(
                f"--batch-size {size} cannot be shared by {self.count} ranks: use --batch-size "
                f"{multiple} or another multiple of {self.count}",
                code="training.batch-not-shared",
            )

    def send(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Send a message to all followers; the leader alone, without followers, does nothing."""
        if not (self.connected and self.leads):
            return
        self.ended = False
        plain = {name: tensor.detach().cpu() for name, tensor in (tensors or {}).items()}
        described = [(n, str(t.dtype).removeprefix("torch."), t.shape) for n, t in plain.items()]
        text = json.dumps({"values": values, "tensors": described}).encode()
        with explained():
            dist.broadcast(torch.tensor(len(text)), 0)
            dist.broadcast(torch.frombuffer(bytearray(text), dtype=torch.uint8), 0)
            for tensor in plain.values():
                dist.broadcast(_as_bytes(tensor.contiguous()), 0)

    def announce_step(self) -> None:
        """Tell the followers to take a step."""
        if self.connected and self.leads:
            with explained():
                dist.broadcast(torch.tensor(STEP), 0)
        self.listening = False

    def listen(self) -> Message | None:
        """Return the leader's next message; None: take a step."""
        size = torch.tensor(STEP)
        dist.broadcast(size, 0)
        if int(size) == STEP:
            return None
        text = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(text, 0)
        message = json.loads(text.numpy().tobytes())
        tensors = {}
        for name, dtype, shape in message["tensors"]:
            tensors[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            dist.broadcast(_as_bytes(tensors[name]), 0)
        return Message(message["values"], tensors)

    def summed(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks; the step ends with it."""
        if self.connected:
            with explained():
                dist.all_reduce(value)
        self.listening = self.connected
        return value

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Let the ranks exchange values after the sum of a step; the step ends with this."""
        self.listening = False
        with explained():
            yield
        self.listening = self.connected

    @cached_property
    def processes_of_machine(self) -> dist.ProcessGroup | None:
        """The ranks on this rank's machine; all ranks read it together for the first time.

        None if there is no such group: all ranks are on one machine, or the machines have
        different numbers of ranks. Collectives then run over all ranks.
        """
        numbers = torch.zeros(self.count, dtype=torch.int64)
        numbers[self.rank] = self.on_this_machine
        dist.all_reduce(numbers)
        size = int(numbers[0])
        if size == self.count or self.count % size or bool((numbers != size).any()):
            return None
        own, _ = dist.new_subgroups(size)  # torchrun numbers the ranks machine by machine
        return own

    @cached_property
    def processes_for_files(self) -> dist.ProcessGroup:
        """All ranks, for a thread that writes files; they read it together for the first time."""
        return dist.new_group(backend="gloo")

    def parallel(self, forward: nn.Module, unused: bool) -> nn.Module:
        """Return a model whose gradients are averaged over all ranks in its backward pass.

        Args:
            unused: whether some parameter gets no gradient, so that DDP must search for it.
        """
        if not self.connected:
            return forward
        with warnings.catch_warnings():  # torch 2.13 renames the option, older ones need it
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                forward,
                find_unused_parameters=unused,
                gradient_as_bucket_view=True,
                broadcast_buffers=False,  # they are constants
            )

    def last_of_step(
        self, forward: nn.Module, is_last: bool
    ) -> contextlib.AbstractContextManager[object]:
        """Return a context in which gradients are summed over ranks only in the last batch."""
        if is_last or not isinstance(forward, DistributedDataParallel):
            return contextlib.nullcontext()  # FSDP sums after every batch, which gives the same
        return forward.no_sync()

    def end(self) -> None:
        """Tell the followers that the run is over, unless they know or wait for a sum."""
        if self.listening and not self.ended:
            self.send({"do": "end"})
        self.ended = True


ALONE = Ranks()


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn the error of a lost connection into one that names the cause.

    Raises:
        Failed: another rank has ended.
    """
    try:
        yield
    except dist.DistError as error:
        raise lost() from error
    except RuntimeError as error:
        if "gloo" in str(error).lower() or "closed by peer" in str(error):
            raise lost() from error
        raise


def lost() -> Failed:
    """Return the error of a rank whose connection to another one was closed."""
    return Failed("another rank of this run has ended", code="training.rank-lost")


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def world_size() -> int:
    """Return the number of ranks that torchrun started; 1 without torchrun.

    Raises:
        BadInput: WORLD_SIZE is not a number.
    """
    text = os.environ.get("WORLD_SIZE", "").strip() or "1"
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(
            f"WORLD_SIZE is {text!r}, not a number of processes: start the ranks with torchrun, "
            "or unset WORLD_SIZE",
            code="training.world-size",
        )
    return int(text)


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Connect the processes that torchrun started; a process by itself is alone.

    Raises:
        BadInput: the ranks have different versions, or their connection fails.
    """
    if world_size() == 1:
        yield ALONE
        return
    if missing := [name for name in ENVIRONMENT if name not in os.environ]:
        raise BadInput(
            f"WORLD_SIZE is set and {missing[0]} is not: start the ranks with torchrun, or unset "
            "WORLD_SIZE",
            code="training.rank-environment",
        )
    rank, count = int(os.environ["RANK"]), world_size()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)))
    else:
        torch.set_num_threads(max(1, cores() // here))
    try:
        # The messages are sent by gloo from the CPU, also where NCCL sums the gradients.
        backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
        store = _store(rank, count)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=count, timeout=LONGEST_WAIT
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise BadInput(
            f"rank {rank} cannot connect to the others at {place} "
            f"({' '.join(str(error).split())[:160]}): check the address, and that the port is free",
            code="training.no-rendezvous",
        ) from None
    ranks = Ranks(rank, count, here, connected=True)
    failed = True
    try:
        _check_same_versions(ranks)
        yield ranks
        failed = False
    finally:
        with contextlib.suppress(dist.DistError, RuntimeError, Failed):  # other ranks are gone
            ranks.end()
            # A rank that exits while another is still sending would look like a failed rank. A
            # failed follower does not wait, because the leader does not get here after such an
            # error; the closed connection is the signal.
            if ranks.listening and (ranks.leads or not failed):
                dist.barrier()
            dist.destroy_process_group()


def _store(rank: int, count: int) -> Store:
    """Return the store in which the ranks publish their addresses.

    torchrun keeps its store when it restarts the ranks, so each attempt has names of its own:
    otherwise they would read the addresses of the processes that have ended.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    is_of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        address, port, count, is_master=rank == 0 and not is_of_torchrun, timeout=CONNECTING
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt {attempt}", store)


def _check_same_versions(ranks: Ranks) -> None:
    """Raise BadInput on every rank if ranks have different versions of torch or wordorder."""
    versions = {"torch": torch.__version__, "wordorder": __version__}
    here = json.dumps(versions).encode().ljust(128)
    received = [torch.empty(128, dtype=torch.uint8) for _ in range(ranks.count)]
    dist.all_gather(received, torch.frombuffer(bytearray(here), dtype=torch.uint8))
    for rank, data in enumerate(received):
        other = json.loads(data.numpy().tobytes())
        first = json.loads(received[0].numpy().tobytes())
        for name in versions:
            if other[name] != first[name]:
                raise BadInput(
                    f"rank {rank} has {name} {other[name]} and rank 0 has {first[name]}: install "
                    "the same version on every machine",
                    code="training.other-versions",
                )
