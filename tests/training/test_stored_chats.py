"""Conversations in a store: their template is the run's, and they are cut to its context."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_config import small_config

from wordorder.cli.main import main
from wordorder.errors import BadInput
from wordorder.text.sharded.prepare import StoreConfig, prepare
from wordorder.training.config import TrainConfig
from wordorder.training.run_text import text_of
from wordorder.training.start import train
from wordorder.training.training_data import read_training_data


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pairs(folder: Path, name: str = "pairs", words: int = 3) -> Path:
    path = folder / f"{name}.jsonl"
    rows = ({"prompt": f"{name} {n}?", "answer": f"{7 * n % 31} bees" * words} for n in range(60))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def turns(folder: Path) -> Path:
    path = folder / "turns.jsonl"
    roles = ("user", "assistant", "user", "assistant")
    with path.open("w", encoding="utf-8") as file:
        for n in range(60):
            messages = [{"role": role, "content": f"{role} {n}"} for role in roles]
            file.write(f"{json.dumps({'messages': messages})}\n")
    return path


def stored(text: Path, **options: object) -> Path:
    folder = text.with_suffix(".store")
    prepare(folder, StoreConfig((str(text),), **{"tokenizer": "bytes", **options}))
    return folder


def config_of(out: Path, *data: object) -> TrainConfig:
    config = replace(small_config(Path(str(data[0])), out), data=tuple(map(str, data)))
    model = replace(config.model, trained_length=160)
    return replace(config, model=model, tokenizer="bpe", steps=2)


def code_of(config: TrainConfig) -> str:
    with pytest.raises(BadInput) as caught:
        read_training_data(config)
    return str(caught.value.code)


def test_parts_of_a_mixture_have_one_template(tmp_path: Path) -> None:
    plain = stored(pairs(tmp_path))
    chatml = stored(pairs(tmp_path, "other"), chat_template="chatml")
    (more,) = (f"{name}=1" for name in [turns(tmp_path)])
    wrong = "training.store-template-of-others"
    assert code_of(config_of(tmp_path / "a", f"{plain}=1", more)) == wrong
    assert code_of(config_of(tmp_path / "b", f"{plain}=1", f"{chatml}=1")) == wrong
    data = read_training_data(config_of(tmp_path / "c", f"{chatml}=1", more))
    assert {part.data.template.name for part in data.parts} == {"chatml"}


def test_the_template_of_a_store_is_that_of_the_run(tmp_path: Path) -> None:
    config = replace(config_of(tmp_path / "run", pairs(tmp_path)), tokenizer="bytes")
    run = train(replace(config, chat_template="chatml"))
    store = stored(pairs(tmp_path, "other"), tokenizer=str(run.folder))  # plain: single answers
    tuned = replace(config, data=(str(store),), init=str(run.folder), out=str(tmp_path / "tuned"))
    tuned = replace(tuned, tokenizer="bpe", validation_fraction=0.1)
    with pytest.raises(BadInput) as caught:
        train(tuned)
    assert caught.value.code == "training.store-template-of-others"
    with pytest.raises(BadInput) as caught:
        text_of(run, (str(store),), "text")
    assert caught.value.code == "training.store-template-of-others"
    assert train(replace(tuned, chat_template="plain")).chat["template"] == "plain"


def test_its_own_tokenizer_may_be_named(tmp_path: Path) -> None:
    run = train(replace(config_of(tmp_path / "run", pairs(tmp_path)), tokenizer="bytes"))
    own = str(run.folder / "tokenizer.json")
    store = stored(pairs(tmp_path, "other"), tokenizer=own, chat_template="chatml")
    named = replace(config_of(tmp_path / "named", store), tokenizer=own)
    assert read_training_data(named).template is not None


def test_long_conversations_are_cut_for_a_run(tmp_path: Path) -> None:
    store = stored(pairs(tmp_path, words=40))
    run = train(config_of(tmp_path / "run", store))
    _, tokens = text_of(run, (str(store),), "text")
    assert tokens.sizes.max() <= run.model_config.trained_length
    assert main(["eval", str(run.folder), "--data", str(store), "--json"]) == 0


def test_counts_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = pairs(tmp_path)
    store = stored(text)
    described = []
    for words in (["data", str(text), "--tokenizer", "bytes"], ["data", str(store)]):
        assert main([*words, "--json"]) == 0
        described.append(json.loads(capsys.readouterr().out))
        assert main(words) == 0
        table = capsys.readouterr().out
        rows = {line.split("  ")[0]: line.split()[-4:] for line in table.splitlines()[2:8]}
        for cells in (rows["documents"], rows["tokens"], rows["answer tokens"]):
            whole, *parts = (int(cell.replace(",", "")) for cell in cells)
            assert whole == sum(parts)
    memory, disk = described
    assert (memory["tokens"], memory["bytes_per_token"]) == (
        disk["tokens"],
        disk["bytes_per_token"],
    )


def test_mixtures_of_conversations_and_text_are_not_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a small text. " * 100, encoding="utf-8")
    for data in ([f"{pairs(tmp_path)}=1", f"{text}=1"], [f"{text}=1", f"{turns(tmp_path)}=1"]):
        assert main(["data", *data]) == 2
        assert "conversations and text" in capsys.readouterr().err


def test_the_words_of_the_template_are_in_the_alphabet(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    rows = ({"prompt": f"{n}+2=", "answer": f"{n + 2}"} for n in range(60))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    config = replace(config_of(tmp_path / "run", path), tokenizer="characters")
    data = read_training_data(replace(config, chat_template="chatml"))
    assert "assistant" in data.tokenizer.decode(data.training.tokens.tolist())
