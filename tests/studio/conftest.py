"""A studio with small runs of random weights, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exported_runs import write_run
from fastapi.testclient import TestClient
from random_weights import filled
from safetensors.torch import save_file

from wordorder.model import make_model
from wordorder.studio import opened, speed
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
from wordorder.text.corpus import Corpus, Document
from wordorder.text.store import TokenStore, open_store
from wordorder.training.run import Run

LOCAL = "http://127.0.0.1:8321"
RUNS: dict[str, dict[str, Any]] = {
    "rotary": {"position": "rotary"},
    "learned": {"position": "learned"},
    "masked": {"position": "alibi", "causal": False},
    "gru": {"kind": "gru"},
}


@pytest.fixture(scope="package", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in an empty folder: a studio shows what was started in the current one. Time nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_in_process", lambda *_: speed.StepTime(0.01, "made up"))
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_text() -> Iterator[None]:
    """Replace the validation text of all runs, which is the documentation of Python."""

    def text_of(run: Run, data: Any, field: str, **_: Any) -> tuple[str, TokenStore]:
        corpus = Corpus("t", (Document("some more words of a text " * 120, "t"),))
        return "a text", open_store(corpus, run.tokenizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened, "text_of", text_of)
        yield


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders by name."""
    root = tmp_path_factory.mktemp("studio")
    for name, options in RUNS.items():
        write_run(root / name, trained_length=64, **options)
    run = Run.load(root / "gru")  # written with the weights of a transformer
    model = filled(make_model(run.model_config))
    save_file(model.state_dict(), root / "gru" / "model.safetensors")
    return {name: root / name for name in RUNS}


@pytest.fixture(scope="session")
def runs(folders: dict[str, Path]) -> OpenRuns:
    return OpenRuns(list(folders.values()))


@pytest.fixture(scope="session")
def client(runs: OpenRuns) -> Iterator[TestClient]:
    with TestClient(create_app(runs), base_url=LOCAL) as client:
        yield client


@pytest.fixture(scope="session")
def ask(client: TestClient) -> Callable[..., Any]:
    """Return a function that posts a question and returns the answer."""

    def asked(path: str, **question: Any) -> Any:
        answer = client.post(path, json=question)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return asked


@pytest.fixture(scope="session")
def refused(client: TestClient) -> Callable[..., tuple[str, str]]:
    """Return a function that posts a question and returns the code and the message."""

    def asked(path: str, **question: Any) -> tuple[str, str]:
        answer = client.post(path, json=question)
        assert answer.status_code == 422, answer.text
        return answer.json()["code"], answer.json()["message"]

    return asked
