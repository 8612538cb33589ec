"""How often the look at a picture's quality (quality.py) stops pictures that can be judged, and how often damaged ones.

    python benchmarks/quality.py FOLDER [FOLDER ...]        folders of any layout, such as mvtec_anomaly_detection

Each test picture of each class is compared with references of its class, good and anomalous ones alike: none of them
should be stopped. Then the same pictures are damaged (out of focus, overexposed, lens cap, turned aspect), or replaced
by a picture of another class.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageFilter

from lad_reasoner.data.sources import find_samples
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.quality import why_unfit
from lad_reasoner.records import Sample

REFERENCES = (1, 4)


def _blur(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


DAMAGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "out of focus (0.4 % of the width)": _blur(0.004),
    "out of focus (0.8 %)": _blur(0.008),
    "out of focus (1.6 %)": _blur(0.016),
    "overexposed eight times": lambda image: image.point(lambda value: min(255, value * 8)),
    "lens cap": lambda image: image.point(lambda value: value // 40),
    "strip of a quarter of the height": lambda image: image.crop((0, 0, image.width, image.height // 4)),
}


def measure(folders: Sequence[Path], seed: int = 0) -> dict[str, tuple[int, int]]:
    """What was tried -> (stopped, all)."""
    classes: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for folder in folders:
        for sample in find_samples(folder).samples:
            classes[sample.dataset, sample.category].append(sample)
    draw = random.Random(seed)
    counts: dict[str, list[bool]] = defaultdict(list)
    for name, samples in classes.items():
        good = [sample for sample in samples if sample.kind == "good"]
        others = [other for key, values in classes.items() if key[1] != name[1] for other in values]
        for sample in samples:
            if sample.split == "train":
                continue
            picture = read_picture(sample.image)
            for number in REFERENCES:
                pool = [other for other in good if other is not sample]
                if len(pool) < number:
                    continue
                references = tuple(read_picture(other.image) for other in draw.sample(pool, number))
                counts[f"as it is, {number} references"].append(bool(why_unfit(PicturePair(references, picture))))
                if number != REFERENCES[0]:
                    continue
                for damage, make in DAMAGES.items():
                    counts[damage].append(bool(why_unfit(PicturePair(references, _damage(picture, make)))))
                if others:
                    foreign = read_picture(draw.choice(others).image)
                    counts["of another class"].append(bool(why_unfit(PicturePair(references, foreign))))
    return {what: (sum(stopped), len(stopped)) for what, stopped in counts.items()}


def _damage(picture: Picture, make: Callable[[Image.Image], Image.Image]) -> Picture:
    image = make(picture.image)
    return replace(picture, image=image, width=image.width, height=image.height)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for what, (stopped, everything) in measure([Path(name) for name in sys.argv[1:]]).items():
        print(f"{what:36} {stopped:5} of {everything:5} stopped ({100 * stopped / everything:.1f} %)")
