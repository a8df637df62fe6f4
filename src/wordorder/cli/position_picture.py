"""`wordorder positions --picture`: draws an embedding of the catalogue, or that of a run.

The path of the picture goes to stdout, and what cannot be drawn to stderr.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from wordorder import drawing
from wordorder.atomic import cannot_write
from wordorder.cli.opened import open_run
from wordorder.cli.options.positions import PositionsOptions
from wordorder.errors import BadInput
from wordorder.evaluation.position_panels import PositionPanels, panels_of, panels_of_spec
from wordorder.model import LanguageModel, make_model
from wordorder.names import file_name
from wordorder.positions import CATALOGUE, canonical
from wordorder.positions import parse as parse_spec
from wordorder.text.user_text import user_path
from wordorder.training.run import Run

# One column of panels is 420 px of a phone, with letters of 10 px, and 1,288 px of a PNG.
WIDTH, DPI = 5.6, 230


def draw_positions(options: PositionsOptions) -> int:
    """Draw the picture and return the exit code."""
    assert options.spec is not None
    path = None if options.out is None else user_path(options.out)
    if _is_run(options.spec):
        run = open_run(options.spec, trust=options.trust)
        title, drawn = f"{run.folder.name}: {run.model_config.position}", _of_run(run)
        path = path or run.folder / "position.png"
    else:
        title, drawn = options.spec, panels_of_spec(options.spec)
        path = path or Path(f"position-{file_name(options.spec)}.png")
    if drawn.panels:
        try:
            kind = path.suffix[1:]
            drawing.save_panels(
                path, [drawn.panels], title=title, width=WIDTH, kinds=[kind], dpi=DPI
            )
        except OSError as error:
            raise cannot_write(path, error, "choose another --out") from None
    _report(path if drawn.panels else None, drawn, options.json)
    return 0


def _report(path: Path | None, drawn: PositionPanels, as_json: bool) -> None:
    if as_json:
        picture = None if path is None else str(path)
        panels = [{"name": panel.name, "title": panel.title} for panel in drawn.panels]
        print(json.dumps({"picture": picture, "panels": panels, "not_drawn": drawn.not_drawn}))
        return
    for name, reason in drawn.not_drawn.items():
        print(f"{name} is not drawn: {reason}", file=sys.stderr)
    if path is not None:
        print(path)


def _is_run(text: str) -> bool:
    """Return whether an argument is a folder, unless it is a spec of catalogue names."""
    names = (part.partition(":")[0].strip() for part in re.split(r"[/+](?![^\[]*\])", text))
    is_spec = all(canonical(name) in CATALOGUE for name in names)
    return not is_spec and user_path(text).is_dir()


def _of_run(run: Run) -> PositionPanels:
    """Return the panels of a run's embeddings, before training too if its seed gives them.

    Raises:
        BadInput: the run has no embedding.
    """
    model = run.model
    if not isinstance(model, LanguageModel):
        raise BadInput(
            f"{run.folder} is a recurrent model, which has no positional embedding: give a run of "
            "a transformer",
            code="cli.picture-of-recurrent",
        )
    spec = parse_spec(run.model_config.position)
    training = run.config.get("training", {})
    if training.get("init") or "extension" in run.config or "seed" not in training:
        print(
            f"{run.folder} started from the weights of another run: drawn after training only",
            file=sys.stderr,
        )
        return panels_of(spec, model.position, model.position)
    first = make_model(run.model_config)
    first.initialise(training["seed"])
    assert isinstance(first, LanguageModel)
    return panels_of(spec, model.position, first.position)
