"""The measurement in words, in the response grammar: every number and word is read from `Measurement` and `Region`.

<think>1 region stands out. Region 1 (lower left, 24 % from the left and 83 % from the top) covers 1.5 % of the
picture: something that the reference shows is missing; where the reference is red, the query is dark green; the
difference reaches 1.5 times the limit. Compared patch by patch in both directions with the reference; the query is
shifted 5 pixels right and 3 up, turned 0 degrees clockwise, and 0.98 times as large. The limit is that
of a typical product, since one reference shows no variation. Overall the difference is 1.25 times the limit: more
than normal variation explains.</think><answer>yes</answer>
"""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.answers import format_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.matching import Measurement
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.regions import MAX_REGIONS, Region, name_colour
from lad_reasoner.text import place_words

PROMPT_VERSION = "evidence-2"  # of this wording; there is no prompt
STRETCHED = 0.12  # relative difference of the aspects; rounding to whole patches explains less
VISIBLY_LIGHTER = 60  # of 765, the sum of three channels: what one sees side by side

KIND_WORDS = {
    "missing": "something that the reference shows is missing",
    "added": "something is there that the reference does not show",
    "changed": "what is there looks different from the reference",
}


HEADLINE_KINDS = {"missing": "Missing", "added": "Added", "changed": "Changed"}


def write_headline(measurement: Measurement, regions: Sequence[Region], spread: NormalSpread) -> str:
    """The strongest region, and how far the picture is from the limit, in at most 15 words.

    `Missing at lower right (+2): a grey round part. 1.80 times the limit.`
    """
    ratio = f"{measurement.statistic / spread.limit:.2f} times the limit."
    if spread.score(measurement.statistic) < 0.5:
        return f"Nothing stands out. {ratio}"
    if not regions:
        return f"The whole picture differs. {ratio}"
    strongest, others = regions[0], len(regions) - 1
    # Of a missing part the reference shows the colour.
    rgb = strongest.query_rgb
    if strongest.kind == "missing" and strongest.reference_rgb is not None:
        rgb = strongest.reference_rgb
    part = " ".join([name_colour(rgb), *([strongest.shape] if strongest.shape else []), "part"])
    article = "an" if part[0] in "aeiou" else "a"
    more = f" (+{others})" if others else ""
    place = place_words(strongest.centre_x, strongest.centre_y)
    return f"{HEADLINE_KINDS[strongest.kind]} at {place}{more}: {article} {part}. {ratio}"


def write_response(
    measurement: Measurement, regions: Sequence[Region], spread: NormalSpread, *, references: int, query: Picture
) -> str:
    """The response `<think>…</think><answer>yes|no</answer>`; `regions` are ignored where the answer is no.

    `references` is their number, and `query` the picture before it was brought to working size.
    """
    anomalous = spread.score(measurement.statistic) >= 0.5
    if anomalous:
        sentences = [_count(len(regions))]
        sentences += [_region(number, region) for number, region in enumerate(regions[:MAX_REGIONS], 1)]
    else:
        sentences = [_largest_difference(measurement)]
    sentences.append(_how_compared(measurement, references, query))
    if not spread.observed:
        sentences.append("The limit is that of a typical product, since one reference shows no variation.")
    conclusion = "more than normal variation explains" if anomalous else "within normal variation"
    ratio = measurement.statistic / spread.limit
    sentences.append(f"Overall the difference is {ratio:.2f} times the limit: {conclusion}.")
    return format_response(" ".join(sentences), anomalous)


def _count(count: int) -> str:
    if count == 1:
        return "1 region stands out."
    rest = f"; the {MAX_REGIONS} strongest are described" if count > MAX_REGIONS else ""
    return f"{count} regions stand out{rest}."


def _region(number: int, region: Region) -> str:
    place = _place(region.centre_x, region.centre_y)
    clauses = [f"Region {number} ({place}) covers {100 * region.area:.1f} % of the picture: {KIND_WORDS[region.kind]}"]
    if region.shape:
        clauses.append(f"the region is {region.shape}")
    if colours := _colours(region):
        clauses.append(colours)
    clauses.append(f"the difference reaches {region.strength:.1f} times the limit")
    return "; ".join(clauses) + "."


def _colours(region: Region) -> str | None:
    """The clause about colours; None where one name fits both and they are about equally light."""
    now = name_colour(region.query_rgb)
    if region.reference_rgb is None:
        return f"the query is {now} there"
    before = name_colour(region.reference_rgb)
    if now != before:
        return f"where the reference is {before}, the query is {now}"
    lighter = sum(region.query_rgb) - sum(region.reference_rgb)
    if abs(lighter) < VISIBLY_LIGHTER:
        return None
    return f"both are {now}, the query {'lighter' if lighter > 0 else 'darker'}"


def _largest_difference(measurement: Measurement) -> str:
    rows, columns = measurement.added.shape
    row, column = divmod(int(measurement.differences.argmax()), columns)
    return f"The largest difference is {_place((column + 0.5) / columns, (row + 0.5) / rows)}."


def _how_compared(measurement: Measurement, references: int, query: Picture) -> str:
    compared_with = "the reference"
    if references > 1:
        compared_with = f"{references} references, of which number {measurement.reference + 1} is nearest"
    move = measurement.similarity
    width, height = measurement.view.size
    half = max(width, height) / 2  # pixels of the working size for one isotropic unit
    # The reader has the picture as it was given, so shifts are in its pixels.
    right = round(move.dx * half * query.width / width)
    down = round(move.dy * half * query.height / height)
    # The view is turned by multiples of 45 degrees and the query against the view; the sum goes from -180 to 179.
    degrees = round((measurement.degrees + move.degrees + 180) % 360 - 180)
    sideways = "left" if right < 0 else "right"
    upwards = "up" if down < 0 else "down"
    turned = "anticlockwise" if degrees < 0 else "clockwise"
    sentence = (
        f"Compared patch by patch in both directions with {compared_with}; "
        f"the query is shifted {abs(right)} pixels {sideways} and {abs(down)} {upwards}, "
        f"turned {abs(degrees)} degrees {turned}, and {move.scale:.2f} times as large."
    )
    if abs(query.width / query.height * height / width - 1) > STRETCHED:
        return f"The query has another aspect and was stretched to that of the reference. {sentence}"
    return sentence


def _place(x: float, y: float) -> str:
    return f"{place_words(x, y)}, {100 * x:.0f} % from the left and {100 * y:.0f} % from the top"
