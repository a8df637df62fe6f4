"""Only what is ours is ever removed, and it comes back unless the new one stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wordorder.claims.run import CLAIMS
from wordorder.errors import BadInput
from wordorder.experiments.compare import COMPARISON
from wordorder.experiments.rate_search import SEARCH
from wordorder.experiments.tasks import GRID
from wordorder.folders import (
    ASIDE,
    MOVING,
    RECORDS,
    FolderKind,
    check_free,
    discard_replaced,
    is_set_aside,
    own_files,
    recover,
    replacing_contents,
)
from wordorder.interop.export import RECORD as EXPORT_RECORD
from wordorder.training.run import RUN

INNER = FolderKind("a part", "part.json", ("part",), ("table.csv",))
KIND = FolderKind(
    "a thing",
    "thing.json",
    ("thing",),
    ("data.bin", "notes.md", "steps/*/state", "logs/log"),
    proofs={"notes.md": lambda path: path.read_text() == "ours"},
    inside={"parts/*": INNER},
    usable_with=("steps/*/state",),
)
OURS = ("thing.json", "data.bin", "notes.md", "steps/1/state", "parts/a/part.json")
THEIRS = ("labels.csv", "steps/1/note", "steps/mine", "parts/a/labels.csv", "parts/b/table.csv")


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def thing(folder: Path) -> Path:
    """A folder of the kind, with files of others in it."""
    for name in THEIRS:
        write(folder, name, "theirs")
    for name in OURS:
        write(folder, name, "ours")
    write(folder, "thing.json", json.dumps({"wordorder": "1", "thing": 1}))
    write(folder, "parts/a/part.json", json.dumps({"wordorder": "1", "part": 1}))
    return folder


def begun(folder: Path) -> None:
    """Write a new thing as far as its record."""
    write(folder, "thing.json", json.dumps({"wordorder": "2", "thing": 2}))
    write(folder, "data.bin", "new")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_ours_are_those_that_the_record_names(tmp_path: Path) -> None:
    found = {str(path.relative_to(tmp_path)) for path in own_files(thing(tmp_path), KIND)}
    assert found == set(OURS)
    write(tmp_path, "notes.md", "edited")
    assert tmp_path / "notes.md" not in set(own_files(tmp_path, KIND))


@pytest.mark.parametrize("record", ["{}", "[]", '{"thing": 1}', '{"wordorder": "1"}', "no", ""])
def test_a_record_that_is_not_ours_makes_nothing_ours(tmp_path: Path, record: str) -> None:
    write(thing(tmp_path), "thing.json", record)
    before = contents(tmp_path)
    assert not list(own_files(tmp_path, KIND))
    with pytest.raises(BadInput, match=r"thing\.json") as caught:
        check_free(tmp_path, KIND, overwrite=True, remedy="")
    assert caught.value.code == "folders.unknown-record"
    assert contents(tmp_path) == before


def test_what_may_be_begun(tmp_path: Path) -> None:
    check_free(tmp_path, KIND, overwrite=False, remedy="")
    write(tmp_path, "labels.csv", "theirs")
    with pytest.raises(BadInput) as caught:
        check_free(tmp_path, KIND, overwrite=True, remedy="")
    assert caught.value.code == "folders.not-empty"
    thing(tmp_path)
    with pytest.raises(BadInput, match="a thing: go on") as caught:
        check_free(tmp_path, KIND, overwrite=False, remedy="go on")
    assert caught.value.code == "folders.exists"
    check_free(tmp_path, KIND, overwrite=True, remedy="")
    (tmp_path / "steps/1/state").unlink()  # it had only begun
    check_free(tmp_path, KIND, overwrite=False, remedy="")


@pytest.mark.parametrize("error", [BadInput("no"), KeyboardInterrupt(), ZeroDivisionError()])
def test_it_comes_back_byte_for_byte(tmp_path: Path, error: BaseException) -> None:
    before = contents(thing(tmp_path))
    with pytest.raises(type(error)), replacing_contents(tmp_path, KIND):
        assert {n for n in contents(tmp_path) if not n.startswith(ASIDE)} == set(THEIRS)
        begun(tmp_path)
        write(tmp_path, "steps/0/state", "new")
        raise error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("early", [True, False])
def test_the_new_one_stays_and_what_is_not_ours(tmp_path: Path, early: bool) -> None:
    thing(tmp_path)
    with replacing_contents(tmp_path, KIND):
        begun(tmp_path)
        if early:
            discard_replaced(tmp_path)
            assert not is_set_aside(tmp_path)
    assert set(contents(tmp_path)) == {*THEIRS, "thing.json", "data.bin"}


def test_a_new_one_that_fails_leaves_nothing_where_there_was_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput), replacing_contents(tmp_path, KIND):
        begun(tmp_path)
        (tmp_path / "logs").mkdir()
        raise BadInput("no")
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInput), replacing_contents(tmp_path, KIND):
        begun(tmp_path)
        write(tmp_path, "steps/0/state", "new")
        raise BadInput("no")
    assert len(contents(tmp_path)) == 3  # what stands is kept


@pytest.mark.parametrize("stage", ["moving", "aside", "begun", "giving back", "stands"])
def test_after_a_kill_one_of_the_two_is_there(tmp_path: Path, stage: str) -> None:
    before = contents(thing(tmp_path))
    aside = tmp_path / (MOVING if stage in ("moving", "giving back") else ASIDE)
    for name in OURS[:2] if stage == "moving" else OURS:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).rename(aside / name)
    if stage in ("begun", "stands"):
        begun(tmp_path)
    if stage == "stands":
        write(tmp_path, "steps/0/state", "new")
    if stage == "giving back":
        (aside / OURS[0]).rename(tmp_path / OURS[0])
    recover(tmp_path, KIND)
    after = contents(tmp_path)
    if stage == "stands":
        assert set(after) == {*THEIRS, "thing.json", "data.bin", "steps/0/state"}
    else:
        assert after == before


def test_every_kind_of_folder_is_known_to_those_who_read_text() -> None:
    kinds = (RUN, COMPARISON, SEARCH, GRID, CLAIMS)
    assert {kind.record for kind in kinds} | {EXPORT_RECORD} == set(RECORDS)
