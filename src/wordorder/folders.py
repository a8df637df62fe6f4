"""The folders that wordorder makes, and what in them is its own: nothing else is ever removed.

A folder is known by its record, a JSON file with fields that nobody else's has, and what is ours
in it by name. Where a new run is to take the place of an old one, the old one's files are set
aside within the folder, and come back unless the new one stands: after an error at once, after a
kill with the next command.

    .wordorder-setting-aside    being filled, or given back: whatever is in it belongs outside
    .wordorder-set-aside        all of the old run's files
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
from wordorder.locks import is_passing

MOVING, ASIDE = ".wordorder-setting-aside", ".wordorder-set-aside"


@dataclass(frozen=True)
class Kind:
    """One kind of folder.

    Args:
        what: it is called, as "a run".
        record: the JSON file that it is known by.
        keys: that the record has.
        files: patterns of the paths of what is written there, seen from the folder.
        proofs: of patterns that a file of someone else's may fit: whether it is ours.
        inside: the kinds of folders within it, by pattern.
        stands: patterns of which one must be there too, or the work had not begun to be kept.
    """

    what: str
    record: str
    keys: tuple[str, ...]
    files: tuple[str, ...]
    proofs: Mapping[str, Callable[[Path], bool]] = field(default_factory=dict)
    inside: Mapping[str, Kind] = field(default_factory=dict)
    stands: tuple[str, ...] = ()


def has_keys(path: Path, keys: tuple[str, ...]) -> bool:
    """Whether a file is JSON of an object with these keys."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and all(key in record for key in keys)


def is_one(folder: Path, kind: Kind) -> bool:
    """Whether a folder has the record of this kind, written by wordorder."""
    return has_keys(folder / kind.record, ("wordorder", *kind.keys))


def stands(folder: Path, kind: Kind) -> bool:
    """Whether there is anything in a folder of this kind to go on with or to read."""
    if not is_one(folder, kind):
        return False
    return not kind.stands or any(any(folder.glob(pattern)) for pattern in kind.stands)


def ours(folder: Path, kind: Kind) -> Iterator[Path]:
    """Yield the files that wordorder wrote into a folder of this kind; none where it is not one."""
    if not is_one(folder, kind):
        return
    for pattern in (kind.record, *kind.files):
        proof = kind.proofs.get(pattern, Path.is_file)
        yield from (path for path in folder.glob(pattern) if path.is_file() and proof(path))
    for pattern, inner in kind.inside.items():
        for sub in folder.glob(pattern):
            yield from ours(sub, inner)


def may_begin(folder: Path, kind: Kind, *, overwrite: bool, remedy: str) -> None:
    """Check that a folder is empty, or holds what may be replaced; its lock must be held.

    What a kill left half done of an earlier replacement is put right first.

    Args:
        overwrite: what stands there may be replaced.
        remedy: what to do with what stands there and is to be kept.

    Raises:
        BadInput: something stands there, or something that is not ours.
    """
    recover(folder, kind)
    if is_one(folder, kind):
        if stands(folder, kind) and not overwrite:
            raise BadInput(f"{folder} holds {kind.what}: {remedy}")
    elif (folder / kind.record).exists():
        raise BadInput(
            f"{folder / kind.record} is damaged, or was not written by wordorder, which removes "
            "only what it wrote: choose another --out"
        )
    elif any(not is_passing(path.name) for path in folder.iterdir()):
        raise BadInput(f"{folder} is a folder of other things: choose another --out")


@contextmanager
def replacing_what_is_there(folder: Path, kind: Kind) -> Iterator[None]:
    """Set aside what is there of this kind while another takes its place; the lock must be held.

    It comes back where an error comes before `let_go`, and else is removed in the end. A new one
    that does not stand is removed with an error.

    Raises:
        BadInput: it cannot be written.
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
            if is_set_aside(folder) or not stands(folder, kind):
                _give_back(folder, kind)
        raise
    let_go(folder)


def is_set_aside(folder: Path) -> bool:
    """Whether what was there is still to be had back."""
    return (folder / ASIDE).is_dir()


def let_go(folder: Path) -> None:
    """Remove what was set aside: the new one has come far enough."""
    shutil.rmtree(folder / ASIDE, ignore_errors=True)


def recover(folder: Path, kind: Kind) -> None:
    """Put right what a kill left: the old one is back, or gone where the new one stands.

    What was half written is removed. The lock must be held.
    """
    for pattern in _subfolders(kind):
        for sub in folder.glob(pattern):
            reclaim(sub, also_own=True)
    with suppress(OSError):
        if (folder / MOVING).is_dir():
            _bring_back(folder)
        if is_set_aside(folder):
            if stands(folder, kind):
                let_go(folder)
            else:
                _give_back(folder, kind)


def _subfolders(kind: Kind) -> set[str]:
    """Return the patterns of the folders that files of a kind are in."""
    return {str(Path(pattern).parent) for pattern in kind.files if "/" in pattern}


def _set_aside(folder: Path, kind: Kind) -> None:
    paths = list(ours(folder, kind))
    if not paths:
        return
    for path in paths:
        target = folder / MOVING / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    (folder / MOVING).rename(folder / ASIDE)
    _remove_emptied(folder, paths)


def _give_back(folder: Path, kind: Kind) -> None:
    """Remove what the new one wrote, and have the old one's files where they were."""
    paths = list(ours(folder, kind))
    for path in reversed(paths):  # the record, by which the others are known, goes last
        path.unlink()
    made = (folder / pattern / "*" for pattern in _subfolders(kind) if "*" not in pattern)
    _remove_emptied(folder, [*paths, *made])
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
    """Remove the folders that files were taken out of and that are empty now."""
    parents = {p for path in paths for p in path.parents if folder in p.parents}
    for parent in sorted(parents, key=lambda p: len(p.parts), reverse=True):
        with suppress(OSError):
            parent.rmdir()
