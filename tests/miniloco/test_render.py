"""Rendering: facts and masks belong to the picture, which depends on its seed alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers.drawn import picture
from lad_reasoner.errors import InputError
from lad_reasoner.miniloco import (
    CATALOGUE,
    PRODUCTS,
    Rendered,
    defect_values,
    draw_picture,
    make_scene,
    render,
)
from lad_reasoner.miniloco.painting import flaws
from lad_reasoner.miniloco.scene import Scene


@pytest.mark.parametrize("product", PRODUCTS)
def test_facts_match_the_scene_and_survive_json(product: str) -> None:
    for kind in ("good", "logical", "structural"):
        drawn = picture(product, kind, 1)
        facts = json.loads(json.dumps(drawn.facts))
        assert facts == drawn.facts
        assert facts["kind"] == kind
        assert (facts["width"], facts["height"]) == drawn.image.size
        assert max(drawn.image.size) == 224
        assert drawn.mask.shape == drawn.image.size[::-1]
        assert sum(facts["counts"].values()) == len(facts["items"])
        for item in facts["items"]:
            assert facts["counts"][item["what"]] == sum(i["what"] == item["what"] for i in facts["items"])
            assert 0 <= item["centre"][0] <= facts["width"]
            assert 0 <= item["centre"][1] <= facts["height"]
        assert (facts["defect"] is None) == (kind == "good") == (facts["defect_words"] is None)


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_mask_is_inside_the_picture_with_the_listed_grey_value(product: str) -> None:
    values = defect_values(product)
    assert len(set(values.values())) == len(values)
    assert all(0 < value <= 255 for value in values.values())
    for kind, names in (("logical", CATALOGUE[product].defects), ("structural", flaws.NAMES)):
        for index, name in enumerate(names):
            drawn = picture(product, kind, index, 96)
            assert drawn.facts["defect"] == name
            assert set(np.unique(drawn.mask)) == {0, values[name]}
            assert 4 <= np.count_nonzero(drawn.mask) < 0.9 * drawn.mask.size
    assert not picture(product, "good", 0, 96).mask.any()


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_mask_covers_what_a_structural_flaw_changes(product: str) -> None:
    """With the marks taken away the same seed gives the same picture, but for the place of the mask."""
    for seed in range(2):
        for name in flaws.NAMES:
            scene = make_scene(product, seed=seed, kind="structural", defect=name)
            clean = Scene(**{**vars(scene), "marks": (), "defect": None})
            flawed, whole = (render(s, size=128, seed=seed) for s in (scene, clean))
            changed = np.abs(np.asarray(flawed.image, float) - np.asarray(whole.image, float)).max(axis=2)
            near = ndimage.binary_dilation(flawed.mask > 0, iterations=6)
            assert changed[flawed.mask > 0].max() > 12, name
            assert np.percentile(changed[~near], 99) < 12, name


def digest(drawn: Rendered) -> str:
    return hashlib.sha256(drawn.image.tobytes() + drawn.mask.tobytes() + repr(drawn.facts).encode()).hexdigest()


def test_a_picture_depends_on_its_arguments_alone() -> None:
    for product in PRODUCTS:
        first = digest(draw_picture(product, "test", "logical", 0, size=64, seed=5))
        assert digest(draw_picture(product, "test", "logical", 0, size=64, seed=5)) == first
        others = [
            digest(draw_picture(product, "test", "logical", 1, size=64, seed=5)),
            digest(draw_picture(product, "test", "logical", 0, size=64, seed=6)),
            digest(draw_picture(product, "test", "good", 0, size=64, seed=5)),
            digest(draw_picture(product, "train", "good", 0, size=64, seed=5)),
        ]
        assert len({first, *others}) == 5


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    code = (
        "import hashlib; from lad_reasoner.miniloco import draw_picture as d; "
        "p = d('screw_bag', 'test', 'logical', 3, size=64, seed=5); "
        "print(hashlib.sha256(p.image.tobytes() + p.mask.tobytes() + repr(p.facts).encode()).hexdigest())"
    )
    path = str(Path(sys.modules["lad_reasoner.miniloco"].__file__ or "").parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": path},
    )
    assert ran.stdout.strip() == digest(draw_picture("screw_bag", "test", "logical", 3, size=64, seed=5))


def test_size_changes_nothing_but_the_resolution() -> None:
    """Facts of a large picture are those of a small one, scaled; the pictures look alike."""
    for product in PRODUCTS:
        small, large = (draw_picture(product, "test", "good", 0, size=size) for size in (96, 288))
        for one, two in zip(small.facts["items"], large.facts["items"], strict=True):
            assert np.allclose(np.asarray(one["centre"]) * 3, two["centre"], atol=0.5)
            assert {k: one[k] for k in ("what", "colour", "place", "shows")} == {
                k: two[k] for k in ("what", "colour", "place", "shows")
            }
        shrunk = np.asarray(large.image.resize(small.image.size, Image.Resampling.BOX), float)
        assert np.abs(shrunk - np.asarray(small.image, float)).mean() < 14, product


def test_wrong_names_are_explained() -> None:
    with pytest.raises(InputError, match="no logical defect 'missing'"):
        make_scene("bolt_plate", seed=0, kind="logical", defect="missing")
    with pytest.raises(InputError, match="too small"):
        render(make_scene("bolt_plate", seed=0), size=16)
