"""The measurement in words, in the response grammar: every number and word is read from `Measurement` and `Region`."""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.answers import format_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.matching import Measurement
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.regions import MAX_REGIONS, Region, name_colour
from lad_reasoner.text import place_words

PROMPT_VERSION = "evidence-1"  # of this wording; there is no prompt
STRETCHED = 0.12  # relative difference of the aspects; rounding to whole patches explains less
VISIBLY_LIGHTER = 60  # of 765, the sum of three channels: what one sees side by side

KINDS = {
    "missing": "something that the reference shows is missing",
    "added": "something is there that the reference does not show",
    "changed": "what is there looks different from the reference",
}


def respond(
    measurement: Measurement, regions: Sequence[Region], spread: NormalSpread, *, references: int, query: Picture
) -> str:
    """The response `<think>…</think><answer>yes|no</answer>`; `regions` are not looked at when the answer is no."""
    anomalous = spread.score(measurement.statistic) >= 0.5
    if anomalous:
        sentences = [_count(len(regions))]
        sentences += [_region(i, region) for i, region in enumerate(regions[:MAX_REGIONS], 1)]
    else:
        sentences = [_largest_difference(measurement)]
    sentences.append(_how_compared(measurement, references, query))
    if not spread.observed:
        sentences.append("The limit is a guess from altered copies of one reference.")
    conclusion = "more than normal variation explains" if anomalous else "within normal variation"
    sentences.append(
        f"Overall the difference is {measurement.statistic / spread.limit:.2f} times the limit: {conclusion}."
    )
    return format_response(" ".join(sentences), anomalous)


def _count(count: int) -> str:
    if count == 1:
        return "1 region stands out."
    rest = f"; the {MAX_REGIONS} strongest are described" if count > MAX_REGIONS else ""
    return f"{count} regions stand out{rest}."


def _region(number: int, region: Region) -> str:
    where = f"{place_words(region.centre_x, region.centre_y)}, {_percent(region.centre_x, region.centre_y)}"
    parts = [
        f"Region {number} ({where}) covers {100 * region.area:.1f} % of the picture: {KINDS[region.kind]}",
        f"the region is {region.shape}" if region.shape else None,
        _colours(region),
        f"the difference reaches {region.strength:.1f} times the limit",
    ]
    return "; ".join(part for part in parts if part) + "."


def _colours(region: Region) -> str | None:
    now = name_colour(region.query_rgb)
    if region.reference_rgb is None:
        return f"the query is {now} there"
    before = name_colour(region.reference_rgb)
    if now != before:
        return f"where the reference is {before}, the query is {now}"
    lighter = sum(region.query_rgb) - sum(region.reference_rgb)
    if abs(lighter) >= VISIBLY_LIGHTER:
        return f"both are {now}, the query {'lighter' if lighter > 0 else 'darker'}"
    return None


def _largest_difference(measurement: Measurement) -> str:
    rows, columns = measurement.added.shape
    row, column = divmod(int(measurement.differences.argmax()), columns)
    x, y = (column + 0.5) / columns, (row + 0.5) / rows
    return f"The largest difference is {place_words(x, y)}, {_percent(x, y)}."


def _how_compared(measurement: Measurement, references: int, query: Picture) -> str:
    which = "the reference"
    if references > 1:
        which = f"{references} references, of which number {measurement.reference + 1} is nearest"
    move = measurement.similarity
    width, height = measurement.view.size
    half = max(width, height) / 2
    right, down = round(move.dx * half * query.width / width), round(move.dy * half * query.height / height)
    stretched = abs(query.width / query.height * height / width - 1) > STRETCHED
    note = "The query has another aspect and was stretched to that of the reference. " if stretched else ""
    degrees = round((measurement.degrees + move.degrees + 180) % 360 - 180)
    return (
        f"{note}Compared patch by patch in both directions with {which}; the query is shifted {abs(right)} pixels "
        f"{'left' if right < 0 else 'right'} and {abs(down)} {'up' if down < 0 else 'down'}, turned {abs(degrees)} "
        f"degrees {'anticlockwise' if degrees < 0 else 'clockwise'}, and {move.scale:.2f} times as large."
    )


def _percent(x: float, y: float) -> str:
    return f"{100 * x:.0f} % from the left and {100 * y:.0f} % from the top"
