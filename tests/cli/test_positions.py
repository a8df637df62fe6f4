"""`wordorder positions` and `wordorder check`, as a user runs them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.cli.main import main
from wordorder.cli.position_picture import _of_run
from wordorder.errors import BadInput
from wordorder.positions import CATALOGUE
from wordorder.training.run import Run

OWN = """
import torch
from wordorder.positions import Position

class Nearby(Position):
    summary = "Scores fall with distance."
    door = "score"

    def __init__(self, shape, /, *, steep: float = 0.5) -> None:
        super().__init__(shape)
        self.steep = steep

    def distance_bias(self, distance):
        return -self.steep * distance.abs().float().expand(self.shape.heads, *distance.shape)

class Slots(Position):
    door = "score"

    def score(self, queries, keys, tables, state):
        return lambda score, batch, head, query, key: score - 0.3 * (query - key).abs()

class Other:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, another one in each test."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_list_names_every_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["positions"]) == 0
    shown = capsys.readouterr().out
    for name, kind in CATALOGUE.items():
        assert f"{name}  " in shown
        assert kind.summary.split()[0] in shown


def test_a_name_of_the_field_shows_ours_and_is_no_entry_of_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["positions", "RoPE"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("rotary  ") and "also called    rope" in shown
    assert main(["positions", "nope+t5_bias", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["none", "t5"]
    assert main(["positions", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_one_is_shown_with_all_there_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = CATALOGUE[name]
    assert main(["positions", name]) == 0
    shown = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "What it does" in shown
    assert "Formula" in shown and kind.formula
    for trap in kind.traps:
        assert trap.split()[0] in shown


def test_facts_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["positions", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(CATALOGUE)
    assert found["learned"]["longest"] == 255 and found["learned"]["parameters"] == 256 * 192
    assert found["rotary"]["options"]["base"] == 0
    assert found["rotary"]["resolved"] == {"base": 5000}
    assert found["rotary"]["follows"]["base"]["paper"] == 10000


def test_a_default_that_follows_stands_beside_the_papers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for spec, shown in (
        ("rotary", "for 256 tokens: base=5000 (10,000 times the trained length over 512; the "),
        ("t5", "max_distance=64 (a quarter of the trained length, at most 128; the paper's: 128)"),
        ("deberta", "span=64 (a quarter of the trained length, at most 128; the paper's: 512)"),
    ):
        assert main(["positions", spec]) == 0
        assert shown in " ".join(capsys.readouterr().out.split())
    assert main(["positions", "rotary:base=10000"]) == 0
    told = capsys.readouterr().out
    assert "base=10000" in told and "by default" not in told


def test_an_embedding_of_ones_own_is_shown_and_checked(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["positions", f"{own}.Nearby"]) == 0
    assert "Scores fall with distance." in capsys.readouterr().out
    assert main(["check", f"{own}.Nearby:steep=2", "--heads", "2"]) == 0
    assert capsys.readouterr().out.endswith("all hold\n")


def test_what_is_broken_is_named(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{own}.Slots"]) == 3
    shown = capsys.readouterr().out
    assert shown.endswith("broken: masked\n")
    assert "3 tokens without (1,): outputs differ by" in " ".join(shown.split())
    assert main(["check", f"{own}.Slots", "--only", "masked", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is False and found["findings"][0]["name"] == "masked"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["positions", "rotery"], "'rotery' is not a positional embedding: did you mean rotary?"),
        (["check", "rotery"], "'rotery' is not a positional embedding: did you"),
        (["check", "alibi+rotery"], "'rotery' in 'alibi+rotery' is not a positional embedding"),
        (
            ["positions", "alibi:slope"],
            "'slope' in 'alibi:slope' is not an option: write key=value",
        ),
        (["check", "rotary:base=-1"], "rotary: base=-1.0 must be positive"),
        (
            ["check", "alibi", "--only", "nothing"],
            "--only 'nothing' is not a property: use hooks, has",
        ),
        (["check", "alibi", "--heads", "0"], "--heads is [0]: it must be at least 1"),
        (["check", "nowhere.Class"], "nowhere.Class: cannot import nowhere"),
        (["check", "OWN.Missing"], "OWN.Missing: the module OWN has no class Missing"),
        (["check", "OWN.Other"], "OWN.Other is not a subclass of wordorder.positions.Position"),
        (["check", "OWN.Nearby:bass=1"], "OWN.Nearby has no option 'bass'; its options are: steep"),
    ],
)
def test_bad_input_gets_one_line(
    own: str, typed: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("OWN", own) for word in typed]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {line.replace('OWN', own)}")
    assert said.err.count("\n") == 1 and not said.out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose learning rate is too small to change a weight: learned, and a GRU."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    config = replace(small_config(folder / "text.txt", folder / "learned-run"), learning_rate=1e-30)
    model = replace(config.model, position="learned")
    wo.train(replace(config, model=model, seed=5))
    gru = wo.ModelConfig(kind="gru", width=16, heads=2, layers=1, trained_length=16)
    wo.train(replace(config, model=gru, out=str(folder / "gru")))
    wo.train(replace(config, model=model, init=str(folder / "learned-run"), out=str(folder / "on")))
    return folder


def test_a_picture_of_a_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["positions", "rotary/none", "--picture"]) == 0
    printed = capsys.readouterr()
    name = printed.out.strip()
    assert name.startswith("position-rotary_none-") and name.endswith(".png")
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert printed.err == "none is not drawn: it adds nothing to a model\n"
    assert main(["positions", "ALiBi", "--picture", "--out", "a.svg", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["picture"] == "a.svg" and record["not_drawn"] == {}
    assert [panel["name"] for panel in record["panels"]] == ["bias", "attention"]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_draw_is_one_line_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["positions", "nope", "--picture"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert main(["positions", "nope", "--picture", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] is None
    assert not list(tmp_path.iterdir())


def test_a_picture_of_an_embedding_of_ones_own(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Nearby", "Slots"):
        assert main(["positions", f"{own}.{name}", "--picture", "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert [panel["name"] for panel in record["panels"]] == ["bias", "attention"]


def test_the_initial_table_of_a_run_is_the_one_it_started_from(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["positions", str(runs / "learned-run"), "--picture"]) == 0
    assert capsys.readouterr().out.strip() == str(runs / "learned-run" / "position.png")
    before, after, _ = _of_run(Run.load(runs / "learned-run")).panels
    assert before.title.endswith("before training") and before.values == after.values


def test_weights_of_another_run_have_no_before(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panels = _of_run(Run.load(runs / "on")).panels
    assert [panel.name for panel in panels] == ["table", "similarity"]
    assert "started from the weights of another run" in capsys.readouterr().err


def test_a_folder_with_the_name_of_an_embedding_is_given_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t5").mkdir()
    assert main(["positions", "t5", "--picture"]) == 0
    assert capsys.readouterr().out == "position-t5.png\n"
    assert main(["positions", "./t5", "--picture"]) == 2
    assert "is not a run: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["--picture"], "cli.picture-of-nothing"),
        (["t5", "--out", "x.png"], "cli.out-without-picture"),
        (["t5", "--picture", "--out", "x.gif"], "cli.picture-suffix"),
        (["RUNS/gru", "--picture"], "cli.picture-of-recurrent"),
        (["t5", "--picture", "--out", "RUNS/none/x.png"], "atomic.cannot-write"),
    ],
)
def test_a_wrong_request_for_a_picture(runs: Path, typed: list[str], code: str) -> None:
    from wordorder.cli import positions

    with pytest.raises(BadInput) as caught:
        positions.main([word.replace("RUNS", str(runs)) for word in typed])
    assert caught.value.code == code


@pytest.mark.parametrize(
    "spec",
    ["learned:length=512", "axial:sections=[8,8]", "learned:rank=64", "recipe:gemma3"],
)
def test_options_that_fit_the_default_model_are_described(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["positions", spec]) == 0
    assert "What it does" in capsys.readouterr().out
    assert main(["positions", spec, "--picture"]) == 0


@pytest.mark.parametrize("spec", ["cope:most=1000000000000", "shaw:clip=1000000000000000000"])
def test_a_table_of_an_absurd_size_is_one_line(
    spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["positions", spec]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_all_layers_of_a_long_pattern_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "rotary/rotary/rotary:base=-1", "--only", "cached"]) != 0
    assert "base=-1.0 must be positive" in " ".join(capsys.readouterr())
    assert main(["check", "recipe:llama3", "--only", "cached"]) == 0
