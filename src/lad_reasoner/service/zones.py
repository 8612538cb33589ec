"""Zones drawn on the first reference: what to ignore, what alone counts, and what must be checked on its own.

    zones = read_svg("zones.svg", reference)         # or Zone(kind="ignore", points=((10, 10), (90, 10), (90, 40)))
    placed = PlacedZones(station, folder, references)
    painted = placed.paint(query)                    # what does not count has one colour, as in the references
    placed.crops(query)                              # each zone to check, in register with the reference

Each query is brought into register with the first reference (see judges/evidence/registration.py), and the zones move
along. What is ignored, and what lies outside of `include` zones, is painted in one colour in references and query
alike, so that no judge of any kind sees it. A zone to check is cut out of both, and judged as a picture of its own.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from pydantic import ValidationError

from lad_reasoner.errors import InputError
from lad_reasoner.files.opening import open_picture
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.registration import (
    Floats,
    Similarity,
    half_extent,
    in_view,
    isotropic_grid,
    register,
    sample,
)
from lad_reasoner.records import Box
from lad_reasoner.service.station import MOST_ZONES, Station, Zone, path_inside
from lad_reasoner.text import first_problem, printable

MASK_SIDE = 512  # pixels of the long side on which zones are drawn
SMALL_SIDE = 256  # pixels: what the registration needs
FEATHER = 2  # pixels of that mask: a hard edge would be a contour that no picture has
MARGIN = 0.15  # of a zone's size, cut out around it
CROP_SIDES = (64, 768)  # pixels: the least and the longest side of what is cut out
WHITE = 127  # values of a mask above this are the zone
LEAST_VISIBLE = 0.9  # of a zone to check
MOST_SVG = 32 * 2**20  # bytes, for a drawing that holds the reference itself
SVG = "{http://www.w3.org/2000/svg}"
# What draws nothing where it stands, with all that is in it; a shape that refers to it is drawn.
UNDRAWN = frozenset(
    {"title", "desc", "metadata", "style", "defs", "symbol", "linearGradient", "radialGradient", "pattern", "marker"}
    | {"filter", "clipPath", "mask"}
)
HOLDERS = frozenset({"svg", "g", "image"})
_HIDDEN = re.compile(r"(?:^|;)\s*display\s*:\s*none\b")
_CUT = re.compile(r"(?:^|;)\s*(?:clip-path|mask)\s*:(?!\s*none\b)")

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ZoneCrop:
    """A zone of a query, cut out in register with the reference."""

    zone: Zone
    references: tuple[Picture, ...]
    query: Picture
    visible: float  # share of the zone that the query shows


class PlacedZones:
    """The zones of a station, and its references as judges see them. InputError for a mask that cannot be read."""

    def __init__(self, station: Station, folder: Path, references: Sequence[Picture]) -> None:
        self.station, self.first = station, references[0]
        long = max(self.first.image.size)
        width, height = (max(16, round(MASK_SIDE * side / long)) for side in self.first.image.size)
        self.size = width, height
        self.small = _small(self.first.image, self.first.image.size)
        self.ignored, self.outside = self._draw(folder)  # (rows, columns) from 0 to 1
        if float(self.ignored.min()) > 0.5:
            raise InputError(f"{station.name}: its zones leave nothing of the picture to judge")
        self.colour = self._mean_colour()
        self.moves = [self.locate(picture) for picture in references]
        self.references = tuple(map(self._paint, references, self.moves))
        self.small_painted = _small(self.references[0].image, self.first.image.size)
        self.checks = [zone for zone in station.zones if zone.kind == "check"]
        self.boxes = [self._box(zone, folder) for zone in self.checks]
        self.cut = [self._cut_references(box, references) for box in self.boxes]

    def locate(self, picture: Picture, *, painted: bool = False) -> Similarity:
        """Leads from the first reference to the picture; the identity for a fixed camera."""
        if self.station.fixed_camera or picture is self.first:
            return Similarity()
        first = self.small_painted if painted else self.small
        return register(first, _small(picture.image, self.first.image.size))

    def paint(self, picture: Picture) -> Picture:
        """The picture with one colour over all that does not count."""
        return self._paint(picture, self.locate(picture)) if self.ignored.any() or self.outside else picture

    def crops(self, query: Picture) -> list[ZoneCrop]:
        """The zones to check, from a painted query."""
        if not self.checks:
            return []
        move = self.locate(query, painted=True)
        crops = []
        for zone, box, references in zip(self.checks, self.boxes, self.cut, strict=True):
            cut, visible = self._cut(box, query, move)
            crops.append(ZoneCrop(zone, references, cut, visible))
        return crops

    def shift_mm(self, crop: ZoneCrop) -> float:
        """How far what the zone shows lies from where the whole picture says, in mm."""
        move = register(crop.references[0].image, crop.query.image)
        pixels = (move.dx**2 + move.dy**2) ** 0.5 * max(crop.query.image.size) / 2
        # Pixels of the cut-out picture -> of the reference's file
        scale = crop.references[0].width / crop.references[0].image.width
        return float(pixels * scale * (self.station.mm_per_pixel or 0.0))

    def boxes_in_query(self, crop: ZoneCrop, boxes: Sequence[Box], query: Picture) -> tuple[Box, ...]:
        """Boxes of a cut-out zone, in pixels of the painted query."""
        move = self.locate(query, painted=True)
        left, top, right, bottom = self.boxes[self.checks.index(crop.zone)]
        moved = []
        for box in boxes:
            x, y = box.x / crop.query.width, box.y / crop.query.height
            width, height = box.width / crop.query.width, box.height / crop.query.height
            # The corners as fractions of the cut-out picture, of the first reference, and of the query.
            across = [left + (right - left) * each for each in (x, x + width)]
            down = [top + (bottom - top) * each for each in (y, y + height)]
            corners = self._to_isotropic(list(product(across, down)))
            points = _to_fractions(move.apply(corners), self._shape())  # (4, 2)
            from_x, from_y = (max(0.0, each) for each in points.min(0).tolist())
            to_x, to_y = (min(1.0, each) for each in points.max(0).tolist())
            moved.append(
                Box(
                    x=round(from_x * query.width),
                    y=round(from_y * query.height),
                    width=max(1, round((to_x - from_x) * query.width)),
                    height=max(1, round((to_y - from_y) * query.height)),
                    strength=box.strength,
                )
            )
        return tuple(moved)

    def _shape(self) -> tuple[int, int]:
        return self.size[1], self.size[0]

    def _draw(self, folder: Path) -> tuple[NDArray[np.float32], float]:
        """How much each cell is ignored, and what lies outside of the reference."""
        included = [self._mask(zone, folder) for zone in self.station.zones if zone.kind == "include"]
        ignored = [self._mask(zone, folder) for zone in self.station.zones if zone.kind == "ignore"]
        mask = np.zeros(self._shape(), np.float32)
        if included:
            mask = 1 - np.maximum.reduce(included)
        for each in ignored:
            mask = np.maximum(mask, each)
        return mask, float(bool(included))

    def _mask(self, zone: Zone, folder: Path) -> np.ndarray:
        """1 inside the zone, float32 (rows, columns)."""
        if zone.mask is not None:
            with open_picture(path_inside(folder, zone.mask)) as image:
                drawn = image.convert("L").resize(self.size, Image.Resampling.BOX).point(lambda v: 255 * (v > WHITE))
        else:
            drawn = Image.new("L", self.size)
            scale_x = self.size[0] / self.first.width
            scale_y = self.size[1] / self.first.height
            points = [(x * scale_x, y * scale_y) for x, y in zone.points]
            ImageDraw.Draw(drawn).polygon(points, fill=255)
        return np.asarray(drawn, dtype=np.float32) / 255

    def _mean_colour(self) -> tuple[int, int, int]:
        pixels = np.asarray(self.first.image.resize(self.size, Image.Resampling.BOX), dtype=np.float32)
        hidden = self.ignored > 0.5
        red, green, blue = (pixels[hidden] if hidden.any() else pixels.reshape(-1, 3)).mean(0)
        return round(float(red)), round(float(green)), round(float(blue))

    def _paint(self, picture: Picture, move: Similarity) -> Picture:
        if not self.ignored.any() and not self.outside:
            return picture
        points = move.inverse.apply(isotropic_grid(*self._shape()))  # (rows, columns, 2), of the reference
        mask = sample(self.ignored[None], points)[0]
        mask = np.where(in_view(points, *self._shape()), mask, self.outside)
        drawn = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(FEATHER))
        image = picture.image.copy()
        image.paste(self.colour, (0, 0, *image.size), drawn.resize(image.size, Image.Resampling.BILINEAR))
        return replace(picture, image=image)

    def _box(self, zone: Zone, folder: Path) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a zone and its margin, in fractions of the reference."""
        rows, columns = np.nonzero(self._mask(zone, folder) > 0.5)
        if not len(rows):
            name = zone.name or zone.kind
            raise InputError(f"{self.station.name}: zone {name} holds no pixel of the first reference")
        height, width = self._shape()
        left, right = columns.min() / width, (columns.max() + 1) / width
        top, bottom = rows.min() / height, (rows.max() + 1) / height
        x, y = MARGIN * (right - left), MARGIN * (bottom - top)
        return max(0.0, left - x), max(0.0, top - y), min(1.0, right + x), min(1.0, bottom + y)

    def _to_isotropic(self, fractions: Sequence[Point]) -> Floats:
        return (np.array(fractions, np.float32) * 2 - 1) * half_extent(*self._shape())

    def _cut_references(
        self, box: tuple[float, float, float, float], references: Sequence[Picture]
    ) -> tuple[Picture, ...]:
        placed = zip(references, self.moves, strict=True)
        return tuple(self._cut(box, picture, move)[0] for picture, move in placed)

    def _cut(self, box: tuple[float, float, float, float], picture: Picture, move: Similarity) -> tuple[Picture, float]:
        left, top, right, bottom = box
        width, height = (right - left) * self.first.width, (bottom - top) * self.first.height
        least, most = CROP_SIDES
        kept = self.first.image.width / self.first.width  # of the file's resolution is in memory
        factor = min(max(kept, least / min(width, height)), most / max(width, height))
        columns, rows = max(16, round(width * factor)), max(16, round(height * factor))
        x = left + (right - left) * (np.arange(columns) + 0.5) / columns
        y = top + (bottom - top) * (np.arange(rows) + 0.5) / rows
        places = np.stack(np.meshgrid(x, y), -1).astype(np.float32)  # (rows, columns, 2), fractions
        points = move.apply((places * 2 - 1) * half_extent(*self._shape()))
        image = picture.image
        if image.size != self.first.image.size:
            image = image.resize(self.first.image.size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
        # Fractions again, since the two grids may differ by a pixel in their aspects.
        fractions = _to_fractions(points, self._shape())
        cut = sample(pixels, (fractions * 2 - 1) * half_extent(image.height, image.width))
        visible = float(((fractions >= 0) & (fractions <= 1)).all(-1).mean())
        made = Image.fromarray(cut.transpose(1, 2, 0).clip(0, 255).astype(np.uint8))
        return Picture(picture.name, made, max(1, round(width)), max(1, round(height))), visible


def _to_fractions(points: Floats, shape: tuple[int, int]) -> Floats:
    return (points / half_extent(*shape) + 1) / 2


def _small(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """At the aspect of `size`, which registration needs to be that of the reference."""
    factor = SMALL_SIDE / max(size)
    width, height = (max(16, round(side * factor)) for side in size)
    return image.resize((width, height), Image.Resampling.BOX)


def read_svg(path: str | Path, reference: Picture) -> tuple[Zone, ...]:
    """Zones of an SVG that was drawn over the reference: its viewBox, or width and height, is the whole picture.

    polygon, polyline and rect are read; nothing that the drawing refers to is opened. The kind is the class or the
    beginning of the id (`ignore`, `include`, `check`), the name is the title or the rest of the id: `check-label`.
    What draws nothing is passed over: `UNDRAWN`, hidden layers, what a drawing program adds for itself. InputError for
    any other shape.
    """
    path = Path(path)
    name = printable(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_SVG + 1)
        if len(content) > MOST_SVG:
            raise InputError(f"{name}: larger than {MOST_SVG // 2**20} MiB; link the reference, or draw fewer zones")
        root = ElementTree.fromstring(content)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise InputError(f"{name}: not valid SVG ({error})") from None
    left, top, width, height = _view_box(root, name)
    scale_x, scale_y = reference.width / width, reference.height / height
    zones: list[Zone] = []
    for tag, element in _drawn(root):
        if element.get("transform"):
            raise InputError(f"{name}: <{tag}> has a transform; flatten transforms and save again")
        if any(element.get(cut, "none") != "none" for cut in ("clip-path", "mask")) or _CUT.search(_style(element)):
            raise InputError(f"{name}: <{tag}> is cut by a clip path or a mask; draw the shape that is left")
        if tag in HOLDERS:
            continue
        points = [((x - left) * scale_x, (y - top) * scale_y) for x, y in _points(tag, element, name)]
        kind, _, rest = (element.get("id") or "").partition("-")
        title = element.find(f"{SVG}title")
        called = rest if title is None else (title.text or "").strip()
        try:
            given = {"kind": element.get("class") or kind, "name": called, "points": tuple(points)}
            zones.append(Zone.model_validate(given))
        except ValidationError as error:
            raise InputError(f"{name}: <{tag} id={element.get('id')}>: {first_problem(error)}") from None
        if len(zones) > MOST_ZONES:
            raise InputError(f"{name}: more than {MOST_ZONES} zones in it")
    if not zones:
        raise InputError(f"{name}: no polygon and no rect in it")
    return tuple(zones)


def _drawn(root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element]]:
    """Tag and element of all that is drawn, in the order of the file."""
    waiting = [root]  # no recursion: a file may be deep
    while waiting:
        element = waiting.pop()
        tag = str(element.tag).removeprefix(SVG)
        if tag in UNDRAWN or "}" in tag or element.get("display") == "none" or _HIDDEN.search(_style(element)):
            continue
        yield tag, element
        waiting.extend(reversed(element))


def _style(element: ElementTree.Element) -> str:
    return element.get("style", "")


def _view_box(root: ElementTree.Element, name: str) -> tuple[float, float, float, float]:
    whole = f"0 0 {root.get('width', '')} {root.get('height', '')}"
    numbers = (root.get("viewBox") or whole).replace(",", " ").split()
    try:
        left, top, width, height = (float(number.removesuffix("px")) for number in numbers)
        if not (width > 0 and height > 0 and all(map(math.isfinite, (left, top, width, height)))):
            raise ValueError
    except ValueError:
        raise InputError(f"{name}: give a viewBox, or width and height in pixels") from None
    return left, top, width, height


def _points(tag: str, element: ElementTree.Element, name: str) -> list[Point]:
    try:
        if tag == "rect":
            x, y, width, height = (float(element.get(key) or 0) for key in ("x", "y", "width", "height"))
            right, bottom = x + width, y + height
            return [(x, y), (right, y), (right, bottom), (x, bottom)]
        if tag in ("polygon", "polyline"):
            written = element.get("points") or ""
            numbers = [float(number) for number in written.replace(",", " ").split()]
            return list(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError:
        raise InputError(f"{name}: <{tag} id={element.get('id')}> has a coordinate that is not a number") from None
    raise InputError(f"{name}: <{tag}> cannot be used; draw polygons or rects")
