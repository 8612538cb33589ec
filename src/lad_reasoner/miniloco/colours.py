"""The colours that facts name, and mixtures of them."""

from __future__ import annotations

# Red, green and blue as shown on a display, each in [0, 1].
Colour = tuple[float, float, float]

# Before light and camera.
COLOURS: dict[str, Colour] = {
    "red": (0.78, 0.13, 0.11),
    "orange": (0.95, 0.45, 0.10),
    "yellow": (0.95, 0.77, 0.16),
    "green": (0.20, 0.58, 0.25),
    "blue": (0.16, 0.34, 0.74),
    "purple": (0.48, 0.24, 0.60),
    "pink": (0.93, 0.56, 0.66),
    "brown": (0.45, 0.28, 0.16),
    "black": (0.10, 0.10, 0.11),
    "grey": (0.52, 0.53, 0.55),
    "white": (0.93, 0.92, 0.89),
    "steel": (0.70, 0.72, 0.75),
    "brass": (0.82, 0.63, 0.26),
}


def rgb(colour: Colour | str) -> Colour:
    """The colour itself, or the one that has this name."""
    return COLOURS[colour] if isinstance(colour, str) else colour


def mix(a: Colour | str, b: Colour | str, share: float) -> Colour:
    """The colour between two others; share 0 is a, 1 is b."""
    one, two = rgb(a), rgb(b)
    return (
        one[0] + (two[0] - one[0]) * share,
        one[1] + (two[1] - one[1]) * share,
        one[2] + (two[2] - one[2]) * share,
    )
