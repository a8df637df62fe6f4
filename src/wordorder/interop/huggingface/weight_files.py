"""The safetensors files of a folder, read one tensor at a time.

Headers are read first; a file is opened again for each layer, so that the pages of those before it
can leave memory. Nothing is unpickled, and nothing outside of the folder is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.numerals import first_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FLOATS = ("F64", "F32", "F16", "BF16")
MOST_NAMED = 3
# Values that older versions of these classes stored, which their configuration implies.
IMPLIED = re.compile(
    r"(^|\.)(attn|attention)\.(bias|masked_bias)$|rotary_emb\.inv_freq$|embeddings\.position_ids$"
)


class WeightFiles(Mapping[str, Tensor]):
    """The tensors of a folder by the names that a class gives them, in float32.

    Args:
        folder: the folder.
        renamed: older endings of names, and those of today.

    Raises:
        BadInput: no safetensors file, a damaged one, or an index that names other folders.
    """

    def __init__(self, folder: Path, renamed: Mapping[str, str]) -> None:
        self.folder = folder
        self._stored: dict[str, tuple[Path, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path, names in _files(folder).items():
            for name, shape in _header(path, names).items():
                today = name
                for old, new in renamed.items():
                    if today.endswith(old):
                        today = today.removesuffix(old) + new
                if not IMPLIED.search(today):
                    self._stored[today], self.shapes[today] = (path, name), shape

    def add_prefix(self, prefix: str, names: Sequence[str]) -> None:
        """Add a prefix to names that lack it, as those of a class without an output layer do.

        Args:
            prefix: of the class with an output layer.
            names: those that this class has.
        """
        inside = [name for name in names if name.startswith(prefix)]
        if not any(name in self._stored for name in inside):
            for name in inside:
                self._rename(name.removeprefix(prefix), name)

    def drop_copy(self, kept: str, copy: str) -> None:
        """Leave out a tensor that is another one, as a tied output layer is the table of tokens.

        Raises:
            BadInput: they differ.
        """
        if copy not in self._stored:
            return
        if kept in self._stored and not torch.equal(self[kept], self[copy]):
            raise BadInput(
                f"the weights in {self.folder} have {copy}, which must be {kept} by config.json "
                "and differs: set tie_word_embeddings to false",
                code="interop.head-not-tied",
            )
        del self._stored[copy], self.shapes[copy]

    def _rename(self, old: str, new: str) -> None:
        if old in self._stored:
            self._stored[new], self.shapes[new] = self._stored.pop(old), self.shapes.pop(old)

    def check(self, expected: Mapping[str, tuple[int, ...]], ignored: re.Pattern[str]) -> None:
        """Check that these are a model's weights, all of them and no others.

        Raises:
            BadInput: the names and shapes of those that are missing, unknown or of another shape.
        """
        missing = [f"{n} {list(s)}" for n, s in expected.items() if n not in self.shapes]
        extra = [
            f"{n} {list(s)}"
            for n, s in self.shapes.items()
            if n not in expected and not ignored.search(n)
        ]
        other = [
            f"{n} {list(self.shapes[n])} instead of {list(s)}"
            for n, s in expected.items()
            if n in self.shapes and self.shapes[n] != s
        ]
        for problem, names in (("lack", missing), ("also have", extra), ("have", other)):
            if names:
                raise BadInput(
                    f"the weights in {self.folder} {problem} {first_of(names, MOST_NAMED)}: "
                    "config.json and the weights must be of one model",
                    code="interop.weights-of-another-model",
                )

    def __getitem__(self, name: str) -> Tensor:
        path, stored = self._stored[name]
        with _naming_damage(path), safe_open(path, "pt") as file:
            # A copy: a view would keep the pages of the file in memory.
            tensor = file.get_tensor(stored).to(torch.float32, copy=True)
        if not torch.isfinite(tensor).all():
            raise BadInput(
                f"{path}: {stored} has values that are not finite numbers: copy the file again",
                code="interop.weights-not-finite",
            )
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Name the file in errors of safetensors.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if isinstance(error, BadInput):
            raise
        problem = " ".join(str(error).split())
        raise BadInput(
            f"{path} is damaged ({problem}): copy it again", code="interop.damaged-weights"
        ) from None


def _header(path: Path, names: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file, by name.

    Args:
        names: those that an index puts there; None: all that the file has.
    """
    shapes = {}
    with _naming_damage(path), safe_open(path, "pt") as file:
        stored = set(file.keys())
        for name in stored if names is None else names:
            if name not in stored:
                raise ValueError(f"{INDEX} puts {name} there, and it is not")
            part = file.get_slice(name)
            if part.get_dtype() not in FLOATS and not IMPLIED.search(name):
                raise ValueError(f"{name} is of {part.get_dtype()}, and weights are floats")
            shapes[name] = tuple(part.get_shape())
    return shapes


def _files(folder: Path) -> dict[Path, list[str] | None]:
    """Return the safetensors files of a folder, and which tensors the index puts in each.

    Raises:
        BadInput: there are none, or the index names other folders.
    """
    if (folder / SINGLE).is_file():
        return {folder / SINGLE: None}
    if not (folder / INDEX).is_file():
        raise _without_weights(folder)
    index: Any = read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise BadInput(
            f"{folder / INDEX} has no weight_map of file names: copy it again",
            code="interop.damaged-index",
        )
    files: dict[Path, list[str] | None] = {}
    for name, file in places.items():
        if file != Path(file).name or not file.endswith(".safetensors"):
            raise BadInput(
                f"{folder / INDEX} puts {name} in {file}, which is not a safetensors file of this "
                "folder: import reads no other files",
                code="interop.index-points-elsewhere",
            )
        if not (folder / file).is_file():
            raise BadInput(
                f"{folder / file}, which {INDEX} names, is missing: copy it too",
                code="interop.shard-missing",
            )
        names = files.setdefault(folder / file, [])
        assert names is not None
        names.append(name)
    return files


def _without_weights(folder: Path) -> BadInput:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return BadInput(
            f"{folder} has its weights in {pickles[0]}, a pickle, which runs code when it is read: "
            "convert it where you trust it, with "
            "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW)",
            code="interop.pickle",
        )
    return BadInput(
        f"{folder} has no {SINGLE}: give a folder that transformers' save_pretrained wrote",
        code="interop.no-weights",
    )


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file.

    Raises:
        BadInput: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is damaged ({error}): copy it again", code="interop.damaged-json"
        ) from None
