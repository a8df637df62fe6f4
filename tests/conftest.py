"""What every test may rely on: nothing written outside its own folders, threads for its size."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

# For mutants, which break many at once: finding the smallest example takes minutes for each.
settings.register_profile("first-found", phases=[Phase.explicit, Phase.generate])

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
FEW_NUMBERS = {"interop", "positions", "model", "parity"}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A fresh cache, so that a test neither finds what another session left nor leaves anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
            if name in os.environ:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _heeded_signals() -> None:
    """Who starts the tests may ignore them, as nohup and a shell's & do; their commands do not."""
    for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
            signal.signal(getattr(signal, name), default)


@pytest.fixture(scope="session", autouse=True)
def _empty_pictures() -> Iterator[None]:
    """The losses of trained runs are not drawn, which takes longer than to train so small a run."""
    from wordorder.training import report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_losses", lambda path, *_: path.touch())
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_samples() -> Iterator[None]:
    """A run of few steps takes less time than the text that it writes at its end."""
    from wordorder.training import training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SAMPLE_TOKENS", 8)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_timed_steps() -> Iterator[None]:
    """Of a run of few steps, most of the time went into measuring how long one takes."""
    from wordorder.training import benchmark, preparation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "STEPS_TIMED", 1)
        patch.setattr(preparation, "WARM_UP_STEPS", 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test loses power, and to wait for the disk after each file took a third of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_word_of_slowness() -> Iterator[None]:
    """On a busy machine all takes more than two seconds, and tests count lines of stderr."""
    from wordorder import patience

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "SECONDS", 3600.0)
        yield


def pytest_configure() -> None:
    """In a worker for each core one thread, also for fixtures of modules, which come first."""
    gc.disable()
    if IS_WORKER:
        import torch

        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Exempt the collected tests, a million objects that live to the end, from collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few numbers, or a worker for each core: threads would wait for one another."""
    if not IS_WORKER and not FEW_NUMBERS & {*request.path.parts}:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
