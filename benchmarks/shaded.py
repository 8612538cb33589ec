"""Does the evidence judge see what is only darker, lighter or of another tint, on photographs?

    python benchmarks/shaded.py FOLDER [--references 4] [--most 20]

FOLDER holds real photographs as `photographs.py` takes them. A square of a sixth of each side, at a place drawn at
random and with a soft rim, gets a share of its red, green and blue, as a burn, a lamp or a stain would do it; nothing
else of a good picture changes. A line for each data set and change: of how many pictures the verdict is yes as they
are; of the changed ones without the tone (`tone.py`) and with it; and how often the first box then lies on the square.
On a black ground a square changes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from photographs import draw, limited, load_sets
from PIL import Image, ImageFilter

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.evidence.judge import Evidence, StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.measurement import MOST_BY_AMOUNT, Measurement

CHANGES = {  # shares of red, green and blue
    "40 % of the light": (0.4, 0.4, 0.4),
    "60 %": (0.6, 0.6, 0.6),
    "140 %": (1.4, 1.4, 1.4),
    "more red, less blue": (1.2, 1.0, 0.8),
    "less red, more blue": (0.8, 1.0, 1.2),
}
SIDE = 1 / 6  # of the picture's sides
RIM = 1 / 50  # of the long side: standard deviation of the blur of the square's rim
MIDDLE = 0.5  # of the square: so near to its middle lies that of the box


def shade(
    image: Image.Image, shares: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Image.Image, tuple[float, float]]:
    """The picture with a square that has these shares of its light, and the square's middle as fractions."""
    left, top = rng.uniform(0, 1 - SIDE, 2)
    corners = zip((left, top, left + SIDE, top + SIDE), 2 * image.size, strict=True)
    mask = Image.new("L", image.size)
    mask.paste(255, tuple(round(at * side) for at, side in corners))
    soft = mask.filter(ImageFilter.GaussianBlur(RIM * max(image.size)))
    other = (np.asarray(image) * np.array(shares)).clip(0, 255).astype(np.uint8)
    changed = Image.composite(Image.fromarray(other), image, soft)
    return changed, (left + SIDE / 2, top + SIDE / 2)


def without_tone(measured: Measurement) -> bool:
    """The verdict that appearance and amount alone make."""
    appearance = measured.appearance * min(MOST_BY_AMOUNT, measured.amount.above_typical)
    return max(appearance / measured.limit, measured.amount.ratio) >= 1


def judge(studied: StudiedReferences, query: Picture, middle: tuple[float, float]) -> tuple[bool, bool, bool]:
    """Yes without the tone, yes with it, and whether the first box lies on the square."""
    findings = measure_query(studied, query)
    before = without_tone(findings.measurement) or any(count.score >= 0.5 for count in findings.counts)
    box = next(iter(describe(findings, query).boxes), None)
    if not findings.anomalous or box is None:
        return before, findings.anomalous, False
    x, y = (box.x + box.width / 2) / query.width, (box.y + box.height / 2) / query.height
    return before, findings.anomalous, max(abs(x - middle[0]), abs(y - middle[1])) <= MIDDLE * SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description="What is only darker, lighter or of another tint, on photographs.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--most", type=int, default=20, help="good pictures of a set")
    options = parser.parse_args()
    evidence = Evidence()
    print("| data | change | pictures | as they are | without tone | with it | first box on the square |")
    print("|---|---|---|---|---|---|---|")
    for name, (category, *others) in load_sets(options.root).items():
        chosen = draw(category, options.references, 0) if len(category.pool) > options.references else []
        queries = limited([path for path in category.good if path not in chosen], options.most)
        if others or not chosen or not queries:  # of many products with a few pictures each
            continue
        studied = evidence.study(tuple(map(read_picture, chosen)))
        pictures = [read_picture(path) for path in queries]
        unchanged = sum(measure_query(studied, picture).anomalous for picture in pictures)
        for change, shares in CHANGES.items():
            rng = np.random.default_rng(0)
            results = []
            for picture in pictures:
                changed, middle = shade(picture.image, shares, rng)
                results.append(judge(studied, read_picture(changed), middle))
            before, now, hit = np.sum(results, 0)
            cells = (name, change, len(results), unchanged, before, now, hit)
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
