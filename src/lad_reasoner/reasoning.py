"""The measurement in words, in the response grammar: every number and word is read from `Comparison` and `Region`."""

from __future__ import annotations

from collections.abc import Sequence

from lad_reasoner.answers import format_response
from lad_reasoner.images import Picture
from lad_reasoner.matching import Comparison
from lad_reasoner.regions import MAX_REGIONS, Region, name_colour
from lad_reasoner.spread import NormalSpread

PROMPT_VERSION = "evidence-1"  # of this wording; there is no prompt

KINDS = {
    "missing": "something that the reference shows is missing",
    "added": "something is there that the reference does not show",
    "changed": "what is there looks different from the reference",
}


def respond(
    comparison: Comparison, regions: Sequence[Region], spread: NormalSpread, *, references: int, query: Picture
) -> str:
    """The response `<think>…</think><answer>yes|no</answer>`; `regions` is empty when the answer is no."""
    anomalous = spread.score(comparison.statistic) >= 0.5
    sentences = [_what_was_compared(comparison, references, query)]
    ratio = comparison.statistic / spread.limit
    if anomalous:
        sentences.append(_count(len(regions)))
        sentences += [_region(i, region) for i, region in enumerate(regions[:MAX_REGIONS], 1)]
        sentences.append(
            f"Overall the difference is {ratio:.2f} times the limit of normal variation, so the query is anomalous."
        )
    else:
        distances = comparison.anomaly_map(100, 100)
        row, column = divmod(int(distances.argmax()), 100)
        sentences.append(
            f"The largest difference lies in the {place((column + 0.5) / 100, (row + 0.5) / 100)}, "
            f"{column} % from the left and {row} % from the top. Overall the difference is {ratio:.2f} times the limit "
            "of normal variation, so nothing is wrong."
        )
    if references == 1:
        sentences.append("With one reference the limit is estimated from altered copies of it.")
    return format_response(" ".join(sentences), anomalous)


def _what_was_compared(comparison: Comparison, references: int, query: Picture) -> str:
    which = (
        "the reference"
        if references == 1
        else f"{references} references, of which number {comparison.reference + 1} is nearest"
    )
    move = comparison.similarity
    long_side = max(query.width, query.height) / 2
    degrees = (comparison.degrees + move.degrees + 180) % 360 - 180
    return (
        f"The query was compared with {which}, patch by patch and in both directions; it is turned by {degrees:.0f} "
        f"degrees, shifted by {move.dx * long_side:.0f} pixels to the right and {move.dy * long_side:.0f} down, and "
        f"{move.scale:.2f} times as large."
    )


def _count(count: int) -> str:
    if count > MAX_REGIONS:
        return f"{count} regions differ by more than normal variation; the {MAX_REGIONS} strongest are described."
    return (
        "1 region differs by more than normal variation."
        if count == 1
        else f"{count} regions differ by more than normal variation."
    )


def _region(number: int, region: Region) -> str:
    parts = [
        f"Region {number}, {place(region.centre_x, region.centre_y)}, centred {region.centre_x:.0%} from the left and "
        f"{region.centre_y:.0%} from the top, covers {region.area:.1%} of the picture: {KINDS[region.kind]}"
    ]
    if region.shape:
        parts.append(f"its shape is {region.shape}")
    colours = _colours(region)
    if colours:
        parts.append(colours)
    parts.append(f"the difference reaches {region.strength:.1f} times the limit")
    return ("; ".join(parts) + ".").replace("%", " %")


def _colours(region: Region) -> str | None:
    now = name_colour(region.query_rgb)
    if region.reference_rgb is None:
        return f"the query is {now} there"
    before = name_colour(region.reference_rgb)
    if now != before:
        return f"where the reference is {before}, the query is {now}"
    lighter = sum(region.query_rgb) - sum(region.reference_rgb)
    if abs(lighter) >= 60:  # of 765: visible side by side
        return f"both are {now}, the query {'lighter' if lighter > 0 else 'darker'}"
    return None


def place(x: float, y: float) -> str:
    """Fractions from the left and from the top -> one of nine places in words."""
    row = ("upper", "", "lower")[min(2, int(y * 3))]
    column = ("left", "", "right")[min(2, int(x * 3))]
    if row and column:
        return f"{row} {column}"
    if column:
        return f"middle {column}"
    return f"{row} middle" if row else "centre"
