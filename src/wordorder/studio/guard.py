"""Refuses requests from other sites, and requests without the token where one is needed.

A page of another site could send requests to a server on this machine: directly (then the browser
names the site in Origin or Sec-Fetch-Site), or under a name of its own that resolves to 127.0.0.1
(DNS rebinding; then Host has that name). Both are refused. An address in Host cannot be rebound.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "wordorder-studio"
MOST_BODY = 1 << 16
# The text of a new run comes as JSON, in which a control character takes six bytes.
LONGER_BODIES = {"/api/build/start": 12 << 20, "/api/compare/start": 12 << 20}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware with these checks, and with the headers of every answer.

    Args:
        app: the application.
        token: needed in the URL of the page, which then sets a cookie; "" for none.
        names: host names, besides addresses and localhost, under which the server is reached.
    """

    def __init__(self, app: ASGIApp, token: str = "", names: Iterable[str] = ()) -> None:
        self.app, self.token = app, token
        self.names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websockets

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}  # a report has its own policy
                own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                own = [(name, value) for name, value in own if name not in there]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused; None if it may pass."""
        headers = Headers(scope=scope)
        if not self._is_own_name(headers.get("host", "")):
            return _refused("this name does not belong to the studio: open the URL that it printed")
        if _from_elsewhere(headers, scope):
            return _refused("requests from other sites are refused")
        length = headers.get("content-length", "0")
        most = LONGER_BODIES.get(scope["path"], MOST_BODY)
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > most:
            return _refused("the request is too long: shorten the text", 413)
        if self.token:
            return self._without_token(scope, headers)
        return None

    def _is_own_name(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:  # a port that is no number
            return False
        if name.lower() in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        typed = query.pop("token", [""])[0]
        if hmac.compare_digest(typed.encode(), self.token.encode()):
            if scope["path"] != "/":
                return None
            # Out of the address bar, so that it is not copied with a link.
            rest = urlencode(query, doseq=True)
            moved = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            moved.set_cookie(_cookie(headers), self.token, httponly=True, samesite="lax")
            return moved
        # Cookies of all servers on this machine arrive, also ones that http.cookies cannot read.
        cookie = cookie_parser(headers.get("cookie", "")).get(_cookie(headers), "")
        if hmac.compare_digest(cookie.encode(), self.token.encode()):
            return None
        return _refused("the token is missing: open the URL that wordorder studio printed", 401)


def _cookie(headers: Headers) -> str:
    """Return the name of the cookie: servers on other ports of a host get it too."""
    return f"{COOKIE}-{urlsplit('//' + headers.get('host', '')).port or 80}"


def _from_elsewhere(headers: Headers, scope: Scope) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        try:
            there = urlsplit(origin).netloc.lower()
        except ValueError:  # as of http://[
            return True
        return there != headers.get("host", "").lower()
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link on another site may lead to the page itself.
        followed = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        return not (followed and scope["path"] == "/")
    return False


def _refused(message: str, status: int = 403) -> Response:
    return JSONResponse({"message": message}, status)


def own_names(host: str) -> set[str]:
    """Return the names of this machine, for a server that others reach at `host`."""
    return {host.strip("[]"), socket.gethostname(), socket.getfqdn()}
