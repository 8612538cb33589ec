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

A product is drawn in a hidden folder, which gets its name when it is whole. After a kill the same command draws the
products that are missing.
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
from lad_reasoner.files.pictures import save_picture
from lad_reasoner.files.whole import check_own_folder, named_errors, own_folder, write_whole
from lad_reasoner.miniloco.catalogue import CATALOGUE
from lad_reasoner.miniloco.families.free import find_product
from lad_reasoner.miniloco.painting import flaws
from lad_reasoner.miniloco.render import Rendered, defect_values, make_scene, render
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
    found = find_product(product)
    names = {"good": (), "logical": tuple(found.defects), "structural": flaws.NAMES}[kind]
    defect = names[index % len(names)] if names else None
    scene = make_scene(found, seed=[*stream, 0], kind=kind, defect=defect)
    drawn = render(scene, size=size, seed=[*stream, 1], paint=found.paint)
    drawn.facts["product"] = product  # the scene of a free product only knows its family
    return drawn


def count_pictures(products: Sequence[str] | None = None, *, per_class: int) -> int:
    """The number of records that `write_benchmark` will yield."""
    return len(set(CATALOGUE if products is None else products)) * len(GROUPS) * per_class


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

    Beside the catalogue's names those of free products are known, `wiring-7`; see families/free.py.

    Yields the line of facts.jsonl of each picture once it is on disk. Arguments are checked before the first picture.
    A larger `per_class` begins with the very pictures of a smaller one. InputError for unknown products, numbers out of
    range, or an OUT/<product> that exists (with `overwrite` an earlier benchmark there is replaced). A product that the
    same call wrote before it was killed is kept, and its lines are yielded.
    """
    chosen = tuple(dict.fromkeys(CATALOGUE if products is None else products))
    if not chosen:
        raise InputError("no product is given; give some of evaluation, training, free, all, or names")
    if per_class < 1:
        raise InputError(f"per_class is {per_class}; give at least 1 picture of each kind")
    if seed < 0:
        raise InputError(f"seed is {seed}; give 0 or more")
    if size < 32:
        raise InputError(f"size is {size}; give 32 pixels or more")
    root = Path(out)
    check_own_folder(root, "OUT")
    for name in chosen:
        find_product(name)
    finished = {} if overwrite else _finished_before(root, chosen, per_class, size, seed)
    for name in chosen:
        if name not in finished:
            _check_room(root / name, overwrite)
    return _write(root, chosen, per_class, size, seed, overwrite)


def _half(root: Path, product: str) -> Path:
    """The folder of a product that is not whole yet."""
    return root / f".{product}.part"


def _finished_before(
    root: Path, products: Sequence[str], per_class: int, size: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """The lines of the products that are whole, if a kill interrupted a call with the same arguments."""
    if not any(_half(root, product).is_dir() for product in products):
        return {}
    finished: dict[str, list[dict[str, Any]]] = {}
    split, kind_folder, kind = GROUPS[0]
    for product in products:
        path = root / product / "facts.jsonl"
        if not path.is_file():
            continue
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # One picture tells whether size and seed were the same.
        first = _record(split, kind_folder, 0, draw_picture(product, split, kind, 0, size=size, seed=seed))
        if len(records) == per_class * len(GROUPS) and records[0] == json.loads(json.dumps(first)):
            finished[product] = records
    return finished


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
        finished = {} if overwrite else _finished_before(root, products, per_class, size, seed)
        for product in products:
            if product not in finished:
                _check_room(root / product, overwrite)  # again: another process may have written it meanwhile
                _half(root, product).mkdir(exist_ok=True)
        for product in products:
            if product in finished:
                yield from finished[product]
            else:
                yield from _write_product(root, product, per_class, size, seed)


def _write_product(root: Path, product: str, per_class: int, size: int, seed: int) -> Iterator[dict[str, Any]]:
    folder, half = root / product, _half(root, product)
    shutil.rmtree(half)  # what a kill left
    half.mkdir()
    write_whole(half / "rule.txt", find_product(product).rule + "\n")
    _write_config(half, product)
    sheet = _Sheet()
    with (half / "facts.jsonl").open("w", encoding="utf-8") as facts:
        for split, kind_folder, kind in GROUPS:
            (half / split / kind_folder).mkdir(parents=True)
            for index in range(per_class):
                drawn = draw_picture(product, split, kind, index, size=size, seed=seed)
                record = _save(half, split, kind_folder, index, drawn)
                with named_errors(half / "facts.jsonl"):
                    facts.write(json.dumps(record, ensure_ascii=False) + "\n")
                    facts.flush()
                if split == "test" and index < _COLUMNS:
                    sheet.add(drawn)
                yield record
    sheet.save(root / f"{product}.png")
    if folder.exists():
        shutil.rmtree(folder)
    half.rename(folder)


def _write_config(folder: Path, product: str) -> None:
    config = []
    for name, value in defect_values(find_product(product)).items():
        saturation = {"saturation_threshold": 1, "relative_saturation": True}
        config.append({"defect_name": name, "pixel_value": value, **saturation})
    write_whole(folder / "defects_config.json", json.dumps(config, indent=2) + "\n")


def _save(folder: Path, split: str, kind_folder: str, index: int, drawn: Rendered) -> dict[str, Any]:
    record = _record(split, kind_folder, index, drawn)
    save_picture(folder / record["file"], drawn.image, compress_level=3)
    if record["mask"]:
        (folder / record["mask"]).parent.mkdir(parents=True)
        save_picture(folder / record["mask"], Image.fromarray(drawn.mask))
    return record


def _record(split: str, kind_folder: str, index: int, drawn: Rendered) -> dict[str, Any]:
    """The line of facts.jsonl."""
    name = f"{index:03d}"
    mask = f"ground_truth/{kind_folder}/{name}/000.png" if drawn.mask.any() else None
    return {"file": f"{split}/{kind_folder}/{name}.png", "split": split, **drawn.facts, "mask": mask}


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
        save_picture(path, sheet)
