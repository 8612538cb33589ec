"""A row of keys that must stand in the order of the alphabet, closed by one coloured key."""

from __future__ import annotations

import numpy as np

from lad_reasoner.miniloco.colours import mix
from lad_reasoner.miniloco.painting import surfaces
from lad_reasoner.miniloco.painting.paint import PLASTIC, Canvas, Material
from lad_reasoner.miniloco.painting.shapes import box, offset
from lad_reasoner.miniloco.scene import (
    Item,
    Product,
    Region,
    Scene,
    Spot,
    box_around,
    by_name,
    draw_pose,
    pick,
    pick_two,
    turn_of,
)

NAME = "keyboard_row"
RULE = (
    "Seven keys bear letters that follow each other in the alphabet from left to right, starting anywhere, "
    "all upright and of one colour. The eighth key, at the right end, bears a plus sign and is the only key "
    "of another colour."
)
WIDTH, HEIGHT = 1.0, 0.4
LETTERS = 7
PITCH = 0.111
KEY = 0.103
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BODIES = ("white", "grey", "black")
ACCENTS = ("red", "orange", "yellow", "green", "blue")


def _place(index: int) -> str:
    return f"place {index + 1}"


def good(rng: np.random.Generator) -> Scene:
    pose = draw_pose(rng, (0.5, 0.2), reach=(0.02, 0.03), tilt=1.5, limit=3)
    first = int(rng.integers(len(ALPHABET) - LETTERS + 1))
    body, accent = str(pick(rng, BODIES)), str(pick(rng, ACCENTS))
    items = []
    for index in range(LETTERS + 1):
        x, y = offset(*pose, (index - LETTERS / 2) * PITCH, 0)
        is_letter = index < LETTERS
        shows = ALPHABET[first + index] if is_letter else "+"
        colour = body if is_letter else accent
        items.append(Item("key", x, y, KEY, colour, _place(index), pose[2] + float(rng.normal(0, 0.3)), shows))
    desk = str(pick(rng, ["grey", "brown", "blue"]))
    return Scene(NAME, WIDTH, HEIGHT, tuple(items), layout={"pose": pose, "desk": desk})


def _letters(scene: Scene) -> list[Item]:
    return [item for item in scene.items if item.place != _place(LETTERS)]


def check(scene: Scene) -> list[str]:
    broken = []
    keys = [scene.all("key", place=_place(index)) for index in range(LETTERS + 1)]
    for index, at_place in enumerate(keys):
        if len(at_place) != 1:
            broken.append(f"{_place(index)} has {len(at_place)} keys")
    if not broken:
        letters = [key.shows for (key,) in keys[:LETTERS]]
        if "".join(letters) not in ALPHABET:
            broken.append(f"the letters read {' '.join(letters)}, not in the order of the alphabet")
        if keys[LETTERS][0].shows != "+":
            broken.append(f"the last key bears {keys[LETTERS][0].shows}, not a plus sign")
    body = {item.colour for item in _letters(scene)}
    if len(body) > 1:
        broken.append(f"the letter keys are {' and '.join(sorted(body))}")
    if keys[LETTERS] and keys[LETTERS][0].colour in body:
        broken.append("the last key has the colour of the letter keys")
    broken += [f"the key {item.shows} is turned" for item in scene.items if turn_of(item.angle) > 20]
    return broken


def _around(key: Item) -> Region:
    return box_around(key, KEY * 1.05, KEY * 1.1)


def _missing_key(scene: Scene, rng: np.random.Generator) -> Scene:
    gone = pick(rng, scene.items)
    return scene.without(gone).broken(f"the key {gone.shows} in {gone.place} is missing", _around(gone))


def _exchanged_keys(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(_letters(scene), rng)
    words = f"the keys {one.shows} and {two.shows} are exchanged"
    return scene.exchange(one, two, "shows").broken(words, _around(one), _around(two))


def _repeated_letter(scene: Scene, rng: np.random.Generator) -> Scene:
    one, two = pick_two(_letters(scene), rng)
    words = f"there are two keys {two.shows}, the one in {one.place} should be {one.shows}"
    return scene.change(one, shows=two.shows).broken(words, _around(one))


def _wrong_colour(scene: Scene, rng: np.random.Generator) -> Scene:
    key = pick(rng, _letters(scene))
    (last,) = scene.all("key", place=_place(LETTERS))
    words = f"the key {key.shows} is {last.colour}, it should be {key.colour}"
    return scene.change(key, colour=last.colour).broken(words, _around(key))


def _plus_in_wrong_place(scene: Scene, rng: np.random.Generator) -> Scene:
    key = pick(rng, _letters(scene)[:-1])
    (last,) = scene.all("key", place=_place(LETTERS))
    words = f"the coloured plus key is in {key.place}, it should be at the right end"
    return scene.exchange(key, last, "shows", "colour").broken(words, _around(key), _around(last))


def _key_on_its_head(scene: Scene, rng: np.random.Generator) -> Scene:
    # Letters that look the same upside down, or like another letter, would not show the defect.
    key = pick(rng, [item for item in _letters(scene) if item.shows not in "HINOSXZMW"])
    return scene.change(key, angle=key.angle + 180).broken(f"the key {key.shows} stands on its head", _around(key))


def spots(scene: Scene) -> list[Spot]:
    return [(*offset(item.x, item.y, item.angle, 0, 0.025), 0.03) for item in scene.items]


def paint(canvas: Canvas, scene: Scene) -> None:
    surfaces.wood(canvas, mix(scene.layout["desk"], (0.80, 0.74, 0.66), 0.55))
    x, y, angle = scene.layout["pose"]
    case = Material(gloss=0.25, polish=16, speckle=0.012, pitch=0.004)
    wide = PITCH * (LETTERS + 1) + 0.045
    canvas.solid(box(wide, 0.205, 0.022), (x, y), (0.30, 0.31, 0.33), case, angle=angle, bevel=0.014, lift=0.03)
    canvas.solid(box(wide - 0.036, 0.135, 0.008), (x, y), (0.10, 0.10, 0.11), case, angle=angle, bevel=0.014, rise=-1)
    for index in range(LETTERS + 1):
        post = offset(x, y, angle, (index - LETTERS / 2) * PITCH, 0)
        canvas.solid(box(0.030, 0.030, 0.004), post, (0.42, 0.24, 0.20), PLASTIC, angle=angle, bevel=0.005, lift=0.004)
    for item in scene.items:
        _paint_key(canvas, item)


def _paint_key(canvas: Canvas, item: Item) -> None:
    at, angle = (item.x, item.y), item.angle
    colour = mix(item.colour, "grey", 0.22) if item.colour == "black" else mix(item.colour, "white", 0.04)
    canvas.solid(box(KEY, KEY, 0.012), at, mix(colour, "black", 0.22), PLASTIC, angle=angle, bevel=0.014, lift=0.014)
    # The top stays above the foot whichever way the cap has been pressed on.
    top = (at[0], at[1] - 0.006)
    cap = Material(gloss=0.22, polish=16, speckle=0.008, pitch=0.004)
    canvas.solid(box(KEY * 0.80, KEY * 0.80, 0.014), top, colour, cap, angle=angle, bevel=0.012, rise=0.5)
    ink = (0.12, 0.12, 0.13) if sum(colour) > 1.35 else (0.95, 0.95, 0.94)
    letter = offset(*top, angle, -0.012, -0.008)
    if item.shows == "+":
        for turn in (0, 90):
            canvas.flat(box(0.040, 0.008, 0.001), top, ink, angle=angle + turn)
    else:
        canvas.lettering(item.shows, letter, ink, height=0.040, angle=angle)


PRODUCT = Product(
    name=NAME,
    rule=RULE,
    good=good,
    check=check,
    defects=by_name(
        _exchanged_keys,
        _missing_key,
        _repeated_letter,
        _wrong_colour,
        _plus_in_wrong_place,
        _key_on_its_head,
    ),
    paint=paint,
    spots=spots,
)
