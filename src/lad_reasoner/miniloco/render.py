"""Seeds -> scenes -> photographs: the two calls that everything else is built on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.miniloco.camera import Camera
from lad_reasoner.miniloco.catalogue import CATALOGUE
from lad_reasoner.miniloco.painting import flaws
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import box, ellipse, moved
from lad_reasoner.miniloco.scene import Kind, Product, Scene, pick

SUPERSAMPLING = 2
Seed = int | Sequence[int]
Paint = Callable[[Canvas, Scene], None]


@dataclass(frozen=True)
class Rendered:
    """A photograph of a scene, its facts, and its mask: (height, width), the defect's grey value or 0."""

    image: Image.Image
    facts: dict[str, Any]
    mask: NDArray[np.uint8]


def product_named(name: str) -> Product:
    """The product of this name; InputError names the others."""
    if name not in CATALOGUE:
        raise InputError(f"unknown product {name!r}; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def defect_values(product: str | Product) -> dict[str, int]:
    """Grey value in masks of each defect of a product: logical ones first, then the structural ones."""
    names = (*_product(product).defects, *flaws.NAMES)
    return {name: 255 - index for index, name in enumerate(names)}


def _product(product: str | Product) -> Product:
    return product_named(product) if isinstance(product, str) else product


def make_scene(product: str | Product, *, seed: Seed, kind: Kind = "good", defect: str | None = None) -> Scene:
    """A scene of the product. With `kind` logical or structural it has a defect of that kind, drawn unless named.

    InputError for an unknown product, or a defect that the product does not have.
    """
    known = _product(product)
    rng = np.random.default_rng(seed)
    scene = known.good(rng)
    if kind == "good":
        return scene
    names = tuple(known.defects) if kind == "logical" else flaws.NAMES
    name = pick(rng, names) if defect is None else defect
    if name not in names:
        raise InputError(f"{known.name} has no {kind} defect {name!r}; there are: {', '.join(names)}")
    scene = known.defects[name](scene, rng) if kind == "logical" else flaws.flawed(scene, name, known.spots(scene), rng)
    assert scene.defect is not None
    defect_of_scene = replace(scene.defect, name=name, value=defect_values(product)[name])
    if known.sights is not None:
        scene = replace(scene, layout={**scene.layout, "sights": tuple(known.sights(scene))})
    return replace(scene, kind=kind, defect=defect_of_scene)


def render(scene: Scene, *, size: int = 224, seed: Seed = 0, paint: Paint | None = None) -> Rendered:
    """Photograph a scene, `size` pixels on the long side; the seed draws light, textures, pose and noise.

    `paint` is the painter of a product that is not in the catalogue. InputError for a size below 32.
    """
    if size < 32:
        raise InputError(f"size {size} is too small to show anything; use 32 pixels or more")
    rng = np.random.default_rng(seed)
    # Each stage has its own stream: a change in one product's painting leaves every camera as it was.
    for_camera, for_paint, for_noise = rng.spawn(3)
    camera = Camera.draw(scene.width, scene.height, for_camera)
    canvas = Canvas(scene.width, scene.height, unit=size * SUPERSAMPLING, rng=for_paint)
    (paint or product_named(scene.product).paint)(canvas, scene)
    for mark in scene.marks:
        flaws.paint_mark(canvas, mark)
    image = camera.shoot(canvas.picture(), size, SUPERSAMPLING, for_noise)
    facts = scene.facts()
    for fact, item in zip(facts["items"], scene.items, strict=True):
        x, y = camera.project(item.x, item.y, size)
        fact["centre"] = [round(x, 1), round(y, 1)]
        fact["size"] = round(item.size * camera.zoom * size, 1)
    sights = scene.layout.get("sights", ())
    if sights:
        facts["sights"] = []
    for what, scene_x, scene_y in sights:
        x, y = camera.project(scene_x, scene_y, size)
        facts["sights"].append({"what": what, "centre": [round(x, 1), round(y, 1)]})
    facts["width"], facts["height"] = image.size
    return Rendered(image, facts, _mask(scene, camera, size))


def _mask(scene: Scene, camera: Camera, size: int) -> NDArray[np.uint8]:
    mask = np.zeros(camera.pixels(size)[::-1], np.uint8)
    if scene.defect is None:
        return mask
    # (height, width) each: the scene's coordinates of every pixel.
    x, y = camera.grid(size)
    for region in scene.defect.regions:
        shape = ellipse(region.width / 2, region.height / 2) if region.round else box(region.width, region.height)
        distance = moved(shape, region.x, region.y, region.angle)(x, y)
        mask[distance <= 0] = scene.defect.value
    for mark in scene.marks:
        # A hair line is widened a little, as a person who paints masks does.
        distance = moved(flaws.outline(mark), mark.x, mark.y, mark.angle)(x, y)
        mask[distance <= 0.004] = scene.defect.value
    return mask
