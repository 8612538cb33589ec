"""Rule sheets: what share of their rules holds on unseen good pictures, and what share of defects breaks one.

    python benchmarks/rules.py miniloco
    python benchmarks/rules.py FOLDER/mvtec_loco_small
    python benchmarks/rules.py FOLDER --turned

For each product the rules are written from good pictures, then checked on good pictures that they were not made from
and on anomalous ones. `holds` is the share of all checks on unseen good pictures, `clean` the share of these pictures
that break none, `named` the share of logical (structural) anomalies that break at least one. A folder holds products in
the layout of MVTec LOCO AD.

With `--turned` FOLDER holds real photographs as `photographs.py` takes them, and the rule that a product is not turned
is written from ten good pictures of each set, where they agree on one; it is checked on the other good pictures, as
they are and turned by half a turn.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from photographs import draw, limited, load_sets
from PIL import Image

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.files.walk import find_pictures
from lad_reasoner.miniloco import PRODUCTS, draw_picture
from lad_reasoner.service.rule_sheet import RuleSheet
from lad_reasoner.service.rule_writing import write_rules
from lad_reasoner.service.rules import RuleChecker, broken_rules

GOOD, UNSEEN, BAD, SIZE = 10, 20, 20, 384  # pictures that rules are made from, and that they are checked on
MOST = 20  # good photographs on which a turn is checked

Set = tuple[str, list[Picture], list[Picture], dict[str, list[Picture]]]


def rendered(products: Sequence[str]) -> Iterator[Set]:
    def draw(product: str, split: str, kind: str, numbers: range) -> list[Picture]:
        images = [draw_picture(product, split, kind, number, size=SIZE).image for number in numbers]
        return [read_picture(np.asarray(image)) for image in images]

    for product in products:
        good, unseen = draw(product, "train", "good", range(GOOD)), draw(product, "test", "good", range(UNSEEN))
        yield (
            product,
            good,
            unseen,
            {kind: draw(product, "test", kind, range(BAD)) for kind in ("logical", "structural")},
        )


def photographed(folder: Path) -> Iterator[Set]:
    for product in sorted(path for path in folder.iterdir() if (path / "train/good").is_dir()):

        def read(part: str, product: Path = product) -> list[Picture]:
            return [read_picture(path) for path in find_pictures([product / part])] if (product / part).is_dir() else []

        bad = {kind: read(f"test/{kind}_anomalies") for kind in ("logical", "structural")}
        yield product.name, read("train/good"), read("test/good"), bad


def check_turns(folder: Path) -> None:
    """A line for each set of photographs: its rule, and how many unseen good pictures break it, also turned."""
    print("| data | rule | good pictures that break it | the same, turned by half a turn |\n" + "|---" * 4 + "|")
    for name, (category, *others) in load_sets(folder).items():
        if others or len(category.pool) <= GOOD:  # of many products with a few pictures each
            continue
        chosen = draw(category, GOOD, 0)
        good = [read_picture(path) for path in chosen]
        rules = [check for check in write_rules(good, good[0]).checks if check.kind == "turn"]
        if not rules:
            print(f"| {name} | none | | |", flush=True)
            continue
        checker = RuleChecker(RuleSheet(checks=tuple(rules)), good[0])
        unseen = [read_picture(path) for path in limited([path for path in category.good if path not in chosen], MOST)]
        turned = [read_picture(np.asarray(each.image.transpose(Image.Transpose.ROTATE_180))) for each in unseen]
        broken = [share([bool(broken_rules(checker.check(each))) for each in part]) for part in (unseen, turned)]
        print(f"| {name} | at most {rules[0].most:g} degrees | {' | '.join(broken)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="miniloco, or a folder")
    parser.add_argument("--products", nargs="*", help="of MiniLOCO; by default all")
    parser.add_argument("--turned", action="store_true", help="photographs, turned by half a turn")
    options = parser.parse_args()
    if options.turned:
        check_turns(Path(options.source))
        return
    sets = (
        rendered(options.products or list(PRODUCTS))
        if options.source == "miniloco"
        else photographed(Path(options.source))
    )
    print("| product | rules | holds | clean | named: logical | structural | seconds a picture |\n" + "|---" * 7 + "|")
    for product, good, unseen, bad in sets:
        sheet = write_rules(good, good[0])
        checker = RuleChecker(sheet, good[0])
        start = time.perf_counter()
        results = [checker.check(picture) for picture in unseen]
        seconds = (time.perf_counter() - start) / max(1, len(unseen))
        checked = [each for checks in results for each in checks if each.holds is not None]
        kinds = Counter(check.kind for check in sheet.checks)
        broken = Counter(each.kind for each in checked if not each.holds)
        named = [
            share([bool(broken_rules(checker.check(picture))) for picture in pictures]) for pictures in bad.values()
        ]
        print(
            f"| {product} | {dict(kinds)} | {share([bool(each.holds) for each in checked])} "
            f"| {share([not broken_rules(checks) for checks in results])} | {' | '.join(named)} | {seconds:.2f} |"
            f" broken on good: {dict(broken)}",
            flush=True,
        )


def share(values: Sequence[bool]) -> str:
    return f"{sum(values)} of {len(values)}" if values else "none"


if __name__ == "__main__":
    main()
