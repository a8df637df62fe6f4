"""The command: its URL, its port, its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from wordorder.cli.main import main


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_it_serves_until_ctrl_c() -> None:
    port = free_port()
    command = [sys.executable, "-m", "wordorder", "studio", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        try:
            assert p.stdout is not None
            url = p.stdout.readline().split()[0]
            assert url == f"http://127.0.0.1:{port}/"
            with urllib.request.urlopen(url, timeout=20) as page:
                assert "wordorder studio" in page.read().decode()
            p.send_signal(signal.SIGINT)
            _, errors = p.communicate(timeout=20)
            assert (p.returncode, errors.strip()) == (130, "stopped")
        finally:
            p.kill()


def test_other_machines_need_the_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, _: served.append(server.config.app))
    assert main(["studio", "--no-browser", "--host", "0.0.0.0", "--port", str(free_port())]) == 0
    base, token = capsys.readouterr().out.split()[0].split("?token=")
    assert len(token) >= 24
    with TestClient(served[0], base_url=base) as client:
        assert client.get("/").status_code == 401
        assert client.get(f"/?token={token}").status_code == 200


def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: pytest.fail("it was served"))
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        assert main(["studio", "--no-browser", "--port", port]) == 2
        assert f"port {port} is in use" in capsys.readouterr().err
    assert main(["studio", "--no-browser", str(tmp_path)]) == 2
    assert "is not a run: " in capsys.readouterr().err
    assert main(["studio", "--no-browser", "--host", "no.such.host.invalid"]) == 2
    assert "cannot listen" in capsys.readouterr().err


def test_the_next_free_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from wordorder.studio import serving

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setattr(serving, "PORT", busy.getsockname()[1])
        with serving._listen("127.0.0.1", 0) as listening:
            assert listening.getsockname()[1] > serving.PORT


def test_what_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordorder.cli.studio.find_spec", lambda name: None)
    assert main(["studio"]) == 2
    assert "pip install 'wordorder[studio]'" in capsys.readouterr().err


def test_it_starts_without_what_comparisons_need() -> None:
    """The extra `studio` has neither scipy nor jinja2; the room Compare says what to install."""
    script = """
import sys
sys.modules.update({"scipy": None, "jinja2": None})
from fastapi.testclient import TestClient
from wordorder.studio.application import create_app
from wordorder.studio.opened import OpenRuns
client = TestClient(create_app(OpenRuns([])), base_url="http://127.0.0.1")
answer = client.post("/api/compare/command", json={"positions": ["none", "rotary"]})
print(client.get("/api/studio").status_code, answer.json()["code"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["200", "studio.compare-not-installed"]


def test_what_is_cut_off_at_the_end_is_no_error() -> None:
    from wordorder.studio.serving import _is_no_cancellation

    def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
        cause = (type(error), error, None) if error else None
        return logging.LogRecord("uvicorn.error", 40, "", 0, message, (1,), cause)  # type: ignore[arg-type]

    assert not _is_no_cancellation(record("failed", asyncio.CancelledError()))
    assert not _is_no_cancellation(record("Cancel %s running task(s), timeout exceeded"))
    assert _is_no_cancellation(record("failed", ValueError()))
