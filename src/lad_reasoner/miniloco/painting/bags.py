"""The clear bag with a zip that small parts lie in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lad_reasoner.miniloco.painting.paint import Canvas, tint
from lad_reasoner.miniloco.painting.shapes import box, offset, outline, polygon, polyline
from lad_reasoner.miniloco.scene import Pose

_WIDTH, _ZIP_X, _PITCH = 0.86, 0.285, 0.117


def clear_bag(canvas: Canvas, pose: Pose, contents: Callable[[], None], tall: float = 0.585) -> None:
    """A bag of clear film about (x, y, angle), its zip on the right; `contents` paints what lies in it."""
    x, y, angle = pose
    bag = box(_WIDTH, tall, 0.004)
    window = canvas.window((x, y), (bag.reach_x, bag.reach_y), angle)
    assert window is not None
    cover = canvas.cover(bag(window.x, window.y))
    # The film: a faint milky layer whose folds, seen from above, mirror the lamp here and there.
    hills = canvas.noise(window, 0.18) + 0.8 * np.abs(canvas.noise(window, 0.13, 1.6))
    hills = hills + 0.035 * canvas.noise(window, 0.035, 2.0)
    slope_y, slope_x = np.gradient(hills, 1 / canvas.unit)
    lx, ly, _ = canvas.light
    facing = -(slope_x * lx + slope_y * ly) * 0.075
    milk = 0.115 + 0.085 * np.tanh(1.5 * facing)
    glint = np.clip(facing - 0.60, 0, 1)
    glint = glint * (0.75 + 0.5 * np.clip(canvas.noise(window, 0.012, 3.0), -1, 1))
    canvas.blend(window, cover * 0.86, tint(np.array([1.0, 1.0, 1.04], np.float32), milk))
    contents()
    over = np.clip(0.04 + 0.60 * glint, 0, 0.6) * cover
    canvas.blend(window, over, (0.70, 0.71, 0.70))
    _zip(canvas, x, y, angle, tall)
    canvas.flat(outline(bag, 0.0035), (x, y), (0.62, 0.62, 0.62), angle=angle, opacity=0.35)


def _zip(canvas: Canvas, x: float, y: float, angle: float, tall: float) -> None:
    grey = (0.66, 0.66, 0.67)
    for dx, width, opacity in (
        (0.0, 0.010, 0.35),
        (-0.006, 0.003, 0.85),
        (0.006, 0.003, 0.7),
        (0.012, 0.002, 0.35),
    ):
        at = offset(x, y, angle, _ZIP_X + dx, 0)
        canvas.flat(box(width, tall), at, grey, angle=angle, opacity=opacity, softness=0.002)
    white = (0.90, 0.90, 0.90)
    triangle = polygon([(-0.030, 0.024), (0.030, 0.024), (0.0, -0.030)])
    signs, first = round(tall / _PITCH), 0.0575 - tall / 2
    for i in range(signs):
        at = offset(x, y, angle, _ZIP_X + 0.092, first + _PITCH * i)
        canvas.flat(outline(triangle, 0.0065), at, white, angle=angle - 90)
        canvas.lettering("04", at, white, height=0.018, angle=angle - 90)
        canvas.lettering(
            "PE-LD",
            offset(x, y, angle, _ZIP_X + 0.047, first + _PITCH * i),
            white,
            height=0.013,
            angle=angle + 90,
        )
        dash = offset(x, y, angle, _ZIP_X + 0.088, first + _PITCH * (i + 0.5))
        canvas.flat(polyline([(0.0, -0.011), (0.0, 0.011)], 0.0028), dash, white, angle=angle)
