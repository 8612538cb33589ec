"""Evaluation product after MVTec LOCO AD's splicing connectors: two lever connectors joined by one cable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lad_reasoner.miniloco.painting.connectors import (
    HOUSING,
    PITCH,
    around_connector,
    cable_sights,
    changes_row,
    clamps,
    connector_name,
    connectors,
    cut,
    make_cable,
    make_connector,
    mesh,
    paint_cable,
    paint_connector,
    row_of,
    slack,
    socket,
    span,
)
from lad_reasoner.miniloco.painting.paint import Canvas
from lad_reasoner.miniloco.painting.shapes import offset
from lad_reasoner.miniloco.scene import Connection, Item, Product, Region, Scene, Sight, Spot, by_name, jitter, pick

NAME = "splicing_connectors"
RULE = (
    "Two connectors with the same number of clamps, 2, 3 or 5, are joined by exactly one cable. Its ends sit "
    "in the same row on both sides. The cable is yellow between connectors of 2 clamps, blue between 3, red "
    "between 5."
)
WIDTH, HEIGHT = 1.0, 0.5
CABLE_COLOURS = {2: "yellow", 3: "blue", 5: "red"}
SIDES = ("left", "right")
BETWEEN = "between the connectors"


def _on(scene: Scene, side: str) -> Item | None:
    return next((item for item in connectors(scene) if item.place == side), None)


def _slack(start: tuple[float, float], end: tuple[float, float], rng: np.random.Generator) -> list[tuple[float, float]]:
    return slack(start, end, jitter(rng, 0.035), float(rng.normal(0, 0.006)))


def good(rng: np.random.Generator) -> Scene:
    number = int(pick(rng, [2, 3, 5]))
    row = int(rng.integers(number))
    room = 0.5 - number * PITCH / 2 - 0.07
    middle = 0.25 + jitter(rng, room * 0.5) * (0.8 if number < 5 else 0.5)
    placed = []
    for side, x in zip(SIDES, (0.20, 0.80), strict=True):
        y = float(np.clip(middle + rng.uniform(-0.035, 0.035), 0.04 + number * PITCH / 2, 0.46 - number * PITCH / 2))
        angle = float(np.clip(rng.normal(0, 3.5), -8, 8))
        placed.append(make_connector(number, (x + jitter(rng, 0.05), y), side, angle))
    colour = CABLE_COLOURS[number]
    path = _slack(socket(placed[0], row), socket(placed[1], row), rng)
    cable = make_cable(path, colour, BETWEEN)
    return Scene(
        NAME,
        WIDTH,
        HEIGHT,
        (*placed, cable),
        connections=(Connection("cable", colour, f"left row {row + 1}", f"right row {row + 1}"),),
        layout={
            "paths": ((colour, tuple(path)),),
            "mesh": (float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
        },
    )


def check(scene: Scene) -> list[str]:
    broken = []
    numbers = []
    for side in SIDES:
        connector = _on(scene, side)
        if connector is None:
            broken.append(f"the {side} connector is missing")
        else:
            numbers.append(clamps(connector))
    if len(set(numbers)) > 1:
        broken.append(f"{numbers[0]} clamps on the left, {numbers[1]} on the right")
    if len(scene.connections) != 1:
        broken.append(f"{len(scene.connections)} cables, not one")
    for cable in scene.connections:
        if not cable.start or not cable.end:
            broken.append("a cable does not join both connectors")
        elif changes_row(cable.start, cable.end):
            broken.append(f"the cable runs from {cable.start} to {cable.end}")
        if numbers and len(set(numbers)) == 1 and cable.colour != CABLE_COLOURS[numbers[0]]:
            broken.append(f"the cable is {cable.colour}, not {CABLE_COLOURS[numbers[0]]}")
    return broken


def _without_cables(scene: Scene) -> Scene:
    return replace(scene.without(*scene.all("cable")), connections=(), layout={**scene.layout, "paths": ()})


def _with_cable(scene: Scene, colour: str, rows: tuple[int, int], rng: np.random.Generator) -> Scene:
    left, right = (_on(scene, side) for side in SIDES)
    assert left is not None and right is not None
    path = _slack(socket(left, rows[0]), socket(right, rows[1]), rng)
    joined = Connection("cable", colour, f"left row {rows[0] + 1}", f"right row {rows[1] + 1}")
    paths = (*scene.layout["paths"], (colour, tuple(path)))
    return replace(
        scene.plus(make_cable(path, colour, BETWEEN)),
        connections=(*scene.connections, joined),
        layout={**scene.layout, "paths": paths},
    )


def _rows(scene: Scene) -> tuple[int, int, str]:
    """Row of the one cable (from 0), number of clamps, and the cable's colour."""
    (cable,) = scene.connections
    return row_of(cable.start), clamps(connectors(scene)[0]), cable.colour


def _missing_cable(scene: Scene, rng: np.random.Generator) -> Scene:
    ((_, path),) = scene.layout["paths"]
    return _without_cables(scene).broken("the cable between the connectors is missing", span(path))


def _cable_cut(scene: Scene, rng: np.random.Generator) -> Scene:
    ((colour, path),) = scene.layout["paths"]
    (cable,) = scene.connections
    left, right, at = cut(path, rng)
    bare = _without_cables(scene)
    pieces = replace(
        bare.plus(make_cable(left, colour, "left"), make_cable(right, colour, "right")),
        connections=(replace(cable, end=""), replace(cable, start="")),
        layout={**bare.layout, "paths": ((colour, left), (colour, right))},
    )
    return pieces.broken("the cable is cut in two", Region(*at, 0.10, 0.06))


def _missing_connector(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, connectors(scene))
    (cable,) = scene.connections
    loose = replace(cable, start="") if gone.place == "left" else replace(cable, end="")
    words = f"the {gone.place} connector is missing"
    return replace(scene.without(gone), connections=(loose,)).broken(words, around_connector(gone))


def _extra_cable(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [r for r in range(number) if r != row]))
    more = _with_cable(scene, colour, (other, other), rng)
    return more.broken("there are two cables, there should be one", span(more.layout["paths"][-1][1]))


def _wrong_cable_location(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [r for r in range(number) if r != row]))
    rows = (row, other) if rng.integers(2) else (other, row)
    wrong = _with_cable(_without_cables(scene), colour, rows, rng)
    words = f"the cable runs from row {rows[0] + 1} on the left to row {rows[1] + 1} on the right"
    return wrong.broken(words, span(wrong.layout["paths"][0][1]))


def _cable_color(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    wrong = str(pick(rng, [c for c in CABLE_COLOURS.values() if c != colour]))
    swapped = _with_cable(_without_cables(scene), wrong, (row, row), rng)
    words = f"the cable is {wrong}, between connectors of {number} clamps it should be {colour}"
    return swapped.broken(words, span(swapped.layout["paths"][0][1]))


def _wrong_connector_type(scene: Scene, rng: np.random.Generator) -> Scene:
    row, number, colour = _rows(scene)
    other = int(pick(rng, [n for n in CABLE_COLOURS if n != number]))
    changed = pick(rng, connectors(scene))
    room = other * PITCH / 2
    y = float(np.clip(changed.y, 0.04 + room, 0.46 - room))
    bare = _without_cables(scene).change(changed, what=connector_name(other), y=y, size=max(HOUSING, other * PITCH))
    kept = min(row, other - 1)
    words = f"the {changed.place} connector has {other} clamps, the other one has {number}"
    joined = _with_cable(bare, colour, (kept, kept), rng)
    larger_or_smaller = _on(joined, changed.place)
    assert larger_or_smaller is not None
    return joined.broken(words, around_connector(larger_or_smaller))


def spots(scene: Scene) -> list[Spot]:
    return [(*offset(c.x, c.y, c.angle, 0.03 if c.place == "left" else -0.03, 0), 0.05) for c in connectors(scene)]


def sights(scene: Scene) -> list[Sight]:
    """Cable ends that are plugged into nothing, cables between different rows, unequal connectors."""
    points: list[Sight] = []
    for cable, (_, path) in zip(scene.connections, scene.layout["paths"], strict=True):
        points += cable_sights(cable.start, cable.end, path)
    both = connectors(scene)
    if len({clamps(connector) for connector in both}) > 1:
        points.append(("unequal connectors", (both[0].x + both[1].x) / 2, (both[0].y + both[1].y) / 2))
    return points


def paint(canvas: Canvas, scene: Scene) -> None:
    mesh(canvas, *scene.layout["mesh"])
    for colour, path in scene.layout["paths"]:
        paint_cable(canvas, colour, list(path))
    for connector in connectors(scene):
        paint_connector(canvas, connector)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _missing_cable,
        _cable_cut,
        _missing_connector,
        _extra_cable,
        _wrong_cable_location,
        _cable_color,
        _wrong_connector_type,
    ),
    paint=paint,
    spots=spots,
    sights=sights,
)
