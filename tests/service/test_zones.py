"""Zones: painted over, moved with the part, checked on their own; and the files that they are read from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from helpers.damaged import damaged
from helpers.shots import shot
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.trivial import pixel_difference
from lad_reasoner.records import Box, Failure
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.setup import create_station, set_zones
from lad_reasoner.service.station import FILE, Station, Zone
from lad_reasoner.service.zones import PlacedZones, read_svg

GOOD = shot("good", 0, split="train")
SIDE, HEIGHT = GOOD.image.size
BOX = (220, 60, 320, 140)  # left, top, right, bottom of what is drawn and ignored
CORNERS = ((200, 40), (340, 40), (340, 160), (200, 160))


def spoilt(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).rectangle(BOX, fill="red")
    return image


def moved(image: Image.Image, right: int, down: int) -> Image.Image:
    return ImageChops.offset(image, right, down)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A station with one reference, judged by pixel difference."""
    GOOD.image.save(tmp_path / "good.png")
    create_station(tmp_path / "board", [tmp_path / "good.png"], judge="pixel-difference")
    return tmp_path / "board"


def with_zones(folder: Path, *zones: Zone, **rest: object) -> OpenStation:
    station = Station.load(folder).model_copy(update={"zones": zones, "limit": 0.1, **rest})
    return OpenStation(folder, station=station)


def outcome(station: OpenStation, image: Image.Image) -> Decision:
    (decision,) = station.inspect([image])
    assert isinstance(decision, Decision), decision
    return decision


def test_what_is_ignored_does_not_count_also_where_it_moved(folder: Path) -> None:
    plain = with_zones(folder)
    ignoring = with_zones(folder, Zone(kind="ignore", points=CORNERS))
    bad = spoilt(GOOD.image)
    assert outcome(plain, bad).verdict.score > 0.1
    assert outcome(ignoring, bad).outcome == "good"
    assert outcome(ignoring, bad).verdict.score < 0.02
    assert outcome(ignoring, GOOD.image).verdict.score < 0.01
    # Moved by more than the zone's margin around the drawn box: the zone must move along.
    placed = ignoring.zones
    assert placed is not None
    red = np.asarray(moved(bad, 30, 18))[..., 0].astype(int) - np.asarray(moved(GOOD.image, 30, 18))[..., 0]
    painted = placed.paint(Picture("q", moved(bad, 30, 18), SIDE, HEIGHT)).image
    left = np.abs(np.asarray(painted)[..., 0].astype(int) - np.asarray(moved(GOOD.image, 30, 18))[..., 0])
    inside = np.abs(red) > 30
    assert inside.sum() > 2000
    shown = (np.asarray(painted)[inside][:, 0] > 240) & (np.asarray(painted)[inside][:, 1] < 15)
    assert shown.mean() < 0.01
    assert left.shape == inside.shape


def test_a_fixed_camera_does_not_move_them(folder: Path) -> None:
    fixed = with_zones(folder, Zone(kind="ignore", points=CORNERS), fixed_camera=True)
    placed = fixed.zones
    assert placed is not None
    picture = Picture("q", moved(GOOD.image, 30, 18), SIDE, HEIGHT)
    assert placed.locate(picture).dx == 0
    painted = np.asarray(placed.paint(picture).image)
    assert (painted[100, 270] == painted[90, 250]).all()


def test_only_what_is_included_counts(folder: Path) -> None:
    around = Zone(kind="include", points=((10, 180), (SIDE - 10, 180), (SIDE - 10, HEIGHT - 5), (10, HEIGHT - 5)))
    assert outcome(with_zones(folder, around), spoilt(GOOD.image)).outcome == "good"
    here = Zone(kind="include", points=CORNERS)
    assert outcome(with_zones(folder, here), spoilt(GOOD.image)).outcome == "anomalous"
    # An ignored part of what is included does not count.
    part = Zone(kind="ignore", points=((212, 48), (328, 48), (328, 152), (212, 152)))
    assert outcome(with_zones(folder, here, part), spoilt(GOOD.image)).outcome == "good"
    with pytest.raises(InputError, match="nothing of the picture to judge"):
        with_zones(folder, here, Zone(kind="ignore", points=CORNERS))


def test_a_zone_to_check_finds_what_the_whole_overlooks(folder: Path) -> None:
    image = GOOD.image.copy()
    ImageDraw.Draw(image).rectangle((250, 90, 285, 115), fill="red")
    whole = outcome(with_zones(folder), image)
    assert whole.outcome == "good"
    station = with_zones(folder, Zone(kind="check", name="label", points=CORNERS))
    zoned = outcome(station, image)
    assert zoned.outcome == "anomalous"
    assert zoned.verdict.score > 3 * whole.verdict.score
    assert zoned.verdict.reasoning.startswith("Zone label:")
    # It is cut out in register: the same part elsewhere gives nearly the same picture.
    assert station.zones is not None
    (crop,) = station.zones.crops(Picture("q", moved(GOOD.image, 9, -7), SIDE, HEIGHT))
    assert crop.visible == 1
    assert pixel_difference(crop.references[0].image, crop.query.image) < 3
    assert pixel_difference(crop.references[0].image, moved(crop.references[0].image, 9, -7)) > 6


def test_boxes_of_a_zone_lie_in_the_picture(folder: Path) -> None:
    placed = PlacedZones(
        Station.load(folder).model_copy(update={"zones": (Zone(kind="check", points=CORNERS),)}), folder, [GOOD]
    )
    query = Picture("q", moved(GOOD.image, 12, 8), SIDE, HEIGHT)
    (crop,) = placed.crops(query)
    whole = Box(x=0, y=0, width=crop.query.width, height=crop.query.height, strength=2)
    (box,) = placed.boxes_in_query(crop, [whole], query)
    left, top, right, bottom = placed.boxes[0]
    assert (box.x, box.y) == pytest.approx((left * SIDE + 12, top * HEIGHT + 8), abs=3)
    assert (box.width, box.height) == pytest.approx(((right - left) * SIDE, (bottom - top) * HEIGHT), abs=4)


def test_a_zone_out_of_view_is_not_judged(folder: Path) -> None:
    station = with_zones(folder, Zone(kind="check", name="label", points=((5, 5), (60, 5), (60, 60))))
    cut = GOOD.image.copy()
    shifted = Image.new("RGB", cut.size, "grey")
    shifted.paste(cut, (-45, -45))
    (failure,) = station.inspect([shifted])
    assert isinstance(failure, Failure)
    assert failure.error == "picture: zone label is not in the picture; look at the camera and the part"


def test_a_part_that_sits_off_its_place_breaks_a_tolerance_in_mm(folder: Path) -> None:
    zone = Zone(kind="check", name="chip", points=CORNERS, max_shift_mm=0.5)
    station = with_zones(folder, zone, mm_per_pixel=0.1, limit=1.0)
    assert outcome(station, GOOD.image).outcome == "good"
    image = GOOD.image.copy()
    image.paste(GOOD.image.crop((170, 20, 370, 180)), (182, 20))  # 12 pixels to the right: 1.2 mm
    decision = outcome(station, image)
    assert decision.outcome == "anomalous"
    assert decision.verdict.headline.startswith("Zone chip lies 1.")
    assert decision.verdict.headline.endswith("mm off, at most 0.5 mm.")
    # Also where the judge itself calls the part anomalous, for a reason of its own
    own = Judgement("yes", 0.9, headline="Scratched.", reasoning="A scratch.")
    ruled = station.rule(own, 0.9, Picture("q", image, SIDE, HEIGHT), decision.verdict.headline)
    assert ruled.judgement.headline == decision.verdict.headline
    assert ruled.judgement.reasoning == f"A scratch. {decision.verdict.headline}"


SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">
<g><polygon id="ignore-date" points="10,10 20,10 20,20"/></g>
<rect class="check" x="50" y="50" width="10" height="20"><title>the label</title></rect></svg>"""


def test_svg(tmp_path: Path) -> None:
    path = tmp_path / "zones.svg"
    path.write_text(SVG)
    ignore, check = read_svg(path, replace(GOOD, width=1000, height=500))
    assert ignore == Zone(kind="ignore", name="date", points=((100, 50), (200, 50), (200, 100)))
    assert (check.kind, check.name) == ("check", "the label")
    assert check.points == ((500, 250), (600, 250), (600, 350), (500, 350))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</svg>", "", "not valid SVG"),
        ('viewBox="0 0 100 100"', "", "give a viewBox"),
        ('viewBox="0 0 100 100"', 'viewBox="0 0 0 100"', "give a viewBox"),
        ("ignore-date", "hide-date", "<polygon id=hide-date>: kind: Input should be 'ignore'"),
        ("10,10 20,10 20,20", "10,10 20,10", "a zone has three corners"),
        ("10,10 20,10 20,20", "10,10 20,ten", "not a number"),
        ("10,10 20,10 20,20", "10,10 20", "not a number"),
        ("<g>", '<g transform="scale(2)">', "flatten transforms"),
        ("<polygon", "<path", "<path> cannot be used"),
        ('width="10"', 'width="wide"', "not a number"),
    ],
)
def test_svg_that_cannot_be_used(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SVG
    path = tmp_path / "zones.svg"
    path.write_text(SVG.replace(old, new, 1).replace("/>", ">" if new == "x" else "/>"))
    with pytest.raises(InputError, match=r"zones\.svg: ") as caught:
        read_svg(path, GOOD)
    assert said in str(caught.value)


@settings(max_examples=200)
@given(content=damaged(SVG.encode()))
def test_a_damaged_svg_is_refused_or_means_something(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("damaged") / "zones.svg"
    path.write_bytes(content)
    try:
        zones = read_svg(path, GOOD)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(len(zone.points) >= 3 for zone in zones)


@pytest.mark.parametrize("encoding", ["foo", "utf-16", "utf-7", "idna", "cp037"])
def test_an_svg_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "zones.svg"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?>{SVG}')
    with pytest.raises(InputError, match="not valid SVG"):
        read_svg(path, GOOD)


def test_an_svg_that_unfolds_or_is_deep(tmp_path: Path) -> None:
    path = tmp_path / "zones.svg"
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 9))
    path.write_text(f'<!DOCTYPE svg [<!ENTITY e0 "xxxxxxxxxx">{entities}]><svg><title>&e8;</title></svg>')
    with pytest.raises(InputError, match="not valid SVG"):
        read_svg(path, GOOD)
    path.write_text(SVG.replace("<g>", "<g>" * 100_000).replace("</g>", "</g>" * 100_000))
    assert len(read_svg(path, GOOD)) == 2


RECT = '<rect class="ignore" x="1" y="1" width="9" height="9"/>'
HEAD = SVG.partition("\n")[0]


@pytest.mark.parametrize(
    ("head", "inside", "said"),
    [
        (HEAD, '<g id="a"><use href="#a"/></g>' + RECT, "<use> cannot be used"),
        (HEAD, '<symbol id="a"><use href="#a"/></symbol><use href="#a"/>' + RECT, "<use> cannot be used"),
        (HEAD, "<script>alert(1)</script>" + RECT, "<script> cannot be used"),
        (HEAD, RECT * 51, "more than 50 zones"),
        (HEAD, f'<polygon class="ignore" points="{"1,1 " * 10_001}"/>', "at most 10000 items"),
        (HEAD, '<rect class="ignore" width="1e300" height="9"/>', "less than or equal to 1000000"),
        (HEAD, '<polygon class="ignore" points="inf,1 nan,3 2,2"/>', "finite number"),
        (HEAD.replace("100 100", "inf inf"), RECT, "give a viewBox"),
        (HEAD.replace("0 0 100 100", "nan 0 100 100"), RECT, "give a viewBox"),
        (HEAD.replace("100 100", "1e-308 1e-308"), RECT, "finite number"),
        (HEAD, RECT + "<!--" + "x" * 2**25 + "-->", "larger than 32 MiB"),
    ],
    ids=lambda value: value[:40],
)
def test_an_svg_that_asks_for_too_much(tmp_path: Path, head: str, inside: str, said: str) -> None:
    path = tmp_path / "zones.svg"
    path.write_text(f"{head}{inside}</svg>")
    with pytest.raises(InputError, match=r"zones\.svg: ") as caught:
        read_svg(path, GOOD)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


UNDRAWN = """<defs>
<linearGradient id="a" gradientTransform="scale(2)"><stop offset="0"/></linearGradient>
<g transform="scale(2)"><path d="M0 0"/><rect class="ignore" width="9" height="9"/></g>
<symbol id="b"><use href="#b"/></symbol>
</defs>
<style>.ignore { fill: url(#a) }</style>
<radialGradient id="c"><stop offset="1"/></radialGradient>
<clipPath id="d"><rect class="ignore" width="9" height="9"/></clipPath>
<g style="opacity:1; display:none"><path d="M0 0"/><rect class="ignore" width="9" height="9"/></g>
<rect display="none" class="ignore" width="9" height="9"/>
<view:grid xmlns:view="http://an.editor" transform="scale(2)"><view:line/></view:grid>"""


def test_what_draws_nothing_in_an_svg_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "zones.svg"
    path.write_text(SVG.replace("<g>", f"{UNDRAWN}<g>"))
    with_them = read_svg(path, GOOD)
    path.write_text(SVG)
    assert with_them == read_svg(path, GOOD)


@pytest.mark.parametrize("cut", ['clip-path="url(#d)"', 'mask="url(#d)"', 'style="fill:red;clip-path:url(#d)"'])
@pytest.mark.parametrize("tag", ["g", "polygon"])
def test_a_shape_that_is_cut_is_not_read_whole(tmp_path: Path, cut: str, tag: str) -> None:
    path = tmp_path / "zones.svg"
    path.write_text(SVG.replace(f"<{tag}", f"<{tag} {cut}", 1))
    with pytest.raises(InputError, match=f"<{tag}> is cut by a clip path or a mask"):
        read_svg(path, GOOD)
    path.write_text(SVG.replace(f"<{tag}", f'<{tag} clip-path="none" style="mask: none"', 1))
    assert len(read_svg(path, GOOD)) == 2


def test_what_an_svg_refers_to_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entities, a DTD, a style sheet, pictures: of files here, and of a server."""
    (tmp_path / "secret").write_text("secret")
    path, opened = tmp_path / "zones.svg", []
    monkeypatch.setattr("socket.socket.connect", lambda *_: opened.append("the network"))
    for where in ((tmp_path / "secret").as_uri(), "http://127.0.0.1:9/secret"):
        for before, inside in (
            (f'<!DOCTYPE svg [<!ENTITY x SYSTEM "{where}">]>', "<title>&x;</title>"),
            (f'<!DOCTYPE svg [<!ENTITY % p SYSTEM "{where}"> %p;]>', ""),
            (f'<!DOCTYPE svg SYSTEM "{where}">', "<title>&x;</title>"),
            (f'<?xml-stylesheet href="{where}"?>', ""),
            ("", f'<image href="{where}"/><metadata><include href="{where}" parse="text"/></metadata>'),
        ):
            path.write_text(f"{before}{HEAD}{inside}{RECT}</svg>")
            try:
                text = str(read_svg(path, GOOD))
            except InputError as error:
                text = str(error)
            assert "secret" not in text.replace(str(path), "").replace("not valid SVG", "")
    assert opened == []
    # Half a megabyte of one entity, three thousand times
    path.write_text(f'<!DOCTYPE svg [<!ENTITY x "{"y" * 500_000}">]>{HEAD}<title>{"&x;" * 3000}</title>{RECT}</svg>')
    with pytest.raises(InputError, match="not valid SVG"):
        read_svg(path, GOOD)


def test_a_station_of_very_many_zones_is_refused(folder: Path) -> None:
    """Each zone is a mask in memory."""
    zone = '\n[[zones]]\nkind = "ignore"\npoints = [[0, 0], [9, 0], [9, 9]]\n'
    text = (folder / FILE).read_text()
    assert "zones = []\n" in text
    (folder / FILE).write_text(text.replace("zones = []\n", "") + zone * 50)
    assert len(Station.load(folder).zones) == 50
    (folder / FILE).write_text(text.replace("zones = []\n", "") + zone * 51)
    with pytest.raises(InputError, match=r"zones: Tuple should have at most 50 items"):
        Station.load(folder)


def test_xml_is_read_in_one_place_only() -> None:
    """Where it is read, files of strangers are read: a second place needs the same care."""
    import lad_reasoner

    root = Path(lad_reasoner.__file__).parent
    readers = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"^\s*(import|from) (xml|lxml|defusedxml|svg)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert readers == ["service/zones.py"]


def test_zones_are_set_listed_and_cleared(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "zones.svg").write_text(SVG)
    assert len(set_zones(folder, svg=tmp_path / "zones.svg", mm_per_pixel=0.2).zones) == 2
    mask = Image.new("L", (50, 50))
    ImageDraw.Draw(mask).rectangle((5, 5, 20, 20), fill=255)
    mask.save(tmp_path / "mask.png")
    station = set_zones(folder, mask=tmp_path / "mask.png", name="date")
    assert [zone.kind for zone in station.zones] == ["ignore", "check", "ignore"]
    assert station.zones[2].mask is not None
    assert (folder / station.zones[2].mask).exists()
    OpenStation(folder)
    before = (folder / FILE).read_bytes()
    Image.new("L", (50, 50)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"black.png: has one value only"):
        set_zones(folder, mask=tmp_path / "black.png")
    mask.point(lambda value: int(value > 0)).save(tmp_path / "ones.png")  # a label map: nothing of it is white
    with pytest.raises(InputError, match=r"ones.png: has values from 0 to 1 only; paint the zone white"):
        set_zones(folder, mask=tmp_path / "ones.png")
    GOOD.image.save(tmp_path / "photograph.png")
    with pytest.raises(InputError, match=r"photograph.png: \d+% of it is neither black nor white, as in a photograph"):
        set_zones(folder, mask=tmp_path / "photograph.png")
    assert (folder / FILE).read_bytes() == before
    mask.resize((200, 200)).filter(ImageFilter.GaussianBlur(9)).save(tmp_path / "soft.png")  # a brush's soft edge
    assert len(set_zones(folder, mask=tmp_path / "soft.png").zones) == 4
    assert set_zones(folder, clear=True).zones == ()


def test_zones_changed_by_hand_need_a_new_limit(folder: Path, tmp_path: Path) -> None:
    normals = []
    for number in range(9):
        path = tmp_path / f"n{number}.png"
        moved(GOOD.image, number + 1, 0).save(path)
        normals.append(path)
    out = tmp_path / "second"
    create_station(out, [tmp_path / "good.png"], normals, judge="pixel-difference", max_false_alarms=0.1)
    station = Station.load(out).model_copy(update={"zones": (Zone(kind="ignore", points=CORNERS),)})
    station.save(out)
    with pytest.raises(InputError, match="zones: not those that the limit was made with"):
        OpenStation(out)
    set_zones(out, fixed_camera=True)
    assert isinstance(outcome(OpenStation(out), read_picture(normals[0]).image), Decision)
