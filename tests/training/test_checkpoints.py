"""A checkpoint comes back whole, or the one before does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from wordorder.errors import BadInput
from wordorder.training import checkpoints
from wordorder.training.config import TrainConfig, from_mapping, seconds
from wordorder.training.plan import readable_seconds


def two(folder: Path) -> None:
    for step in (5, 10):
        checkpoints.save(folder, step, {"w": torch.full((3,), float(step))}, {"note": step})


def test_the_newest_comes_back(tmp_path: Path) -> None:
    two(tmp_path)
    found = checkpoints.load(tmp_path)
    assert found.step == 10
    assert found.extra == {"note": 10}
    assert found.tensors["w"].tolist() == [10.0] * 3


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_truncated_file_falls_back_and_says_so(tmp_path: Path, name: str) -> None:
    two(tmp_path)
    damaged = tmp_path / "step-00000010" / name
    damaged.write_bytes(damaged.read_bytes()[:-3])
    said: list[str] = []
    assert checkpoints.load(tmp_path, said.append).step == 5
    assert "step-00000010 is damaged" in said[0]
    checkpoints.remove_after(tmp_path, 5)
    assert checkpoints.newest_step(tmp_path) == 5


def test_a_full_disk_keeps_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, 15, {"w": torch.zeros(3)}, {})
    assert checkpoints.load(tmp_path).step == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000005", "step-00000010"]


def test_what_safetensors_raises_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(tmp_path)

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    for save in (
        lambda: checkpoints.save(tmp_path, 15, {"w": torch.zeros(3)}, {}),
        lambda: checkpoints.save_weights(tmp_path / "model.safetensors", {"w": torch.zeros(3)}),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            save()
        assert caught.value.errno == 28
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000005", "step-00000010"]


def test_what_is_not_ours_stays_when_old_checkpoints_go(tmp_path: Path) -> None:
    (tmp_path / "step-by-step").mkdir()
    two(tmp_path)
    (tmp_path / "step-00000005/note").touch()
    checkpoints.save(tmp_path, 15, {"w": torch.zeros(3)}, {})
    checkpoints.save(tmp_path, 20, {"w": torch.zeros(3)}, {})
    names = ["step-00000005", "step-00000015", "step-00000020", "step-by-step"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert [p.name for p in (tmp_path / "step-00000005").iterdir()] == ["note"]
    assert checkpoints.load(tmp_path).step == 20


def test_the_first_checkpoint_is_not_written_over_itself(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 0, {"w": torch.zeros(3)}, {})
    state = tmp_path / "step-00000000/state.safetensors"
    before = state.stat().st_ino
    checkpoints.save(tmp_path, 0, {"w": torch.zeros(3)}, {})
    assert state.stat().st_ino == before
    state.write_bytes(b"damaged")
    checkpoints.save(tmp_path, 0, {"w": torch.zeros(3)}, {})
    assert checkpoints.load(tmp_path).step == 0


def test_none_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="train again with --overwrite") as caught:
        checkpoints.load(tmp_path / "training")
    assert caught.value.code == "training.no-checkpoint"
    (tmp_path / "model.safetensors").touch()  # of an extension without training, for example
    with pytest.raises(BadInput, match="train from its weights with wordorder train --init"):
        checkpoints.load(tmp_path / "training")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("90s", 90), ("3m", 180), ("1.5h", 5400), ("20", 20)),
        *(
            ("1m30s", 90),
            ("1h30m", 5400),
            ("1 h 30 m", 5400),
            ("1h 0m 5s", 3605),
            ("1.5h 30s", 5430),
        ),
        *((readable_seconds(n), n) for n in (45, 185, 4800)),
    ],
)
def test_time_is_read(text: str, value: float) -> None:
    assert seconds(text) == value


def test_what_contradicts_is_refused() -> None:
    with pytest.raises(BadInput, match="--time and --steps"):
        TrainConfig(time="3m", steps=5)
    with pytest.raises(BadInput, match="time is '3 parsecs': it must be a duration"):
        TrainConfig(time="3 parsecs")
    with pytest.raises(BadInput, match="unknown preset huge: use one of nano"):
        from_mapping({}, "huge")


def test_values_win_over_the_preset() -> None:
    config = from_mapping({"width": 64, "steps": 7}, "nano")
    assert (config.model.width, config.model.layers, config.steps) == (64, 4, 7)


def test_a_configuration_comes_back() -> None:
    config = from_mapping({"windows": (4, 0), "data": ["a", "b"], "steps": 7})
    assert TrainConfig.from_dict(config.to_dict(), config.model) == config
