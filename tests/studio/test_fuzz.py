"""Requests made from the API's own description: answered or refused in words, never a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings

from wordorder.studio import detached, speed
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
schema = schemathesis.openapi.from_dict(create_app(OpenRuns([])).openapi())
FEW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "start", lambda arguments, log: (0, ""))
    monkeypatch.setattr(speed, "_in_process", lambda *_: None)


@pytest.mark.slow
@schema.parametrize()
@FEW
def test_a_request_is_answered_or_refused(client: TestClient, case: Any) -> None:
    for run in (None, "rotary"):  # as made, and with a run that is there
        if run and isinstance(case.body, dict) and "run" in case.body:
            case.body["run"] = run
        if run and "run" in (case.query or {}):
            case.query["run"] = run
        request = case.as_transport_kwargs(base_url="http://127.0.0.1:8321")
        answer = client.request(
            case.method,
            case.formatted_path,
            params=request.get("params"),
            json=request.get("json"),
        )
        assert answer.status_code in (200, 405, 422), answer.text
        if answer.status_code == 422:
            refusal = json.loads(answer.text)
            assert refusal["code"] and refusal["message"]
