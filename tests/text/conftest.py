from pathlib import Path

import pytest

from wordorder.text.sharded.prepare import StoreConfig, prepare


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, never the person's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "wordorder" / "tokens"


def stop_while_reading(folder: Path, config: StoreConfig) -> None:
    """Begin to prepare a store, and interrupt it after more than 2,000 bytes."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "reading" and done > 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, config, report=stop)
