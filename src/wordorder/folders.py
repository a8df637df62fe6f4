"""The folders that wordorder creates, and which files in them it may remove.

A folder is recognised by its record, a JSON file with certain keys, and wordorder's files in it by
their names; other files are never removed. When a new run replaces an old one, the old files are
set aside inside the folder. They are restored unless the new run has come far enough to replace
them: after an error at once, after a kill by the next command.

    .wordorder-setting-aside    a move is in progress: the files in it belong to the folder itself
    .wordorder-set-aside        all files of the old run
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordorder.atomic import cannot_write, reclaim
from wordorder.errors import BadInput
from wordorder.locks import is_temporary

RECORDS = (
    *("config.json", "comparison.json", "search.json", "tasks.json", "claims.json"),
    "wordorder.json",  # of an export
)
MOVING, ASIDE = ".wordorder-setting-aside", ".wordorder-set-aside"


@dataclass(frozen=True)
class FolderKind:
    """One kind of folder, such as a run.

    Args:
        name: the kind with its article, for messages: "a run".
        record: name of the JSON file that identifies the folder, one of `RECORDS`.
        keys: keys that the record must have.
        files: glob patterns of the files that wordorder writes, relative to the folder.
        proofs: for a pattern that a user's own file may match: returns whether wordorder wrote it.
        inside: kinds of folders within it, by glob pattern.
        usable_with: glob patterns; the folder is usable once any of them matches. Empty: always.
        replaces_with: glob patterns; after a kill, a new folder replaces the old one once any of
            them matches. Empty: as soon as it is usable.
    """

    name: str
    record: str
    keys: tuple[str, ...]
    files: tuple[str, ...]
    proofs: Mapping[str, Callable[[Path], bool]] = field(default_factory=dict)
    inside: Mapping[str, FolderKind] = field(default_factory=dict)
    usable_with: tuple[str, ...] = ()
    replaces_with: tuple[str, ...] = ()


def is_ours(folder: Path) -> bool:
    """Return whether a folder has a record of any kind, written by wordorder."""
    return any(has_keys(folder / record, ("wordorder",)) for record in RECORDS)


def has_keys(path: Path, keys: tuple[str, ...]) -> bool:
    """Return whether a file holds a JSON object with these keys."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and all(key in record for key in keys)


def is_of_kind(folder: Path, kind: FolderKind) -> bool:
    """Return whether a folder has the record of this kind, written by wordorder."""
    return has_keys(folder / kind.record, ("wordorder", *kind.keys))


def is_usable(folder: Path, kind: FolderKind) -> bool:
    """Return whether a folder of this kind holds something to resume or to read."""
    return is_of_kind(folder, kind) and _has_any(folder, kind.usable_with)


def _has_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    """Return whether a file matches one of the patterns; also if there are none."""
    return not patterns or any(any(folder.glob(pattern)) for pattern in patterns)


def own_files(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """Yield the files that wordorder wrote; none if the folder is not of this kind."""
    if not is_of_kind(folder, kind):
        return
    for pattern in (kind.record, *kind.files):
        proof = kind.proofs.get(pattern, Path.is_file)
        yield from (path for path in folder.glob(pattern) if path.is_file() and proof(path))
    for pattern, inner in kind.inside.items():
        for sub in folder.glob(pattern):
            yield from own_files(sub, inner)


def check_free(folder: Path, kind: FolderKind, *, overwrite: bool, remedy: str) -> None:
    """Check that a folder is empty or may be overwritten; its lock must be held.

    An earlier replacement that was killed is completed or undone first.

    Args:
        overwrite: whether existing results may be replaced.
        remedy: what the user can do if they may not.

    Raises:
        BadInput: the folder holds results, or files that wordorder did not write.
    """
    recover(folder, kind)
    if is_of_kind(folder, kind):
        if is_usable(folder, kind) and not overwrite:
            raise BadInput(f"{folder} already holds {kind.name}: {remedy}", code="folders.exists")
    elif (folder / kind.record).exists():
        raise BadInput(
            f"{folder / kind.record} is damaged, or was not written by wordorder, which removes "
            "only files that it wrote: choose another --out",
            code="folders.unknown-record",
        )
    elif any(not is_temporary(path.name) for path in folder.iterdir()):
        raise BadInput(
            f"{folder} is not empty and was not created by wordorder: choose another --out",
            code="folders.not-empty",
        )


@contextmanager
def replacing_contents(folder: Path, kind: FolderKind) -> Iterator[None]:
    """Set the old contents aside while new ones are written; the lock must be held.

    The old contents are restored if an error comes before `discard_replaced`, and are otherwise
    removed at the end. New contents that are not usable are removed after an error.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        _set_aside(folder, kind)
    except OSError as error:
        recover(folder, kind)
        raise cannot_write(folder, error, "choose another --out") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if is_set_aside(folder) or not is_usable(folder, kind):
                _give_back(folder, kind)
        raise
    discard_replaced(folder)


def is_set_aside(folder: Path) -> bool:
    """Return whether the old contents can still be restored."""
    return (folder / ASIDE).is_dir()


def discard_replaced(folder: Path) -> None:
    """Remove the old contents, once the new ones are usable."""
    shutil.rmtree(folder / ASIDE, ignore_errors=True)


def recover(folder: Path, kind: FolderKind) -> bool:
    """Complete or undo a replacement that was killed, and return whether it was undone.

    The old contents are restored, or removed if the new ones are complete enough to replace them.
    Unfinished files are removed. The lock must be held.
    """
    for pattern in _subfolders(kind):
        for sub in folder.glob(pattern):
            reclaim(sub, also_own=True)
    with suppress(OSError):
        if (folder / MOVING).is_dir():
            _bring_back(folder)
        if is_set_aside(folder):
            if is_usable(folder, kind) and _has_any(folder, kind.replaces_with):
                discard_replaced(folder)
            else:
                _give_back(folder, kind)
                return True
    return False


def _subfolders(kind: FolderKind) -> set[str]:
    """Return the glob patterns of the subfolders that hold files of this kind."""
    return {str(Path(pattern).parent) for pattern in kind.files if "/" in pattern}


def _set_aside(folder: Path, kind: FolderKind) -> None:
    paths = list(own_files(folder, kind))
    if not paths:
        return
    for path in paths:
        target = folder / MOVING / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    (folder / MOVING).rename(folder / ASIDE)
    _remove_emptied(folder, paths)


def _give_back(folder: Path, kind: FolderKind) -> None:
    """Remove the new files and restore the old ones."""
    paths = list(own_files(folder, kind))
    for path in reversed(paths):  # the record, which identifies the others, goes last
        path.unlink()
    subfolders = (folder / pattern / "*" for pattern in _subfolders(kind) if "*" not in pattern)
    _remove_emptied(folder, [*paths, *subfolders])
    if is_set_aside(folder):
        (folder / ASIDE).rename(folder / MOVING)
        _bring_back(folder)


def _bring_back(folder: Path) -> None:
    moving = folder / MOVING
    for path in [path for path in moving.rglob("*") if not path.is_dir()]:
        target = folder / path.relative_to(moving)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(moving)


def _remove_emptied(folder: Path, paths: list[Path]) -> None:
    """Remove the subfolders of these files that are empty now."""
    parents = {p for path in paths for p in path.parents if folder in p.parents}
    for parent in sorted(parents, key=lambda p: len(p.parts), reverse=True):
        with suppress(OSError):
            parent.rmdir()
