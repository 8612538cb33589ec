import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.discs import ORANGE, draw
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.evidence.backbone import load_backbone
from lad_reasoner.judges.evidence.judge import Evidence, StudiedReferences, measure_query
from lad_reasoner.judges.evidence.part_places import _agreed, _centred, _turned, find_places
from lad_reasoner.judges.evidence.parts import Place
from lad_reasoner.judges.evidence.registration import isotropic_grid
from lad_reasoner.judges.evidence.views import fit_to

WIDTH, HEIGHT = 480, 320
GRID = [(x, y) for y in (60, 160, 260) for x in (70, 185, 300, 415)]  # not the same when turned by 180 degrees


def tray(
    without: Sequence[int] = (), more: Sequence[tuple[int, int]] = (), seed: int = 0, jitter: int = 6
) -> Image.Image:
    """Orange discs, each near its place, and a bar that shows which side is left."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (WIDTH, HEIGHT), (30, 30, 36))
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 20, 22, 300), fill=(150, 150, 150))
    for x, y in [*(at for index, at in enumerate(GRID) if index not in without), *more]:
        x, y = x + int(rng.integers(-jitter, jitter + 1)), y + int(rng.integers(-jitter, jitter + 1))
        pen.ellipse((x - 18, y - 18, x + 18, y + 18), fill=ORANGE)
    grain = rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def study(references: Sequence[Image.Image]) -> StudiedReferences:
    return StudiedReferences.study([read_picture(each) for each in references], load_backbone())


def places_of(references: StudiedReferences, query: Image.Image) -> list[tuple[int, int]]:
    """The middles of all places, in pixels."""
    findings = measure_query(references, read_picture(query))
    assert len(findings.counts) == 1
    return [middle(place) for place in findings.counts[0].places]


def middle(place: Place) -> tuple[int, int]:
    return round((place.left + place.width / 2) * WIDTH), round((place.top + place.height / 2) * HEIGHT)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("without", [(0,), (6,), (3, 8)])
def test_a_missing_part_is_where_the_reference_has_it(number: int, without: tuple[int, ...]) -> None:
    references = study([tray(seed=100 + index) for index in range(number)])
    found = places_of(references, tray(without, seed=1))
    assert len(found) == len(without)
    for at, index in zip(sorted(found), sorted(GRID[index] for index in without), strict=True):
        assert at == pytest.approx(index, abs=16)


@pytest.mark.parametrize("number", [1, 3])
def test_a_part_too_many_is_where_the_query_has_it(number: int) -> None:
    references = study([tray(seed=100 + index) for index in range(number)])
    (found,) = places_of(references, tray(more=[(245, 110)], seed=1))
    assert found == pytest.approx((245, 110), abs=10)


@pytest.mark.parametrize("number", [1, 3])
def test_beside_a_single_part_the_one_at_its_place_is_not_surplus(number: int) -> None:
    others = range(len(GRID))[1:]
    references = study([tray(others, seed=100 + index) for index in range(number)])
    (found,) = places_of(references, tray(others, more=[(300, 260)], seed=1))
    assert found == pytest.approx((300, 260), abs=10)
    # Neither of them at its place: nobody knows which one is meant.
    assert places_of(references, tray(range(len(GRID)), more=[(300, 260), (240, 90)], seed=1)) == []


def test_a_place_at_the_edge_lies_in_the_picture() -> None:
    extent, place = np.array([1.0, 0.5]), Place(0.5, 0.5, 0.2, 0.4)
    assert astuple(_centred(place, np.array([0.0, 0.0]), extent)) == pytest.approx((0.4, 0.3, 0.2, 0.4))
    assert astuple(_centred(place, np.array([-0.9, 0.45]), extent)) == pytest.approx((0.0, 0.75, 0.15, 0.25))
    assert astuple(_centred(place, np.array([-1.5, 0.0]), extent)) == pytest.approx((0.0, 0.3, 0.1, 0.4))


MOVES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "shifted": lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, -14, 0, 1, 9), fillcolor=(30, 30, 36)
    ),
    "turned over": lambda image: image.rotate(180),
}


@pytest.mark.parametrize("name", MOVES)
def test_places_follow_a_query_that_was_moved(name: str) -> None:
    references = study([tray(seed=100)])
    (found,) = places_of(references, MOVES[name](tray((5,), seed=1)))
    x, y = GRID[5]
    assert found == pytest.approx({"shifted": (x + 14, y - 9), "turned over": (WIDTH - x, HEIGHT - y)}[name], abs=16)


def test_parts_that_lie_about_have_no_places() -> None:
    references = study([draw(7, seed=seed) for seed in (11, 12, 13)])
    for seed in range(4):
        (count,) = measure_query(references, read_picture(draw(6 + 2 * (seed % 2), seed=20 + seed))).counts
        assert count.places == ()


def test_no_places_where_they_cannot_be_known() -> None:
    pictures = [tray(seed=100 + index) for index in range(3)]
    references, query = study(pictures), read_picture(tray((5,), seed=1))
    findings = measure_query(references, query)
    (count,), measured = findings.counts, findings.measurement
    working = references.matcher.fit(query)
    views = [views[0] for views in references.matcher.views]
    nearest, others = views[measured.reference], [view for view in views if view is not views[measured.reference]]
    assert len(find_places(count, references.parts, working, nearest, others, measured)) == 1

    def places(said: object = count, shown: Image.Image = nearest, beside: Sequence[Image.Image] = others) -> object:
        return find_places(said, references.parts, working, shown, beside, measured)  # type: ignore[arg-type]

    assert places(replace(count, expected=16)) == ()  # of so many it is the product that is another
    assert places(replace(count, expected=1, found=2)) == ()
    other = fit_to(read_picture(tray((2,), seed=5)), references.matcher.size)
    assert places(shown=other) == ()  # the reference shows another number
    assert len(places(beside=[other, other])) == 1  # type: ignore[arg-type]  # which of the others does not count
    astray = fit_to(read_picture(tray(jitter=70, seed=3)), references.matcher.size)
    if len(references.parts.find(astray, count.rule, count.kind)) == count.expected:
        assert places(beside=[astray] * 6) == ()


def test_half_of_the_references_must_name_a_place() -> None:
    extent = np.array([1.0, 0.5])

    def agreed(*left_over: Sequence[float]) -> list[float]:
        """Of the left ends that each reference names, with a reach of a tenth of the picture."""
        named = [[Place(left, 0.5, 0.1, 0.1) for left in of_reference] for of_reference in left_over]
        return [place.left for place in _agreed(named, len(named[0]), 0.2, extent)]

    assert agreed([0.3]) == [0.3]
    assert agreed([0.3], [0.7]) == [0.3]  # the nearest reference decides between two
    assert agreed([0.3], [0.7], [0.75]) == [0.7]
    assert agreed([0.1], [0.4], [0.7]) == []
    assert agreed([0.1, 0.5], [0.52, 0.1], [0.8, 0.12]) == [0.1, 0.5]
    assert agreed([0.5, 0.5], [0.5, 0.5]) == [0.5, 0.5]  # two at one place
    assert agreed([0.45, 0.52], [0.6, 0.58]) == [0.52, 0.45]


def test_parts_that_share_their_middle_are_no_fault() -> None:
    references = study([tray(seed=100)])
    findings = measure_query(references, read_picture(tray((5,), seed=1)))
    count = replace(findings.counts[0], expected=2, found=1)

    class Rings:
        def find(self, picture: Image.Image, rule: object, kind: int) -> list[Place]:
            return [Place(0.4, 0.4, 0.1, 0.1)] * (1 if picture is query else 2)

    query, reference = tray(), tray()
    places = find_places(count, Rings(), query, reference, [], findings.measurement)  # type: ignore[arg-type]
    assert len(places) <= 1


@pytest.mark.parametrize("degrees", [0, 45, 90, 180, 315])
def test_a_turned_view_is_turned_back(degrees: int) -> None:
    findings = measure_query(study([tray(seed=100)]), read_picture(tray(seed=1)))
    measured = replace(findings.measurement, degrees=degrees)
    points = isotropic_grid(4, 6)
    angle = math.radians(degrees)
    x, y = points[..., 0], points[..., 1]
    turned = np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], -1)
    assert _turned(measured).apply(points) == pytest.approx(measured.similarity.apply(turned), abs=1e-5)


def test_the_verdict_has_the_place_first() -> None:
    judge = Evidence()
    references = study([tray(seed=100 + index) for index in range(3)])
    judgement = judge.judge_part((references, type("Tile", (), {"picture": read_picture(tray((5,), seed=1))})()))  # type: ignore[arg-type]
    box = judgement.boxes[0]
    assert (box.x + box.width / 2, box.y + box.height / 2) == pytest.approx(GRID[5], abs=16)
