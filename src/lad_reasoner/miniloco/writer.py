"""MiniLOCO on disk in MVTec LOCO AD's layout, written picture by picture in constant memory.

    OUT/<product>.png                                    contact sheet
    OUT/<product>/train/good/000.png                     PNG, RGB
                  validation/good/000.png
                  test/{good,logical_anomalies,structural_anomalies}/000.png
                  ground_truth/<kind>/000/000.png        PNG, 8 bit: 0, or the grey value of the defect
                  defects_config.json                    the grey value of each defect
                  facts.jsonl                            one line a picture: its facts
                  rule.txt                               the rule that good pictures obey

Deviations from MVTec LOCO AD: a defect that touches two places has one mask file all the same; saturation thresholds
are always relative and 1. The licence is this package's: every picture is drawn by its code.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import own_folder
from lad_reasoner.miniloco.catalogue import CATALOGUE
from lad_reasoner.miniloco.painting import flaws
from lad_reasoner.miniloco.render import Rendered, defect_values, make_scene, product_named, render
from lad_reasoner.miniloco.scene import Kind

# (split, folder, kind) in the order in which they are written.
GROUPS: tuple[tuple[str, str, Kind], ...] = (
    ("train", "good", "good"),
    ("validation", "good", "good"),
    ("test", "good", "good"),
    ("test", "logical_anomalies", "logical"),
    ("test", "structural_anomalies", "structural"),
)
_COLUMNS = 8
_CAPTION = 16


def draw_picture(product: str, split: str, kind: Kind, index: int, *, size: int = 224, seed: int = 0) -> Rendered:
    """Picture `index` of a group. It depends on these arguments alone; defects take turns with the index."""
    stream = [seed, zlib.crc32(product.encode()), zlib.crc32(f"{split}/{kind}".encode()), index]
    names = {"good": (), "logical": tuple(product_named(product).defects), "structural": flaws.NAMES}[kind]
    defect = names[index % len(names)] if names else None
    scene = make_scene(product, seed=[*stream, 0], kind=kind, defect=defect)
    return render(scene, size=size, seed=[*stream, 1])


def count_pictures(products: Sequence[str] | None = None, *, per_class: int) -> int:
    """The number of records that `write_benchmark` will yield."""
    return len(CATALOGUE if products is None else products) * len(GROUPS) * per_class


def write_benchmark(
    out: Path | str,
    *,
    products: Sequence[str] | None = None,
    per_class: int = 50,
    size: int = 224,
    seed: int = 0,
    overwrite: bool = False,
) -> Iterator[dict[str, Any]]:
    """Write `per_class` pictures of each test kind, of training and of validation for each product (default: all).

    Yields the line of facts.jsonl of each picture once it is on disk. Arguments are checked before the first picture.
    A larger `per_class` begins with the very pictures of a smaller one. InputError for unknown products, numbers out of
    range, or an OUT/<product> that exists (with `overwrite` an earlier benchmark there is replaced).
    """
    chosen = tuple(CATALOGUE if products is None else products)
    if per_class < 1:
        raise InputError(f"per_class is {per_class}; give at least 1 picture of each kind")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    if size < 32:
        raise InputError(f"size is {size}; give 32 pixels or more")
    root = Path(out)
    for name in chosen:
        product_named(name)
        _check_room(root / name, overwrite)
    return _write(root, chosen, per_class, size, seed, overwrite)


def _make_room(folder: Path, overwrite: bool) -> None:
    _check_room(folder, overwrite)
    if folder.exists():
        shutil.rmtree(folder)


def _check_room(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise InputError(f"{folder} exists already; remove it, or give another folder")
    if not (folder / "facts.jsonl").is_file():
        raise InputError(f"{folder} exists and is no MiniLOCO folder; give another folder")


def _write(
    root: Path, products: Sequence[str], per_class: int, size: int, seed: int, overwrite: bool
) -> Iterator[dict[str, Any]]:
    with own_folder(root, "OUT"):
        for product in products:
            folder = root / product
            _make_room(folder, overwrite)  # again: another process may have written it meanwhile
            folder.mkdir()
            (folder / "rule.txt").write_text(product_named(product).rule + "\n", encoding="utf-8")
            _write_config(folder, product)
            sheet = _Sheet()
            with (folder / "facts.jsonl").open("w", encoding="utf-8") as facts:
                for split, kind_folder, kind in GROUPS:
                    (folder / split / kind_folder).mkdir(parents=True)
                    for index in range(per_class):
                        drawn = draw_picture(product, split, kind, index, size=size, seed=seed)
                        record = _save(folder, split, kind_folder, index, drawn)
                        facts.write(json.dumps(record, ensure_ascii=False) + "\n")
                        facts.flush()
                        if split == "test" and index < _COLUMNS:
                            sheet.add(drawn)
                        yield record
            sheet.save(root / f"{product}.png")


def _write_config(folder: Path, product: str) -> None:
    config = []
    for name, value in defect_values(product).items():
        saturation = {"saturation_threshold": 1, "relative_saturation": True}
        config.append({"defect_name": name, "pixel_value": value, **saturation})
    (folder / "defects_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save(folder: Path, split: str, kind_folder: str, index: int, drawn: Rendered) -> dict[str, Any]:
    name = f"{index:03d}"
    file = f"{split}/{kind_folder}/{name}.png"
    drawn.image.save(folder / file, compress_level=3)
    mask_file = None
    if drawn.mask.any():
        mask_file = f"ground_truth/{kind_folder}/{name}/000.png"
        (folder / mask_file).parent.mkdir(parents=True)
        Image.fromarray(drawn.mask).save(folder / mask_file)
    return {"file": file, "split": split, **drawn.facts, "mask": mask_file}


class _Sheet:
    """Small pictures of the test split, a row a kind, with the defect's name below."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Image.Image, str]]] = {}

    def add(self, drawn: Rendered) -> None:
        """Put a picture at the end of its kind's row."""
        small = drawn.image.copy()
        small.thumbnail((224, 224))
        caption = (drawn.facts["defect"] or "good").replace("_", " ")
        self.rows.setdefault(drawn.facts["kind"], []).append((small, caption))

    def save(self, path: Path) -> None:
        """Write the sheet; captions that are too long are cut."""
        pictures = [picture for row in self.rows.values() for picture, _ in row]
        wide, tall = pictures[0].width + 6, pictures[0].height + _CAPTION + 6
        columns = max(len(row) for row in self.rows.values())
        sheet = Image.new("RGB", (columns * wide + 6, len(self.rows) * tall + 6), (246, 246, 244))
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(11)
        for r, row in enumerate(self.rows.values()):
            for c, (picture, caption) in enumerate(row):
                x, y = 6 + c * wide, 6 + r * tall
                sheet.paste(picture, (x, y))
                while font.getlength(caption) > picture.width:
                    caption = caption[:-2].rstrip() + "…"
                draw.text((x, y + picture.height + 1), caption, fill=(40, 40, 44), font=font)
        sheet.save(path)
