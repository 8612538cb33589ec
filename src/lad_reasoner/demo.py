"""The main job on built-in pictures: two rendered products, four good references each, queries with known defects."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.miniloco import CATALOGUE, draw_picture
from lad_reasoner.records import Kind

PRODUCTS = ("bolt_plate", "circuit_board")  # rigid: good pictures differ by camera, light and small tolerances only
REFERENCES = 4
GOOD = 5
SIZE = 384  # pixels of the long side
SEED = 2025


@dataclass(frozen=True)
class DemoQuery:
    """A picture on disk and what is known about it."""

    path: Path
    kind: Kind
    truth: str


@dataclass(frozen=True)
class DemoProduct:
    """A product's rule in words, its references and its queries."""

    name: str
    rule: str
    references: list[Path]
    queries: list[DemoQuery]


def render_demo(folder: Path) -> Iterator[DemoProduct]:
    """Render the products one after the other into `folder/<product>/{reference,query}/`, which is replaced."""
    for name in PRODUCTS:
        product = CATALOGUE[name]
        shutil.rmtree(folder / name, ignore_errors=True)
        references = [
            _save(folder, name, "train", "good", i, f"reference/good_{i}.png").path for i in range(REFERENCES)
        ]
        queries = [_save(folder, name, "test", "good", i, f"query/good_{i}.png") for i in range(GOOD)]
        queries += [
            _save(folder, name, "test", "logical", i, f"query/{defect}.png") for i, defect in enumerate(product.defects)
        ]
        yield DemoProduct(name, product.rule, references, queries)


def _save(folder: Path, product: str, split: str, kind: Kind, index: int, file: str) -> DemoQuery:
    drawn = draw_picture(product, split, kind, index, size=SIZE, seed=SEED)
    path = folder / product / file
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.image.save(path)
    return DemoQuery(path, kind, drawn.facts["defect_words"] or "good")
