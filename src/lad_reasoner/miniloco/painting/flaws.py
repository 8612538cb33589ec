"""Structural defects: a scratch, stain, crack or dent on the surface, which leaves every rule intact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting.paint import Canvas, Window, smoothstep
from lad_reasoner.miniloco.painting.shapes import Array, Shape, disc, polyline
from lad_reasoner.miniloco.scene import Defect, Mark, Scene, Spot, pick

NAMES = ("scratch", "stain", "crack", "dent")
_WORDS = {
    "scratch": "a scratch runs across the surface",
    "stain": "a stain lies on the surface",
    "crack": "a crack runs through the surface",
    "dent": "the surface has a dent",
}


def flawed(scene: Scene, name: str, spots: list[Spot], rng: np.random.Generator) -> Scene:
    """The same scene with one structural flaw on one of the spots (x, y, radius)."""
    x, y, radius = pick(rng, spots)
    length = float(np.clip(radius * rng.uniform(1.1, 1.7), 0.05, 0.22))
    direction, away = rng.uniform(0, 2 * np.pi), radius * 0.35 * rng.uniform(0, 1)
    mark = Mark(
        what=name,
        x=float(x + away * np.cos(direction)),
        y=float(y + away * np.sin(direction)),
        length=length,
        angle=float(rng.uniform(0, 360)),
        seed=int(rng.integers(2**31)),
    )
    return replace(scene, kind="structural", marks=(mark,), defect=Defect(name, _WORDS[name]))


def _walk(mark: Mark, jitter: float, steps: int) -> list[tuple[float, float]]:
    """A wandering line along x, in the mark's own coordinates."""
    rng = np.random.default_rng(mark.seed)
    xs = np.linspace(-mark.length / 2, mark.length / 2, steps)
    ys = np.cumsum(rng.normal(0, jitter * mark.length, steps))
    ys = ys - ys.mean()
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def _blot(mark: Mark, radius: float) -> Shape:
    """A disc whose edge wanders."""
    rng = np.random.default_rng(mark.seed)
    waves = [(k, float(rng.normal(0, 0.16 / k)), float(rng.uniform(0, 6.28))) for k in (2, 3, 5)]

    def distance(x: Array, y: Array) -> Array:
        turn = np.arctan2(y, x)
        edge = radius * (1 + sum(a * np.sin(k * turn + p) for k, a, p in waves))
        result: Array = np.hypot(x, y) - edge
        return result

    return Shape(distance, radius * 1.5, radius * 1.5)


def outline(mark: Mark) -> Shape:
    """The flaw's shape in its own coordinates, for its picture and its mask."""
    if mark.what == "scratch":
        return polyline(_walk(mark, 0.03, 6), 0.0028)
    if mark.what == "crack":
        return polyline(_walk(mark, 0.07, 9), 0.0032)
    if mark.what == "stain":
        return _blot(mark, mark.length * 0.34)
    return disc(_dent_radius(mark))


def paint_mark(canvas: Canvas, mark: Mark) -> None:
    """Lay the flaw over the picture."""
    window = canvas.window((mark.x, mark.y), (mark.length * 0.6, mark.length * 0.6), mark.angle)
    if window is None:
        return
    painters = {"scratch": _scratch, "crack": _crack, "stain": _stain, "dent": _dent}
    painters[mark.what](canvas, mark, window)


def _scratch(canvas: Canvas, mark: Mark, window: Window) -> None:
    below = canvas.pixels[window.rows, window.columns]
    # The burr on the far side of a scratch throws a thin shadow; the groove itself shines.
    lower = outline(mark)(window.x, window.y - 0.003)
    below *= (1 - 0.45 * canvas.cover(lower))[..., None]
    tone = (0.66, 0.65, 0.63) if _is_dark(below) else (0.97, 0.97, 0.95)
    canvas.blend(window, 0.75 * canvas.cover(outline(mark)(window.x, window.y)), tone)


def _crack(canvas: Canvas, mark: Mark, window: Window) -> None:
    lower = outline(mark)(window.x, window.y - 0.004)
    canvas.blend(window, 0.35 * canvas.cover(lower), (0.85, 0.84, 0.82))
    canvas.blend(window, 0.9 * canvas.cover(outline(mark)(window.x, window.y)), (0.05, 0.04, 0.04))


def _stain(canvas: Canvas, mark: Mark, window: Window) -> None:
    thickness = 0.72 + 0.10 * np.clip(canvas.noise(window, 0.012), -2, 2)
    soft = canvas.cover(outline(mark)(window.x, window.y), 0.012) * thickness
    is_dark = _is_dark(canvas.pixels[window.rows, window.columns])
    canvas.blend(window, np.clip(soft, 0, 0.92), mix("brown", "grey", 0.75) if is_dark else (0.23, 0.15, 0.09))


def _dent(canvas: Canvas, mark: Mark, window: Window) -> None:
    below = canvas.pixels[window.rows, window.columns]
    radius = _dent_radius(mark)
    lx, ly, _ = canvas.light
    turn = np.radians(mark.angle)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    towards = ((c * lx + s * ly) * window.x + (c * ly - s * lx) * window.y) / radius
    inside = 1 - smoothstep(np.hypot(window.x, window.y), radius * 0.75, radius)
    # A hollow is dark on the lamp's side and bright on the far side.
    below *= (1 - np.clip(1.3 * towards, -0.6, 0.75) * inside)[..., None]
    below += (0.22 * np.clip(-towards, 0, 1) * inside)[..., None]


def _dent_radius(mark: Mark) -> float:
    return max(mark.length * 0.28, 0.022)


def _is_dark(pixels: Array) -> bool:
    return float(pixels.mean()) < 0.3
