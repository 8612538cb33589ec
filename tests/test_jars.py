"""Free scenes for pretraining: random products keep and break their own rules and are no evaluation product."""

from __future__ import annotations

import numpy as np
import pytest

from lad_reasoner.miniloco import make_scene, render
from lad_reasoner.miniloco.connectors import connectors
from lad_reasoner.miniloco.free import draw_product
from lad_reasoner.miniloco.scene import Scene


def lie_in_frame(scene: Scene) -> bool:
    points = [(item.x, item.y) for item in scene.items] + [(x, y) for _, x, y in scene.layout["sights"]]
    return all(0 < x < scene.width and 0 < y < scene.height for x, y in points)


@pytest.mark.parametrize("family", ["jars", "wiring"])
def test_vessels_and_wiring_keep_and_break_their_rules(family: str) -> None:
    for seed in range(30):
        product = draw_product(family, seed=seed)
        assert len(product.defects) >= 2
        scene = make_scene(product, seed=seed)
        assert product.check(scene) == [] and lie_in_frame(scene), (seed, product.rule)
        for defect in product.defects:
            for again in range(2):
                broken = make_scene(product, seed=(seed, again), kind="logical", defect=defect)
                assert product.check(broken), (seed, defect)
                assert lie_in_frame(broken), (seed, defect)


@pytest.mark.parametrize("family", ["jars", "wiring"])
def test_vessels_and_wiring_render_alike_and_tell_their_sights(family: str) -> None:
    for seed in range(4):
        product = draw_product(family, seed=seed)
        scene = make_scene(product, seed=seed, kind="logical")
        one, two = (render(scene, size=64, seed=seed, paint=product.paint) for _ in range(2))
        assert np.array_equal(np.asarray(one.image), np.asarray(two.image))
        assert one.mask.any()
        sights = [sight["what"] for sight in one.facts.get("sights", [])]
        assert sights == [what for what, _, _ in scene.layout["sights"]]


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
