"""A new embedding is one file and one line in the catalogue: everything else picks it up."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

import wordorder as wo
from wordorder.cli.main import main
from wordorder.positions import CATALOGUE
from wordorder.positions.conformance import check

FILE = '''
"""Scores fall with the root of the distance, faster in every next head."""

import torch

from wordorder.positions import Position


class Root(Position):
    """Scores fall with the root of the distance.

    Args:
        steep: what the root is multiplied by in the first head.
    """

    summary = "Scores fall with the root of the distance."
    source = "made up"
    formula = "score − steep · √|i − j| / head"
    traps = ("It is made up.",)
    door = "score"

    def __init__(self, shape, /, *, steep: float = 0.5) -> None:
        super().__init__(shape)
        self.steep = steep

    def distance_bias(self, distance):
        heads = torch.arange(1, self.shape.heads + 1).view(-1, *[1] * distance.dim())
        return -self.steep * distance.abs().float().sqrt() / heads
'''


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "root_embedding.py").write_text(FILE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from root_embedding import Root

    monkeypatch.setitem(CATALOGUE, "root", Root)  # the one line
    return "root:steep=0.7"


def test_it_trains_decodes_and_is_documented(
    root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six seven eight nine ten\n" * 60, encoding="utf-8")
    model = wo.ModelConfig(
        position=root, width=32, layers=2, heads=2, trained_length=16, dropout=0.0
    )
    run = wo.train(
        wo.TrainConfig(model, data=(str(text),), tokenizer="bytes", steps=3, out=f"{tmp_path}/r")
    )
    written = run.generate("one two", temperature=0.0, max_tokens=12)
    assert written.startswith("one two")
    tokens = torch.tensor([run.tokenizer.encode("one two three four")])
    with torch.no_grad():
        cache = run.model.new_cache()
        pieces = [run.model(piece, cache=cache) for piece in tokens.tensor_split((3, 9), 1)]
        torch.testing.assert_close(torch.cat(pieces, 1), run.model(tokens), atol=1e-4, rtol=0)

    assert check(root).holds
    assert main(["positions", "root", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["root"]
    assert facts["summary"] == "Scores fall with the root of the distance."
    assert facts["options"] == {"steep": 0.5} and facts["parameters"] == 0

    pages = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "write_positions.py"))
    page = pages["page"]("root", CATALOGUE["root"])
    assert "| `steep` | 0.5 | what the root is multiplied by in the first head. |" in page
    assert "[root](root.md)" in pages["listing"]()


def test_a_run_with_code_of_ones_own_loads_only_when_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_root.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "text.txt").write_text("a bee sees the sea\n" * 60, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    small = "--width 16 --layers 2 --heads 2 --trained-length 16 --tokenizer bytes --steps 2"
    train = ["train", "--data", "text.txt", "--position", "own_root.Root:steep=0.3", *small.split()]
    assert main([*train, "--out", "run"]) == 0
    for command in (["generate", "run", "a"], ["eval", "run"], ["train", "--resume", "run"]):
        capsys.readouterr()
        assert main(command) == 3
        said = capsys.readouterr().err
        assert said.startswith("error: run has the user-defined positional embedding own_root.Root")
        assert said.count("\n") == 1
        assert main([*command, "--trust"]) == 0
    small = small.replace("--tokenizer bytes ", "")  # which the run brings
    again = [*train[:3], *small.split(), "--init", "run", "--out", "second"]
    assert main(again) == 3
    assert main([*again, "--trust"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, kind in CATALOGUE.items() if not kind.task_positions])
def test_every_embedding_trains_and_writes(name: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six seven eight nine ten\n" * 60, encoding="utf-8")
    spec = f"{name}+rotary" if name in ("randomized", "offset") else name
    model = wo.ModelConfig(position=spec, width=32, layers=2, heads=2, trained_length=16)
    run = wo.train(
        wo.TrainConfig(model, data=(str(text),), tokenizer="bytes", steps=20, out=f"{tmp_path}/r")
    )
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < losses[0]
    assert run.generate("one", max_tokens=8).startswith("one")
