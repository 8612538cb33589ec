"""Lever connectors, the cables between them, and the mesh that they lie on."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting.paint import GLASS, PLASTIC, Canvas, Material, smoothstep, tint
from lad_reasoner.miniloco.painting.shapes import Points, box, offset, polyline, spline
from lad_reasoner.miniloco.scene import Item, Region, Scene, Sight

PITCH = 0.049
HOUSING = 0.158
CABLE_TONES: dict[str, Colour] = {
    "yellow": (0.93, 0.72, 0.14),
    "blue": (0.28, 0.36, 0.76),
    "red": (0.80, 0.16, 0.10),
    "green": (0.18, 0.56, 0.26),
    "white": (0.90, 0.90, 0.87),
    "black": (0.10, 0.10, 0.11),
}


def clamps(connector: Item) -> int:
    """The number of clamps of a connector, from its name: 'connector with 3 clamps'."""
    return int(connector.what.split()[2])


def connector_name(number: int) -> str:
    """The name of a connector with this number of clamps."""
    return f"connector with {number} clamps"


def connectors(scene: Scene) -> list[Item]:
    """The connectors of a scene."""
    return [item for item in scene.items if item.what.startswith("connector")]


def make_connector(number: int, at: tuple[float, float], place: str, angle: float) -> Item:
    """A connector with this number of clamps about a point."""
    return Item(connector_name(number), *at, max(HOUSING, number * PITCH), "orange", place, angle)


def facing(connector: Item) -> int:
    """1 if the clamps of the connector open to the right, as those on the left do, else -1."""
    return 1 if connector.place.endswith("left") else -1


def socket(connector: Item, row: int) -> tuple[float, float]:
    """Where the cable enters row 0, 1, … of a connector, counted from the top of the picture."""
    dy = (row - (clamps(connector) - 1) / 2) * PITCH
    return offset(connector.x, connector.y, connector.angle, facing(connector) * HOUSING / 2, dy)


def slack(start: tuple[float, float], end: tuple[float, float], sag: float, sway: float) -> list[tuple[float, float]]:
    """Points of a cable that leaves both ends level and wanders between them."""
    (ax, ay), (bx, by) = start, end
    span = bx - ax
    return [
        (ax, ay),
        (ax + 0.16 * span, ay + 0.25 * sag),
        (ax + 0.38 * span, ay + 0.30 * (by - ay) + sag + sway),
        (ax + 0.62 * span, ay + 0.70 * (by - ay) + sag - sway),
        (bx - 0.16 * span, by + 0.25 * sag),
        (bx, by),
    ]


def middle_of(path: Points) -> tuple[float, float]:
    """The point half along a cable; the six points of `slack` are made smooth first."""
    line = spline(path) if len(path) == 6 else path
    return line[len(line) // 2]


def make_cable(path: Points, colour: str, place: str) -> Item:
    """A cable as an item: its centre lies on it, its size is its extent along x."""
    return Item("cable", *middle_of(path), path[-1][0] - path[0][0], colour, place)


def cut(path: Points, rng: np.random.Generator) -> tuple[Points, Points, tuple[float, float]]:
    """The left and the right piece of a cable that is cut somewhere about its middle, and the point of the cut."""
    line = spline(path)
    middle = int(rng.integers(10, 21))
    return tuple(line[: middle - 1]), tuple(line[middle + 2 :]), line[middle]


def row_of(end: str) -> int:
    """The row, from 0, of an end that is plugged in: 2 for 'left row 3'."""
    return int(end.split()[-1]) - 1


def changes_row(start: str, end: str) -> bool:
    """Whether a cable is plugged in at both ends, but in different rows."""
    return bool(start and end) and row_of(start) != row_of(end)


def cable_sights(start: str, end: str, path: Points) -> list[Sight]:
    """Where an end is plugged into nothing, and the middle of a cable that changes its row."""
    sights = [("loose end", *at) for plugged, at in ((start, path[0]), (end, path[-1])) if not plugged]
    if changes_row(start, end):
        sights.append(("crossing row", *middle_of(path)))
    return sights


def span(path: Points) -> Region:
    """A region about a cable."""
    xs, ys = [x for x, _ in path], [y for _, y in path]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    return Region(*middle, max(xs) - min(xs), max(ys) - min(ys) + 0.05)


def around_connector(item: Item) -> Region:
    """A region about a connector."""
    return Region(item.x, item.y, HOUSING * 1.05, clamps(item) * PITCH * 1.1, item.angle)


def mesh(canvas: Canvas, phase_x: float, phase_y: float) -> None:
    """Expanded metal over black: wavy strands touch their neighbours in turn and leave staggered holes."""
    window = canvas.everywhere()
    wide, tall = 0.082, 0.0215
    wave = 0.5 * np.cos(2 * np.pi * (window.x / wide + phase_x))
    v = window.y / tall + 2 * phase_y + 0.08 * canvas.noise(window, 0.05)
    # Signed height above the nearest strand with an even number, and with an odd one; one unit is a row.
    even = (v - wave + 1) % 2 - 1
    odd = (v + wave) % 2 - 1
    below_even, below_odd = np.abs(even), np.abs(odd)
    side = np.where(below_even < below_odd, even, odd)
    # A soft minimum makes the knots, where two strands meet, thicker than the strands.
    both = below_even + below_odd
    distance = np.minimum(below_even, below_odd) - 0.16 * np.exp(-((both / 0.35) ** 2))
    strand = 1 - smoothstep(distance, 0.14, 0.32)
    bright = 0.72 - 1.5 * side + 0.16 * canvas.noise(window, 0.010)
    ground = np.asarray((0.045, 0.042, 0.042), np.float32)
    metal = tint(np.asarray((0.72, 0.70, 0.67), np.float32), np.clip(bright, 0.22, 1.25))
    canvas.pixels[:] = ground + strand[..., None] * (metal - ground)


def paint_cable(canvas: Canvas, colour: str, path: Points) -> None:
    """A cable along its points; the six of `slack` are made smooth, others are taken as they are."""
    line = spline(path, 5) if len(path) == 6 else path
    x, y = (line[0][0] + line[-1][0]) / 2, (line[0][1] + line[-1][1]) / 2
    shape = polyline([(a - x, b - y) for a, b in line], 0.0088)
    canvas.solid(shape, (x, y), CABLE_TONES[colour], PLASTIC, bevel=0.0088, lift=0.012, strength=0.8)


def paint_connector(canvas: Canvas, connector: Item) -> None:
    """A clear housing with an orange lever for each clamp."""
    number = clamps(connector)
    inwards = facing(connector)
    angle = connector.angle
    x, y = connector.x, connector.y
    tall = number * PITCH
    clear: Colour = (0.66, 0.61, 0.59)

    def at(dx: float, dy: float) -> tuple[float, float]:
        return offset(x, y, angle, inwards * dx, dy)

    body = box(HOUSING * 0.98, tall, 0.006)
    canvas.shadow(body, (x, y), angle=angle, lift=0.020, strength=0.8)
    canvas.solid(
        body,
        (x, y),
        clear,
        Material(gloss=0.5, speckle=0.05, pitch=0.008),
        angle=angle,
        bevel=0.008,
        opacity=0.82,
    )
    orange = (0.97, 0.33, 0.10)
    for row in range(number):
        dy = (row - (number - 1) / 2) * PITCH
        # Cable entry inside the clear housing, then the lever over it.
        canvas.flat(box(0.052, PITCH * 0.66, 0.004), at(-0.052, dy), (0.36, 0.33, 0.33), angle=angle, opacity=0.7)
        canvas.solid(
            box(0.018, PITCH * 0.40, 0.003),
            at(-0.060, dy),
            (0.78, 0.75, 0.73),
            GLASS,
            angle=angle,
            bevel=0.005,
        )
        canvas.flat(box(0.004, PITCH * 0.62), at(-0.040, dy), (0.86, 0.84, 0.83), angle=angle, opacity=0.8)
        lever = box(0.104, PITCH * 0.92, 0.007)
        canvas.solid(lever, at(0.027, dy), orange, PLASTIC, angle=angle, bevel=0.006, lift=0.006)
        canvas.solid(
            box(0.034, PITCH * 0.56, 0.003),
            at(-0.006, dy),
            (0.42, 0.30, 0.26),
            GLASS,
            angle=angle,
            bevel=0.004,
            rise=-1,
        )
        canvas.flat(box(0.012, PITCH * 0.40, 0.002), at(0.000, dy), (0.72, 0.66, 0.62), angle=angle, opacity=0.9)
        ridge = mix(orange, "black", 0.25)
        canvas.flat(box(0.003, PITCH * 0.80), at(0.020, dy), ridge, angle=angle, opacity=0.7, softness=0.002)
    for dy in (np.arange(1, number) - number / 2) * PITCH:
        canvas.flat(
            box(0.105, 0.0032),
            at(0.026, float(dy)),
            (0.20, 0.10, 0.08),
            angle=angle,
            opacity=0.8,
            softness=0.002,
        )
    canvas.solid(
        box(0.020, tall * 0.985, 0.004),
        at(-0.072, 0),
        (0.72, 0.69, 0.68),
        GLASS,
        angle=angle,
        bevel=0.006,
        opacity=0.55,
    )
