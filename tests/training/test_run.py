"""A run folder: what is said of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wordorder.errors import BadInput
from wordorder.folders import ASIDE, recover
from wordorder.training.run import RUN, Run


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for name in ("rotary-seed1", "none-seed0", "rotary-seed0", "stopped"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        if name != "stopped":
            (tmp_path / "runs" / name / "model.safetensors").touch()
    (tmp_path / "comparison.json").touch()
    with pytest.raises(BadInput) as caught:
        Run.load(tmp_path)
    runs = tmp_path / "runs"
    assert caught.value.code == "training.several-runs"
    assert str(caught.value).endswith(
        f" {runs}/none-seed0, {runs}/rotary-seed0, {runs}/rotary-seed1"
    )
    for number in range(9):
        (runs / f"alibi-seed{number}").mkdir()
        (runs / f"alibi-seed{number}" / "model.safetensors").touch()
    (tmp_path / "comparison.json").unlink()
    with pytest.raises(BadInput, match=r"is a folder of runs, .*alibi-seed5 and 6 more$"):
        Run.load(tmp_path)


def test_a_run_with_a_file_missing_says_which(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(BadInput, match=r"config.json is missing") as caught:
        Run.load(tmp_path)
    assert caught.value.code == "training.incomplete-run"


@pytest.mark.parametrize(("step", "kept"), [(0, "old"), (10, "new")])
def test_a_killed_replacement_needs_a_checkpoint_with_training(
    tmp_path: Path, step: int, kept: str
) -> None:
    """The checkpoint of step 0 has learned nothing that is worth an old run."""
    record = dict.fromkeys(("wordorder", *RUN.keys))
    for folder, name in ((tmp_path / ASIDE, "old"), (tmp_path, "new")):
        (folder / f"training/step-{step:08d}").mkdir(parents=True)
        (folder / f"training/step-{step:08d}/state.json").write_text("{}")
        (folder / "model.safetensors").touch()  # also written without any training
        (folder / "config.json").write_text(json.dumps({**record, "name": name}))
    assert recover(tmp_path, RUN) == (kept == "old")
    assert json.loads((tmp_path / "config.json").read_text())["name"] == kept
    assert not (tmp_path / ASIDE).exists()
