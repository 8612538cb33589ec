"""The measurement in words, in the response grammar: every number and word is read from `Findings`.

<think>1 region stands out. Region 1, lower left: a red part of the reference is missing, and the query is dark green
there. It covers 1.4 % of the picture, 24 % from the left and 83 % from the top, and reaches 1.6 times the limit.
Overall the difference is 1.25 times the limit: more than normal variation explains.</think><answer>yes</answer>

What happened to the picture as a whole, and how all was measured, stands apart, in the details:

The picture is 22 % darker than the reference. Compared patch by patch in both directions with the reference; the query
is shifted 5 pixels right and 3 pixels up, not turned, and 0.98 times as large. For this the reference was made as dark
as the query. The limit is that of a typical product, since one reference shows no variation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lad_reasoner.answers import format_response
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.colours import lab_colours
from lad_reasoner.judges.evidence.imitation import LIKEWISE
from lad_reasoner.judges.evidence.labels import Text, TextChange
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.more_and_less import MoreAndLess
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.parts import Miscount, Place
from lad_reasoner.judges.evidence.regions import MAX_REGIONS, RGB, Change, Region, name_colour
from lad_reasoner.judges.evidence.whole_picture import Look, WholeChange, turned_by
from lad_reasoner.text import counted, place_words, turn_words

PROMPT_VERSION = "evidence-14"  # of this wording; there is no prompt
QUOTED = 4  # words of a text in the headline
VISIBLY_LIGHTER = 60  # of 765, the sum of three channels: what one sees side by side
VISIBLY_TINTED = 6.0  # of a or b of CIELAB


@dataclass(frozen=True, eq=False)
class Findings:
    """All that was measured of one query; `regions` and `changes` are in the order of their size."""

    measurement: Measurement
    spread: NormalSpread
    regions: tuple[Region, ...]
    changes: tuple[WholeChange, ...]  # of the whole picture
    looks: tuple[Look, ...]  # of the references
    more_and_less: MoreAndLess | None  # by the assignment of patches one to one, if it speaks loudest
    texts: tuple[TextChange, ...] = ()
    counts: tuple[Miscount, ...] = ()  # of parts, the surest first

    @property
    def score(self) -> float:
        """In (0, 1], of the statistic that speaks loudest; anomalous from 0.5 on."""
        return max([self.appearance, *(change.score for change in self.texts + self.counts)])

    @property
    def appearance(self) -> float:
        """The score without texts and counts."""
        return self.spread.score(self.measurement.statistic)

    @property
    def anomalous(self) -> bool:
        """Whether the answer is yes."""
        return self.score >= 0.5

    @property
    def amounts(self) -> MoreAndLess | None:
        """What there is more and less of, where the amount made the verdict."""
        return self.more_and_less if self.appearance >= 0.5 and self.measurement.amount_speaks else None

    @property
    def outstanding(self) -> tuple[Region, ...]:
        """The regions above the limit; the others are there for a station with a lower one."""
        return tuple(region for region in self.regions if region.strength >= 1)

    @property
    def ratio(self) -> float:
        """The statistic in units of its limit."""
        return self.measurement.statistic / self.spread.limit


def write_headline(findings: Findings) -> str:
    """What differs most, and how far the picture is from the limit, in at most 15 words.

    `Missing at lower right (+2): a grey round part. 1.80 times the limit.`
    """
    ratio = f"{_times(findings.ratio)}."
    # A region that differs has a place, which not every number of parts has.
    placed = findings.appearance >= 0.5 and findings.regions and not findings.amounts
    if findings.counts and findings.score == findings.counts[0].score and not placed:
        others = _others(len(findings.counts) + len(findings.texts) - 1)
        has = "the reference has" if len(findings.looks) == 1 else "the references have"
        count, where = findings.counts[0], _part_places(findings.counts[0])
        place = f": {'missing' if count.found < count.expected else 'surplus'} at {where[0]}" if len(where) == 1 else ""
        return f"{_parts(count)}{others}; {has} {count.expected}{place}."
    if findings.texts and findings.score > findings.appearance:
        change = findings.texts[0]
        others = _others(len(findings.outstanding) + len(findings.texts) - 1) if findings.appearance >= 0.5 else ""
        return f"Text {change.kind} at {_place_words(change.text)}{others}: {_quote(change, QUOTED)}. {ratio}"
    whole = f"the picture is {_change_words(findings.changes[0])}" if findings.changes else ""
    if not findings.anomalous:
        return f"Nothing stands out{'; ' if whole else ''}{whole}. {ratio}"
    amounts = findings.amounts
    if amounts:
        return f"Amounts differ at {amounts.place}{_more_and_less(amounts)}. {ratio}"
    # Most of the difference is what all patches have in common, which no region shows.
    if whole and 2 * findings.measurement.common > findings.measurement.appearance:
        return f"{whole.capitalize()}{_others(len(findings.outstanding))}. {ratio}"
    if not findings.regions:
        return f"The whole picture differs. {ratio}"
    strongest = findings.regions[0]
    place = place_words(strongest.centre_x, strongest.centre_y)
    others = _others(len(findings.outstanding) - 1)
    return f"{_kind(strongest).capitalize()} at {place}{others}: {_what(strongest)}. {ratio}"


def write_response(findings: Findings) -> str:
    """The response `<think>…</think><answer>yes|no</answer>`; of a good picture only the place of the first region."""
    references, outside = len(findings.looks), findings.appearance >= 0.5
    if outside:
        regions = findings.outstanding
        sentences = [_amount(findings.amounts, references)] if findings.amounts else []
        sentences.append(_count(len(regions)))
        sentences += [_region(number, region, references) for number, region in enumerate(regions[:MAX_REGIONS], 1)]
    elif not findings.anomalous:
        sentences = ["Nothing stands out."]
        sentences += [f"The largest difference is {_place(region)}." for region in findings.regions[:1]]
    else:
        sentences = []
    sentences += [_text_change(change, references) for change in findings.texts]
    sentences += [_number_of_parts(count, references) for count in findings.counts]
    if findings.anomalous and not outside:
        sentences.append(f"Apart from that the difference is {_times(findings.ratio)}.")
    else:
        conclusion = "more than normal variation explains" if outside else "within normal variation"
        sentences.append(f"Overall the difference is {_times(findings.ratio)}: {conclusion}.")
    return format_response(" ".join(sentences), findings.anomalous)


def write_details(findings: Findings, query: Picture) -> str:
    """What happened to the whole picture, and how it was measured: method, nearest reference, shift, turn, limit.

    `query` is the picture before it was brought to working size.
    """
    sentences = [_whole_picture(change, findings.looks, query) for change in findings.changes]
    sentences.append(_how_compared(findings.measurement, len(findings.looks), query))
    if findings.measurement.imitated:
        alike = " and ".join(LIKEWISE[kind] for kind in findings.measurement.imitated)
        reference = "reference" if len(findings.looks) == 1 else "nearest reference"
        sentences.append(f"For this the {reference} was made {alike} as the query.")
    if not findings.spread.observed:
        sentences.append("The limit is that of a typical product, since one reference shows no variation.")
    return " ".join(sentences)


def _amount(amounts: MoreAndLess, references: int) -> str:
    than = "than in the reference" if references == 1 else "than in any reference"
    if amounts.more == amounts.less:
        return f"The amounts differ, mostly at {amounts.place}: more of something {amounts.more} {than}."
    return f"There is more {amounts.more} and less {amounts.less} {than}, mostly at {amounts.place}."


def _more_and_less(amounts: MoreAndLess) -> str:
    return "" if amounts.more == amounts.less else f": more {amounts.more}, less {amounts.less}"


def _parts(count: Miscount) -> str:
    """`16 orange parts`."""
    return counted(count.found, f"{name_colour(count.shown)} part")


def _number_of_parts(count: Miscount, references: int) -> str:
    difference = count.found - count.expected
    reference = "the reference" if references == 1 else "each reference"
    wrong = f"{abs(difference)} too {'many' if difference > 0 else 'few'}"
    where = " and ".join(_part_places(count))
    return f"The query has {_parts(count)} and {reference} {count.expected}: {wrong}{where and f', at {where}'}."


def _part_places(count: Miscount) -> list[str]:
    """Where parts are missing or too many, each place once."""
    return list(dict.fromkeys(_place_words(place) for place in count.places))


def _place_words(place: Place | Text) -> str:
    return place_words(place.left + place.width / 2, place.top + place.height / 2)


def _quote(change: TextChange, most: int | None = None) -> str:
    """The text in quotation marks, of which `most` words; a label must not be able to write tags of the response."""
    words = " ".join(change.text.words.split()[:most])
    return f'"{words.replace("<", "(").replace(">", ")")}"'


def _text_change(change: TextChange, references: int) -> str:
    place, words = _place_words(change.text), _quote(change)
    if change.kind == "missing":
        shown = "the reference shows" if references == 1 else "all references show"
        return f"The text {words}, which {shown} at {place}, is not in the query."
    shown = "the reference does not show" if references == 1 else "no reference shows"
    return f"The query has the text {words} at {place}, which {shown}."


def _others(count: int) -> str:
    return f" (+{count})" if count > 0 else ""


def _times(ratio: float) -> str:
    """`1.25 times the limit`; near the limit with as many digits as tell on which side it is."""
    digits = next((digits for digits in (2, 3, 4) if float(f"{ratio:.{digits}f}") != 1), 2)
    return f"{ratio:.{digits}f} times the limit"


def _count(count: int) -> str:
    if not count:
        return "No region by itself stands out."
    if count == 1:
        return "1 region stands out."
    rest = f"; the {MAX_REGIONS} strongest are described" if count > MAX_REGIONS else ""
    return f"{count} regions stand out{rest}."


def _region(number: int, region: Region, references: int) -> str:
    """Two sentences: what differs, and how much."""
    where = f"Region {number}, {place_words(region.centre_x, region.centre_y)}"
    size = f"It covers {100 * region.area:.1f} % of the picture, {_coordinates(region)}"
    what = _difference(region, references)
    return f"{where}: {what}. {size}, and reaches {region.strength:.1f} times the limit."


def _difference(region: Region, references: int) -> str:
    now, before = name_colour(region.query_rgb), region.reference_rgb and name_colour(region.reference_rgb)
    kind, reference = _kind(region), "the reference" if references == 1 else "the nearest reference"
    if kind == "missing":
        there = f", and the query is {now} there" if now != before else ""
        return f"{_what(region)} of {reference} is missing{there}"
    if kind == "added":
        there = f", and {reference} is {before} there" if before not in (None, now) else ""
        shown = "that the reference does not show" if references == 1 else "that no reference shows"
        return f"{_what(region)} is there {shown}{there}"
    if region.reference_rgb is None:
        return f"what is there looks different, and the query is {now} there"
    if now != before:
        return f"the query is {now} where {reference} is {before}"
    tone = _tone(region.query_rgb, region.reference_rgb)
    return f"both are {now}, the query {tone}" if tone else f"what is there looks different, though both are {now}"


def _tone(query: RGB, reference: RGB) -> str:
    """`lighter`, `darker`, `redder`, `greener`, `yellower` or `bluer`: what one sees best, if one sees any."""
    before, now = lab_colours(np.array([reference, query], np.uint8))
    redder, yellower = ((now - before)[1:] / VISIBLY_TINTED).tolist()
    changes = {
        ("lighter", "darker"): (sum(query) - sum(reference)) / VISIBLY_LIGHTER,
        ("redder", "greener"): redder,
        ("yellower", "bluer"): yellower,
    }
    (more, less), size = max(changes.items(), key=lambda change: abs(change[1]))
    if abs(size) < 1:
        return ""
    return more if size > 0 else less


def _kind(region: Region) -> Change:
    """The kind of a region; of one below the limit nothing is said to be missing or added."""
    return region.kind if region.strength >= 1 else "changed"


def _what(region: Region) -> str:
    """`a grey round part`, in the reference's colour if it is missing; `red instead of blue` if it has changed."""
    kind, before = _kind(region), region.reference_rgb
    now = name_colour(region.query_rgb)
    if kind == "changed" and before is not None:
        if name_colour(before) != now:
            return f"{now} instead of {name_colour(before)}"
        if tone := _tone(region.query_rgb, before):
            return f"both {now}, the query {tone}"
    colour = name_colour(before) if kind == "missing" and before else now
    part = " ".join([colour, *([region.shape] if region.shape else []), "part"])
    return f"{'an' if part[0] in 'aeiou' else 'a'} {part}"


def _change_words(change: WholeChange) -> str:
    """`22 % darker`, `turned 180 degrees`, `blurred`: what the picture is."""
    if change.kind == "turned":
        return turn_words(change.degrees)
    return f"{change.percent} % {change.kind}" if change.kind in ("darker", "lighter") else change.kind


def _whole_picture(change: WholeChange, looks: Sequence[Look], query: Picture) -> str:
    reference, has = ("the reference", "has") if len(looks) == 1 else ("the references", "have")
    match change.kind:
        case "darker" | "lighter":
            return f"The picture is {_change_words(change)} than {reference}."
        case "grey":
            return f"The picture is grey, but {reference} {has} colours."
        case "blurred":
            return f"The picture is less sharp than {reference}."
        case "noisy":
            return f"The picture is noisier than {reference}."
        case "compressed":
            return f"The picture shows more traces of compression than {reference}."
        case "stretched":
            return f"The picture has another aspect and was stretched to that of {reference}."
        case "turned":
            return f"The picture is {_change_words(change)}, and no reference is."
    more = "more" if change.kind == "smaller" else "fewer"
    return f"The picture has {query.width} x {query.height} pixels; {reference} {has} {more}."


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
    scale = f"{move.scale:.2f}"
    large = "as large" if scale == "1.00" else f"{scale} times as large"
    return (
        f"Compared patch by patch in both directions with {compared_with}; "
        f"the query is {_shift(right, down)}, {turn_words(turned_by(measurement))}, and {large}."
    )


def _shift(right: int, down: int) -> str:
    """`shifted 5 pixels right and 3 pixels up`, `not shifted`."""
    ways = (right, "left" if right < 0 else "right"), (down, "up" if down < 0 else "down")
    moves = [f"{counted(abs(pixels), 'pixel')} {way}" for pixels, way in ways if pixels]
    return f"shifted {' and '.join(moves)}" if moves else "not shifted"


def _place(region: Region) -> str:
    return f"at {place_words(region.centre_x, region.centre_y)}, {_coordinates(region)}"


def _coordinates(region: Region) -> str:
    return f"{100 * region.centre_x:.0f} % from the left and {100 * region.centre_y:.0f} % from the top"
