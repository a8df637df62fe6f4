"""`wordorder studio`: serves the page on which one sees how order enters a model."""

from __future__ import annotations

from importlib.util import find_spec

from wordorder.cli.options.studio import read_options
from wordorder.errors import BadInput

NEEDED = ("fastapi", "uvicorn")


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = read_options(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BadInput(
            f"the studio needs {' and '.join(missing)}: pip install 'wordorder[studio]'",
            code="cli.studio-not-installed",
        )
    from wordorder.studio.serving import serve

    serve(
        options.runs,
        host=options.host,
        port=options.port,
        browser=options.browser,
        folder=options.folder,
    )
    return 0
