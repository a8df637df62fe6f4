"""Exports with rounded weights: half of the size, and what rounding does, no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from exported_runs import write_run
from safetensors.torch import load_file

from wordorder.errors import BadInput, Refused
from wordorder.interop.export import export
from wordorder.interop.huggingface import export as exporting
from wordorder.interop.huggingface.export import HUGGING_FACE, OWN_CODE_TARGET
from wordorder.interop.huggingface.import_folder import import_folder
from wordorder.interop.targets import TARGETS
from wordorder.interop.weights import rounded
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("run") / "run", position="rotary")


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_weight_is_the_rounded_one(run: Run, tmp_path: Path, dtype: str) -> None:
    exact = export(run, HUGGING_FACE, tmp_path / "exact").folder
    written = export(run, HUGGING_FACE.with_dtype(dtype), tmp_path / "rounded")
    weights, rounded = (load_file(p / "model.safetensors") for p in (exact, written.folder))
    assert weights.keys() == rounded.keys()
    for name, weight in weights.items():
        assert torch.equal(rounded[name], weight.to(DTYPES[dtype])), name
    model = transformers.AutoModelForCausalLM.from_pretrained(written.folder)
    assert model.dtype == DTYPES[dtype]
    assert 1e-4 < written.written.largest_difference < 0.1
    card = (written.folder / "README.md").read_text()
    allowed = max(each.tolerance for each in written.written.comparisons)
    assert f"(at most {allowed:.2g} is allowed)" in card
    imported = import_folder(written.folder, tmp_path / "imported")
    assert imported.largest_difference is not None and imported.largest_difference < 1e-5


def test_a_modelling_file_is_written_with_rounded_weights_too(run: Run, tmp_path: Path) -> None:
    folder = export(run, OWN_CODE_TARGET.with_dtype("bf16"), tmp_path / "own").folder
    assert {w.dtype for w in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert [*folder.glob("model*.py")]
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_wrong_maps_are_found_before_anything_is_rounded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporting.tensors

    def wrong(*arguments: object) -> dict[str, torch.Tensor]:
        weights = right(*arguments)  # type: ignore[arg-type]
        name = next(name for name in weights if "v_proj" in name)
        return {**weights, name: weights[name] * 1.01}

    monkeypatch.setattr(exporting, "tensors", wrong)
    with pytest.raises(Refused, match=r"0\.0001 is allowed: nothing was written"):
        export(run, HUGGING_FACE.with_dtype("bf16"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["hf", "gguf"])
def test_a_weight_beyond_half_precision_is_refused(tmp_path: Path, target: str) -> None:
    run = write_run(tmp_path / "run", position="rotary")
    run.model.blocks[0].attention.output.weight.data[0, 0] = 7e4
    with pytest.raises(BadInput, match=r"has weights that are too large for f16: use --dtype b"):
        export(run, TARGETS[target].with_dtype("f16"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert rounded("a", torch.tensor([7e4]), "bf16").isfinite().all()


@pytest.mark.parametrize(
    ("target", "dtype", "told"),
    [
        ("hf", "q8_0", "f32, f16, bf16"),
        ("gguf", "q4_0", "f32, f16, bf16, q8_0"),
        ("onnx", "f16", "f32"),
    ],
)
def test_a_dtype_that_a_target_lacks_is_refused(target: str, dtype: str, told: str) -> None:
    with pytest.raises(BadInput, match=f"--to {target} has no --dtype {dtype}: it has {told}$"):
        TARGETS[target].with_dtype(dtype)


@pytest.mark.parametrize("position", ["rotary:base=5000/rotary:base=100", "rotary"])
def test_sinks_of_a_model_without_any_are_finite_in_half_precision(
    tmp_path: Path, position: str
) -> None:
    options = {"windows": (5, 0), "qk_norm": False, "layers": 2}
    model = write_run(tmp_path / "run", position=position, **options)
    written = export(model, HUGGING_FACE.with_dtype("f16"), tmp_path / "out")
    weights = load_file(written.folder / "model.safetensors")
    sinks = [weight for name, weight in weights.items() if "sinks" in name]
    assert (position == "rotary") or sinks
    assert all(sink.isfinite().all() and sink.float().exp().max() == 0 for sink in sinks)
