"""What an experiment needs and is not installed is said before anything is trained."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ImportError(name)

missing = Missing()
sys.meta_path.insert(0, missing)
for command, missing.name in (("compare", "jinja2"), ("compare", "scipy"), ("tasks", "jinja2")):
    for name in [name for name in sys.modules if name.startswith(("wordorder", missing.name))]:
        del sys.modules[name]
    from wordorder.cli.main import main
    print(main([command, "--data", "not there"]))
"""


def test_a_missing_extra_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2", "2"]
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all("pip install 'wordorder[compare]'" in line for line in lines)
