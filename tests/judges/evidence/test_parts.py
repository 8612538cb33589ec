import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from scipy import ndimage

from helpers.discs import ORANGE, PLACES, SIDE, draw
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.evidence.judge import COUNTED, StudiedReferences
from lad_reasoner.judges.evidence.parts import CROSS, MARGINS, Miscount, Parts, Rule, _even_out, _label, _shrink
from lad_reasoner.judges.evidence.regions import name_colour
from lad_reasoner.miniloco import draw_picture


def study(numbers: Sequence[int], bars: int = 0) -> Parts:
    return Parts.study([draw(number, bars, seed=100 + index) for index, number in enumerate(numbers)])


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("found", [6, 8, 9])
def test_another_number_of_parts_is_counted(references: int, found: int) -> None:
    (count,) = study([7] * references).count(draw(found, seed=1))
    assert (count.expected, count.found) == (7, found)
    assert name_colour(count.shown) == "orange"
    assert 0.5 < count.score <= 1


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 50))
def test_the_number_that_is_found_is_the_number_that_is_there(expected: int, found: int, seed: int) -> None:
    counts = study([expected, expected]).count(draw(found, seed=seed))
    if found == expected:
        assert not counts
    elif expected <= 2 * found <= 4 * expected:
        assert [(count.expected, count.found) for count in counts] == [(expected, found)]
    else:
        assert not counts


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_same_number_elsewhere_is_no_difference(number: int) -> None:
    parts = study([7] * number)
    assert parts.rules
    assert not [count for seed in range(5) for count in parts.count(draw(7, seed=seed))]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: ImageEnhance.Brightness(image).enhance(0.75),
        lambda image: ImageEnhance.Brightness(image).enhance(1.25),
        lambda image: image.filter(ImageFilter.GaussianBlur(2)),
        lambda image: image.rotate(4, fillcolor=(30, 30, 36)),
        lambda image: image.convert("L").convert("RGB"),
    ],
)
def test_what_a_camera_does_is_no_difference(change) -> None:  # type: ignore[no-untyped-def]
    assert not study([7, 7]).count(change(draw(7, seed=3)))


def test_kinds_are_counted_apart() -> None:
    parts = study([5, 5, 5], bars=4)
    (count,) = parts.count(draw(5, 5, seed=2))
    assert (count.expected, count.found, name_colour(count.shown)) == (4, 5, "green")
    (count,) = parts.count(draw(4, 4, seed=2))
    assert (count.expected, count.found, name_colour(count.shown)) == (5, 4, "orange")


def test_kinds_of_one_colour_are_told_apart_by_their_size() -> None:
    def both(large: int, small: int, seed: int) -> Image.Image:
        image = draw(large, seed=seed)
        pen = ImageDraw.Draw(image)
        for number in range(small):
            x = 12 + 24 * number
            pen.ellipse((x - 6, 2, x + 6, 14), fill=ORANGE)
        return image

    parts = Parts.study([both(5, 4, seed) for seed in (101, 102)])
    (count,) = parts.count(both(5, 5, 1))
    assert (count.expected, count.found) == (4, 5)
    (count,) = parts.count(both(6, 4, 1))
    assert (count.expected, count.found) == (5, 6)


def test_parts_that_touch_are_not_counted_wrongly() -> None:
    image = draw(6, seed=4)
    x, y = PLACES[int(np.random.default_rng(4).permutation(len(PLACES))[0])]
    ImageDraw.Draw(image).ellipse((x + 5, y - 15, x + 35, y + 15), fill=ORANGE)  # the seventh lies on another
    assert all(count.found == 7 or count.expected == 7 for count in study([7, 7]).count(image))


def test_an_empty_tray_says_nothing() -> None:
    assert not study([7, 7]).count(draw(0))


def test_references_that_differ_give_no_rule() -> None:
    parts = study([5, 7, 6, 8])
    assert not any(number in rule.numbers for rule in parts.rules for number in (5, 6, 7, 8))
    assert not parts.count(draw(10, seed=1))


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (384, 96)])
def test_plain_and_tiny_pictures_are_taken(size: tuple[int, int]) -> None:
    plain = Image.new("RGB", size, (80, 90, 100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Parts.study([plain, plain]).count(Image.new("RGB", size, (200, 30, 30)))


@pytest.mark.parametrize("size", [(40, 60), (7, 9), (1, 30), (30, 1), (2, 2)])
@pytest.mark.parametrize("filled", [0.0, 0.9, 1.0])
def test_margins_and_areas_are_those_of_scipy(size: tuple[int, int], filled: float) -> None:
    inside = np.random.default_rng(0).random(size) < filled
    for margin in filter(None, MARGINS):
        square = np.ones([2 * margin + 1] * 2)
        assert (_shrink(inside, margin) == ndimage.binary_erosion(inside, square)).all()
    framed = np.pad(inside, 3)
    labels, areas = _label(framed)
    expected, number = ndimage.label(framed, CROSS)
    assert (labels == expected).all()
    assert areas == pytest.approx(np.bincount(expected.ravel(), minlength=number + 1)[1:] / framed.size)


def test_the_score_follows_the_agreement() -> None:
    rule = Rule(0, 0, 0, kinds=(0.01,), numbers=(3,), parts=(0,), shown=(ORANGE,))
    assert Miscount(3, 4, 1.0, ORANGE, rule, 0).score == 1
    assert Miscount(3, 4, 0.25, ORANGE, rule, 0).score == 0.625


def test_parts_are_found_where_they_are() -> None:
    discs = [(60, 80), (200, 80), (300, 250)]
    image = Image.new("RGB", (SIDE, SIDE), (30, 30, 36))
    for x, y in discs:
        ImageDraw.Draw(image).ellipse((x - 15, y - 15, x + 15, y + 15), fill=ORANGE)
    parts = Parts.study([image])
    assert parts.rules
    for rule in parts.rules:
        places = sorted(parts.find(image, rule, 0), key=lambda place: place.left)
        assert len(places) == len(discs)
        for place, (x, y) in zip(places, discs, strict=True):
            sides = [place.left, place.top, place.left + place.width, place.top + place.height]
            # Counted in half the size, with a pixel of error.
            assert sides == pytest.approx([each / SIDE for each in (x - 15, y - 15, x + 15, y + 15)], abs=3 / SIDE)
    ImageDraw.Draw(image).rectangle((100, 300, 300, 330), fill=ORANGE)
    assert not any(parts.find(image, rule, 0) for rule in parts.rules)  # the bar is no disc


def test_the_verdict_names_the_number() -> None:
    references = tuple(read_picture(draw(7, seed=seed)) for seed in (11, 12, 13))
    judge = load_judge("evidence")
    more, same, one = judge.judge(
        [
            PicturePair(references, read_picture(draw(8, seed=1))),
            PicturePair(references, read_picture(draw(7, seed=2))),
            PicturePair(references[:1], read_picture(draw(6, seed=3))),
        ]
    )
    assert more.answer == one.answer == "yes"
    assert same.answer == "no"
    assert "parts" not in (same.reasoning or "")
    assert more.headline == "8 orange parts; the references have 7."
    assert "The query has 8 orange parts and each reference 7: 1 too many." in more.reasoning
    assert "The query has 6 orange parts and the reference 7: 1 too few." in one.reasoning


def test_parts_are_counted_in_some_of_many_references(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    study = Parts.study
    monkeypatch.setattr(Parts, "study", lambda views: seen.append(len(views)) or study(views[:1]))
    backbone = load_judge("evidence").backbone
    StudiedReferences.study([read_picture(draw(7, seed=seed)) for seed in range(COUNTED + 3)], backbone)
    assert seen == [COUNTED]


def draw_pins(number: int, *, seed: int) -> Image.Image:
    """Pins, in all under a hundredth of a picture whose ground is of many greys, some nearly as light as they are."""
    rng = np.random.default_rng(seed)
    ground = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 30)
    pixels = np.repeat(((ground - ground.min()) / np.ptp(ground) * 110 + 10)[..., None], 3, -1)
    for at in rng.permutation(len(PLACES))[:number]:
        x, y = (place + int(rng.integers(-8, 9)) for place in PLACES[at])
        pixels[y - 5 : y + 5, x - 5 : x + 5] = (125, 120, 90)
    return Image.fromarray((pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("found", [5, 6, 7])
def test_small_parts_on_a_ground_of_many_greys_are_counted(found: int) -> None:
    parts = Parts.study([draw_pins(6, seed=100 + index) for index in range(3)])
    for seed in range(4):
        counts = parts.count(draw_pins(found, seed=seed))
        assert [(count.expected, count.found) for count in counts] == ([] if found == 6 else [(6, found)])


def test_shaded_fruit_beside_nuts_of_their_colours_is_counted() -> None:
    """Tangerines and nectarines, which are round: one of them is missing, surplus, or in place of the other."""
    found: dict[str, list[bool]] = {"good": [], "logical": []}
    for index in (0, 2, 4, 7, 9, 11):  # whose defects are of fruits
        for kind, of_kind in found.items():
            first = 4 * (2 * index + (kind == "logical"))
            shown = [
                draw_picture("breakfast_box", "train", "good", first + each, size=224, seed=5) for each in range(4)
            ]
            query = draw_picture("breakfast_box", "test", kind, index, size=224, seed=5)
            *references, fitted = (
                read_picture(each.image).image.resize((428, 340), Image.Resampling.BICUBIC) for each in (*shown, query)
            )
            of_kind.append(bool(Parts.study(references).count(fitted)))
    assert not any(found["good"])
    print("FOUND", found)
    assert sum(found["logical"]) >= 3


def test_colours_are_evened_out_by_the_root_of_their_pixels() -> None:
    ground, part, chance = (20.0, 0.0, 0.0), (60.0, 41.0, 30.0), (90.0, -20.0, 5.0)
    colours = np.float32([ground] * 3600 + [part] * 36 + [chance])
    found, number = np.unique(_even_out(colours), axis=0, return_counts=True)
    assert np.allclose(found, [ground, part])
    assert number.tolist() == [10, 1]
    assert len(_even_out(colours[-1:])) == 0
