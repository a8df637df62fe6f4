"""The training objectives, in a module without torch so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal

Objective = Literal["next-token", "masked-token"]
