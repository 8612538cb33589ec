"""The canvas: shaded solids, soft shadows, textures and lettering, painted into one float picture.

Coordinates are the scene's (long side = 1); only the canvas knows pixels. Everything is painted larger than the final
picture (supersampled) and with a margin beyond the frame, which the camera needs for its shift and turn. Values are
display RGB in [0, 1]. Shading happens in them too: that is not physics, but small photographs look like it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lad_reasoner.miniloco.colours import Colour, rgb
from lad_reasoner.miniloco.painting.shapes import Array, Shape

# A colour, its name, or a function of local x and y that returns (height, width, 3).
Paint = Colour | str | Callable[[Array, Array], Array]

MARGIN = 0.04


@dataclass(frozen=True)
class Material:
    """How a surface answers light: highlight strength and sharpness, mirror-like bands, and fine unevenness.

    `bump` is the height of the unevenness and `pitch` its grain, both in units of the long side; `speckle` is
    the spread of the colour itself on the same grain.
    """

    gloss: float = 0.25
    polish: float = 24.0
    mirror: float = 0.0
    bump: float = 0.0
    pitch: float = 0.01
    speckle: float = 0.0


PLASTIC = Material(gloss=0.35, polish=30)
MATT = Material(gloss=0.05, polish=8, speckle=0.02)
METAL = Material(gloss=0.55, polish=40, mirror=0.55)
GLASS = Material(gloss=0.7, polish=60)
PAPER = Material(gloss=0.0, speckle=0.012, pitch=0.006)
RUBBER = Material(gloss=0.12, polish=10, speckle=0.015, pitch=0.005)


@dataclass(frozen=True)
class Window:
    """A part of the canvas, and the local coordinates (turned with the part) of its pixels.

    x and y broadcast to (height, width): without a turn x is one row and y one column.
    """

    rows: slice
    columns: slice
    x: Array
    y: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels of the canvas."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def part(self, rows: slice, columns: slice) -> Window:
        """Some of its rows and columns, with the same coordinates."""
        across, down = self.columns.start, self.rows.start
        return Window(
            slice(down + rows.start, down + rows.stop),
            slice(across + columns.start, across + columns.stop),
            self.x[rows if len(self.x) > 1 else slice(None), columns],
            self.y[rows, columns if self.y.shape[1] > 1 else slice(None)],
        )


def smoothstep(value: Array, low: float, high: float) -> Array:
    """0 below low, 1 above high, smooth between."""
    t = (value - low) * (1 / (high - low))
    np.clip(t, 0, 1, out=t)
    result: Array = 3 - 2 * t
    t *= t
    result *= t
    return result


def tint(colour: Array, light: Array) -> Array:
    """A colour (3,) in the light (height, width) of each pixel: (height, width, 3).

    Each channel lies in memory as a whole, as those of the canvas: NumPy is slow along an axis of three.
    """
    return np.moveaxis(np.multiply.outer(colour, light), 0, -1)


def between(one: Array, other: Array, share: Array) -> Array:
    """Each pixel's share (height, width) of the way from one colour (3,) to the other: (height, width, 3)."""
    result: Array = one + tint(other - one, share)
    return result


class Canvas:
    """A picture in the making; `light` points to the lamp: (right, down, towards the camera)."""

    def __init__(self, width: float, height: float, *, unit: float, rng: np.random.Generator) -> None:
        self.width, self.height, self.unit, self.rng = width, height, unit, rng
        shape = (round((height + 2 * MARGIN) * unit), round((width + 2 * MARGIN) * unit))
        self.pixels: Array = np.moveaxis(np.zeros((3, *shape), np.float32), 0, -1)  # (height, width, 3), see `tint`
        azimuth = np.radians(rng.normal(-118, 14))
        slant = rng.uniform(0.50, 0.62)
        self.light = (
            float(np.cos(azimuth) * slant),
            float(np.sin(azimuth) * slant),
            float(np.sqrt(1 - slant**2)),
        )

    def window(self, at: tuple[float, float], reach: tuple[float, float], angle: float = 0.0) -> Window | None:
        """The pixels about a point that a part of half width and half height `reach` can touch, or None."""
        u = self.unit
        c, s = float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))
        # One pixel more than the part, for its soft edge and for the slopes of its relief.
        wide = abs(c) * reach[0] + abs(s) * reach[1] + 1.5 / u
        tall = abs(s) * reach[0] + abs(c) * reach[1] + 1.5 / u
        x, y = at
        left = max(int((x - wide + MARGIN) * u), 0)
        right = min(int((x + wide + MARGIN) * u) + 1, self.pixels.shape[1])
        top = max(int((y - tall + MARGIN) * u), 0)
        bottom = min(int((y + tall + MARGIN) * u) + 1, self.pixels.shape[0])
        if right <= left or bottom <= top:
            return None
        across = ((np.arange(left, right, dtype=np.float32) + 0.5) / u - (MARGIN + x))[None, :]
        down = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / u - (MARGIN + y))[:, None]
        place = (slice(top, bottom), slice(left, right))
        if angle == 0:
            return Window(*place, across, down)
        return Window(*place, c * across + s * down, c * down - s * across)

    def everywhere(self) -> Window:
        """The whole canvas, with the scene's own coordinates."""
        window = self.window((0.0, 0.0), (2.0, 2.0))
        assert window is not None
        return window

    def blend(self, window: Window, alpha: Array, colour: Array | Colour | str) -> None:
        """Lay a colour (one, or one a pixel) over the window; alpha is (height, width) in [0, 1]."""
        target = self.pixels[window.rows, window.columns]
        top = np.asarray(rgb(colour) if isinstance(colour, str | tuple) else colour, dtype=np.float32)
        step = top - target
        step *= alpha[..., None]
        target += step

    def fork(self) -> np.random.Generator:
        """A generator for one texture.

        The number of its draws depends on the resolution. Were they drawn from `rng` itself, all that is drawn after
        the texture would change with the size of the picture.
        """
        return np.random.default_rng(int(self.rng.integers(2**63)))

    def noise(self, window: Window, pitch: float, stretch: float = 1.0) -> Array:
        """Smooth noise, about standard normal, hills `pitch` wide; `stretch` > 1 draws them out along x."""
        height, width = window.shape
        tall, wide = height / self.unit / pitch, width / self.unit / (pitch * stretch)
        grid = self.fork().standard_normal((int(tall) + 4, int(wide) + 4), dtype=np.float32)
        box = (1.0, 1.0, 1.0 + wide, 1.0 + tall)
        soft = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
        return np.asarray(soft, dtype=np.float32)

    def cover(self, alpha_of: Array, softness: float = 0.0) -> Array:
        """Distances -> coverage, one pixel soft at the edge or more."""
        width = max(softness * self.unit, 1.0)
        result: Array = alpha_of * (self.unit / width)
        np.subtract(0.5, result, out=result)
        return np.clip(result, 0, 1, out=result)

    def shadow(
        self,
        shape: Shape,
        at: tuple[float, float],
        *,
        angle: float = 0.0,
        lift: float = 0.01,
        strength: float = 0.5,
    ) -> None:
        """The soft shadow of a shape that stands `lift` above its ground, and the darker contact below it."""
        lx, ly, lz = self.light
        shift = (at[0] - lx / lz * lift, at[1] - ly / lz * lift)
        for centre, soft, force in ((shift, 1.6 * lift, strength * 0.7), (at, 0.7 * lift, strength * 0.5)):
            window = self.window(centre, (shape.reach_x + soft, shape.reach_y + soft), angle)
            if window is None:
                continue
            distance = shape(window.x, window.y)
            fade = smoothstep(distance, -soft, soft + 0.5 / self.unit)
            fade *= force
            fade += 1 - force
            self.pixels[window.rows, window.columns] *= fade[..., None]

    def solid(
        self,
        shape: Shape,
        at: tuple[float, float],
        colour: Paint,
        material: Material = PLASTIC,
        *,
        angle: float = 0.0,
        bevel: float = 0.01,
        rise: float = 1.0,
        lift: float = 0.0,
        strength: float = 0.5,
        opacity: float = 1.0,
        profile: Shape | None = None,
    ) -> None:
        """A shaded body: flat on top, rounded over `bevel` at its edge (a sphere when that is the radius).

        `rise` is the height of the edge in bevels (1 is a quarter circle, negative a hollow); `lift` > 0
        gives it a shadow of that height. With a `profile` that shape's edge is rounded instead: a long box
        as profile makes a bar of a short one, whose ends are cut flat.
        """
        if lift > 0:
            self.shadow(shape, at, angle=angle, lift=lift, strength=strength)
        window = self.window(at, (shape.reach_x, shape.reach_y), angle)
        if window is None:
            return
        distance = shape(window.x, window.y)
        alpha = self.cover(distance) * opacity
        depth = distance if profile is None else profile(window.x, window.y)
        rim = np.clip(1 + depth / bevel, 0, 0.98)
        relief = (bevel * rise) * np.sqrt(1 - rim * rim)
        grain = None
        if material.bump or material.speckle:
            grain = self.noise(window, material.pitch)
            if material.bump:
                relief = relief + material.bump * grain
        colours = self._shade(window, relief, colour, material)
        if grain is not None and material.speckle:
            colours = colours * (1 + material.speckle * grain[..., None])
        self.blend(window, alpha, colours)

    def _shade(self, window: Window, relief: Array, colour: Paint, material: Material) -> Array:
        """Lambert, a highlight and, for metal, bands of a mirrored room; (height, width, 3)."""
        lx, ly, lz = self.light
        steep_y = np.zeros_like(relief)
        steep_x = np.zeros_like(relief)
        half = self.unit / 2
        np.subtract(relief[2:], relief[:-2], out=steep_y[1:-1])
        np.subtract(relief[:, 2:], relief[:, :-2], out=steep_x[:, 1:-1])
        steep_y *= half
        steep_x *= half
        scale = 1 / np.sqrt(1 + steep_x * steep_x + steep_y * steep_y)
        # How far the surface leans away from the lamp, before it is normalised; light and highlight are built on it.
        leaning = steep_x * lx
        leaning += steep_y * ly
        light = np.maximum((lz - leaning) * scale, 0)
        light *= 0.62 / lz
        light += 0.38
        if material.mirror:
            depth = 0.45 * material.mirror
            sway = (steep_x * (lx + 0.35) + steep_y * (ly - 0.2)) * scale
            light = light * (1 - depth) + depth * (1 + np.sin(5.5 * sway + 0.6))
        result: Array
        if callable(colour):
            result = np.asarray(colour(window.x, window.y), dtype=np.float32) * light[..., None]
        else:
            result = tint(np.asarray(rgb(colour), dtype=np.float32), light)
        if material.gloss:
            norm = float(np.sqrt(lx * lx + ly * ly + (1 + lz) ** 2))
            shine = np.maximum(((1 + lz) - leaning) * (scale * (1 / norm)), 0)
            # A power of two by squaring, many times faster than any other power.
            doublings = round(np.log2(material.polish))
            for _ in range(doublings):
                shine *= shine
            # A level surface mirrors the lamp only a little; without this all flat parts would be washed out.
            shine -= ((1 + lz) / norm) ** 2**doublings
            np.maximum(shine, 0, out=shine)
            shine *= material.gloss
            result += shine[..., None]
        return result

    def flat(
        self,
        shape: Shape,
        at: tuple[float, float],
        colour: Paint,
        *,
        angle: float = 0.0,
        opacity: float = 1.0,
        softness: float = 0.0,
    ) -> None:
        """A print: no relief, no shadow; `softness` blurs its edge."""
        window = self.window(at, (shape.reach_x + softness, shape.reach_y + softness), angle)
        if window is None:
            return
        alpha = self.cover(shape(window.x, window.y), softness) * opacity
        # Often a small part of the window, which reaches as far to one side of the point as to the other.
        rows, columns = _span(alpha, 1), _span(alpha, 0)
        window, alpha = window.part(rows, columns), alpha[rows, columns]
        self.blend(window, alpha, colour(window.x, window.y) if callable(colour) else rgb(colour))

    def lettering(
        self,
        text: str,
        at: tuple[float, float],
        colour: Colour | str,
        *,
        height: float,
        angle: float = 0.0,
    ) -> None:
        """A line of text centred at a point, its capitals about `height` tall."""
        # Drawn three times as large as needed, so that turning and shrinking leave clean edges.
        mask = _letters(text, max(int(height * self.unit * 3 * 1.35), 6))
        tall, wide = mask.shape
        window = self.window(at, (wide / 6 / self.unit, tall / 6 / self.unit), angle)
        if window is None:
            return
        step = 3 * self.unit
        rows = np.broadcast_to(window.y * step + tall / 2 - 0.5, window.shape)
        columns = np.broadcast_to(window.x * step + wide / 2 - 0.5, window.shape)
        smooth = ndimage.uniform_filter(mask, 3)
        alpha = ndimage.map_coordinates(smooth, np.stack([rows, columns]), order=1, mode="constant")
        self.blend(window, alpha.astype(np.float32), colour)

    def picture(self) -> Image.Image:
        """The painted picture in 8 bit, margin included."""
        channels = np.moveaxis(np.clip(self.pixels, 0, 1) * 255 + 0.5, -1, 0).astype(np.uint8)  # (3, height, width)
        return Image.merge("RGB", [Image.fromarray(channel) for channel in channels])


def _span(alpha: Array, axis: int) -> slice:
    """From the first line along the axis that shows anything to the last; empty if none does."""
    places = np.flatnonzero(alpha.any(axis))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _letters(text: str, pixels: int) -> Array:
    """Coverage in [0, 1] of a line of text in Pillow's own font, cut close."""
    font: Any = ImageFont.load_default(pixels)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(picture).text((4 - left, 4 - top), text, fill=255, font=font)
    return np.asarray(picture, dtype=np.float32) / 255
