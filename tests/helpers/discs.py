"""Drawn trays of discs and bars, whose parts are counted."""

import numpy as np
from PIL import Image, ImageDraw

SIDE = 384
ORANGE, GREEN = (240, 150, 20), (40, 160, 60)
PLACES = [(x, y) for y in range(48, SIDE, 72) for x in range(48, SIDE, 72)]  # of 25 parts that do not touch


def draw(discs: int, bars: int = 0, *, seed: int = 0, shift: int = 8) -> Image.Image:
    """Orange discs and green bars at random places of a dark tray."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), (30, 30, 36))
    pen = ImageDraw.Draw(image)
    for number, at in enumerate(rng.permutation(len(PLACES))[: discs + bars]):
        x, y = (place + int(rng.integers(-shift, shift + 1)) for place in PLACES[at])
        if number < discs:
            pen.ellipse((x - 15, y - 15, x + 15, y + 15), fill=ORANGE)
        else:
            pen.rectangle((x - 22, y - 5, x + 22, y + 5), fill=GREEN)
    grain = rng.normal(0, 2, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
