"""On a GPU: training steps give the losses that they give on a CPU; run with `-m gpu`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_config import TEXT, small_config

import wordorder as wo
from wordorder.training.metrics import read


def losses_on(device: str, folder: Path, reader: str = "rotary", **settings: object) -> list[float]:
    """Return the losses of six steps of a transformer with an embedding, or of a GRU."""
    (folder / "my.txt").write_text(TEXT * 4, encoding="utf-8")
    config = small_config(folder / "my.txt", folder / device)
    # Devices draw other numbers for dropout, and Muon orthogonalises in the faster dtype.
    chosen = {"kind": "gru"} if reader == "gru" else {"position": reader}
    model = replace(config.model, dropout=0.0, **chosen)  # type: ignore[arg-type]
    settings = {"device": device, "steps": 6, "muon": False, "model": model, **settings}
    run = wo.train(replace(config, **settings))  # type: ignore[arg-type]
    return [each["loss"] for each in read(run.folder / "metrics.jsonl") if "loss" in each]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_a_gpu_trains_as_a_cpu(tmp_path: Path, kernel: str, isolate: bool) -> None:
    settings = {"kernel": kernel, "isolate_documents": isolate}
    expected = losses_on("cpu", tmp_path, **settings)
    assert losses_on("cuda", tmp_path, **settings) == pytest.approx(expected, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", ["t5", "fire", "shaw", "randomized+sinusoidal", "gru"])
def test_weights_drawn_at_random_are_the_same_on_a_gpu(tmp_path: Path, reader: str) -> None:
    expected = losses_on("cpu", tmp_path, reader)
    # cuDNN's GRU multiplies with ten bits of mantissa.
    near = pytest.approx(expected, rel=5e-3 if reader == "gru" else 1e-3)
    assert losses_on("cuda", tmp_path, reader) == near


def test_the_losses_of_a_run_are_read(tmp_path: Path) -> None:
    """What the test above compares, so that it runs on a GPU at once."""
    assert len(losses_on("cpu", tmp_path, kernel="fused", isolate_documents=True)) == 6
