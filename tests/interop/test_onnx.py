"""Every embedding that can be a graph for any length is one, and onnxruntime agrees with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_runs import BERT, GPT_OSS, ROWS, TRAINED, write_run
from random_weights import random_model
from torch import Tensor

from wordorder.cli.main import main
from wordorder.errors import BadInput, Refused
from wordorder.interop import tokenizer_files
from wordorder.interop.comparison import TOLERANCE
from wordorder.interop.export import export
from wordorder.interop.onnx import export as exporting
from wordorder.interop.onnx import graph
from wordorder.interop.onnx.export import ONNX, Session, SessionOutput
from wordorder.interop.onnx.graph import UNTRACED, GraphSize, check_position, write_graph
from wordorder.interop.verify import compare
from wordorder.model import LanguageModel, ModelConfig
from wordorder.positions import CATALOGUE
from wordorder.training.run import Run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

REFUSED = {name for name, kind in CATALOGUE.items() if kind in UNTRACED}
SPECS = {
    "yarn": "rotary:scaling=yarn,factor=4",
    "dynamic": "rotary:scaling=dynamic,factor=2,original_length=12",
    "pattern": "rotary/none",
    "sum": "learned+alibi",
    **{name: name for name in CATALOGUE if name not in REFUSED},
}


def differences(folder: Path, **options: Any) -> list[float]:
    """Write a model's graph and return the differences of all comparisons."""
    model = random_model(50, **{"trained_length": TRAINED, "layers": 1, **options})
    size = write_graph(model, folder / "model.onnx")
    assert model.attention_kernel == "auto"
    found = list(
        compare(model, Session(folder / "model.onnx"), longest=size.longest, static_length=0)
    )
    lengths = {each.tokens for each in found}
    last = model.position.max_position
    assert lengths == {8, 16, min(32, 32 if last is None else last + 1)}
    assert {each.reading for each in found} == {"alone", "padded"}
    return [each.difference for each in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_each_embedding_is_exact_at_sizes_that_were_not_traced(tmp_path: Path, name: str) -> None:
    assert max(differences(tmp_path, position=SPECS[name])) < TOLERANCE / 10


@pytest.mark.slow
def test_windows_and_grouped_keys_are_exact(tmp_path: Path) -> None:
    """With a table that ends and a bias; the model card's test has a rotation."""
    options = {"windows": (5,), "key_value_heads": 2, "biases": True}
    options |= {"position": "learned+t5", "tied_embeddings": False}
    assert max(differences(tmp_path, **options)) < TOLERANCE / 10


EXPERTS: dict[str, dict[str, Any]] = {
    "softmax": {"experts": 5, "balance_loss": 0.01},
    "clamped, biases, sinks": {**GPT_OSS, "biases": True},
    **{f"sigmoid, {name}": ROWS["DeepseekV3ForCausalLM"][name] for name in ("experts", "groups")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_exact(tmp_path: Path, name: str) -> None:
    """Each token by its own, although how many an expert computes is known only in the graph."""
    assert max(differences(tmp_path, **{**EXPERTS[name], "layers": 2})) < TOLERANCE / 10


@pytest.mark.slow
def test_experts_of_one_token_and_of_no_token_are_exact_and_axes_have_names(tmp_path: Path) -> None:
    """The model's own path for one token computes only its experts; the graph has one path."""
    options = {"position": "none", "qk_norm": False, "experts": 4, "active_experts": 2}
    model = random_model(50, layers=1, trained_length=TRAINED, **options)
    write_graph(model, tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx")
    with torch.no_grad():
        for tokens in (torch.tensor([[7]]), torch.full((2, 5), 3), torch.arange(40)[None]):
            close = {"atol": TOLERANCE / 10, "rtol": 0}
            torch.testing.assert_close(session(tokens).logits, model(tokens), **close)
    shapes = [each.shape for each in session.session.get_inputs()]
    assert shapes == [["batch", "time"], ["batch", "time"]]
    assert [each.shape for each in session.session.get_outputs()] == [["batch", "time", 50]]


class Sorted(graph.MaskedForward):
    """Sorts, as experts do, and does little else."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.embedding(input_ids).sort(stable=True).values


def test_an_operation_that_onnx_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_translations", dict)
    monkeypatch.setattr(graph, "MaskedForward", Sorted)
    model = random_model(50, layers=1, trained_length=TRAINED)
    with pytest.raises(Refused) as caught:
        write_graph(model, tmp_path / "model.onnx")
    message = str(caught.value)
    assert caught.value.code == "interop.onnx-not-traced" and "\x1b" not in message
    assert "No ONNX function found for" in message and "sort" in message
    assert message.endswith("): nothing was written")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_a_graph_is_refused_before_anything_is_loaded(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", position=name)
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    assert main(["export", str(tmp_path / "run"), "--to", "onnx"]) == 2
    error = capsys.readouterr().err
    assert name in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_longrope_and_a_gru_are_refused() -> None:
    factors = "short_factors=[1,1,1,1],long_factors=[1,2,3,4]"
    for options, code in (
        ({"position": f"rotary:scaling=longrope,factor=4,{factors}"}, "interop.onnx-position"),
        ({"kind": "gru"}, "interop.onnx-kind"),
    ):
        with pytest.raises(BadInput) as caught:
            check_position(ModelConfig(width=32, heads=4, **options))
        assert caught.value.code == code


def test_the_folder_runs_as_its_model_card_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", position="rotary", layers=1)
    assert main(["export", str(run.folder), "--to", "onnx", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["holder"] == "onnxruntime" and result["largest_difference"] < TOLERANCE / 10
    folder = Path(result["folder"])
    assert folder == tmp_path / "run-onnx"
    names = {*exporting.FILES, "wordorder.json"} - {"model.onnx.data"}
    assert {path.name for path in folder.iterdir()} == names
    written = output_of(folder)
    tokens = torch.tensor([[run.tokenizer.end_of_text, *run.tokenizer.encode("The")]])
    with torch.no_grad():
        for _ in range(exporting.NEW_TOKENS):
            tokens = torch.cat((tokens, run.model(tokens)[:, -1:].argmax(-1)), 1)
    assert written == run.tokenizer.decode(tokens[0, 1:].tolist())
    refuses_what_ignores_padding(run, folder, monkeypatch)


def refuses_what_ignores_padding(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that the same graph without a mask is refused, and leaves nothing."""
    bits = (folder / "model.onnx").read_bytes()

    def write(model: LanguageModel, path: Path) -> GraphSize:
        return GraphSize(path.write_bytes(bits), None)

    class Maskless(Session):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> SessionOutput:
            return super().forward(input_ids)

        __call__ = forward

    monkeypatch.setattr(exporting, "write_graph", write)
    assert export(run, ONNX, folder.parent / "again").written.comparisons
    monkeypatch.setattr(exporting, "Session", Maskless)
    with pytest.raises(Refused, match="padded") as caught:
        export(run, ONNX, folder.parent / "wrong")
    assert caught.value.code == "interop.logits-differ" and "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["again", "run", "run-onnx"]


def output_of(folder: Path) -> str:
    """Run the code of a model card where it is, and return what it prints."""
    code = (folder / "README.md").read_text(encoding="utf-8").split("```")[1]
    command = [sys.executable, "-X", "utf8", "-c", code.removeprefix("python\n")]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().removesuffix("\n")


@pytest.mark.slow
def test_a_masked_model_fills_in(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", **BERT, layers=1)
    written = export(run, ONNX)
    assert {each.reading for each in written.written.comparisons} == {"alone", "padded"}
    tokenizer = run.tokenizer
    assert tokenizer.mask is not None
    tokens = [tokenizer.end_of_text, *tokenizer.encode("The"), tokenizer.mask]
    with torch.no_grad():
        likeliest = int(run.model(torch.tensor([tokens]))[0, -1].argmax())
    assert output_of(written.folder) == tokenizer.decode([likeliest])


class Broken(graph.MaskedForward):
    """Ignores the mask's effect on positions."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, torch.ones_like(attention_mask))


class OfOneLength(graph.MaskedForward):
    """Takes a size for a constant."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, attention_mask) + torch.zeros(len(input_ids), 1, 1)


@pytest.mark.parametrize(
    "mistake,code",
    [
        pytest.param(Broken, "interop.logits-differ", marks=pytest.mark.slow),
        (OfOneLength, "interop.onnx-not-traced"),
    ],
)
def test_a_wrong_graph_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: type, code: str
) -> None:
    monkeypatch.setattr(graph, "MaskedForward", mistake)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", position="none", layers=1), ONNX)
    assert caught.value.code == code and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_tokenizer_file_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_files, "_opening_with", lambda *token: None)
    monkeypatch.setattr(exporting, "write_graph", lambda model, path: None)
    with pytest.raises(Refused) as caught:
        export(write_run(tmp_path / "run", position="none"), ONNX)
    assert caught.value.code == "interop.tokenizer-file-differs"
