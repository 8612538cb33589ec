"""What changed in the picture as a whole: light, colour, focus, noise, compression, size, orientation.

    looks = [measure_look(reference) for reference in references]
    for change in find_changes(measurement, working, measure_look(query), looks, upright=matcher.upright):
        change.kind, change.percent                  # ("darker", 22)

None of this is part of the score. A reader needs it, since a picture that is out of focus has another cause and another
mend than a part that is missing. What the references do among themselves is no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.registration import in_view, isotropic_grid, sample

WholeKind = Literal[
    "darker", "lighter", "grey", "blurred", "noisy", "compressed", "smaller", "larger", "stretched", "turned"
]

TILE, TILES = 128, 2  # pixels of a tile's side; tiles along a side of a large picture, for speed
BLOCK = 8  # pixels of a block of JPEG
CELL = 16  # pixels of the working picture for one cell in which light is compared
DARK = 16  # grey levels: below, a ratio says little
EDGE = 8  # grey levels: a smaller step is no edge; a larger one is none of compression

# From here on a change is said (made from photographs of six products; see tests for what each finds).
LIGHT = 0.10  # relative difference of grey levels
GREYED = 0.25  # of the references' chroma
COLOURED = 3.0  # grey levels of chroma: below, the references are grey themselves
SOFTER = 0.67  # of the references' sharpness, both above SOFTEST
SOFTEST = 0.20  # sharpness of an edge as wide as the measure
NOISIER = 0.7  # grey levels above one and a half times the references' noise
BLOCKY = 0.12  # above the references' share of blocks
RESIZED = 1.5  # ratio of the numbers of pixels
STRETCHED = 0.12  # relative difference of the aspects; rounding to whole patches explains less
TURNED = 22.5  # degrees, half a step of the orientations in which references are known


@dataclass(frozen=True)
class Look:
    """How a picture looks as a whole; grey levels run from 0 to 255."""

    width: int
    height: int
    level: float  # mean grey level
    chroma: float  # mean distance of the channels from their mean, in grey levels
    sharpness: float  # of its strongest edges: what part of a step lies between neighbours; 0.25 for a ramp, 1 at best
    noise: float  # in its flattest tenth, in grey levels
    blocks: float  # steps between JPEG's blocks relative to steps within them; 1 if there are none


@dataclass(frozen=True)
class WholeChange:
    """One change of the whole picture; `excess` is its size in units of the least that is said."""

    kind: WholeKind
    excess: float
    percent: int = 0  # of light
    degrees: int = 0  # clockwise, from -180 to 179, of a turn


def measure_look(picture: Picture) -> Look:
    """Measure at most TILES x TILES tiles of the picture as it was read."""
    tiles = _tiles(picture.image)  # (tiles, rows, columns, 3)
    grey = _grey(tiles)
    return Look(
        width=picture.width,
        height=picture.height,
        level=float(grey.mean()),
        chroma=float(np.abs(tiles - grey[..., None]).mean()),
        sharpness=_sharpness(grey),
        noise=_noise(grey),
        blocks=_blocks(grey),
    )


def measure_sharpness(image: Image.Image) -> float:
    """`Look.sharpness` of an RGB picture."""
    return _sharpness(_grey(_tiles(image)))


def find_changes(
    measurement: Measurement, query: Image.Image, look: Look, references: Sequence[Look], *, upright: bool
) -> list[WholeChange]:
    """What the query's look has that none of the references' has, largest first.

    `query` is the picture at working size, `look` and `references` are as the pictures were read. A turn is a change
    where the references are `upright`: none of them is turned against another.
    """
    light = _light(measure_gain(measurement, query), references[measurement.reference], references)
    resized = [_size(look, references), _stretched(look, measurement.view)]
    found = [light, _greyed(look, references), *resized, _turned(measurement) if upright else None]
    if not any(resized):  # focus, noise and compression are measured in pixels, whose size must be the same
        found += _texture(look, references)
    return sorted((change for change in found if change), key=lambda change: -change.excess)


def measure_gain(measurement: Measurement, query: Image.Image) -> tuple[float, float, float]:
    """Grey levels of the query relative to those of the nearest reference: quartiles over the cells that both show."""
    width, height = query.width // CELL, query.height // CELL
    points = measurement.similarity.inverse.apply(isotropic_grid(height, width))  # (height, width, 2)

    def cells(image: Image.Image) -> NDArray[np.float32]:
        small = np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
        return _grey(small)[None]  # (1, height, width)

    before, now = sample(cells(measurement.view), points)[0], cells(query)[0]
    comparable = in_view(points, height, width) & (before >= DARK)
    if not comparable.any():
        return 1.0, 1.0, 1.0
    low, middle, high = np.quantile(now[comparable] / before[comparable], (0.25, 0.5, 0.75)).tolist()
    return low, middle, high


def _texture(look: Look, references: Sequence[Look]) -> list[WholeChange | None]:
    softest = min(reference.sharpness for reference in references) - SOFTEST
    softer = (look.sharpness - SOFTEST) / max(softest, 1e-3)
    noisiest = max(reference.noise for reference in references)
    blockiest = max(reference.blocks for reference in references)
    return [
        _beyond("blurred", 1 - softer, 1 - SOFTER),
        _beyond("noisy", look.noise - 1.5 * noisiest, NOISIER),
        _beyond("compressed", look.blocks - blockiest, BLOCKY),
    ]


def _beyond(kind: WholeKind, size: float, least: float) -> WholeChange | None:
    return WholeChange(kind, size / least) if size >= least else None


def _light(gain: tuple[float, float, float], nearest: Look, references: Sequence[Look]) -> WholeChange | None:
    """Three quarters of the picture must be darker, or lighter, than any reference is."""
    levels = [max(reference.level, 1.0) / max(nearest.level, 1.0) for reference in references]
    low, middle, high = gain
    percent = round(100 * abs(middle / float(np.median(levels)) - 1))
    change = None
    if high < min(levels):
        change = _beyond("darker", 1 - middle / min(levels), LIGHT)
    elif low > max(levels):
        change = _beyond("lighter", middle / max(levels) - 1, LIGHT)
    return change and WholeChange(change.kind, change.excess, percent)


def _greyed(look: Look, references: Sequence[Look]) -> WholeChange | None:
    least = min(reference.chroma for reference in references)
    if least < COLOURED or look.chroma > GREYED * least:
        return None
    return WholeChange("grey", (least - look.chroma) / (least - GREYED * least))


def _size(look: Look, references: Sequence[Look]) -> WholeChange | None:
    pixels = look.width * look.height
    sizes = [reference.width * reference.height for reference in references]
    if pixels < min(sizes):
        return _beyond("smaller", min(sizes) / pixels, RESIZED)
    return _beyond("larger", pixels / max(sizes), RESIZED)


def _stretched(look: Look, view: Image.Image) -> WholeChange | None:
    return _beyond("stretched", abs(look.width / look.height * view.height / view.width - 1), STRETCHED)


def _turned(measurement: Measurement) -> WholeChange | None:
    """Only where the turned view fits better: registration alone may turn what differs by a little."""
    degrees = turned_by(measurement)
    change = _beyond("turned", abs(degrees), TURNED) if measurement.degrees else None
    return change and WholeChange(change.kind, change.excess, degrees=degrees)


def turned_by(measurement: Measurement) -> int:
    """Degrees by which the query is turned clockwise against the nearest reference, from -180 to 179."""
    # The view is turned by a multiple of 45 degrees, and the query against the view.
    return round((measurement.degrees + measurement.similarity.degrees + 180) % 360 - 180)


def _tiles(image: Image.Image) -> NDArray[np.float32]:
    """Tiles (tiles, rows, columns, 3) spread over the picture; they begin where JPEG's blocks begin."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    rows, columns = min(TILE, height), min(TILE, width)
    tops, lefts = _starts(height, rows), _starts(width, columns)
    tiles = [pixels[top : top + rows, left : left + columns] for top in tops for left in lefts]
    return np.stack(tiles).astype(np.float32)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the channels (…, 3); NumPy's own mean is slow along so short an axis."""
    return (pixels[..., 0] + pixels[..., 1] + pixels[..., 2]) / np.float32(3)


def _starts(side: int, tile: int) -> list[int]:
    count = min(TILES, -(-side // tile))
    return [int(start) // BLOCK * BLOCK for start in np.linspace(0, side - tile, count)]


def _sharpness(grey: NDArray[np.float32]) -> float:
    """The steepest step between neighbours relative to the step across four, at the strongest percent of the edges."""
    ratios = []
    along_rows = grey[:, :, 4:] - grey[:, :, :-4]
    down_columns = grey[:, 4:] - grey[:, :-4]
    # With how far neighbours lie apart in memory.
    for difference, apart in ((along_rows, 1), (down_columns, grey.shape[2])):
        wide = np.abs(difference)
        edges = np.flatnonzero(wide >= max(EDGE, float(np.quantile(wide[:, ::2, ::2], 0.99))))
        if not len(edges):
            continue
        starts = np.ravel_multi_index(np.unravel_index(edges, wide.shape), grey.shape)
        along = grey.ravel()[starts[:, None] + apart * np.arange(5)]  # (edges, 5)
        steepest = np.abs(np.diff(along)).max(1)
        across_four = np.abs(along[:, 4] - along[:, 0])
        ratios.append(float((steepest / across_four).mean()))
    return float(np.mean(ratios)) if ratios else 1.0


def _noise(grey: NDArray[np.float32]) -> float:
    """Standard deviation, by Immerkaer's mask, in the flattest tenth of the blocks."""
    second = np.diff(grey, 2, axis=2)
    mixed = np.abs(np.diff(second, 2, axis=1))  # (tiles, rows - 2, columns - 2); noise of 1 has a mean of 6 sqrt(2/pi)
    rows, columns = (side // BLOCK for side in mixed.shape[1:])
    blocks = mixed[:, : rows * BLOCK, : columns * BLOCK].reshape(len(mixed), rows, BLOCK, columns, BLOCK)
    return float(np.quantile(blocks.mean((2, 4)), 0.1) * np.sqrt(np.pi / 2) / 6)


def _blocks(grey: NDArray[np.float32]) -> float:
    """Steps across the borders of blocks of 8 pixels relative to the other steps; edges are left out."""
    ratios = []
    for values in (grey, grey.swapaxes(1, 2)):
        step = np.abs(np.diff(values, axis=2)).clip(max=EDGE).mean((0, 1))  # (columns - 1,)
        border = np.arange(1, len(step) + 1) % BLOCK == 0
        # A floor, since plain pictures have no steps at all.
        ratios.append(float((step[border].mean() + 0.1) / (step[~border].mean() + 0.1)))
    return float(np.mean(ratios))
