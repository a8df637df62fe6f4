"""The rooms, in the order of the menu.

A room's endpoints are under /api/NAME; its page is static/rooms/NAME.js, which exports
`render(room)`. To add one, write these two files and add a line here.
"""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter

from wordorder.studio.rooms import (
    attention,
    build,
    compare,
    embedding,
    inside,
    length,
    lesson,
    order,
    words,
)


class Room(NamedTuple):
    """A room; `purpose` is one clause for the menu."""

    name: str
    title: str
    purpose: str
    router: APIRouter


ROOMS = (
    Room("order", "Order", "can a model tell two word orders apart?", order.router),
    Room("inside", "Inside", "follow one sentence through a model", inside.router),
    Room("embedding", "Embedding", "what a positional embedding computes", embedding.router),
    Room("attention", "Attention", "which tokens attend to which, how far back", attention.router),
    Room("length", "Length", "the loss past the trained length", length.router),
    Room("words", "Words", "what the word vectors of a model know", words.router),
    Room("build", "Build", "train a model of your own, and watch it learn", build.router),
    Room("compare", "Compare", "the same model with several embeddings", compare.router),
    Room("lesson", "Lesson", "positional embeddings in nine steps", lesson.router),
)
