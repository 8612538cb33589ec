"""A query that no judge can judge is stopped before it, with the reason; what differs from the references is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lad_reasoner import Failure, Inspector, Verdict
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.quality import _percentile, lies_across, why_unfit
from lad_reasoner.records import ResultLine
from lad_reasoner.runner import judge_batch


def part(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A plate with holes and a label on a grey bench, with some noise."""
    draw_at = np.random.default_rng(seed)
    image = Image.new("RGB", size, (120, 124, 128))
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 30, 280, 210), fill=(200, 170, 60))
    for x in (70, 160, 250):
        dx, dy = draw_at.integers(-3, 4, 2)
        draw.ellipse((x - 15 + dx, 60 + dy, x + 15 + dx, 90 + dy), fill=(30, 30, 40))
    draw.rectangle((100, 130, 220, 180), fill=(250, 250, 250))
    draw.text((110, 145), "LOT 4711", fill=(0, 0, 0))
    noise = draw_at.normal(0, 3, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def forest(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Another scene: green, with other places of light and dark."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    wave = (np.sin(rows / 9) + np.cos(columns / 7)) * 40
    green = np.stack([10 + 0 * wave, 110 + wave, 20 + 0 * wave], -1)
    return Image.fromarray(np.clip(green, 0, 255).astype(np.uint8))


def broken() -> Image.Image:
    image = part(5)
    ImageDraw.Draw(image).polygon([(120, 30), (200, 30), (160, 120)], fill=(120, 124, 128))
    return image


def reason(query: Image.Image, references: Sequence[Image.Image] = ()) -> str:
    pictures = [read_picture(image) for image in references or (part(1), part(2))]
    return why_unfit(PicturePair(tuple(pictures), read_picture(query)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: part(3),
        broken,
        lambda: part(3).filter(ImageFilter.GaussianBlur(0.6)),
        lambda: part(3).point(lambda value: value * 0.6),
        lambda: part(3).point(lambda value: min(255, value * 1.4)),
        lambda: part(3).rotate(90, expand=True),
        lambda: part(3).rotate(180),
        lambda: part(3).crop((0, 0, 320, 120)),
        lambda: part(3).convert("L").convert("RGB"),
        lambda: part(3).resize((640, 480)),
        lambda: part(3).resize((80, 60)),
    ],
)
def test_what_can_be_judged_is_not_stopped(make: Callable[[], Image.Image]) -> None:
    assert reason(make()) == ""


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Image.new("RGB", (320, 240), (90, 90, 90)), "the picture has one colour only"),
        (lambda: part(3).point(lambda value: value // 40), "the picture is black"),
        (lambda: Image.new("RGB", (320, 240), (255, 255, 254)), "the picture has one colour only"),
        (lambda: part(3).point(lambda value: min(255, value * 8)), "the picture is over- or underexposed"),
        (lambda: part(3).filter(ImageFilter.GaussianBlur(5)), "the picture is blurred: its edges have"),
        (lambda: part(3).crop((0, 0, 320, 40)), "the picture has another shape than the references: width / height 8"),
        (forest, "the picture has nothing in common with the references"),
    ],
)
def test_what_cannot_be_judged_is_stopped(make: Callable[[], Image.Image], why: str) -> None:
    assert reason(make()).startswith(why)


def other_product(seed: int = 0) -> Image.Image:
    """A weave in the colours of the plate and of the bench."""
    rows, columns = np.mgrid[:240, :320]
    over = (np.sin((rows + 5 * seed) / 2.5) * np.sin(columns / 2.5) > 0) ^ ((rows // 40 + columns // 50) % 2 == 0)
    image = np.where(over[..., None], (200, 170, 60), (120, 124, 128))
    noise = np.random.default_rng(seed).normal(0, 3, (240, 320, 3))
    return Image.fromarray(np.clip(image + noise + 12 * np.sin(columns / 60)[..., None], 0, 255).astype(np.uint8))


def test_another_product_is_stopped_and_an_empty_place_is_not() -> None:
    why = "the picture has nothing in common with the references: another product or scene"
    assert reason(other_product()) == why
    assert reason(part(3), [other_product(1), other_product(2)]) == why
    assert reason(other_product(3), [other_product(1)]) == ""
    bench = np.random.default_rng(0).normal((120, 124, 128), 3, (240, 320, 3))
    assert reason(Image.fromarray(np.clip(bench, 0, 255).astype(np.uint8))) == ""


def test_references_of_the_same_kind_make_it_normal() -> None:
    blurred = [part(seed).filter(ImageFilter.GaussianBlur(5)) for seed in (1, 2)]
    assert reason(part(3).filter(ImageFilter.GaussianBlur(5)), blurred) == ""
    bright = [part(seed).point(lambda value: min(255, value * 8)) for seed in (1, 2)]
    assert reason(part(3).point(lambda value: min(255, value * 8)), bright) == ""
    strips = [part(seed).crop((0, 100, 320, 140)) for seed in (1, 2)]
    assert reason(part(3).crop((0, 100, 320, 140)), strips) == ""


class AlwaysGood:
    """Says no to whatever it sees, and counts what it saw."""

    name, prompt_version, batch_size, notes, parameters = "always-good", "test-1", 4, (), None

    def __init__(self) -> None:
        self.seen: list[str] = []

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.seen += [pair.query.name for pair in pairs]
        return [Judgement("no", 0.1) for _ in pairs]


def test_no_judge_is_asked_about_what_cannot_be_judged(tmp_path: Path) -> None:
    for name, image in {"good": part(3), "dark": part(3).point(lambda value: 0), "far": forest()}.items():
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "torn.png").write_bytes(b"no picture")
    judge = AlwaysGood()
    inspector = Inspector(judge, [part(1)])
    results = list(inspector.inspect_many([tmp_path / f"{name}.png" for name in ("good", "dark", "far", "torn")]))
    good, dark, far, torn = results
    assert judge.seen == [str(tmp_path / "good.png")]
    assert isinstance(good, Verdict) and (good.answer, good.reason) == ("no", "")
    assert isinstance(dark, Failure) and isinstance(far, Verdict) and isinstance(torn, Failure)
    assert (far.answer, far.anomalous, far.score) == ("invalid", False, 0.5)
    assert "the picture has one colour only" in dark.error
    assert "nothing in common" in far.reason
    # The same in every line: nobody takes "could not look" for good.
    lines = [ResultLine.of(record, ["a note"]) for record in results]
    assert [line.answer for line in lines] == ["no", "invalid", "invalid", "invalid"]
    assert [bool(line.reason) for line in lines] == [False, True, True, True]
    assert [line.reason == line.error for line in lines] == [False, True, False, True]
    assert all(line.notes == ("a note",) for line in lines)
    assert inspector.inspect(tmp_path / "far.png").answer == "invalid"


def test_judges_that_do_not_look_at_pictures_are_always_asked() -> None:
    judge = AlwaysGood()
    judge.looks_at_pictures = False  # type: ignore[attr-defined]
    pair = PicturePair((read_picture(part(1)),), read_picture(forest()))
    assert [judged.verdict.answer for judged in judge_batch(judge, [pair])] == ["no"]


@pytest.mark.parametrize("percent", [0.0, 37.3, 99.5, 100.0])
def test_a_percentile_of_whole_numbers_is_that_of_sorting(percent: float) -> None:
    drawn = np.random.default_rng(0)
    for values in (drawn.integers(0, 1021, (9, 31)), np.array([[7]]), np.array([[0, 0, 1020]])):
        assert _percentile(values.astype(np.int16), percent) == pytest.approx(np.percentile(values, percent))


@pytest.mark.parametrize(
    ("query", "references", "across"),
    [
        ((240, 320), [(320, 240)], True),
        ((400, 300), [(300, 400), (310, 400)], True),
        ((320, 240), [(320, 240)], False),
        ((240, 320), [(320, 240), (240, 320)], False),  # both ways are known
        ((300, 300), [(300, 300)], False),
        ((300, 320), [(320, 300)], False),  # nearly square
        ((120, 320), [(320, 240)], False),  # cut, not turned
    ],
)
def test_a_picture_that_lies_across(query: tuple[int, int], references: list[tuple[int, int]], across: bool) -> None:
    pictures = [read_picture(Image.new("RGB", size)) for size in (query, *references)]
    assert lies_across(PicturePair(tuple(pictures[1:]), pictures[0])) is across
