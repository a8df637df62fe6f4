"""The colour of each embedding on a light and on a dark page."""

from __future__ import annotations

from wordorder.panels import look_of

LIGHTER = 0.35  # towards white: on a dark page the darkest colours would vanish


def colours(position: str) -> dict[str, str]:
    """Return the colour that an embedding has in every picture, and a lighter one."""
    colour = look_of(position).colour
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if max(channels) < 0x40:  # black becomes white
        channels = [255 - channel for channel in channels]
    lighter = [round(channel + (255 - channel) * LIGHTER) for channel in channels]
    return {"colour": colour, "dark_colour": "#" + "".join(f"{c:02x}" for c in lighter)}
