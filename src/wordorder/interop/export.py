"""Writes a run as a folder that another program loads, and removes it again unless it is exact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordorder.atomic import cannot_write, replacing_folder, write_text
from wordorder.errors import BadInput
from wordorder.folders import FolderKind, is_of_kind, own_files
from wordorder.locks import is_temporary
from wordorder.model import LanguageModel, ModelConfig
from wordorder.text.user_text import named_folder
from wordorder.training.run import Run
from wordorder.version import __version__

from .comparison import LogitComparison, notes_on_lengths

RECORD = "wordorder.json"


@dataclass(frozen=True)
class Written:
    """The result of an export whose logits the other program has reproduced.

    Args:
        holder: the class or architecture of the other program that holds the model.
        program: the other program and its version.
        comparisons: the largest differences of logits.
        texts: how many texts the tokenizers were compared on.
        notes: what a user of the other program must know, one sentence each.
    """

    holder: str
    program: str
    comparisons: tuple[LogitComparison, ...]
    texts: int
    notes: tuple[str, ...] = ()

    @property
    def largest_difference(self) -> float:
        """The largest difference of two logits in all comparisons."""
        return max(comparison.difference for comparison in self.comparisons)


@dataclass(frozen=True)
class Target:
    """Another program to which runs are exported.

    Args:
        name: the value of `--to`, and the name of wordorder's extra.
        program: its name in messages.
        modules: what must be installed, by import name.
        holds: raises BadInput for a model that the program does not hold.
        write: writes a run into a new folder, compares both models, and raises Refused if they
            differ. Its arguments are the folder, the run, the model and the folder's final name.
        files: every file that `write` may write.
        dtypes: of weights, where there is a choice besides f32; `write` and `commands` take one.
        commands: returns what to type to run an export, given its folder.
    """

    name: str
    program: str
    modules: tuple[str, ...]
    holds: Callable[[ModelConfig], Any]
    write: Callable[[Path, Run, LanguageModel, str], Written]
    files: tuple[str, ...]
    dtypes: tuple[str, ...] = ()
    commands: Callable[..., list[str]] = lambda folder, **options: []

    def with_dtype(self, dtype: str) -> Target:
        """Return the target that writes matrices of a dtype.

        Raises:
            BadInput: it has no such dtype.
        """
        if dtype == "f32":
            return self
        if dtype not in self.dtypes:
            raise BadInput(
                f"--to {self.name} has no --dtype {dtype}: it has "
                f"{', '.join(dict.fromkeys(('f32', *self.dtypes)))}",
                code="interop.no-dtype",
            )
        options = {"dtype": dtype}
        write, commands = partial(self.write, **options), partial(self.commands, **options)
        return replace(self, write=write, commands=commands)

    @property
    def kind(self) -> FolderKind:
        """How an export's folder is recognised."""
        keys = ("export", "run")
        return FolderKind("an export", record=RECORD, keys=keys, files=self.files)

    def check_installed(self) -> None:
        """Raise BadInput unless the other program is installed."""
        for module in self.modules:
            if find_spec(module) is None:
                raise BadInput(
                    f"--to {self.name} needs {module}: pip install 'wordorder[{self.name}]'",
                    code="interop.not-installed",
                )


@dataclass(frozen=True)
class Export:
    """An export that passed its comparison.

    Args:
        folder: where it is.
        target: what `--to` calls the other program.
        written: what is there, and the comparisons.
    """

    folder: Path
    target: str
    written: Written


def export(
    run: Run, target: Target, out: str | Path | None = None, *, overwrite: bool = False
) -> Export:
    """Write a run for another program, and compare both models.

    Args:
        out: the new folder; None: the run's name and that of the target, beside it.
        overwrite: replace an earlier export there.

    Raises:
        BadInput: the program does not hold the model or is not installed; `out` cannot be written
            or is not empty.
        Refused: the other program's model or tokenizer differs from the run's. Nothing is left.
    """
    run.check_predicts("export")
    target.holds(run.model_config)
    target.check_installed()
    folder = _out_folder(run, target, out, overwrite)
    model = run.model
    assert isinstance(model, LanguageModel)  # nothing else is held
    try:
        with _parents(folder), replacing_folder(folder, last=RECORD) as beside:
            written = target.write(beside, run, model, folder.name)
            short = notes_on_lengths(model.config.trained_length, written.comparisons)
            written = replace(written, notes=(*written.notes, *short))
            record = _record(target, written, run)
            write_text(beside / RECORD, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise cannot_write(folder, error, "choose another --out") from None
    return Export(folder, target.name, written)


def _out_folder(run: Run, target: Target, out: str | Path | None, overwrite: bool) -> Path:
    """Return the output folder, after checking that it may be written.

    Raises:
        BadInput: it exists and must not be replaced.
    """
    folder = named_folder(out) if out is not None else Path(f"{run.folder}-{target.name}")
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: choose another --out", code="interop.out-is-a-file")
    others = {path for path in folder.iterdir() if not is_temporary(path.name)}
    if not others:
        return folder
    kind = target.kind
    if not is_of_kind(folder, kind) or others - set(own_files(folder, kind)):
        raise BadInput(
            f"{folder} holds files that no export wrote: choose another --out",
            code="interop.out-not-empty",
        )
    if not overwrite:
        raise BadInput(
            f"{folder} holds an export: add --overwrite, or choose another --out",
            code="interop.out-is-an-export",
        )
    return folder


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Create a folder's parents; remove them again if the folder is not written."""
    new = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in new:
            with suppress(OSError):  # something else is in it by now
                parent.rmdir()
        raise


def _record(target: Target, written: Written, run: Run) -> dict[str, Any]:
    return {
        "wordorder": __version__,
        "export": target.name,
        "run": run.folder.resolve().name,
        "position": run.model_config.position,
        **asdict(written),
    }
