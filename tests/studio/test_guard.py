"""Other sites cannot use the studio, and nobody without the token can where there is one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from wordorder.errors import BadInput, Refused
from wordorder.studio.application import STATIC, create_app
from wordorder.studio.opened import OpenRuns

LOCAL = "http://127.0.0.1:8321"
QUESTION = {"position": "none", "text": "I love AI"}


@pytest.mark.parametrize("host", ["127.0.0.1:9999", "localhost", "[::1]:8321", "192.168.1.7:80"])
def test_addresses_and_localhost_are_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/studio", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "a:b:c",
        "[::1",
        "localhost:abc",
        "localhost:99999",
    ],
)
def test_a_name_that_could_be_rebound_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/studio", headers={"host": host}).status_code == 403
    assert client.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_requests_of_other_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    refusal = client.post("/api/order/compare", json=QUESTION, headers=headers)
    assert refusal.status_code == 403 and "other sites" in refusal.json()["message"]


def test_own_requests_and_links_from_elsewhere_pass(client: TestClient) -> None:
    own = {"origin": LOCAL, "sec-fetch-site": "same-origin"}
    assert client.post("/api/order/compare", json=QUESTION, headers=own).status_code == 200
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200
    assert client.get("/api/studio", headers=followed).status_code == 403


def test_every_answer_has_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/api/studio", "/static/studio.js", "/nothing"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_long_body_is_refused(client: TestClient) -> None:
    big = client.post("/api/order/compare", json={**QUESTION, "text": "x" * 70_000})
    assert big.status_code == 413
    endless = client.post("/api/order/compare", content=iter([b"{", b"}"]))
    assert endless.status_code == 413


def test_a_token_is_needed_where_there_is_one(runs: OpenRuns) -> None:
    app = create_app(runs, token="secret", names=("box",))
    with TestClient(app, base_url="http://box:8321", follow_redirects=False) as client:
        assert client.get("/").status_code == 401
        assert client.get("/static/studio.js").status_code == 401
        assert client.get("/?token=wrong").status_code == 401
        moved = client.get("/?token=secret")
        assert (moved.status_code, moved.headers["location"]) == (303, "/")
        cookie = moved.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie
        assert client.get("/").status_code == 200  # with the cookie
        assert client.post("/api/order/compare", json=QUESTION).status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403


def test_an_origin_that_is_no_address_is_another_site(client: TestClient) -> None:
    assert client.get("/", headers={"origin": "http://["}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/static/../guard.py", "/static/%2e%2e/guard.py", "/static//etc/passwd", "/docs"]
)
def test_no_path_leaves_the_folder_of_the_page(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("name", ["../rotary", "/etc", "rotary/../learned", "unknown"])
def test_a_run_is_named_never_a_path(refused: Callable[..., tuple[str, str]], name: str) -> None:
    for path in ("/api/inside/trace", "/api/attention/maps", "/api/order/compare"):
        assert refused(path, run=name, text="some words")[0] == "studio.no-such-run"


def test_a_run_with_code_of_its_own_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    record = json.loads((folders["rotary"] / "config.json").read_text(encoding="utf-8"))
    record["model"]["position"] = "mine.Embedding"
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folders["rotary"] / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(Refused) as caught:
        OpenRuns([tmp_path])
    assert caught.value.code == "studio.own-code"


def test_a_name_that_no_page_can_have_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"run-\xff")
    folder.symlink_to(folders["rotary"])
    assert OpenRuns([folder])  # the folder that it leads to has another name
    copy = tmp_path / os.fsdecode(b"copy-\xff")
    shutil.copytree(folders["rotary"], copy)
    with pytest.raises(BadInput, match=r"copy-\\xff: the studio needs names in UTF-8"):
        OpenRuns([copy])


def test_names_of_runs_differ(folders: dict[str, Path], tmp_path: Path) -> None:
    again = tmp_path / "rotary"
    again.symlink_to(folders["learned"])
    opened = OpenRuns([folders["rotary"], again])
    assert [name for name, _ in opened] == ["rotary", "learned"]
    with pytest.raises(BadInput) as caught:
        OpenRuns([folders["rotary"]] * 2)
    assert caught.value.code == "studio.run-given-twice"


@pytest.mark.parametrize(
    ("position", "code"),
    [
        ("os.path", "studio.embedding-of-others"),
        ("rotary/os.path", "studio.embedding-of-others"),
        ("t5:buckets=100000000", "studio.number-too-large"),
        ("rotary:base=1e300", "studio.number-too-large"),
        ("rotery", "positions.unknown-name"),
        ("rotary+" * 60 + "rotary", "studio.invalid-request"),
    ],
)
def test_a_spec_imports_nothing_and_stays_small(
    refused: Callable[..., tuple[str, str]], position: str, code: str
) -> None:
    assert refused("/api/embedding/picture", position=position)[0] == code
    assert refused("/api/order/compare", position=position, text="a b")[0] == code


def test_long_texts_are_refused_with_a_message(refused: Callable[..., tuple[str, str]]) -> None:
    assert "400" in refused("/api/order/compare", text="a " * 300)[1]
    code, message = refused("/api/attention/maps", run="rotary", text="many words " * 60)
    assert code == "studio.too-many-tokens" and "512" in message


def test_nothing_on_the_page_parses_html() -> None:
    """What a model writes is text: no script may turn it into elements."""
    scripts = [path.read_text(encoding="utf-8") for path in STATIC.rglob("*.js")]
    assert len(scripts) > 8
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert not any(forbidden in script for script in scripts), forbidden
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "") and "style=" not in page


@pytest.mark.parametrize("other", ['prefs={"a":1}', "foo[bar]=1", "a/b=1", "x=caf\u00e9"])
def test_cookies_of_other_servers_do_no_harm(runs: OpenRuns, other: str) -> None:
    app = create_app(runs, token="secret", names=("box",))
    with TestClient(app, base_url="http://box:8321", follow_redirects=False) as client:
        cookies = f"{other}; wordorder-studio-8321=secret".encode("latin-1")
        assert client.get("/", headers={b"cookie": cookies}).status_code == 200
