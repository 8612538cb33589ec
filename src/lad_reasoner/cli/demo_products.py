"""The pictures of the demo: rendered products, good references, queries with known defects.

`evidence` judges two rigid products with four references each. `micro` judges the five evaluation products of MiniLOCO,
on which it was not trained, with one reference each, as in the paper.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lad_reasoner.files.pictures import save_picture
from lad_reasoner.miniloco import CATALOGUE, EVALUATION, draw_picture
from lad_reasoner.records import Kind
from lad_reasoner.report.inspection import InspectionRow

SEED = 2025


@dataclass(frozen=True)
class Part:
    """One half of the demo: a judge and its pictures."""

    judge: str
    products: tuple[str, ...]
    references: int
    good: int
    logical: int | None  # None: every defect of the product once
    size: int  # pixels of the long side


PARTS = (
    # Rigid products: good pictures differ by camera, light and small tolerances only.
    Part("evidence", ("bolt_plate", "circuit_board"), references=4, good=5, logical=None, size=384),
    Part("micro", EVALUATION, references=1, good=3, logical=3, size=224),
)


@dataclass(frozen=True)
class DemoQuery:
    """A picture on disk, with its label in words."""

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


def render_part(part: Part, folder: Path) -> Iterator[DemoProduct]:
    """Render the products of a part one by one into `folder/<product>/{reference,query}/`, replacing earlier ones."""
    for name in part.products:
        product = CATALOGUE[name]
        shutil.rmtree(folder / name, ignore_errors=True)
        references = [
            _save(part, folder, name, "train", "good", i, f"reference/good_{i}.png").path
            for i in range(part.references)
        ]
        queries = [_save(part, folder, name, "test", "good", i, f"query/good_{i}.png") for i in range(part.good)]
        queries += [
            _save(part, folder, name, "test", "logical", i, f"query/{defect}.png")
            for i, defect in enumerate(list(product.defects)[: part.logical])
        ]
        yield DemoProduct(name, product.rule, references, queries)


def _save(part: Part, folder: Path, product: str, split: str, kind: Kind, index: int, file: str) -> DemoQuery:
    drawn = draw_picture(product, split, kind, index, size=part.size, seed=SEED)
    path = folder / product / file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(path, drawn.image)
    return DemoQuery(path, kind, drawn.facts["defect_words"] or "good")


def summarise(rows: Sequence[InspectionRow]) -> str:
    """The number of right verdicts, accuracy, and balanced accuracy (the mean over good and anomalous queries)."""
    good = [bool(row.right) for row in rows if row.truth == "good"]
    bad = [bool(row.right) for row in rows if row.truth != "good"]
    balanced = (sum(good) / len(good) + sum(bad) / len(bad)) / 2
    return (
        f"{sum(good) + sum(bad)} of {len(rows)} verdicts right ({sum(good)} of {len(good)} good ones): "
        f"accuracy {(sum(good) + sum(bad)) / len(rows):.2f}, balanced accuracy {balanced:.2f}"
    )
