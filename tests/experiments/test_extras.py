"""What an experiment needs and is not installed is said before anything is trained."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from wordorder.cli.main import main
sys.exit(main([{command!r}, "--data", "not there"]))
"""


@pytest.mark.parametrize(
    ("command", "missing"), [("compare", "jinja2"), ("compare", "scipy"), ("tasks", "jinja2")]
)
def test_a_missing_extra_is_named(command: str, missing: str) -> None:
    code = CODE.format(command=command, missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'wordorder[compare]'" in done.stderr
