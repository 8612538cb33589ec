"""Scenes as data: what a change leaves alone, and the helpers that products share."""

from __future__ import annotations

import numpy as np
import pytest

from lad_reasoner.miniloco.scene import Fill, Item, Scene, box_around, by_name, draw_pose, jitter, turn_of

RED, BLUE = Item("nut", 0.1, 0.2, 0.05, "red", "left"), Item("nut", 0.3, 0.4, 0.05, "blue", "right", angle=30.0)
JUICE, WATER = Fill("juice", "red", 0.5, "vessel 1"), Fill("water", "", 0.25, "vessel 2")
SCENE = Scene("box", 1.0, 0.5, (RED, BLUE), (JUICE, WATER))


def test_exchanging_fields_leaves_the_others() -> None:
    swapped = SCENE.exchange(RED, BLUE, "colour", "x")
    assert [(item.colour, item.x, item.y, item.place) for item in swapped.items] == [
        ("blue", 0.3, 0.2, "left"),
        ("red", 0.1, 0.4, "right"),
    ]
    assert SCENE.items == (RED, BLUE)


def test_of_two_equal_items_only_the_one_meant_changes() -> None:
    twin = Item(**vars(RED))
    scene = Scene("box", 1.0, 0.5, (RED, twin))
    assert [item.colour for item in scene.change(twin, colour="green").items] == ["red", "green"]
    assert scene.without(twin).items[0] is RED


def test_fillings_are_looked_up_and_changed_by_place() -> None:
    assert SCENE.fill_at("vessel 2") is WATER
    assert SCENE.fill_at("vessel 3") is None
    assert SCENE.change_fill(JUICE, level=0.75).fills == (Fill("juice", "red", 0.75, "vessel 1"), WATER)


def test_defects_are_named_after_their_functions_in_order() -> None:
    def _2_extra_nuts(scene: Scene, rng: np.random.Generator) -> Scene:
        return scene

    def _missing_nut(scene: Scene, rng: np.random.Generator) -> Scene:
        return scene

    assert list(by_name(_2_extra_nuts, _missing_nut).items()) == [
        ("2_extra_nuts", _2_extra_nuts),
        ("missing_nut", _missing_nut),
    ]


def test_poses_stay_within_their_limits() -> None:
    rng = np.random.default_rng(0)
    poses = np.array([draw_pose(rng, (0.5, 0.3), reach=(0.02, 0.01), tilt=2.0, limit=3.0) for _ in range(300)])
    away = np.abs(poses - (0.5, 0.3, 0.0)).max(axis=0)
    assert (away <= (0.02, 0.01, 3.0)).all()
    assert (away > (0.018, 0.009, 2.9)).all()
    assert abs(jitter(rng, 0.0)) == 0


@pytest.mark.parametrize(("angle", "turn"), [(0, 0), (350, 10), (-370, 10), (180, 180), (95, 95), (720 + 30, 30)])
def test_turn_from_upright(angle: float, turn: float) -> None:
    assert turn_of(angle) == turn


def test_a_box_about_an_item_turns_with_it() -> None:
    region = box_around(BLUE, 0.2, 0.1)
    assert (region.x, region.y, region.width, region.height, region.angle) == (0.3, 0.4, 0.2, 0.1, 30.0)
    assert not region.round
