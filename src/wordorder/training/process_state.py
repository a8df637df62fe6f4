"""Isolates training and model loading from the global state of the calling process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def isolated_process_state() -> Iterator[None]:
    """Compute as in a new process, and restore the caller's state afterwards.

    The global random generators of torch, NumPy and Python are restored. The caller's no_grad,
    inference_mode, autocast, default dtype and default device have no effect, because a run does
    not record them.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    dtype = torch.get_default_dtype()
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
            random.setstate(python_state)
            np.random.set_state(numpy_state)
