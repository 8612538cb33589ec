"""MiniLOCO: a procedural benchmark of product photographs for logical anomalies, after MVTec LOCO AD.

    scene = make_scene("bolt_plate", seed=7, kind="logical", defect="missing_bolt")
    picture = render(scene, size=384, seed=8)          # .image, .facts, .mask
    for record in write_benchmark("out", products=EVALUATION, per_class=50): ...

`EVALUATION` products are after the five of MVTec LOCO AD and are never trained on. `TRAINING` products show between
them every kind of logic but none of those five compositions.

    scene.py       the content of a picture as data: Scene, Item, Fill, Connection, Defect, Product
    colours.py     the colours that facts name
    products/      one product a module: rule, check, good scenes, ways to break them, painting
    catalogue.py   all products by name
    families/      free scenes for pretraining: products drawn at random from families
    painting/      from signed distances to shaded things: canvas, surfaces, parts, containers, structural flaws
    camera.py      pose, light, colour balance, blur and noise of a shot
    render.py      seeds -> scenes -> photographs with facts and masks
    words.py       facts in words: the responses that micro learns to write, and how true their claims are
    writer.py      MVTec LOCO AD's folder layout on disk
"""

from __future__ import annotations

from lad_reasoner.miniloco.catalogue import CATALOGUE, EVALUATION, PRODUCTS, TRAINING
from lad_reasoner.miniloco.colours import COLOURS
from lad_reasoner.miniloco.render import Rendered, defect_values, make_scene, render
from lad_reasoner.miniloco.scene import Defect, Item, Product, Scene
from lad_reasoner.miniloco.writer import count_pictures, draw_picture, write_benchmark

__all__ = [
    "CATALOGUE",
    "COLOURS",
    "EVALUATION",
    "PRODUCTS",
    "TRAINING",
    "Defect",
    "Item",
    "Product",
    "Rendered",
    "Scene",
    "count_pictures",
    "defect_values",
    "draw_picture",
    "make_scene",
    "render",
    "write_benchmark",
]
