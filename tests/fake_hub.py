"""A server that answers as the Hugging Face Hub does about one model, and counts what it sends."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

MODEL, COMMIT = "someone/Small-Model", "0123456789abcdef0123456789abcdef01234567"
PRIVATE, GATED = "someone/private", "someone/gated"
ERRORS = {PRIVATE: (401, "RepoNotFound"), GATED: (403, "GatedRepo")}


def _entry(folder: Path, file: Path) -> dict[str, object]:
    name, data = file.relative_to(folder).as_posix(), file.read_bytes()
    return {"type": "file", "path": name, "size": len(data), "oid": _tag(data)}


def _tag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serving(folder: Path, cache: Path) -> Iterator[list[str]]:
    """Serve the files of a folder; yields the names of those that were sent."""
    constants = pytest.importorskip("huggingface_hub").constants
    sent: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.split("?")[0]
            code, headers, data = 200, {}, b""
            if path.startswith(f"/api/models/{MODEL}/revision/"):
                data = json.dumps({"id": MODEL, "sha": COMMIT}).encode()
                if path.rpartition("/")[2] not in ("main", "v1", COMMIT):
                    code, headers = 404, {"X-Error-Code": "RevisionNotFound"}
            elif path == f"/api/models/{MODEL}/tree/{COMMIT}":
                files = sorted(file for file in folder.rglob("*") if file.is_file())
                data = json.dumps([_entry(folder, file) for file in files]).encode()
            elif path.startswith(f"/{MODEL}/resolve/"):
                name = path.split("/", 5)[-1]
                data = (folder / name).read_bytes()
                headers = {"ETag": f'"{_tag(data)}"', "X-Repo-Commit": COMMIT}
                if self.command == "GET":
                    sent.append(name)
            else:
                wrong = (error for model, error in ERRORS.items() if f"/{model}/" in path)
                code, kind = next(wrong, (404, "RepoNotFound"))
                headers = {"X-Error-Code": kind}
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        here = f"http://127.0.0.1:{server.server_port}"
        patch.setattr(constants, "ENDPOINT", here)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{here}/{''.join(template[1:])}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        try:
            yield sent
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
