"""Does the evidence judge see what is only darker or lighter, on photographs?

    python benchmarks/shaded.py FOLDER [--references 4] [--most 20]

FOLDER holds real photographs as `photographs.py` takes them. A square of a sixth of each side, at a place drawn at
random and with a soft rim, gets a share of its light, as a burn or a lamp would do it; nothing else of a good picture
changes. A line for each data set and share: of how many pictures the verdict is yes as they are; of the changed ones
without the lightness and with it; and how often the first box then lies on the square. On a black ground a square
changes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from photographs import draw, limited, load_sets
from PIL import Image, ImageEnhance, ImageFilter

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.evidence.judge import Evidence, StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.matching import MOST_BY_AMOUNT, Measurement

SHARES = (0.4, 0.6, 1.4)
SIDE = 1 / 6  # of the picture's sides
RIM = 1 / 50  # of the long side: standard deviation of the blur of the square's rim
MIDDLE = 0.5  # of the square: so near to its middle lies that of the box


def shade(image: Image.Image, share: float, rng: np.random.Generator) -> tuple[Image.Image, tuple[float, float]]:
    """The picture with a square that has this share of its light, and the square's middle as fractions."""
    left, top = rng.uniform(0, 1 - SIDE, 2)
    corners = zip((left, top, left + SIDE, top + SIDE), 2 * image.size, strict=True)
    mask = Image.new("L", image.size)
    mask.paste(255, tuple(round(at * side) for at, side in corners))
    soft = mask.filter(ImageFilter.GaussianBlur(RIM * max(image.size)))
    changed = Image.composite(ImageEnhance.Brightness(image).enhance(share), image, soft)
    return changed, (left + SIDE / 2, top + SIDE / 2)


def without_lightness(measured: Measurement) -> bool:
    """The verdict that appearance and amount alone make."""
    appearance = measured.appearance * min(MOST_BY_AMOUNT, measured.amount.above_typical)
    return max(appearance / measured.limit, measured.amount.ratio) >= 1


def judge(studied: StudiedReferences, query: Picture, middle: tuple[float, float]) -> tuple[bool, bool, bool]:
    """Yes without the lightness, yes with it, and whether the first box lies on the square."""
    findings = measure_query(studied, query)
    before = without_lightness(findings.measurement) or any(count.score >= 0.5 for count in findings.counts)
    box = next(iter(describe(findings, query).boxes), None)
    if not findings.anomalous or box is None:
        return before, findings.anomalous, False
    x, y = (box.x + box.width / 2) / query.width, (box.y + box.height / 2) / query.height
    return before, findings.anomalous, max(abs(x - middle[0]), abs(y - middle[1])) <= MIDDLE * SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description="What is only darker or lighter, on photographs.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--most", type=int, default=20, help="good pictures of a set")
    options = parser.parse_args()
    evidence = Evidence()
    print("| data | light | pictures | as they are | without lightness | with it | first box on the square |")
    print("|---|---|---|---|---|---|---|")
    for name, (category, *others) in load_sets(options.root).items():
        chosen = draw(category, options.references, 0) if len(category.pool) > options.references else []
        queries = limited([path for path in category.good if path not in chosen], options.most)
        if others or not chosen or not queries:  # of many products with a few pictures each
            continue
        studied = evidence.study(tuple(map(read_picture, chosen)))
        pictures = [read_picture(path) for path in queries]
        unchanged = sum(measure_query(studied, picture).anomalous for picture in pictures)
        for share in SHARES:
            rng = np.random.default_rng(0)
            results = []
            for picture in pictures:
                changed, middle = shade(picture.image, share, rng)
                results.append(judge(studied, read_picture(changed), middle))
            before, now, hit = np.sum(results, 0)
            cells = (name, f"x {share:g}", len(results), unchanged, before, now, hit)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
