"""Does micro notice that a picture is no render? Measures `judges/vlm/known_pictures.py`, and writes its file.

    python benchmarks/known_pictures.py [FOLDER] [--write]

Renders of all products and families of MiniLOCO, of two sizes; other renders of the same (another seed) are held out.
FOLDER has real photographs (see photographs.py). A line for each: how many are taken for another kind of picture, and
the least, middle and largest distance. `new products` leaves each product out of the known ones: renders of a product
that was never drawn before. `--write` writes the file, with LIMIT.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from photographs import load_sets
from safetensors.torch import save_file
from torch import Tensor

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.vlm.known_pictures import FOLDER, KnownPictures, describe_picture, load_known
from lad_reasoner.miniloco import PRODUCTS, draw_picture
from lad_reasoner.miniloco.families.free import FAMILIES, draw_product
from lad_reasoner.miniloco.render import make_scene, render

SIZES = (224, 320)
KINDS = ("good", "logical", "structural")
EACH, SCENES = 9, 36  # known pictures of a product, of a family
PHOTOGRAPHS = 12  # of a set
LIMIT = 0.7


def draw_renders(seed: int, each: int, scenes: int) -> Iterator[tuple[str, Picture]]:
    """Name and picture: `each` of every product, kinds and sizes by turns, and so many free scenes of every family."""
    for product in PRODUCTS:
        for index in range(each):
            kind, size = KINDS[index % 3], SIZES[index % 2]
            image = draw_picture(product, "test", kind, index, size=size, seed=seed).image  # type: ignore[arg-type]
            yield product, Picture(product, image, image.width, image.height)
    for family in FAMILIES:
        for index in range(scenes):
            product = draw_product(family, seed=[seed, index])
            scene = make_scene(product, seed=[seed, index, 0])
            image = render(scene, size=SIZES[index % 2], seed=[seed, index, 1], paint=product.paint).image
            yield family, Picture(family, image, image.width, image.height)


def study(renders: list[tuple[str, Picture]], limit: float) -> tuple[list[str], KnownPictures]:
    """The names and what is known of these pictures."""
    features = torch.stack([describe_picture(picture.image) for _, picture in renders]).half()
    deviation = features.float().std(0) + 1e-6
    return [name for name, _ in renders], KnownPictures(features.float(), deviation, limit)


def _line(name: str, distances: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(distances, (0, 0.5, 1))
    refused = int((distances > LIMIT).sum())
    return f"{name:18s} {refused:3d} of {len(distances):3d} refused; distances {low:.2f} {middle:.2f} {high:.2f}"


def measure(known: KnownPictures, pictures: list[Picture]) -> NDArray[np.float64]:
    return np.array([known.distance(picture) for picture in pictures])


def without(known: KnownPictures, names: list[str], name: str) -> KnownPictures:
    """What is known without the product of this name."""
    kept: Tensor = known.features[[other != name for other in names]]
    return KnownPictures(kept, known.deviation, known.limit)


def main() -> None:
    parser = argparse.ArgumentParser(description="Does micro notice that a picture is no render?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--write", action="store_true", help="replace the file that ships")
    options = parser.parse_args()
    if options.write:
        _, known = study(list(draw_renders(seed=1, each=EACH, scenes=SCENES)), LIMIT)
        FOLDER.mkdir(exist_ok=True)
        tensors = {"features": known.features.half(), "deviation": known.deviation}
        save_file(tensors, FOLDER / "renders.safetensors", {"limit": str(LIMIT)})
    known = load_known("renders")
    held_out = list(draw_renders(seed=2, each=4, scenes=8))
    for title, group in (("held-out products", PRODUCTS), ("held-out families", FAMILIES)):
        print(_line(title, measure(known, [picture for name, picture in held_out if name in group])), flush=True)
    names = [name for name in PRODUCTS for _ in range(EACH)] + [name for name in FAMILIES for _ in range(SCENES)]
    new = [without(known, names, name).distance(picture) for name, picture in held_out if name in PRODUCTS]
    print(_line("new products", np.array(new)), flush=True)
    if options.folder:
        for name, categories in load_sets(options.folder).items():
            paths = [path for category in categories for path in (*category.pool, *category.good, *category.bad)]
            chosen = random.Random(0).sample(sorted(set(paths)), min(PHOTOGRAPHS, len(set(paths))))
            print(_line(name, measure(known, [read_picture(path) for path in chosen])), flush=True)


if __name__ == "__main__":
    main()
