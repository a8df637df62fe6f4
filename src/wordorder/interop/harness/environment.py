"""The state in which lm-evaluation-harness runs: no network, nothing printed on stdout."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from unittest.mock import patch

from wordorder.errors import BadInput

# The harness would fork a process for each core to resample, beside PyTorch's threads.
VARIABLES = {"DISABLE_MULTIPROC": "1"}
# What HF_HUB_OFFLINE=1 sets, but only where these modules are imported after it.
OFFLINE = {
    "huggingface_hub.constants": {"HF_HUB_OFFLINE": True},
    "datasets.config": {"HF_HUB_OFFLINE": True, "HF_DATASETS_OFFLINE": True},
}


def check_installed() -> None:
    """Raise BadInput unless lm-evaluation-harness is installed."""
    for module in ("lm_eval", "datasets"):
        if find_spec(module) is None:
            raise BadInput(
                f"--tasks needs {module}: pip install 'wordorder[eval]'",
                code="interop.harness-not-installed",
            )


@contextmanager
def offline_and_quiet() -> Iterator[None]:
    """Keep the harness and its libraries from the network and from stdout."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(patch.dict(os.environ, VARIABLES))
        for name, settings in OFFLINE.items():
            for setting, value in settings.items():
                stack.enter_context(patch.object(import_module(name), setting, value))
        stack.enter_context(_without_log("lm_eval", "datasets"))
        stack.enter_context(_without_bars())
        yield


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the bars of datasets, one for each file that it reads."""
    from datasets.utils import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


@contextmanager
def _without_log(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
