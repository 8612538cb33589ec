"""The flat sorting box: a shell, fixed walls between the rows, separators between neighbours of a row."""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.miniloco.colours import Colour, mix
from lad_reasoner.miniloco.painting.paint import GLASS, PLASTIC, Canvas
from lad_reasoner.miniloco.painting.shapes import box, offset, outline
from lad_reasoner.miniloco.scene import Pose

# Row and column of a compartment, from 0.
Cell = tuple[int, int]


def cell_place(cell: Cell) -> str:
    """A compartment's place as facts say it."""
    row, column = cell
    return f"row {row + 1}, column {column + 1}"


def separator_place(cell: Cell) -> str:
    """The place of the separator right of a compartment, as facts say it."""
    row, column = cell
    return f"row {row + 1}, between columns {column + 1} and {column + 2}"


def sorting_box(
    canvas: Canvas,
    pose: Pose,
    grid: tuple[int, int],
    cell: tuple[float, float],
    separators: Sequence[tuple[float, float]],
    colour: Colour | None = None,
) -> None:
    """An open box about (x, y, angle) with `grid` rows and columns of compartments, each `cell` wide and tall.

    `separators` are the middles of those that are there. The box is clear, or opaque and of this colour.
    """
    x, y, angle = pose
    (rows, columns), (cell_w, cell_h) = grid, cell
    left, top = -cell_w * columns / 2, -cell_h * rows / 2
    clear, edge = (0.50, 0.50, 0.51), (0.74, 0.74, 0.75)
    if colour is not None:
        clear, edge = mix(colour, "white", 0.12), mix(colour, "white", 0.40)
    wide, tall = cell_w * columns + 0.026, cell_h * rows + 0.024
    shell = box(wide, tall, 0.055)
    if colour is None:
        canvas.flat(shell, (x, y), (0.10, 0.10, 0.12), angle=angle, opacity=0.55)
    else:
        canvas.solid(shell, (x, y), mix(colour, "black", 0.18), PLASTIC, angle=angle, bevel=0.006, lift=0.012)
    for dx, width in ((-0.055, 0.014), (0.055, 0.014), (0.0, 0.080)):
        clasp = offset(x, y, angle, dx, -tall / 2 - 0.006)
        canvas.flat(outline(box(width, 0.018, 0.003), 0.004), clasp, clear, angle=angle, opacity=0.6)
    for dy in (-0.12, 0.12):
        hinge = offset(x, y, angle, -wide / 2 - 0.006, dy)
        canvas.flat(outline(box(0.012, 0.05, 0.003), 0.004), hinge, clear, angle=angle, opacity=0.4)
    canvas.flat(outline(shell, 0.013), (x, y), clear, angle=angle, opacity=0.42)
    canvas.flat(outline(shell, 0.003), (x, y), edge, angle=angle, opacity=0.75)
    canvas.flat(outline(box(wide - 0.022, tall - 0.022, 0.045), 0.0025), (x, y), edge, angle=angle, opacity=0.55)
    for row in range(1, rows):
        _wall(canvas, offset(x, y, angle, 0, top + row * cell_h), cell_w * columns, angle, colour)
    for separator in separators:
        _wall(canvas, separator, cell_h - 0.004, angle + 90, colour)
    for row in range(1, rows):
        for column in range(1, columns):
            post = offset(x, y, angle, left + column * cell_w, top + row * cell_h)
            canvas.solid(box(0.016, 0.016, 0.005), post, clear, GLASS, angle=angle, bevel=0.006, opacity=0.8)


def _wall(canvas: Canvas, at: tuple[float, float], length: float, angle: float, colour: Colour | None) -> None:
    """A wall seen from above: a faint or opaque body between two bright edges."""
    body, bright = (0.42, 0.42, 0.43), (0.78, 0.78, 0.78)
    if colour is not None:
        # Walls of a pale box are seen by their shade, those of a dark one by their light.
        body = mix(colour, "black", 0.4) if sum(colour) > 1.9 else mix(colour, "white", 0.35)
        bright = mix(body, "white", 0.2)
    canvas.flat(box(length, 0.0085), at, body, angle=angle, opacity=0.55 if colour is None else 1.0)
    shine = float(canvas.rng.uniform(0.5, 0.85))
    for dy in (-0.0034, 0.0030):
        line = offset(*at, angle, 0, dy)
        canvas.flat(box(length, 0.0022), line, bright, angle=angle, opacity=shine)
