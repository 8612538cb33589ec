"""Free scenes: every draw of a family keeps and breaks its own rule, and none is an evaluation product's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lad_reasoner.miniloco import make_scene, render
from lad_reasoner.miniloco.families import loose_rules, sorting_rules, tray_contents
from lad_reasoner.miniloco.families.free import FAMILIES, draw_product
from lad_reasoner.miniloco.painting.connectors import connectors
from lad_reasoner.miniloco.scene import Scene


def in_the_frame(scene: Scene) -> bool:
    """Whether all items and sights lie in the picture."""
    points = [(item.x, item.y) for item in scene.items] + [(x, y) for _, x, y in scene.layout["sights"]]
    return all(0 < x < scene.width and 0 < y < scene.height for x, y in points)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_keeps_and_breaks_its_rules(family: str) -> None:
    for seed in range(30):
        product = draw_product(family, seed=seed)
        assert product.name == family
        assert len(product.defects) >= 2
        good = make_scene(product, seed=seed)
        assert product.check(good) == [], (seed, product.rule)
        assert in_the_frame(good), seed
        for name in product.defects:
            scene = make_scene(product, seed=[seed, 1], kind="logical", defect=name)
            assert product.check(scene), (seed, name, product.rule)
            assert scene.defect is not None and scene.defect.words and scene.defect.regions
            assert in_the_frame(scene), (seed, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_painted_the_same_again_and_tells_its_sights(family: str) -> None:
    for seed in range(3):
        product = draw_product(family, seed=seed)
        scenes = [make_scene(draw_product(family, seed=seed), seed=6, kind="logical") for _ in range(2)]
        one, two = (render(scene, size=64, seed=7, paint=product.paint) for scene in scenes)
        sights = [sight["what"] for sight in one.facts.get("sights", [])]
        assert sights == [what for what, _, _ in scenes[0].layout["sights"]]
        assert one.facts == two.facts
        assert one.mask.any()
        assert np.array_equal(np.asarray(one.image), np.asarray(two.image))


def test_a_recoloured_part_always_has_another_colour() -> None:
    # A draw in which only one of two coloured sorts has another colour that can be seen on the ground.
    product = draw_product("loose_parts", seed=[1, 999603051, 26, 25, 0])
    for seed in range(20):
        assert product.check(make_scene(product, seed=seed, kind="logical", defect="wrong_colour")), seed


def test_a_foreign_part_can_always_be_drawn() -> None:
    # Draws in which all that is of steel would be lost on the ground, and all that has a colour is there already.
    for group in range(40):
        product = draw_product("loose_parts", seed=[1, 999603051, 27, group, 0])
        for seed in range(4):
            scene = make_scene(product, seed=seed, kind="logical", defect="replaced_by_a_foreign_sort")
            assert product.check(scene), (group, seed)
    # A box of nuts into which nothing else would fit.
    product = draw_product("sorting_box", seed=[1, 3114331207, 1002, 29, 0])
    for seed in range(20):
        assert product.check(make_scene(product, seed=seed, kind="logical", defect="foreign_part")), seed


def test_loose_parts_never_are_those_of_the_screw_bag() -> None:
    for seed in range(300):
        product = draw_product("loose_parts", seed=seed)
        scenes = [make_scene(product, seed=seed), make_scene(product, seed=seed, kind="logical")]
        for scene in scenes:
            assert scene.counts() != {"long screw": 1, "nut": 2, "short screw": 1, "washer": 2}, seed
    assert sum(loose_rules.REFUSED.values()) == 6


def test_sorting_box_never_is_that_of_the_pushpins() -> None:
    for seed in range(300):
        rule = draw_product("sorting_box", seed=seed).rule
        assert "three rows of five" not in rule, seed
    assert sorting_rules.REFUSED == (3, 5)


def test_sorting_box_shows_exactly_its_wrong_compartments() -> None:
    for seed in range(20):
        product = draw_product("sorting_box", seed=seed)
        good = [what for what, _, _ in make_scene(product, seed=seed).layout["sights"]]
        assert len(set(good)) == 1 and good[0] in ("holding 1", "holding 2")
        expected = {
            "empty_compartment": ["empty compartment"],
            "two_empty_compartments": ["empty compartment"] * 2,
            "extra_part": ["crowded compartment"],
            "two_extra_parts": ["crowded compartment"] * 2,
            "missing_separator": ["missing separator"],
            "foreign_part": [],
        }
        for name, whats in expected.items():
            scene = make_scene(product, seed=seed, kind="logical", defect=name)
            seen = [what for what, _, _ in scene.layout["sights"]]
            assert [what for what in seen if not what.startswith("holding")] == whats
            held = Counter(what for what in seen if what.startswith("holding"))
            assert held.total() == len(good) and held["holding 0"] == whats.count("empty compartment")


def test_lunch_tray_never_is_the_breakfast_box() -> None:
    for seed in range(300):
        product = draw_product("lunch_tray", seed=seed)
        scenes = [make_scene(product, seed=seed)]
        scenes += [make_scene(product, seed=seed, kind="logical", defect=name) for name in product.defects]
        for scene in scenes:
            left, right = (scene.layout["contents"].get(f"{side} compartment") for side in ("left", "right"))
            fruit = (len(scene.all("tangerine")), len(scene.all("nectarine")))
            breakfast = (
                left == tray_contents.Fruits(2, 1) and isinstance(right, tray_contents.Bulk) and right.is_breakfast()
            )
            assert not (breakfast and fruit == (2, 1) and len(scene.layout["contents"]) == 2), seed


def test_lunch_tray_sees_an_empty_floor_where_an_ingredient_is_missing() -> None:
    looked_at = 0
    for seed in range(30):
        product = draw_product("lunch_tray", seed=seed)
        assert "empty floor" not in [what for what, _, _ in make_scene(product, seed=seed).layout["sights"]]
        if "missing_ingredient" in product.defects:
            scene = make_scene(product, seed=seed, kind="logical", defect="missing_ingredient")
            looked_at += "empty floor" in [what for what, _, _ in scene.layout["sights"]]
    assert looked_at >= 15


def test_jars_are_never_the_juice_bottle() -> None:
    numbers = set()
    for seed in range(300):
        product = draw_product("jars", seed=seed)
        kinds = [None, *(d for d in product.defects if d == "swapped_labels")]
        for kind in kinds:
            scene = make_scene(product, seed=seed, kind="logical" if kind else "good", defect=kind)
            numbers.add(len(scene.fills))
            above = {label.place for label in scene.all("fruit label") if label.place.endswith("upper")}
            juice = scene.all("text label", shows="100% Juice")
            below = {label.place.replace("lower", "upper") for label in juice if label.place.endswith("lower")}
            assert not above & below, (seed, kind)
    assert numbers == {1, 2, 3}


def test_jars_say_level_and_juice_as_they_are() -> None:
    for seed in range(20):
        product = draw_product("jars", seed=seed)
        scene = make_scene(product, seed=seed)
        sights = [what for what, _, _ in scene.layout["sights"]]
        for fill in scene.fills:
            assert f"level {round(fill.level * 10)}" in sights and f"juice {fill.what.split()[0]}" in sights
        assert "mismatch" not in sights and "wrong height" not in sights and "empty vessel" not in sights
        empty = make_scene(product, seed=seed, kind="logical", defect="empty_vessel")
        assert "empty vessel" in [what for what, _, _ in empty.layout["sights"]]
        if "wrong_fruit" in product.defects:
            wrong = make_scene(product, seed=seed, kind="logical", defect="wrong_fruit")
            assert [what for what, _, _ in wrong.layout["sights"]].count("mismatch") == 1


def test_wiring_is_never_one_pair_with_one_cable() -> None:
    pairs = set()
    for seed in range(300):
        scene = make_scene(draw_product("wiring", seed=seed), seed=seed)
        pairs.add(len(connectors(scene)) // 2)
        assert len(connectors(scene)) > 2 or len(scene.connections) > 1, seed
    assert pairs == {1, 2}


def test_wiring_tells_what_is_loose_crossed_or_unequal() -> None:
    seen = {"cable_cut": "loose end", "wrong_row": "crossing row", "unequal_connectors": "unequal connectors"}
    for seed in range(20):
        product = draw_product("wiring", seed=seed)
        assert not make_scene(product, seed=seed).layout["sights"]
        for defect, sight in seen.items():
            broken = make_scene(product, seed=seed, kind="logical", defect=defect)
            assert {what for what, _, _ in broken.layout["sights"]} == {sight}, (seed, defect)


def test_wiring_offers_a_wrong_colour_only_where_the_reference_tells_the_right_one() -> None:
    offered = set()
    for seed in range(100):
        product = draw_product("wiring", seed=seed)
        scenes = [make_scene(product, seed=(seed, again)) for again in range(12)]
        first = {c.start.rsplit(" ", 2)[0]: c.colour for c in scenes[0].connections}
        same = all(c.colour == first[c.start.rsplit(" ", 2)[0]] for scene in scenes for c in scene.connections)
        offered.add("wrong_colour" in product.defects)
        assert same or "wrong_colour" not in product.defects, seed
    assert offered == {True, False}
