"""What `evidence` says of real logical defects, for a person to judge: does the headline name the right change?

    python benchmarks/headlines.py FOLDER [--sheets DIR]

FOLDER has the photographs of photographs.py; MVTec LOCO AD is read, with three references a product. A line for
each good and each logical picture: score and headline. `--sheets` also writes a picture for each product: the nearest
reference beside the query with its boxes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from photographs import Category, draw, load_sets
from PIL import Image, ImageDraw

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query

REFERENCES = 3
CAPTION = 14  # pixels


def describe_product(category: Category, backbone: Backbone) -> Iterator[tuple[str, Image.Image]]:
    """A line for each good and logical picture, and the nearest reference beside the picture with its boxes."""
    references = [read_picture(path) for path in draw(category, min(REFERENCES, len(category.pool)), 0)]
    studied = StudiedReferences.study(references, backbone)
    logical = [path for path in category.bad if path.parent.name == "logical_anomalies"]
    for path in [*category.good, *logical]:
        query = read_picture(path)
        findings = measure_query(studied, query)
        judgement = describe(findings, query)
        name = f"{category.name}/{path.parent.name}/{path.stem}"
        line = f"{name:46s} {judgement.score:.2f}  {judgement.headline}"
        shown = query.image.copy()
        for box in judgement.boxes:
            corners = (box.x, box.y, box.x + box.width, box.y + box.height)
            ImageDraw.Draw(shown).rectangle(corners, outline=(255, 0, 0))
        nearest = references[findings.measurement.reference].image.resize(shown.size)
        pair = Image.new("RGB", (2 * shown.width, shown.height + CAPTION), "white")
        pair.paste(nearest, (0, CAPTION))
        pair.paste(shown, (shown.width, CAPTION))
        ImageDraw.Draw(pair).text((2, 1), f"{path.parent.name} {path.stem}: {judgement.headline}", fill=(0, 0, 0))
        yield line, pair


def main() -> None:
    parser = argparse.ArgumentParser(description="What evidence says of real logical defects.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of pictures for each product")
    options = parser.parse_args()
    backbone = load_backbone()
    for category in load_sets(options.folder)["mvtec_loco_small"]:
        pairs = []
        for line, pair in describe_product(category, backbone):
            print(line, flush=True)
            pairs.append(pair)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            sheet = Image.new("RGB", (pairs[0].width, sum(pair.height for pair in pairs)), "white")
            top = 0
            for pair in pairs:
                sheet.paste(pair, (0, top))
                top += pair.height
            sheet.save(options.sheets / f"{category.name}.png")


if __name__ == "__main__":
    main()
