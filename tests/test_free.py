"""Free scenes: every draw of a family keeps and breaks its own rule, and none is an evaluation product's."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco import loose_parts, lunch_tray, make_scene, render, sorting_box
from lad_reasoner.miniloco.free import draw_product
from lad_reasoner.miniloco.scene import Scene


def keeps_and_breaks_its_rule(family: str, draws: int = 30) -> int:
    """Good scenes pass the check, every defect of every draw breaks it; how many broken scenes were looked at."""
    broken = 0
    for seed in range(draws):
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
            broken += 1
    return broken


def in_the_frame(scene: Scene) -> bool:
    """Whether all items and sights lie in the picture."""
    points = [(item.x, item.y) for item in scene.items] + [(x, y) for _, x, y in scene.layout["sights"]]
    return all(0 < x < scene.width and 0 < y < scene.height for x, y in points)


def same_picture_again(family: str) -> bool:
    """Whether the same seeds give the same picture, and the facts hold what the scene has to show."""
    product = draw_product(family, seed=5)
    scenes = [make_scene(draw_product(family, seed=5), seed=6, kind="logical") for _ in range(2)]
    one, two = (render(scene, size=96, seed=7, paint=product.paint) for scene in scenes)
    sights = one.facts.get("sights", [])
    assert [s["what"] for s in sights] == [what for what, _, _ in scenes[0].layout["sights"]]
    assert one.facts == two.facts
    return bool(np.array_equal(np.asarray(one.image), np.asarray(two.image)))


def test_loose_parts_keep_and_break_their_rule() -> None:
    assert keeps_and_breaks_its_rule("loose_parts") >= 150


def test_loose_parts_never_are_those_of_the_screw_bag() -> None:
    for seed in range(300):
        product = draw_product("loose_parts", seed=seed)
        scenes = [make_scene(product, seed=seed), make_scene(product, seed=seed, kind="logical")]
        for scene in scenes:
            assert scene.counts() != {"long screw": 1, "nut": 2, "short screw": 1, "washer": 2}, seed
    assert sum(loose_parts.REFUSED.values()) == 6


def test_loose_parts_are_painted_the_same_again() -> None:
    assert same_picture_again("loose_parts")


def test_sorting_box_keeps_and_breaks_its_rule() -> None:
    assert keeps_and_breaks_its_rule("sorting_box") >= 200


def test_sorting_box_never_is_that_of_the_pushpins() -> None:
    for seed in range(300):
        rule = draw_product("sorting_box", seed=seed).rule
        assert "three rows of five" not in rule, seed
    assert sorting_box.REFUSED == (3, 5)


def test_sorting_box_is_painted_the_same_again() -> None:
    assert same_picture_again("sorting_box")


def test_sorting_box_shows_exactly_its_wrong_compartments() -> None:
    for seed in range(20):
        product = draw_product("sorting_box", seed=seed)
        assert make_scene(product, seed=seed).layout["sights"] == ()
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
            assert [what for what, _, _ in scene.layout["sights"]] == whats


def test_lunch_tray_keeps_and_breaks_its_rule() -> None:
    assert keeps_and_breaks_its_rule("lunch_tray") >= 120


def test_lunch_tray_never_is_the_breakfast_box() -> None:
    for seed in range(300):
        product = draw_product("lunch_tray", seed=seed)
        scenes = [make_scene(product, seed=seed)]
        scenes += [make_scene(product, seed=seed, kind="logical", defect=name) for name in product.defects]
        for scene in scenes:
            left, right = (scene.layout["contents"].get(f"{side} compartment") for side in ("left", "right"))
            fruit = (len(scene.all("tangerine")), len(scene.all("nectarine")))
            breakfast = left == lunch_tray.Fruits(2, 1) and isinstance(right, lunch_tray.Bulk) and right.is_breakfast()
            assert not (breakfast and fruit == (2, 1) and len(scene.layout["contents"]) == 2), seed


def test_lunch_tray_is_painted_the_same_again() -> None:
    assert same_picture_again("lunch_tray")


def test_lunch_tray_sees_an_empty_floor_where_an_ingredient_is_missing() -> None:
    looked_at = 0
    for seed in range(30):
        product = draw_product("lunch_tray", seed=seed)
        assert "empty floor" not in [what for what, _, _ in make_scene(product, seed=seed).layout["sights"]]
        if "missing_ingredient" in product.defects:
            scene = make_scene(product, seed=seed, kind="logical", defect="missing_ingredient")
            looked_at += "empty floor" in [what for what, _, _ in scene.layout["sights"]]
    assert looked_at >= 15
