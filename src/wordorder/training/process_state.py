"""What a process has set before it trains or loads a model: neither changed nor felt."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def isolated_process_state() -> Iterator[None]:
    """Compute as in a new process, and leave the caller's state as it was.

    Left as they were: the global generators of torch, NumPy and Python. Without effect: no_grad,
    inference_mode, autocast, a default dtype and a default device, of which the record of a run
    says nothing.
    """
    ours, numpys, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with ExitStack() as modes:
        modes.enter_context(torch.random.fork_rng(devices))
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # entering it costs time at every operation
            modes.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(ours)
            np.random.set_state(numpys)
