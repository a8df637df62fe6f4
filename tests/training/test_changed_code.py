"""The code of a user-defined embedding: a run that was trained with other code says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_config import TEXT, small_config

from wordorder.errors import Note, Refused
from wordorder.positions import code_of
from wordorder.training.run import Run
from wordorder.training.start import resume, train

CODE = """
from wordorder.positions import Alibi

class Decay(Alibi):
    \"\"\"ALiBi under another name.\"\"\"
    def distance_bias(self, distance):
        # as published
        return 1.0 * super().distance_bias(distance)
"""
BASE = "from decay_module import Decay\n\nclass Child(Decay):\n    summary = 'x.'\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("child_module", "decay_module"):  # of the test before
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "child_module.py").write_text(BASE)
    path = tmp_path / "decay_module.py"
    path.write_text(CODE)
    return path


def test_a_digest_is_of_the_lines_that_are_code(module: Path) -> None:
    spec = "rotary/decay_module.Decay:slope=0.5"
    first = code_of(spec)
    assert first is not None
    assert code_of("decay_module.Decay") == code_of("decay_module.Decay+none") == first
    module.write_text(f"# a comment\n\n{CODE.replace('        # as published', '')}   \n\n")
    assert code_of(spec) == first
    module.write_text(CODE.replace("1.0", "2.0"))
    assert code_of(spec) != first
    assert code_of("rotary:base=500/none") is code_of("recipe:llama3") is None


def test_the_file_of_a_base_class_counts(module: Path) -> None:
    first = code_of("child_module.Child")
    assert first != code_of("decay_module.Decay")
    module.write_text(CODE.replace("1.0", "2.0"))
    assert code_of("child_module.Child") != first


def test_a_run_is_read_with_a_note_and_not_resumed(module: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    config = small_config(tmp_path / "text.txt", tmp_path / "run")
    model = replace(config.model, position="decay_module.Decay")
    train(replace(config, model=model), trust=True)
    shutil.rmtree(tmp_path / "run" / "training" / "step-00000002")
    folder = str(tmp_path / "run")
    Run.load(folder, trust=True)
    module.write_text(CODE.replace("1.0", "2.0"))
    with pytest.warns(Note, match=r"the code of decay_module\.Decay has changed since .*run was"):
        Run.load(folder, trust=True)
    command = [sys.executable, "-m", "wordorder", "eval", "run", "--trust"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    note = "note: the code of decay_module.Decay has changed since run was trained with it"
    assert done.stderr.splitlines().count(note) == 1
    with pytest.raises(Refused, match=r"restore the old code, or add --inexact") as caught:
        resume(folder, trust=True)
    assert caught.value.code == "training.other-code"
    with pytest.warns(Note):
        resume(folder, trust=True, inexact=True)


def test_a_run_of_the_catalogue_records_no_code(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    assert "code" not in train(small_config(tmp_path / "text.txt", tmp_path / "run")).config
