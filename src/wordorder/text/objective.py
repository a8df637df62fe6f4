"""Objectives and chat templates by name, without torch so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal

Objective = Literal["next-token", "masked-token"]
TemplateName = Literal["auto", "plain", "chatml", "tokenizer"]
