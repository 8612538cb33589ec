"""Not one claim that was not measured: each sentence is read back and compared with the arrays it came from."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers.shots import shot
from lad_reasoner.answers import parse_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.matching import Matcher, Measurement
from lad_reasoner.judges.evidence.regions import (
    CORE,
    MAP_STEP,
    ONE_SIDED,
    SMALLEST_REGION,
    Region,
    find_regions,
    name_colour,
)
from lad_reasoner.judges.evidence.registration import in_view, isotropic_grid, sample
from lad_reasoner.judges.evidence.wording import KIND_WORDS, VISIBLY_LIGHTER, write_headline, write_response
from lad_reasoner.text import place_words

REGION = re.compile(
    r"Region (\d+) \((?P<place>[a-z ]+), (?P<x>\d+) % from the left and (?P<y>\d+) % from the top\) covers "
    r"(?P<area>[\d.]+) % of the picture: (?P<kind>[^;]+)(; the region is (?P<shape>\w+))?"
    r"(; (?P<colour>[^;]*(query)[^;]*))?"
    r"; the difference reaches (?P<strength>[\d.]+) times the limit\."
)
COMPARED = re.compile(
    r"Compared patch by patch in both directions with (?P<with>the reference|\d+ references, of which number "
    r"(?P<nearest>\d+) is nearest); the query is shifted (?P<right>\d+) pixels (?P<side>left|right) and (?P<down>\d+) "
    r"(?P<up>up|down), turned (?P<degrees>\d+) degrees (?P<turn>anticlockwise|clockwise), and (?P<scale>[\d.]+) times "
    r"as large\."
)
OVERALL = re.compile(r"Overall the difference is (?P<ratio>[\d.]+) times the limit: (?P<verdict>[a-z ]+)\.$")
LARGEST = re.compile(
    r"The largest difference is (?P<place>[a-z ]+), (?P<x>\d+) % from the left and (?P<y>\d+) % from the top\."
)


def measured_regions(comparison: Measurement, query: Image.Image, limit: float) -> list[dict[str, object]]:
    """The regions again, from the arrays alone."""
    width, height = query.width // MAP_STEP, query.height // MAP_STEP
    heat = comparison.anomaly_map(width, height)
    labels, count = ndimage.label(heat > min(limit, 0.8 * heat.max()), structure=np.ones((3, 3)))
    where = comparison.similarity.inverse.apply(isotropic_grid(height, width))
    seen = in_view(where, height, width).numpy()

    def small(image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32)

    def grow(values: object) -> np.ndarray:
        import torch

        return torch.nn.functional.interpolate(values[None, None], size=(height, width), mode="bilinear")[0, 0].numpy()  # type: ignore[index]

    import torch

    view = sample(torch.from_numpy(small(comparison.view).copy()).permute(2, 0, 1), where).permute(1, 2, 0).numpy()
    now, added, missing = small(query), grow(comparison.added), grow(comparison.missing_in_query)
    regions = []
    for label in range(1, count + 1):
        inside = (labels == label) & (heat >= CORE * heat[labels == label].max())
        if inside.mean() < SMALLEST_REGION and heat[inside].max() < heat.max():
            continue
        y, x = np.nonzero(inside)
        ratio = missing[inside].mean() / max(added[inside].mean(), 1e-9)
        kind = "missing" if ratio > ONE_SIDED else "added" if ratio < 1 / ONE_SIDED else "changed"
        known = inside & seen
        colours: tuple[object, object] = (None, tuple(int(v) for v in np.median(now[inside], 0)))
        if 2 * known.sum() >= inside.sum():
            change = np.abs(now[known] - view[known]).sum(1)
            most = change >= np.median(change)
            colours = tuple(tuple(int(v) for v in np.median(c[known][most], 0)) for c in (view, now))  # type: ignore[assignment]
        regions.append(
            {
                "x": (x.mean() + 0.5) / width,
                "y": (y.mean() + 0.5) / height,
                "area": inside.mean(),
                "kind": kind,
                "strength": heat[inside].max() / limit,
                "colours": colours,
                "spread": (x.std(), y.std()),
            }
        )
    return sorted(regions, key=lambda region: -float(region["strength"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("references", [1, 4])
@pytest.mark.parametrize(("kind", "index"), [("good", 0), ("good", 3), *(("logical", i) for i in range(7))])
def test_every_claim_is_true(kind: str, index: int, references: int, matcher: Matcher, one_shot: Matcher) -> None:
    judge = one_shot if references == 1 else matcher
    query = shot(kind, index)
    working = judge.fit(query)
    comparison = judge.compare(working)
    limit = judge.spread.limit
    found = find_regions(comparison, working, limit)
    response = parse_response(write_response(comparison, found, judge.spread, references=references, query=query))
    assert response.structured
    text, anomalous = response.reasoning, comparison.statistic > limit
    assert response.answer == ("yes" if anomalous else "no")

    overall = OVERALL.search(text)
    assert overall
    assert float(overall["ratio"]) == pytest.approx(comparison.statistic / limit, abs=0.006)
    assert overall["verdict"] == ("more than normal variation explains" if anomalous else "within normal variation")
    text = OVERALL.sub("", text)

    text = check_comparison(text, comparison, references, query)
    altered = "The limit is that of a typical product, since one reference shows no variation."
    assert (altered in text) == (references == 1)
    text = text.replace(altered, "")

    truth = measured_regions(comparison, working, limit)
    if anomalous:
        first = re.match(r"(\d+) regions? stands? out(; the 6 strongest are described)?\.", text)
        assert first
        assert int(first[1]) == len(truth)
        text = text[first.end() :]
        for claim, region in zip(REGION.finditer(text), truth, strict=False):
            check_region(claim, region)
        assert len(REGION.findall(text)) == min(6, len(truth))
        text = REGION.sub("", text)
    else:
        largest = LARGEST.search(text)
        assert largest
        row, column = np.unravel_index(int(comparison.differences.argmax()), comparison.differences.shape)
        x, y = (column + 0.5) / comparison.differences.shape[1], (row + 0.5) / comparison.differences.shape[0]
        assert (int(largest["x"]), int(largest["y"])) == pytest.approx((100 * x, 100 * y), abs=0.51)
        assert largest["place"] == place_words(x, y)
        text = LARGEST.sub("", text)
    assert not text.strip(), f"claims that this test does not know: {text}"
    check_headline(write_headline(comparison, found if anomalous else [], judge.spread), comparison, found, limit)


HEADLINE = re.compile(
    r"(\w+) at (.+?)(?: \(\+(\d+)\))?: an? (.+?)(?: (round|elongated))? part\. ([\d.]+) times the limit\."
)


def check_headline(headline: str, comparison: Measurement, regions: list[Region], limit: float) -> None:
    assert len(headline.split()) <= 15
    ratio = comparison.statistic / limit
    if ratio <= 1:
        assert headline == f"Nothing stands out. {ratio:.2f} times the limit."
        return
    claim = HEADLINE.fullmatch(headline)
    assert claim, headline
    kind, place, others, colour, shape, told = claim.groups()
    strongest = regions[0]
    assert kind.lower() == strongest.kind
    assert place == place_words(strongest.centre_x, strongest.centre_y)
    assert int(others or 0) == len(regions) - 1
    assert colour in (name_colour(strongest.query_rgb), name_colour(strongest.reference_rgb or strongest.query_rgb))
    assert shape == strongest.shape
    assert float(told) == pytest.approx(ratio, abs=0.006)


def check_comparison(text: str, comparison: Measurement, references: int, query: Picture) -> str:
    compared = COMPARED.search(text)
    assert compared
    if references > 1:
        assert compared["with"].startswith(f"{references} references")
        assert int(compared["nearest"]) == comparison.reference + 1
    move, (width, height) = comparison.similarity, comparison.view.size
    half = max(width, height) / 2
    right = int(compared["right"]) * (1 if compared["side"] == "right" else -1)
    down = int(compared["down"]) * (1 if compared["up"] == "down" else -1)
    assert (right, down) == pytest.approx(
        (move.dx * half * query.width / width, move.dy * half * query.height / height), abs=0.51
    )
    degrees = int(compared["degrees"]) * (1 if compared["turn"] == "clockwise" else -1)
    assert (degrees - comparison.degrees - move.degrees + 180) % 360 == pytest.approx(180, abs=0.51)
    assert float(compared["scale"]) == pytest.approx(move.scale, abs=0.006)
    return COMPARED.sub("", text)


def check_region(claim: re.Match[str], region: dict[str, object]) -> None:
    x, y = float(region["x"]), float(region["y"])  # type: ignore[arg-type]
    assert (int(claim["x"]), int(claim["y"])) == pytest.approx((100 * x, 100 * y), abs=0.51)
    assert claim["place"] == place_words(x, y)
    assert float(claim["area"]) == pytest.approx(100 * float(region["area"]), abs=0.06)  # type: ignore[arg-type]
    assert claim["kind"] == KIND_WORDS[str(region["kind"])]
    assert float(claim["strength"]) == pytest.approx(float(region["strength"]), abs=0.06)  # type: ignore[arg-type]
    if claim["shape"] == "round":
        spread_x, spread_y = region["spread"]  # type: ignore[misc]
        assert 0.7 < spread_x / spread_y < 1.43
    before, now = region["colours"]  # type: ignore[misc]
    if before is None:
        assert claim["colour"] == f"the query is {name_colour(now)} there"
    elif name_colour(before) != name_colour(now):
        assert claim["colour"] == f"where the reference is {name_colour(before)}, the query is {name_colour(now)}"
    elif abs(sum(now) - sum(before)) >= VISIBLY_LIGHTER:
        lighter = "lighter" if sum(now) > sum(before) else "darker"
        assert claim["colour"] == f"both are {name_colour(now)}, the query {lighter}"
    else:
        assert claim["colour"] is None


def test_a_stretched_query_says_so_and_is_measured_in_its_own_pixels(one_shot: Matcher) -> None:
    good = shot("good", 1)
    tall = Picture("tall", good.image.resize((384, 576)), 384, 576)  # twice as high
    comparison = one_shot.compare(one_shot.fit(tall))
    text = write_response(comparison, [], one_shot.spread, references=1, query=tall)
    assert "was stretched to that of the reference. Compared" in text
    moved = re.search(r"shifted (\d+) pixels (?:left|right) and (\d+) (?:up|down)", text)
    assert moved
    half = max(comparison.view.size) / 2
    assert int(moved[2]) == pytest.approx(abs(comparison.similarity.dy) * half * 576 / comparison.view.height, abs=0.51)


def test_places_in_words() -> None:
    assert [place_words(x, y) for y in (0.1, 0.5, 0.99) for x in (0, 0.5, 1)] == [
        "upper left",
        "upper middle",
        "upper right",
        "middle left",
        "centre",
        "middle right",
        "lower left",
        "lower middle",
        "lower right",
    ]
