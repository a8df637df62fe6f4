"""Starts the ranks of a run with PyTorch's torchrun, and restarts them from the last checkpoint."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordorder import stopping
from wordorder.cores import cores
from wordorder.errors import Failed
from wordorder.folders import is_set_aside, is_usable
from wordorder.stopping import Stopped
from wordorder.training.checkpoints import newest_step
from wordorder.training.config import TrainConfig, folder_of
from wordorder.training.moved_text import resume_command
from wordorder.training.ranks import Ranks, world_size
from wordorder.training.run import RUN

LAUNCHER = "WORDORDER_LAUNCHER"
RESTARTS, LAUNCH = "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID"


def is_worker() -> bool:
    """Return whether torchrun started this process as one of several ranks.

    Schedulers such as SageMaker and Kubeflow set RANK=0 and WORLD_SIZE=1 for a single process.
    """
    return "RANK" in os.environ and world_size() > 1


def launch(arguments: list[str], ranks: int, max_restarts: int, folder: Path) -> int:
    """Run `wordorder train` on several ranks of this machine, and return the exit code.

    Args:
        folder: the run folder, for the message of a run that ends early.

    Raises:
        Failed: a rank was killed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the ranks have saved the run.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed", "torch.distributed.elastic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # torchrun would set one thread, with a warning; each rank chooses its own number.
    os.environ[LAUNCHER] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // ranks)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "wordorder", "train", *arguments)
    except SignalException as stopped:
        signum = stopped.sigval
        interrupt = KeyboardInterrupt() if signum == signal.SIGINT else Stopped(signum)
        stopping.report(interrupt, "the leader says what is saved")
        raise interrupt from None
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        # torchrun ends the other ranks by SIGTERM when one has failed.
        killed = {r: -code for r, code in codes.items() if code < 0 and -code != signal.SIGTERM}
        if killed:
            rank, number = next(iter(killed.items()))
            remedy = f"continue with {resume_command(folder, ranks=ranks)}"
            if is_set_aside(folder) or not is_usable(folder, RUN):
                remedy = "nothing was saved; train again"
            raise Failed(
                f"rank {rank} was killed by {signal.Signals(number).name}, so all {ranks} ranks "
                f"have ended: {remedy}",
                code="cli.rank-killed",
            ) from None
        return next((code for code in codes.values() if code > 0), Failed.exit_code)
    return 0


@contextmanager
def quiet_losses(ranks: Ranks) -> Iterator[None]:
    """Let only one process report that the run has stopped.

    After an interrupt this is the leader. After the loss of a rank it is `launch` if it started the
    ranks, otherwise the leader; the other processes then exit without a message.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        if not ranks.leads:
            stopping.report(stopped, "the leader says what is saved")
        raise
    except Failed as error:
        is_lost = "training.rank-lost" in (error.code, getattr(error.__cause__, "code", ""))
        if is_lost and not (ranks.leads and LAUNCHER not in os.environ):
            sys.exit(Failed.exit_code)
        raise


def launch_record() -> dict[str, str]:
    """Return what identifies a launch by torchrun in `config.json`."""
    return {"launch": os.environ[LAUNCH]} if LAUNCH in os.environ else {}


def interrupted_run(config: TrainConfig, command: str) -> Path | None:
    """Return the run to resume if torchrun has restarted the ranks of the same launch."""
    if os.environ.get(RESTARTS, "0") == "0":
        return None
    folder = folder_of(config)
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = record.get("launch") == os.environ.get(LAUNCH) and record.get("command") == command
    if is_set_aside(folder) and not newest_step(folder / "training"):
        return None  # the old run will be restored
    return folder if same and any((folder / "training").glob("step-*")) else None
