"""No picture, fact or word of MiniLOCO changes by accident: published figures and the trained micro rest on them.

`unchanged.json` holds hashes of every defect of every product, and of ten draws of each family. A change that is meant
to alter pictures writes them anew:

    python tests/miniloco/test_unchanged.py
"""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lad_reasoner.miniloco import CATALOGUE, PRODUCTS
from lad_reasoner.miniloco.families.free import FAMILIES, draw_product
from lad_reasoner.miniloco.render import Rendered, defect_values, make_scene, render
from lad_reasoner.miniloco.scene import Kind, Product, Scene
from lad_reasoner.miniloco.words import describe, write_response

HASHES = Path(__file__).with_name("unchanged.json")
SIZE = 48
SCENES_OF_EACH_DEFECT = 2
DRAWS_OF_EACH_FAMILY = 10
# `bolt_plate`, or `wiring 3` for the fourth draw of a family.
SOURCES = (*PRODUCTS, *(f"{family} {draw}" for family in FAMILIES for draw in range(DRAWS_OF_EACH_FAMILY)))
STRUCTURAL = ("scratch", "stain", "crack", "dent")

# Hashes of facts (with masks, checks and spots), of words, and of pictures.
Hashes = tuple[str, str, str]


def digest(*parts: bytes | str) -> str:
    joined = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(joined).hexdigest()[:12]


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def product_of(source: str) -> Product:
    if source in CATALOGUE:
        return CATALOGUE[source]
    family, draw = source.split()
    return draw_product(family, seed=int(draw))


def facts_hash(product: Product, scene: Scene, drawn: Rendered) -> str:
    spots = product.spots(scene) if scene.kind == "good" else []
    rounded = [[round(float(value), 6) for value in spot] for spot in spots]
    return digest(as_json([drawn.facts, product.check(scene), rounded]), drawn.mask.tobytes())


def draw_hashes(source: str) -> dict[str, Hashes]:
    """Hashes by name of the defect, and of the product itself."""
    product = product_of(source)
    reference = render(make_scene(product, seed=0), size=SIZE, paint=product.paint).facts
    cases: list[tuple[str, Kind, str | None]] = [("good", "good", None)]
    cases += [(name, "logical", name) for name in product.defects]
    cases += [(name, "structural", name) for name in STRUCTURAL]
    # Which defect is drawn where none is named follows from the order of the defects.
    cases += [("any", "logical", None)]
    table = as_json(list(defect_values(product).items()))
    hashes: dict[str, Hashes] = {"product": (digest(product.name, product.rule, table), "", "")}
    for case, kind, defect in cases:
        facts, words, pictures = [], [], []
        for index in range(SCENES_OF_EACH_DEFECT):
            seed = zlib.crc32(f"{source}/{case}/{index}".encode())
            scene = make_scene(product, seed=seed, kind=kind, defect=defect)
            drawn = render(scene, size=SIZE, seed=seed, paint=product.paint)
            facts.append(facts_hash(product, scene, drawn))
            words += [describe(drawn.facts), write_response(reference, drawn.facts)]
            pictures.append(drawn.image.tobytes())
        hashes[case] = digest(*facts), digest(*words), digest(*pictures)
    return hashes


def numerics() -> str:
    """What the last bits of a picture depend on beside our code: versions, and the processor's transcendentals."""
    x = np.linspace(-6, 6, 4099, dtype=np.float32)
    results = [function(x).tobytes() for function in (np.sin, np.cos, np.tanh, np.exp, np.arctan)]
    versions = [version(name) for name in ("numpy", "scipy", "pillow")]
    return digest(*versions, np.hypot(x, 1 - x).tobytes(), np.arctan2(x, 1 - x).tobytes(), *results)


@cache
def expected() -> dict[str, Any]:
    return json.loads(HASHES.read_text(encoding="utf-8"))


@cache
def current(source: str) -> dict[str, Hashes]:
    return draw_hashes(source)


def recorded(source: str) -> dict[str, Hashes]:
    assert source in expected()["sources"], f"no hashes of {source}: run `python tests/miniloco/test_unchanged.py`"
    return {case: tuple(line.split(" ")) for case, line in expected()["sources"][source].items()}


def test_every_product_and_family_has_hashes() -> None:
    assert list(expected()["sources"]) == list(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_facts_masks_and_words_are_unchanged(source: str) -> None:
    now = {case: hashes[:2] for case, hashes in current(source).items()}
    assert now == {case: hashes[:2] for case, hashes in recorded(source).items()}


@pytest.mark.parametrize("source", SOURCES)
def test_pictures_are_unchanged(source: str) -> None:
    if numerics() != expected()["numerics"]:
        pytest.skip("hashes were written with other numerical libraries or another processor: last bits may differ")
    now = {case: hashes[2] for case, hashes in current(source).items()}
    assert now == {case: hashes[2] for case, hashes in recorded(source).items()}


def write_hashes() -> None:
    sources = {source: {case: " ".join(hashes) for case, hashes in draw_hashes(source).items()} for source in SOURCES}
    HASHES.write_text(json.dumps({"numerics": numerics(), "sources": sources}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_hashes()
