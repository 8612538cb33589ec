"""What was done to a picture as a whole is said, and nothing is said that was not done."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from helpers.scenes import BOTH, scene
from helpers.shots import shot
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import StudiedReferences, measure_query
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.whole_picture import WholeChange, find_changes, measure_look
from lad_reasoner.judges.evidence.wording import write_details, write_headline


def jpeg(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    return Image.fromarray((pixels + np.random.default_rng(0).normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8))


DONE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noisy": noisy,
    "compressed": jpeg,
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image: image.resize((image.width * 2, image.height * 2)),
    "stretched": lambda image: image.resize((image.width, image.height * 3 // 2)),
}
# A grey picture may be darker or lighter as a whole: its channels had other weights before.
ALONG = {"grey": {"darker", "lighter"}, "stretched": {"larger"}}


def details(references: StudiedReferences, query: Picture) -> str:
    return write_details(measure_query(references, query), query)


def changes(matcher: Matcher, image: Image.Image) -> dict[str, WholeChange]:
    query = Picture("query", image, image.width, image.height)
    working = matcher.fit(query)
    looks = [measure_look(shot("good", index, split="train")) for index in range(len(matcher.views))]
    found = find_changes(matcher.compare(working), working, measure_look(query), looks, upright=matcher.upright)
    assert [change.excess for change in found] == sorted((change.excess for change in found), reverse=True)
    assert all(change.excess >= 1 for change in found)
    return {change.kind: change for change in found}


@pytest.mark.parametrize("kind", DONE)
def test_what_was_done_is_said_and_nothing_else(kind: str, one_shot: Matcher) -> None:
    original = shot("good", 0, split="train").image
    assert changes(one_shot, original) == {}
    found = changes(one_shot, DONE[kind](original))
    assert kind in found
    assert set(found) - {kind} <= ALONG.get(kind, set())


@pytest.mark.parametrize("factor", [0.6, 0.78, 1.2])
def test_light_is_measured_in_percent(factor: float, one_shot: Matcher) -> None:
    image = ImageEnhance.Brightness(shot("good", 0, split="train").image).enhance(factor)
    kind = "darker" if factor < 1 else "lighter"
    assert changes(one_shot, image)[kind].percent == pytest.approx(100 * abs(factor - 1), abs=2)


def test_a_part_that_differs_is_not_the_light(one_shot: Matcher) -> None:
    """A black fifth lowers the mean by a fifth, and is no change of the whole picture."""
    image = shot("good", 0, split="train").image.copy()
    image.paste((0, 0, 0), (0, 0, image.width, image.height // 5))
    assert "darker" not in changes(one_shot, image)


def test_what_the_references_do_among_themselves_is_no_change(backbone: Backbone) -> None:
    original = shot("good", 0, split="train")
    blurred = DONE["blurred"](DONE["darker"](original.image))
    query = Picture("blurred and darker", blurred, blurred.width, blurred.height)
    alone = StudiedReferences.study([original], backbone)
    assert "darker" in details(alone, query)
    assert "less sharp" in details(alone, query)
    among = StudiedReferences.study([original, query], backbone)
    assert "The picture" not in details(among, query)


@pytest.mark.parametrize(("count", "words"), [(1, "the reference."), (2, "the references.")])
def test_one_reference_is_singular(count: int, words: str, backbone: Backbone) -> None:
    studied = StudiedReferences.study([scene(*BOTH)] * count, backbone)
    image = ImageEnhance.Brightness(scene(*BOTH).image).enhance(0.7)
    text = details(studied, Picture("dark", image, image.width, image.height))
    assert text.startswith(f"The picture is 30 % darker than {words}")


def test_plain_and_small_pictures_can_be_measured() -> None:
    for size in ((16, 16), (17, 300), (1500, 40)):
        look = measure_look(Picture("plain", Image.new("RGB", size, (90, 90, 90)), *size))
        assert (look.level, look.chroma, look.noise) == pytest.approx((90, 0, 0))
        assert look.blocks == pytest.approx(1)
        assert look.sharpness == 1


@pytest.mark.parametrize(("turn", "words"), [(180, "turned 180 degrees"), (90, "turned 90 degrees anticlockwise")])
def test_a_turn_is_said_where_no_reference_is_turned(turn: int, words: str, backbone: Backbone) -> None:
    """`rotate` turns anticlockwise."""
    upright = StudiedReferences.study([shot("good", index, split="train") for index in range(3)], backbone)
    assert upright.matcher.upright
    image = shot("good", 0).image.rotate(turn)
    query = Picture("turned", image, image.width, image.height)
    findings = measure_query(upright, query)
    (change,) = findings.changes
    assert (change.kind, abs(change.degrees)) == ("turned", turn)
    assert write_details(findings, query).startswith(f"The picture is {words}, and no reference is. ")
    assert findings.anomalous or write_headline(findings).startswith(f"Nothing stands out; the picture is {words}. ")
    straight = shot("good", 0)
    assert not measure_query(upright, straight).changes
    # One reference does not show whether the product may be turned.
    alone = StudiedReferences.study([shot("good", 0, split="train")], backbone)
    assert not measure_query(alone, query).changes
