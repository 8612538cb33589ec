"""Products: rules hold on good scenes and break as claimed, and facts are true of the pictures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from helpers.drawn import picture
from lad_reasoner.miniloco import (
    CATALOGUE,
    COLOURS,
    EVALUATION,
    PRODUCTS,
    TRAINING,
    make_scene,
    render,
)
from lad_reasoner.miniloco.camera import Camera
from lad_reasoner.miniloco.painting import flaws
from lad_reasoner.miniloco.products import juice_bottle, tube_rack
from lad_reasoner.miniloco.scene import Scene

# Where an item shows its colour, when not at its centre: along and across its own axes, in parts of its size.
# None: nowhere that is as large as a few pixels.
PROBES: dict[str, tuple[float, float] | None] = {
    "nut": (0.40, 0.0),
    "washer": (0.40, 0.0),
    "bolt": (0.40, 0.0),
    "nectarine": (-0.25, 0.0),
    "tangerine": (0.30, 0.0),
    "resistor": (0.13, 0.0),
    "large gear": (-0.40, 0.0),
    "small gear": (-0.36, 0.0),
    "connector with 2 clamps": (0.22, 0.06),
    "connector with 3 clamps": (0.22, 0.0),
    "connector with 5 clamps": (0.14, 0.0),
    "fruit label": (-0.43, 0.0),
    "text label": (-0.475, 0.0),
    "fruit picture": None,
    "label": (0.0, -0.155),
    "chip": (0.18, 0.35),
    "connector": (0.40, 0.19),
    "key": (0.26, 0.20),
    "sachet": (0.29, 0.15),
    "hammer": (0.0, 0.32),
    "large screwdriver": (0.0, 0.37),
    "small screwdriver": (0.0, 0.37),
    "tablet": (0.0, 0.13),
}


def look(image: Image.Image, x: float, y: float, reach: int = 1) -> np.ndarray:
    """Median colour, 0..1, of the few pixels about a point."""
    pixels = np.asarray(image, dtype=np.float64) / 255
    column, row = (
        int(np.clip(x, reach, image.width - reach - 1)),
        int(np.clip(y, reach, image.height - reach - 1)),
    )
    patch = pixels[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return np.median(patch.reshape(-1, 3), axis=0)


def likeness(seen: np.ndarray, name: str) -> float:
    """How unlike a seen colour and a named one are: mostly by tint, a little by brightness."""
    wanted = np.asarray(COLOURS[name])
    tint = np.abs(seen / seen.sum() - wanted / wanted.sum()).sum()
    return float(tint + 0.35 * abs(seen.mean() - wanted.mean()))


@cache
def colours_of(product: str) -> dict[str, set[str]]:
    """Which colours each sort of item of a product comes in."""
    found: dict[str, set[str]] = {}
    for seed in range(60):
        for kind in ("good", "logical"):
            for item in make_scene(product, seed=seed, kind=kind).items:
                found.setdefault(item.what, set()).add(item.colour)
    return found


def test_products_show_every_kind_of_logic_and_keep_apart() -> None:
    assert len(EVALUATION) == 5
    assert len(TRAINING) >= 8
    assert not set(EVALUATION) & set(TRAINING)
    assert set(PRODUCTS) == set(CATALOGUE) == {*EVALUATION, *TRAINING}
    for name, product in CATALOGUE.items():
        assert product.name == name
        assert product.rule.endswith(".")
        assert len(product.defects) >= 4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("product", PRODUCTS)
def test_rule_holds_on_good_and_structural_and_breaks_on_every_logical_defect(product: str, seed: int) -> None:
    made = CATALOGUE[product]
    good = make_scene(product, seed=seed)
    assert made.check(good) == []
    assert good.defect is None
    for name in made.defects:
        scene = make_scene(product, seed=seed, kind="logical", defect=name)
        assert made.check(scene), name
        assert not scene.marks
        assert scene.defect is not None
        assert scene.defect.name == name
        assert len(scene.defect.words) > 12
        assert scene.defect.regions
        inside_frame(scene)
    for name in flaws.NAMES:
        scene = make_scene(product, seed=seed, kind="structural", defect=name)
        assert made.check(scene) == [], name
        assert [mark.what for mark in scene.marks] == [name]
        assert scene.items == good.items
        assert scene.fills == good.fills
    inside_frame(good)


def inside_frame(scene: Scene) -> None:
    for item in scene.items:
        assert 0 < item.x < scene.width, item
        assert 0 < item.y < scene.height, item


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_parts_lie_where_their_places_say(seed: int) -> None:
    """Pins lie between the separators of their compartment; nuts and washers do not cover each other."""
    for kind in ("good", "logical"):
        scene = make_scene("pushpins", seed=seed, kind=kind)
        walls = {item.place: item for item in make_scene("pushpins", seed=seed).all("separator")}
        for pin in scene.all("pushpin"):
            row, column = pin.place.split(", column ")
            if column != "1":
                assert walls[f"{row}, between columns {int(column) - 1} and {column}"].x < pin.x
            if column != "5":
                assert walls[f"{row}, between columns {column} and {int(column) + 1}"].x > pin.x
    bag = make_scene("screw_bag", seed=seed)
    for one in bag.items:
        for two in bag.items:
            if one is not two and {one.what, two.what} <= {"nut", "washer"}:
                assert np.hypot(one.x - two.x, one.y - two.y) > 0.5 * one.size


@pytest.mark.parametrize("product", PRODUCTS)
def test_colours_in_the_facts_are_seen_in_the_picture(product: str) -> None:
    """Of the colours that the item could have, and some others, the named one is nearest to what is seen
    there.
    """
    seen = wrong = 0
    for drawn in (picture(product, kind, index) for kind in ("good", "logical") for index in range(3)):
        for item in drawn.facts["items"]:
            probe = PROBES.get(item["what"], (0.0, 0.0))
            if not item["colour"] or probe is None:
                continue
            turn = np.radians(item["angle"])
            along, across = probe[0] * item["size"], probe[1] * item["size"]
            if item["what"].startswith("connector with") and item["place"] == "right":
                along = -along
            x = item["centre"][0] + np.cos(turn) * along - np.sin(turn) * across
            y = item["centre"][1] + np.sin(turn) * along + np.cos(turn) * across
            colour = look(drawn.image, x, y)
            others = {"red", "green", "blue", "black"} | colours_of(product)[item["what"]]
            seen += 1
            wrong += min(others, key=lambda name: likeness(colour, name)) != item["colour"]
    assert seen >= 4
    assert wrong == 0, f"{wrong} of {seen}"


@pytest.mark.parametrize(("kind", "index"), [("good", 0), ("good", 1), ("logical", 0), ("logical", 1), ("logical", 4)])
def test_pins_in_the_facts_can_be_counted_in_the_picture(kind: str, index: int) -> None:
    drawn = picture("pushpins", kind, index, 448)
    pixels = np.asarray(drawn.image, dtype=np.float64) / 255
    yellow = (pixels[..., 0] > 0.35) & (pixels[..., 0] - pixels[..., 2] > 0.25)
    labels, number = ndimage.label(yellow)
    areas = ndimage.sum_labels(yellow, labels, range(1, number + 1))
    assert int((areas > 60).sum()) == drawn.facts["counts"]["pushpin"]


def test_fill_levels_in_the_facts_are_seen_in_the_picture() -> None:
    """Just below the surface that the level gives there is liquid, just above there is none."""
    for index in range(4):
        drawn = picture("test_tubes", "good", index)
        for fill in drawn.facts["fills"]:
            (tube,) = (i for i in drawn.facts["items"] if i["what"] == "tube" and i["place"] == fill["place"])
            x, bottom = tube["centre"][0], tube["centre"][1] + tube["size"] / 2
            surface = bottom - fill["level"] * tube["size"]
            below, above = (look(drawn.image, x, surface + dy) for dy in (0.03 * 224, -0.03 * 224))
            assert likeness(below, fill["colour"]) < likeness(above, fill["colour"])
    assert tube_rack.GOOD_LEVEL[0] < 0.6 < tube_rack.GOOD_LEVEL[1]


@pytest.mark.parametrize("defect", ["wrong_fill_level_not_enough", "wrong_fill_level_too_much", None])
def test_juice_reaches_the_level_of_the_facts(defect: str | None) -> None:
    for seed in range(3):
        kind = "logical" if defect else "good"
        scene = make_scene("juice_bottle", seed=seed, kind=kind, defect=defect)
        scene = scene.without(*scene.items)
        drawn = render(scene, size=224, seed=seed)
        x, table, scale = scene.layout["pose"]
        camera = Camera.draw(scene.width, scene.height, np.random.default_rng(seed).spawn(1)[0])
        top = table - scene.fills[0].level * juice_bottle.BRIM * 0.97 * scale
        below = look(drawn.image, *camera.project(x + 0.03, top + 0.02, 224))
        above = look(drawn.image, *camera.project(x + 0.03, top - 0.02, 224))
        tone = np.asarray(juice_bottle.JUICES[scene.fills[0].what.split()[0]][1])
        assert np.abs(below - tone).sum() < 0.75 * np.abs(above - tone).sum()
