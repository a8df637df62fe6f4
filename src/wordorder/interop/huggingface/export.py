"""Writes a run as a folder that transformers loads, and removes it again unless it is exact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from wordorder.atomic import cannot_write, replacing_folder, write_text
from wordorder.errors import BadInput, Refused
from wordorder.folders import FolderKind, is_of_kind, own_files
from wordorder.interop.architecture import Architecture
from wordorder.interop.holders import Holder, stock_class
from wordorder.locks import is_temporary
from wordorder.model import LanguageModel
from wordorder.patience import notify_if_slow
from wordorder.text.user_text import user_path
from wordorder.training.run import Run
from wordorder.version import __version__

from .card import model_card
from .convert import configuration, loaded, quiet_transformers, tensors
from .families import FAMILIES
from .rotary import static_length
from .tokenizer import check_tokenizer, write_tokenizer
from .verify import TOLERANCE, LogitComparison, compare

FILES = (
    "config.json",
    "model.safetensors",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
)
RECORD = "wordorder.json"
# Of `wordorder generate`.
SAMPLING = {
    "do_sample": True,
    "temperature": 0.8,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.05,
    "max_new_tokens": 200,
}
EXPORT = FolderKind("an export", record=RECORD, keys=("export", "run"), files=FILES)


@dataclass(frozen=True)
class Export:
    """An export that passed its comparison.

    Args:
        folder: where it is.
        class_name: the class of transformers that holds the model.
        comparisons: the largest differences of logits.
        texts: how many texts the tokenizers were compared on.
        notes: what a user of transformers must know, one sentence each.
    """

    folder: Path
    class_name: str
    comparisons: tuple[LogitComparison, ...]
    texts: int
    notes: tuple[str, ...]

    @property
    def largest_difference(self) -> float:
        """The largest difference of two logits in all comparisons."""
        return max(comparison.difference for comparison in self.comparisons)


def export(run: Run, out: str | Path | None = None, *, overwrite: bool = False) -> Export:
    """Write a run for a stock class of transformers, and compare both models.

    Args:
        out: the new folder; None: the run's name and "-hf", beside it.
        overwrite: replace an earlier export there.

    Raises:
        BadInput: no stock class holds the model; `out` cannot be written or is not empty.
        Refused: transformers' model or tokenizer differs from the run's. Nothing is left.
    """
    holder = stock_class(run.model_config)
    _check_installed()
    folder = _out_folder(run, out, overwrite)
    model = run.model
    assert isinstance(model, LanguageModel)  # no class holds another
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as beside, quiet_transformers():
            notes = _write(beside, run, model, holder)
            texts = check_tokenizer(beside, run.tokenizer)
            with notify_if_slow("comparing transformers' logits with the run's"):
                comparisons = tuple(_compared(beside, run, model, holder))
            exported = Export(folder, holder.class_name, comparisons, texts, notes)
            write_text(beside / RECORD, json.dumps(_record(exported, run), indent=2) + "\n")
            card = model_card(folder.name, run, holder, comparisons, notes)
            write_text(beside / "README.md", card)
    except OSError as error:
        raise cannot_write(folder, error, "choose another --out") from None
    return exported


def _check_installed() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise BadInput(
            "--to hf needs transformers: pip install 'wordorder[hf]'",
            code="interop.transformers-not-installed",
        ) from None


def _out_folder(run: Run, out: str | Path | None, overwrite: bool) -> Path:
    """Return the folder to write, once it is known that it may be written.

    Raises:
        BadInput: there is something that is not to be replaced.
    """
    folder = user_path(out) if out is not None else Path(f"{run.folder}-hf")
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: choose another --out", code="interop.out-is-a-file")
    others = {path for path in folder.iterdir() if not is_temporary(path.name)}
    if not others:
        return folder
    if not is_of_kind(folder, EXPORT) or others - set(own_files(folder, EXPORT)):
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


def _write(folder: Path, run: Run, model: LanguageModel, holder: Holder) -> tuple[str, ...]:
    """Write everything but the model card; return what a user must know."""
    import transformers

    architecture = Architecture.of(model)
    weights = tensors(model, holder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    end = run.tokenizer.end_of_text
    special = {"bos_token_id": end, "eos_token_id": end}
    config = {
        **configuration(model, holder),
        **special,
        "dtype": "float32",
        "torch_dtype": "float32",  # version 4's name
        "transformers_version": transformers.__version__,
    }
    _write_json(folder / "config.json", config)
    if not run.fills_in:
        _write_json(folder / "generation_config.json", _generation(architecture, special))
    write_tokenizer(
        folder,
        run.tokenizer,
        trained_length=model.config.trained_length,
        fills_in=run.fills_in,
    )
    return _notes(architecture)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _generation(architecture: Architecture, special: dict[str, int]) -> dict[str, Any]:
    """Return generation_config.json: the sampling of `wordorder generate`."""
    settings: dict[str, Any] = {
        **special,
        "pad_token_id": special["eos_token_id"],
        **SAMPLING,
    }
    if _static_length(architecture) is not None:
        settings["use_cache"] = False
    return settings


def _static_length(architecture: Architecture) -> int | None:
    return static_length(next(iter(architecture.rotaries), None))


def _notes(architecture: Architecture) -> tuple[str, ...]:
    if (length := _static_length(architecture)) is None:
        return ()
    rotary = architecture.rotaries[0]
    notes = [
        f"past {length:,} tokens transformers' cache keeps keys that {rotary.scaling} scaling "
        "turned for a shorter text: generation_config.json has use_cache false, which is exact"
    ]
    if rotary.scaling == "dynamic":
        notes.append(
            "transformers keeps the frequencies of the longest text so far: after one, load the "
            f"model anew before a shorter text of more than {length:,} tokens"
        )
    return tuple(notes)


def _compared(
    folder: Path, run: Run, model: LanguageModel, holder: Holder
) -> Iterator[LogitComparison]:
    """Yield the comparisons of a written folder with its run.

    Raises:
        Refused: one that is not exact.
    """
    import transformers

    auto = getattr(transformers, holder.auto_class)
    theirs = loaded(auto, folder, use_safetensors=True, local_files_only=True)
    architecture = Architecture.of(model)
    longest = FAMILIES[holder.family].longest(architecture)
    static = _static_length(architecture)
    for comparison in compare(model, theirs, longest=longest, static_length=static):
        if not comparison.is_exact:
            raise Refused(
                f"{holder.class_name} differs from {run.folder}: logits of "
                f"{comparison.tokens:,} tokens ({comparison.reading}) by up to "
                f"{comparison.difference:.2g}, and {TOLERANCE:g} is allowed: nothing was written",
                code="interop.logits-differ",
            )
        yield comparison


def _record(exported: Export, run: Run) -> dict[str, Any]:
    import transformers

    return {
        "wordorder": __version__,
        "export": "hf",
        "run": run.folder.resolve().name,
        "class": exported.class_name,
        "transformers": transformers.__version__,
        "position": run.model_config.position,
        "tolerance": TOLERANCE,
        "comparisons": [asdict(comparison) for comparison in exported.comparisons],
        "texts": exported.texts,
        "notes": exported.notes,
    }
