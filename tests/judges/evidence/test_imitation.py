"""A reference shown as the query was taken: harmless changes are explained, defects remain."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from helpers.shots import shot
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.imitation import imitate
from lad_reasoner.judges.evidence.judge import StudiedReferences, measure_query
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.whole_picture import WholeChange, measure_gain, measure_look, measure_sharpness
from lad_reasoner.judges.evidence.wording import write_details


def blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


def darken(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.6)


def add_noise(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(3).normal(0, 25, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def as_query(image: Image.Image) -> Picture:
    return Picture("query", image, image.width, image.height)


@pytest.fixture(scope="module")
def references(backbone: Backbone) -> StudiedReferences:
    return StudiedReferences.study([shot("good", index, split="train") for index in range(2)], backbone)


@pytest.mark.parametrize(("change", "words"), [(blur, "soft"), (add_noise, "noisy")])
def test_a_good_picture_stays_good(
    change: Callable[[Image.Image], Image.Image], words: str, references: StudiedReferences
) -> None:
    query = as_query(change(shot("good", 0).image))
    matcher = references.matcher
    assert matcher.compare(matcher.fit(query)).appearance > matcher.spread.limit
    findings = measure_query(references, query)
    assert findings.measurement.imitated and not findings.anomalous
    details = write_details(findings, query)
    assert f"For this the nearest reference was made as {words} as the query." in details


@pytest.mark.parametrize("change", [blur, darken, add_noise])
def test_a_defect_stays_a_defect(change: Callable[[Image.Image], Image.Image], references: StudiedReferences) -> None:
    image = shot("good", 0).image.copy()
    image.paste((200, 30, 30), (250, 60, 300, 110))
    findings = measure_query(references, as_query(change(image)))
    assert findings.anomalous
    region = findings.regions[0]
    assert region.left * image.width <= 275 <= (region.left + region.width) * image.width


def test_an_unchanged_picture_is_compared_with_the_references_themselves(references: StudiedReferences) -> None:
    image = shot("good", 0).image.copy()
    image.paste((200, 30, 30), (250, 60, 300, 110))
    query = as_query(image)
    findings = measure_query(references, query)
    assert findings.anomalous and not findings.measurement.imitated
    assert "was made" not in write_details(findings, query)
    looks = (references.looks[0], measure_look(query))
    working = references.matcher.fit(query)
    assert imitate(findings.measurement, working, [], looks) is None
    assert imitate(findings.measurement, working, [WholeChange("compressed", 2.0)], looks) is None


@pytest.mark.parametrize("kind", ["darker", "blurred", "noisy"])
def test_the_imitation_is_as_dark_as_soft_and_as_noisy(kind: str, references: StudiedReferences) -> None:
    change = {"darker": darken, "blurred": blur, "noisy": add_noise}[kind]
    original = shot("good", 0, split="train")
    query, matcher = as_query(change(original.image)), references.matcher
    working = matcher.fit(query)
    measurement, looks = matcher.compare(working), (measure_look(original), measure_look(query))
    made = imitate(measurement, working, [WholeChange(kind, 2.0)], looks)  # type: ignore[arg-type]
    assert made is not None and (made.reference, made.degrees) == (measurement.reference, measurement.degrees)
    if kind == "darker":
        assert measure_gain(measurement, made.view)[1] == pytest.approx(0.6, abs=0.03)
    elif kind == "blurred":
        assert measure_sharpness(made.view) == pytest.approx(measure_sharpness(working), rel=0.2)
        assert measure_sharpness(measurement.view) > 1.3 * measure_sharpness(working)
    else:
        noise = measure_look(as_query(made.view)).noise
        assert noise == pytest.approx(measure_look(as_query(working)).noise, rel=0.3)


def test_what_is_known_of_the_query_is_not_computed_again(
    references: StudiedReferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, matcher = as_query(darken(shot("good", 0).image)), references.matcher
    working = matcher.fit(query)
    measurement, looks = matcher.compare(working), (references.looks[0], measure_look(query))
    made = imitate(measurement, working, [WholeChange("darker", 2.0)], looks)
    again = matcher.compare(working, made)
    seen: list[object] = []
    features = matcher.backbone.features
    monkeypatch.setattr(matcher.backbone, "features", lambda *seen_by: seen.append(seen_by) or features(*seen_by))
    alike = matcher.compare(working, made, measurement)
    assert len(seen) == 1  # the imitation alone
    assert alike.appearance == again.appearance
    assert alike.amount.ratio == again.amount.ratio


def test_amounts_of_a_picture_that_is_softer_do_not_count_as_unusual(
    references: StudiedReferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly too much by appearance, and over the limit with the amounts, which softness changes, too."""
    query, compare = as_query(blur(shot("good", 0).image)), Matcher.compare

    def nearly(matcher: Matcher, *arguments: Any) -> Measurement:
        measured = compare(matcher, *arguments)
        if len(arguments) > 1:  # with the imitation
            return measured
        amount = replace(measured.amount, ratio=0.5, above_typical=2.0)
        return replace(measured, appearance=0.95 * measured.limit, amount=amount)

    monkeypatch.setattr(Matcher, "compare", nearly)
    findings = measure_query(references, query)
    assert findings.measurement.imitated == ("blurred",)
    assert findings.measurement.amount.above_typical == 1
    assert not findings.anomalous
