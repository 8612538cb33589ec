"""Glass vessels of juice and the labels on them.

A form has a unit of its own, in which the vessel is about 1 tall; a `Stand` puts it into the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting.paint import PAPER, Canvas, between, smoothstep, tint
from lad_reasoner.miniloco.painting.shapes import Array, Shape, box, ellipse, moved, outline, polyline
from lad_reasoner.miniloco.scene import Fill, Item, Region

# (x of the vessel's middle, y of the table, scale)
Stand = tuple[float, float, float]

# Colour by name, and the tone of the liquid.
JUICES: dict[str, tuple[str, Colour]] = {
    "orange": ("yellow", (0.84, 0.68, 0.17)),
    "cherry": ("red", (0.44, 0.10, 0.07)),
    "banana": ("white", (0.86, 0.81, 0.67)),
}
ICON_COLOURS = {"orange": "orange", "cherry": "red", "banana": "yellow"}
# Sizes of labels and of the picture on them, before any scale.
LABEL, ICON = 0.17, 0.075
# The liquid of level 1 ends a little below the brim.
HEADROOM = 0.97
DARK_GLASS: Colour = (0.055, 0.058, 0.066)


@dataclass(frozen=True)
class Gleam:
    """A reflection on the glass."""

    shape: Shape
    dx: float
    dy: float
    light: float
    softness: float = 0.006
    tilt: float = 0.0


@dataclass(frozen=True)
class Form:
    """The shape of a vessel: half widths by height above the table, and where light plays on it."""

    profile: tuple[tuple[float, float], ...]
    brim: float
    # Where the liquid is brightest.
    shoulder: float
    # Width of the thick glass at the bottom, width and height of the mouth.
    foot: float
    mouth: tuple[float, float]
    body_gleams: tuple[Gleam, ...]
    mouth_gleams: tuple[Gleam, ...]
    # Heights of the middles of labels, and the height at which the part for labels ends.
    labels: tuple[tuple[str, float], ...]
    top: float

    def half_width(self, height: Array, wall: float) -> Array:
        """Half width at a height above the table, less a wall."""
        heights, halves = zip(*self.profile, strict=True)
        result: Array = np.interp(height, heights, halves).astype(np.float32) - np.float32(wall)
        return result

    def silhouette(self, wall: float, low: float, high: float) -> Shape:
        """The vessel seen from the side between two heights, (0, 0) on the table below its middle."""

        def distance(x: Array, y: Array) -> Array:
            side = np.abs(x) - self.half_width(-y, wall)
            result: Array = np.maximum(side, np.maximum(y + low, -y - high))
            return result

        return Shape(distance, max(half for _, half in self.profile) + 0.01, high + 0.01)

    def surface(self, level: float) -> float:
        """Height above the table of the surface of a liquid."""
        return level * self.brim * HEADROOM


def _arch(wide: float) -> Shape:
    """The lamp's reflection on round shoulders; `wide` is 1 for the slim bottle."""
    points = ((-0.078, 0.020), (-0.055, -0.004), (-0.02, -0.013), (0.02, -0.013), (0.055, -0.006), (0.080, 0.016))
    return polyline([(x * wide, y) for x, y in points], 0.007)


def _slim() -> Form:
    brim = 0.865
    heights = (0.0, 0.012, 0.03, 0.47, 0.505, 0.54, 0.57, 0.595, 0.615, 0.635, 0.66, brim, 0.9)
    halves = (0.105, 0.116, 0.120, 0.119, 0.1165, 0.107, 0.094, 0.081, 0.0745, 0.071, 0.0695, 0.0695, 0.0695)
    neck_gleams = [
        Gleam(box(0.006, 0.14, 0.003), dx, -0.685, light)
        for dx, light in ((-0.052, 0.22), (-0.012, 0.20), (0.022, 0.12), (0.057, 0.28))
    ]
    # The rim, and the turns of the thread, which lie a little askew.
    rings = [
        Gleam(box(wide, 0.006, 0.003), 0.0, -brim + dy, light, 0.004, tilt)
        for dy, wide, light, tilt in (
            (0.004, 0.134, 0.45, 0.0),
            (0.016, 0.142, 0.22, 0.0),
            (0.036, 0.160, 0.42, 2.0),
            (0.056, 0.160, 0.36, 2.0),
        )
    ]
    return Form(
        profile=tuple(zip(heights, halves, strict=True)),
        brim=brim,
        shoulder=0.53,
        foot=0.205,
        mouth=(0.136, 0.118),
        body_gleams=(
            Gleam(_arch(1.0), 0, -0.485, 0.34, 0.016),
            Gleam(box(0.060, 0.012, 0.005), 0.0, -0.572, 0.30, 0.010),
            Gleam(box(0.005, 0.42, 0.002), -0.108, -0.29, 0.34),
            Gleam(box(0.005, 0.40, 0.002), 0.109, -0.28, 0.42),
            Gleam(box(0.003, 0.33, 0.001), 0.098, -0.25, 0.25),
            *neck_gleams,
        ),
        mouth_gleams=(
            *rings,
            Gleam(outline(box(0.164, 0.030, 0.006), 0.004), 0.0, -brim + 0.092, 0.50, 0.003),
            *(Gleam(box(0.012, 0.11, 0.004), dx, -brim + 0.055, 0.12, 0.008) for dx in (-0.045, 0.0, 0.048)),
        ),
        labels=(("upper", 0.375), ("middle", 0.255), ("lower", 0.130)),
        top=0.50,
    )


def _wide(
    profile: tuple[tuple[float, float], ...], shoulder: float, labels: tuple[float, float, float], *, tall: float
) -> Form:
    """A vessel with an open mouth; `tall` is the length of the reflections along its sides."""
    brim, neck = profile[-1]
    half = max(half for _, half in profile)
    middle = labels[1]
    mouth = 0.05
    rings = [
        Gleam(box(2 * neck + more, 0.006, 0.003), 0.0, -brim + dy, light, 0.004)
        for dy, more, light in ((0.004, 0.0, 0.45), (0.018, 0.012, 0.30), (0.046, 0.006, 0.24))
    ]
    return Form(
        profile=(*profile, (brim + 0.04, neck)),
        brim=brim,
        shoulder=shoulder,
        foot=2 * profile[0][1],
        mouth=(2 * neck - 0.003, mouth),
        body_gleams=(
            Gleam(_arch(half / 0.12), 0, -shoulder + 0.03, 0.30, 0.016),
            Gleam(box(0.005, tall, 0.002), -half * 0.90, -middle, 0.34),
            Gleam(box(0.005, tall * 0.95, 0.002), half * 0.91, -middle, 0.42),
            Gleam(box(0.003, tall * 0.75, 0.001), half * 0.82, -middle + 0.02, 0.25),
        ),
        mouth_gleams=(
            *rings,
            *(Gleam(box(0.008, mouth, 0.003), dx * neck, -brim + 0.055, 0.14, 0.008) for dx in (-0.7, 0.2, 0.75)),
        ),
        labels=tuple(zip(("upper", "middle", "lower"), labels, strict=True)),
        top=labels[0] + 0.11,
    )


def _flask() -> Form:
    """A round body, a narrow neck."""
    heights = np.linspace(0.0, 0.55, 23)
    halves = 0.145 * (1 - np.abs((heights - 0.27) / 0.2805) ** 3) ** (1 / 3)
    body = [(float(h), max(float(w), 0.055)) for h, w in zip(heights, halves, strict=True)]
    body[0] = (0.0, 0.088)
    return _wide((*body, (0.58, 0.046), (0.62, 0.042), (0.80, 0.042)), 0.50, (0.375, 0.255, 0.130), tall=0.20)


SLIM = _slim()
FORMS: dict[str, Form] = {
    "slim bottle": SLIM,
    "straight jar": _wide(
        ((0.0, 0.118), (0.015, 0.130), (0.03, 0.133), (0.60, 0.133), (0.63, 0.126), (0.65, 0.118), (0.74, 0.118)),
        0.58,
        (0.440, 0.300, 0.150),
        tall=0.50,
    ),
    "flask": _flask(),
    "short-necked bottle": _wide(
        ((0.0, 0.110), (0.02, 0.126), (0.54, 0.126), (0.59, 0.118), (0.64, 0.090), (0.68, 0.062), (0.78, 0.058)),
        0.58,
        (0.420, 0.285, 0.140),
        tall=0.46,
    ),
}


def _sized(shape: Shape, scale: float) -> Shape:
    return Shape(lambda u, v: shape(u / scale, v / scale) * scale, shape.reach_x * scale, shape.reach_y * scale)


def dark_table(canvas: Canvas, table: float, colour: Colour) -> None:
    """A table before a dark ground: only the strip at the vessels' feet catches light."""
    floor = canvas.everywhere()
    near = smoothstep(floor.y + 0 * floor.x, table - 0.05, table - 0.01)
    canvas.blend(floor, near * (0.5 + 0.25 * canvas.noise(floor, 0.006)).clip(0, 1), colour)


def vessel(canvas: Canvas, form: Form, stand: Stand, juice: Fill, glass: Colour = DARK_GLASS) -> None:
    """A vessel, the juice in it, and the light on both."""
    x, table, scale = stand
    at = (x, table)

    def sized(shape: Shape) -> Shape:
        return _sized(shape, scale)

    _glass(canvas, form, at, sized, glass)
    if juice.level >= 0.02:
        _juice(canvas, form, at, scale, juice)
    _shine(canvas, form, at, sized, full=bool(juice.level > 0.3))


def _glass(canvas: Canvas, form: Form, at: tuple[float, float], sized: Callable[[Shape], Shape], glass: Colour) -> None:
    hull = sized(form.silhouette(0.0, 0.0, form.brim))
    canvas.flat(hull, at, glass)
    window = canvas.window(at, (hull.reach_x, hull.reach_y))
    if window is None:
        return
    distance = hull(window.x, window.y)
    streak = 0.55 + 0.30 * canvas.noise(window, 0.05)
    rim = smoothstep(distance, -0.012, -0.004) * (1 - smoothstep(distance, -0.004, 0.001))
    canvas.blend(window, np.clip(rim * streak, 0, 0.85), (0.62, 0.65, 0.66))


def _juice(canvas: Canvas, form: Form, at: tuple[float, float], scale: float, juice: Fill) -> None:
    tone = JUICES[juice.what.split()[0]][1]
    top = form.surface(juice.level)
    column = _sized(form.silhouette(0.012, 0.034, top), scale)

    def liquid(u: Array, v: Array) -> Array:
        height = -v / scale
        # Lit from above: bright at the shoulder, darker towards the bottom and at the sides.
        bright = 0.36 * np.exp(-(((height - form.shoulder) / 0.12) ** 2))
        glow = 0.80 + bright - 0.14 * smoothstep(-height, -0.50, 0.0)
        side = np.clip(np.abs(u / scale) / form.half_width(height, 0.012), 0, 1)
        light = glow * (1 - 0.38 * side**6)
        return tint(np.asarray(tone, np.float32), light)

    canvas.flat(column, at, liquid, softness=0.003)
    # The surface of the liquid: a thin bright ring, a little foam at the glass.
    y = at[1] - top * scale
    half = float(form.half_width(np.asarray([top], np.float32), 0.013)[0]) * scale
    canvas.flat(ellipse(half, 0.0042), (at[0], y), mix(tone, "white", 0.35), opacity=0.75, softness=0.002)


def _shine(canvas: Canvas, form: Form, at: tuple[float, float], sized: Callable[[Shape], Shape], *, full: bool) -> None:
    strong = 1.0 if full else 0.6

    def lay(gleam: Gleam) -> None:
        # Reflections wander with the lamp from shot to shot.
        force = gleam.light * strong * float(canvas.rng.uniform(0.75, 1.1))
        turned = sized(moved(gleam.shape, gleam.dx, gleam.dy, gleam.tilt))
        canvas.flat(turned, at, (0.97, 0.97, 0.94), opacity=min(force, 0.9), softness=gleam.softness)

    for gleam in form.body_gleams:
        lay(gleam)
    # Thick glass of the bottom.
    foot = sized(moved(box(form.foot, 0.024, 0.006), 0, -0.019))
    canvas.flat(foot, at, (0.035, 0.037, 0.042), opacity=0.85, softness=0.004)
    lay(Gleam(box(form.foot - 0.005, 0.004, 0.002), 0.0, -0.006, 0.45, 0.004))
    lay(Gleam(box(form.foot - 0.045, 0.003, 0.001), 0.01, -0.031, 0.22, 0.004))
    # Mouth and thread.
    wide, tall = form.mouth
    neck = sized(moved(box(wide, tall, 0.006), 0, -form.brim + tall / 2 - 0.001))
    canvas.flat(neck, at, (0.085, 0.09, 0.10), opacity=0.35)
    for gleam in form.mouth_gleams:
        lay(gleam)


def label_height(label: Item) -> float:
    """How tall a label is."""
    return (0.158 if label.what == "fruit label" else 0.074) * (label.size / LABEL)


def around_label(label: Item) -> Region:
    """A region about a label."""
    return Region(label.x, label.y, label.size * 1.06, label_height(label) * 1.07, label.angle)


def label(canvas: Canvas, item: Item) -> None:
    """A fruit label without its picture, or a text label."""
    scale = item.size / LABEL
    if item.what == "fruit label":
        _paper(canvas, item, 0.165 * scale, label_height(item))
        return
    _paper(canvas, item, 0.168 * scale, label_height(item))
    capitals = (0.0205 if len(item.shows) > 6 else 0.030) * scale
    canvas.lettering(item.shows, (item.x, item.y), (0.10, 0.09, 0.08), height=capitals, angle=item.angle)


def _paper(canvas: Canvas, item: Item, width: float, height: float) -> None:
    def warm(u: Array, v: Array) -> Array:
        middle = np.exp(-((u / (0.45 * width)) ** 2) - (v / (0.6 * height)) ** 2)
        edge, core = np.asarray((0.96, 0.66, 0.24), np.float32), np.asarray((1.0, 0.89, 0.60), np.float32)
        return between(edge, core, middle)

    at = (item.x, item.y)
    canvas.solid(box(width, height, 0.002), at, warm, PAPER, angle=item.angle, bevel=0.002, lift=0.002, strength=0.4)
    line = outline(box(width * 0.90, height * 0.90, min(height * 0.15, 0.02)), 0.0016)
    canvas.flat(line, at, (0.45, 0.33, 0.14), angle=item.angle, opacity=0.8)
