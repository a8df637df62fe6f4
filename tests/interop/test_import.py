"""Every family is imported from folders of transformers, and gives the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stock_models import STOCK, TRAINED, save_stock

from wordorder.interop.huggingface.import_folder import ImportedRun, import_folder
from wordorder.training.run import Run

transformers = pytest.importorskip("transformers")

ALL = [(kind, name) for kind, rows in STOCK.items() for name in rows]
CLOSE = 1e-5


def imported(tmp_path: Path, kind: str, name: str, **options: Any) -> ImportedRun:
    save_stock(tmp_path / "stock", kind, STOCK[kind][name], **options)
    return import_folder(tmp_path / "stock", tmp_path / "run")


@pytest.mark.parametrize("kind,name", ALL)
def test_each_model_gives_the_same_logits(tmp_path: Path, kind: str, name: str) -> None:
    result = imported(tmp_path, kind, name)
    assert result.class_name == kind
    assert result.largest_difference is not None and result.largest_difference < CLOSE * 2
    trained = result.trained_length
    lengths = {comparison.tokens for comparison in result.comparisons}
    run = Run.load(tmp_path / "run")
    is_limited = run.model.position.max_position == trained - 1 or kind == "MptForCausalLM"
    assert lengths >= {trained // 2, trained, trained if is_limited else 2 * trained}
    readings = {comparison.reading for comparison in result.comparisons}
    is_causal = not kind.startswith("Bert")
    assert readings == {"alone", "padded", *(["cached"] if is_causal else [])}
    with torch.no_grad():
        assert run.model(torch.arange(TRAINED)[None]).std() > 0.3
