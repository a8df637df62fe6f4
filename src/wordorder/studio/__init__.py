"""The studio: a local page that shows how order enters a model.

A room is one file of endpoints in `rooms/` and one ES module in `static/rooms/`. The studio
computes nothing itself: rooms call the library, as the command line does, and show the command
that gives the same numbers.
"""
