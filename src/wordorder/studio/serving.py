"""Serves the studio, on this machine alone unless told otherwise."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Sequence

import uvicorn

from wordorder.errors import BadInput, Failed
from wordorder.experiments.comparison import RECORD
from wordorder.studio.application import create_app
from wordorder.studio.guard import own_names
from wordorder.studio.opened import OpenRuns
from wordorder.studio.workshop import Workshop
from wordorder.text.user_text import user_path

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT, PORTS = 8321, 20  # the first port, and how many are tried if others use them


def serve(
    folders: Sequence[str],
    *,
    host: str = "",
    port: int = 0,
    browser: bool = True,
    folder: str = "runs",
) -> None:
    """Serve the studio until Ctrl-C, and print its URL.

    Args:
        folders: run folders, and folders of comparisons.
        host: the address to listen at; "": 127.0.0.1. On any other a token is needed in the URL.
        port: 0: the first free one from `PORT` on.
        browser: open the page in a browser.
        folder: where runs that are started from the page are written, and found again.

    Raises:
        BadInput: a folder is not a run; the host or the port cannot be used.
        Refused: a run has code of its own.
    """
    comparisons = [path for name in folders if (path := user_path(name) / RECORD).is_file()]
    compared = [path.parent for path in comparisons]
    runs = OpenRuns([name for name in folders if user_path(name) not in compared])
    workshop = Workshop(runs, user_path(folder), compared)
    local = not host or host in LOOPBACK
    token = "" if local else secrets.token_urlsafe(24)
    names = () if local else tuple(own_names(host))
    listening = _listen(host or LOOPBACK[0], port)
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host or LOOPBACK[0]
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"http://{shown}:{listening.getsockname()[1]}/"
    if token:
        url += f"?token={token}"
    print(f"{url}  (Ctrl-C ends the studio)", flush=True)
    if browser:
        threading.Timer(0.3, webbrowser.open, [url]).start()
    config = uvicorn.Config(
        create_app(runs, token, names, workshop),
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=2,  # seconds for a model that is writing
    )
    # Stopping the studio cuts off open requests of the page, which is not an error to report.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    with listening:
        uvicorn.Server(config).run([listening])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut_off and not str(record.msg).startswith("Cancel %s running task")


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port else range(PORT, PORT + PORTS):
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen()
            return listening
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise BadInput(
                    f"cannot listen at {host}, port {number} ({error.strerror or error}): choose "
                    "another --host or --port",
                    code="studio.cannot-listen",
                ) from None
    if port:
        raise BadInput(
            f"port {port} is in use: choose another --port, or leave it out for the first free one",
            code="studio.port-in-use",
        )
    raise Failed(
        f"the ports {PORT} to {PORT + PORTS - 1} are all in use: choose one with --port",
        code="studio.no-free-port",
    )
