"""What an experiment leaves is removed by name, and not before another can begin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wordorder.claims.run import CLAIMS
from wordorder.errors import BadInput
from wordorder.experiments import compare as of_comparisons
from wordorder.experiments.compare import COMPARISON, CompareConfig, compare
from wordorder.experiments.tasks import GRID
from wordorder.folders import FolderKind, own_files
from wordorder.training.config import TrainConfig
from wordorder.training.run import RUN

RUNS = ("config.json", "model.safetensors", "training/step-00000020/state.json", "measures.json")
LEFT = {
    "compare": ("results.jsonl", "figures/losses.png", *(f"runs/alibi-seed0/{n}" for n in RUNS)),
    "tasks": ("report.html", "figures/lengths-copy.svg", "runs/copy/alibi-seed0.json"),
    "claims": ("results/exact/causal-seed0.json", *(f"runs/text/alibi-seed0/{n}" for n in RUNS)),
}
KINDS = {"compare": COMPARISON, "tasks": GRID, "claims": CLAIMS}
STRANGERS = (
    "labels.csv",
    "figures/mine.png",
    "runs/labels.csv",
    "runs/mine/config.json",
    "runs/mine/model.safetensors",
    "runs/mine/a/config.json",
    "runs/copy/notes-seed0.json",
    "results/exact/mine.json",
    "results/mine.json",
)


def made(folder: Path, name: str) -> Path:
    """The folder of an experiment, with files of others in it."""
    kind = KINDS[name]
    for path in (*STRANGERS, *LEFT[name], kind.record):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text('{"wordorder": "theirs"}')
    record(folder / kind.record, kind)
    for path in folder.glob("runs/**/*-seed0/config.json"):
        record(path, RUN)
    for path in [*folder.glob("runs/copy/alibi*"), *folder.glob("results/exact/causal*")]:
        path.write_text(
            json.dumps(dict.fromkeys(["protocol", "curve", "job", "seconds", "result"]))
        )
    return folder


def record(path: Path, kind: FolderKind) -> None:
    path.write_text(json.dumps(dict.fromkeys(("wordorder", *kind.keys), 1)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", KINDS)
def test_ours_is_what_it_leaves(name: str, tmp_path: Path) -> None:
    found = {
        str(path.relative_to(tmp_path)) for path in own_files(made(tmp_path, name), KINDS[name])
    }
    assert found == {KINDS[name].record, *LEFT[name]}


def test_a_comparison_stays_where_another_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("a small text of words in order. " * 40)

    def too_short(*_: object) -> None:
        raise BadInput("in 1s a run takes 1 step here")

    monkeypatch.setattr(of_comparisons, "_settled", too_short)
    out = made(tmp_path / "c", "compare")
    before = contents(out)
    train = TrainConfig(data=(str(text),), tokenizer="bytes", steps=20)
    train = replace(train, model=replace(train.model, width=16, heads=2, trained_length=16))
    config = CompareConfig(train=train, out=str(out), overwrite=True)
    with pytest.raises(BadInput, match="in 1s"):
        compare(config)
    assert contents(out) == before
