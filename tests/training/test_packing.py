"""What training declares of the positions it feeds, so that biases by distance stay fast."""

from __future__ import annotations

from pathlib import Path

import pytest

import wordorder as wo
from wordorder.model import additive_mask
from wordorder.model.bias import AttentionBias


@pytest.mark.parametrize(
    ("position", "listed"), [("t5", True), ("offset+t5", False), ("randomized+t5", False)]
)
def test_packed_documents_have_their_biases_from_a_list_of_distances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: str, listed: bool
) -> None:
    seen = []

    class Recorded(AttentionBias):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            if self.layout.key_documents is not None and self.trained:
                seen.append(self.by_distance is not None)

    monkeypatch.setattr(additive_mask, "AttentionBias", Recorded)
    text = tmp_path / "text.txt"
    text.write_text("a bee sees the sea\n\nand the sea sees a bee\n" * 60, encoding="utf-8")
    model = wo.ModelConfig(position=position, width=16, layers=1, heads=2, trained_length=16)
    given = {"data": (str(text),), "tokenizer": "bytes", "steps": 2, "out": f"{tmp_path}/run"}
    given |= {"isolate_documents": True, "kernel": "plain", "dtype": "float32"}
    wo.train(wo.TrainConfig(model, **given))
    # Measuring comes first, with the positions of the batch as it is.
    assert seen[0] and seen[-1] is listed
