"""One process holds a folder, and whoever dies holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wordorder.errors import BadInput, Refused
from wordorder.locks import LOCK, held, held_file


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds a folder."""
    code = (
        "import sys; from pathlib import Path; from wordorder.locks import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        with pytest.raises(Refused) as refused, held(tmp_path):
            raise AssertionError("both hold it")
        assert refused.value.code == "locks.in-use"
        assert f"process {process.pid}" in str(refused.value)
        assert str(tmp_path) in str(refused.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        with held(tmp_path):
            assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_one_waits_for_the_other(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        threading.Timer(0.2, process.kill).start()
        with held(tmp_path, wait=60):
            assert process.wait() == -signal.SIGKILL


def test_two_threads_are_two(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(Refused, match=f"process {os.getpid()}"), held(tmp_path):
        raise AssertionError("both hold it")


def test_a_lock_file_that_its_holder_removes_is_not_held_by_another(tmp_path: Path) -> None:
    """Opened before it was removed, locked after: two would hold it."""
    import wordorder.locks

    stale = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
    (tmp_path / LOCK).unlink()
    assert wordorder.locks._lock(stale)
    assert not wordorder.locks._is_still(tmp_path / LOCK, stale)
    with held(tmp_path):
        pass
    os.close(stale)


def test_what_was_made_for_nothing_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no"), held(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
        raise BadInput("no")
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "a/b"):
        (tmp_path / "a/b/file").touch()
    assert (tmp_path / "a/b/file").exists()


def test_what_the_dead_were_writing_is_gone(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = [f".writing-{dead.pid}", f".writing-{dead.pid}-x", f".writing-{os.getpid()}-y"]
    theirs = [f".writing-{os.getppid()}-z", ".writing-me", "writing-1", f"a.writing-{dead.pid}"]
    for name in ours + theirs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with held(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(theirs)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("file", "locks.not-a-folder"),
        ("file/r", "atomic.cannot-write"),
        ("nowhere", "locks.not-a-folder"),
        ("loop", "locks.not-a-folder"),
        ("x" * 300, "atomic.cannot-write"),
        ("a\0b", "atomic.cannot-write"),
    ],
)
def test_a_folder_that_cannot_be(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "file").write_text("dear")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BadInput) as caught, held(tmp_path / name):
        raise AssertionError
    assert caught.value.code == code
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert sorted(os.listdir(tmp_path)) == ["file", "loop", "nowhere"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BadInput, match="Permission denied: choose another --out"), held(tmp_path):
        raise AssertionError


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with held(tmp_path / "link"), pytest.raises(Refused), held(tmp_path / "real"):
        raise AssertionError


def test_a_file_is_held_beside_others(tmp_path: Path) -> None:
    refused = pytest.raises(Refused, match=r"a\.vec")
    a, b = tmp_path / "a.vec", tmp_path / "b.vec"
    with held_file(a), held_file(b), refused, held_file(a):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_its_holder_removes_is_created_again(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    released = threading.Event()

    def hold() -> None:
        with held(folder):
            released.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    while not (folder / LOCK).exists():
        pass
    threading.Timer(0.3, released.set).start()
    with held(folder, wait=60):
        holder.join()
        assert (folder / LOCK).exists()
