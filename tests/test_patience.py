import time

import pytest

from wordorder.patience import notify_if_slow


def test_what_takes_long_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with notify_if_slow("reading", seconds=0.01):
        deadline = time.monotonic() + 30
        while not (said := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == "reading ...\n"


def test_what_is_done_soon_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with notify_if_slow("reading"):
        pass
    assert capsys.readouterr().err == ""
