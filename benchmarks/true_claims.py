"""Is what the evidence judge says true? Every claim of its texts, checked against the arrays that it came from.

    python benchmarks/true_claims.py [--number 500]

Rendered pictures of MiniLOCO, good and defective, every other one changed (a part painted over, copied or shaded; the
whole picture darker, lighter, blurred, noisy, compressed, grey, small or stretched), with one and with three
references. Headline, reasoning and details are taken apart by regular expressions. What a claim says (kind, place,
colour, shape, size, number, shift, turn, light …) is computed anew from distances and pixels. A sentence that no
expression knows is a false claim.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.colours import lab_colours
from lad_reasoner.judges.evidence.judge import StudiedReferences, describe, measure_query
from lad_reasoner.judges.evidence.parts import SMALLEST, SPECK, SURE, Rule
from lad_reasoner.judges.evidence.regions import (
    CLEARLY,
    CORE,
    DEVIATING,
    EDGE,
    ELONGATED,
    FINER,
    GRAINS,
    GROUND,
    MAP_STEP,
    OFF_GROUND,
    ONE_SIDED,
    PLAIN,
    RIM,
    RING,
    ROUND,
    SMALLEST_REGION,
    STANDS_OUT,
    name_colour,
)
from lad_reasoner.judges.evidence.registration import half_extent, in_view, isotropic_grid, sample
from lad_reasoner.judges.evidence.whole_picture import measure_gain, measure_look
from lad_reasoner.judges.evidence.wording import VISIBLY_LIGHTER, VISIBLY_TINTED
from lad_reasoner.miniloco import draw_picture
from lad_reasoner.service import upkeep
from lad_reasoner.text import place_words

PRODUCTS = ("circuit_board", "breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
Points = NDArray[np.float64]
SIDE = 256  # pixels of a picture
NEAR = 0.75  # of the votes of the most common colours: as many make another name true

COLOUR = r"(?:(?:dark|light) )?[a-z]+"
TONES = {"lighter": 0, "darker": 0, "redder": 1, "greener": 1, "yellower": 2, "bluer": 2}  # in a `Place`
TONE = rf"(?P<tone>{'|'.join(TONES)})"
THE_REFERENCE = r"the (?:nearest )?reference"
PART = rf"an? (?P<colour>{COLOUR})(?: (?P<shape>round|elongated))? part"
MISSING = re.compile(rf"{PART} of {THE_REFERENCE} is missing(?:, and the query is (?P<now>{COLOUR}) there)?")
ADDED = re.compile(
    rf"{PART} is there that (?:the reference does not show|no reference shows)"
    rf"(?:, and {THE_REFERENCE} is (?P<before>{COLOUR}) there)?"
)
CHANGED = re.compile(
    rf"what is there looks different, (?:and the query is (?P<now>{COLOUR}) there|though both are (?P<both>{COLOUR}))"
    rf"|the query is (?P<after>{COLOUR}) where {THE_REFERENCE} is (?P<before>{COLOUR})"
    rf"|both are (?P<alike>{COLOUR}), the query {TONE}"
)
REGION = re.compile(
    r"Region (?P<number>\d+), (?P<place>[a-z ]+): (?P<what>[^.]+)\. It covers (?P<area>[\d.]+) % of the picture, "
    r"(?P<x>\d+) % from the left and (?P<y>\d+) % from the top, and reaches (?P<strength>[\d.]+) times the limit\."
)
COUNT = re.compile(
    r"No region by itself stands out\."
    r"|(?:(1) region stands|(\d+) regions stand) out(?:; the (?P<described>\d+) strongest are described)?\."
)
LARGEST = re.compile(
    r"Nothing stands out\.(?: The largest difference is at (?P<place>[a-z ]+), (?P<x>\d+) % from the left and "
    r"(?P<y>\d+) % from the top\.)?"
)
AMOUNTS = re.compile(
    r"(?:There is more (?P<more>[a-z ]+) and less (?P<less>[a-z ]+) than in (?:any|the) reference, mostly at "
    r"(?P<place>[a-z ]+)"
    r"|The amounts differ, mostly at (?P<where>[a-z ]+): more of something [a-z ]+ than in (?:any|the) reference)\."
)
PARTS = re.compile(
    rf"The query has (?P<found>\d+) (?P<colour>{COLOUR}) (?P<noun>parts?) and (?P<who>the|each) reference "
    r"(?P<expected>\d+): (?P<off>\d+) too (?P<way>many|few)(?:, at (?P<places>[a-z ]+))?\."
)
OVERALL = re.compile(
    r"(?:Overall the difference is (?P<ratio>[\d.]+) times the limit: "
    r"(?P<verdict>more than normal variation explains|within normal variation)"
    r"|Apart from that the difference is (?P<rest>[\d.]+) times the limit)\.$"
)
COMPARED = re.compile(
    r"Compared patch by patch in both directions with (?:the reference|(?P<references>\d+) references, of which number "
    r"(?P<nearest>\d+) is nearest); the query is (?:not shifted|shifted"
    r"(?: (?P<right>\d+) (?P<right_unit>pixels?) (?P<side>left|right))?(?P<both> and)?"
    r"(?: (?P<down>\d+) (?P<down_unit>pixels?) (?P<up>up|down))?), "
    r"(?:not turned|turned (?P<degrees>\d+) (?P<unit>degrees?)(?: (?P<turn>anticlockwise|clockwise))?), and "
    r"(?:(?P<scale>[\d.]+) times )?as large\."
)
TYPICAL = "The limit is that of a typical product, since one reference shows no variation."
ALIKE = re.compile(r"For this the (?:nearest )?reference was made (?P<alike>as [a-z ]+) as the query\.")
WHOLE = re.compile(
    r"The picture (?:is (?P<percent>\d+) % (?P<light>darker|lighter) than|is (?P<grey>grey), but"
    r"|is (?P<blurred>less sharp) than|is (?P<noisy>noisier) than|shows (?P<compressed>more traces of compression) than"
    r"|has (?P<stretched>another aspect) and was stretched to that of"
    r"|has (?P<width>\d+) x (?P<height>\d+) pixels;) the references?(?: ha(?:s|ve) (?P<rest>colours|more|fewer))?\."
)
TURN = r"turned (?P<degrees>\d+) degrees?(?: (?P<way>anticlockwise|clockwise))?"
TURNED = re.compile(rf"The picture is {TURN}, and no reference is\.")
HEADLINE = re.compile(
    r"(?:(?P<kind>Missing|Added|Changed) at (?P<place>[a-z ]+?)(?: \(\+(?P<more>\d+)\))?: (?P<what>[^.]+)"
    r"|(?P<nothing>Nothing stands out)(?:; the picture is (?P<but>[^.]+))?"
    r"|The picture is (?P<whole>[^.(]+?)(?: \(\+(?P<regions>\d+)\))?"
    r"|Amounts differ at (?P<most>[a-z ]+?)(?:: more (?P<gained>[a-z ]+), less (?P<lost>[a-z ]+))?"
    r"|The whole picture differs)\. (?P<ratio>[\d.]+) times the limit\."
    rf"|(?P<found>\d+) (?P<colour>{COLOUR}) (?P<noun>parts?)(?: \(\+(?P<further>\d+)\))?; the references? "
    r"(?:has|have) (?P<expected>\d+)(?:: (?P<way>missing|surplus) at (?P<places>[a-z ]+))?\."
)
BOTH = re.compile(rf"both (?P<alike>{COLOUR}), the query {TONE}")
INSTEAD = re.compile(rf"(?P<now>{COLOUR}) instead of (?P<before>{COLOUR})")


@dataclass(frozen=True)
class Claim:
    """What was said, in which respect, and whether it is true."""

    respect: str
    text: str
    true: bool


@dataclass(frozen=True, eq=False)
class Place:
    """One region, computed anew; `inside` is bool (rows, columns) on the map's cells."""

    inside: NDArray[np.bool_]
    x: float
    y: float
    strength: float
    kinds: set[str]  # more than one if colours have almost as many votes
    elongation: float
    pairs: dict[tuple[str | None, str], float]  # names of the reference's and the query's colour -> votes
    # Name of a colour that both have where they deviate -> how much lighter, redder and yellower the query is, in units
    # of what one sees.
    tones: dict[str, list[float]]

    def says(self, before: str | None, now: str | None) -> bool:
        """Whether the colours (None: not said) are those of enough votes."""
        votes = [
            weight
            for (reference, query), weight in self.pairs.items()
            if before in (None, reference) and now in (None, query)
        ]
        return sum(votes) >= NEAR * max(self.pairs.values())


class Evidence:
    """One query, its texts, and the arrays."""

    def __init__(self, references: StudiedReferences, query: Picture) -> None:
        self.references, self.query, self.matcher = references, query, references.matcher
        findings = measure_query(references, query)
        self.judgement: Judgement = describe(findings, query)
        self.working, self.measured = self.matcher.fit(query), findings.measurement
        self.limit = self.matcher.spread.limit
        self.ratio = self.measured.statistic / self.limit
        self.outside = self.matcher.spread.score(self.measured.statistic) >= 0.5
        self.counts = findings.counts
        self.anomalous = self.outside or bool(self.counts)

    @cached_property
    def places(self) -> list[Place]:
        """All regions, from the arrays alone."""
        width, height = self.working.width // MAP_STEP, self.working.height // MAP_STEP
        heat = self.measured.anomaly_map(width, height)
        labels, count = ndimage.label(heat > min(self.limit, 0.8 * heat.max()), structure=np.ones((3, 3)))
        added, missing = (
            _grow(values, height, width) for values in (self.measured.added, self.measured.missing_in_query)
        )
        places = []
        for label in range(1, count + 1):
            inside = (labels == label) & (heat >= CORE * heat[labels == label].max())
            if inside.mean() < SMALLEST_REGION and heat[inside].max() < heat.max():
                continue
            y, x = np.nonzero(inside)
            gone, new = missing[inside].mean(), added[inside].mean()
            pairs, tones, medians = self._colours(inside)
            one_sided = "missing" if gone > ONE_SIDED * new else "added" if new > ONE_SIDED * gone else "changed"
            if medians:
                by_contrast = self._part(inside, one_sided)
                kinds = {self._on_ground(*colours) or by_contrast for colours in medians}
            else:
                kinds = {one_sided if one_sided == "added" else "changed"}
            if self.measured.tone_counts and max(added[inside].max(), missing[inside].max()) < self.limit:
                kinds = {"changed"}  # by its tone alone
            places.append(
                Place(
                    inside,
                    float((x.mean() + 0.5) / width),
                    float((y.mean() + 0.5) / height),
                    float(heat[inside].max() / self.limit),
                    kinds,
                    _elongation(x, y),
                    pairs,
                    tones,
                )
            )
        return sorted(places, key=lambda place: -place.strength)

    @property
    def outstanding(self) -> list[Place]:
        """Those above the limit."""
        return [place for place in self.places if place.strength >= 1]

    @cached_property
    def _grounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The colours (3,) in CIELAB that reference and query have along their rims, if these are plain and alike."""
        columns, rows = (side // MAP_STEP * FINER for side in self.working.size)
        rims = []
        for image in (self.measured.view, self.working):
            picture = np.asarray(image.resize((columns, rows), Image.Resampling.BOX))
            high, wide = round(EDGE * rows), round(EDGE * columns)
            sides = (picture[:high], picture[-high:], picture[high:-high, :wide], picture[high:-high, -wide:])
            rim = lab_colours(np.concatenate([side.reshape(1, -1, 3) for side in sides], axis=1))[0]
            rims.append((rim, np.median(rim, axis=0)))
        plain = all(np.mean(np.linalg.norm(rim - ground, axis=1) < GROUND) >= PLAIN for rim, ground in rims)
        (_, before), (_, now) = rims
        return (before, now) if plain and np.linalg.norm(before - now) < GROUND else None

    def _on_ground(self, reference: NDArray[np.float32], query: NDArray[np.float32]) -> str | None:
        """The kind by which picture shows the ground in place of another colour, each in CIELAB, if one does."""
        if self._grounds is None:
            return None
        before, now = (
            float(np.linalg.norm(colour - ground))
            for colour, ground in zip((reference, query), self._grounds, strict=True)
        )
        if max(before, now) < OFF_GROUND or min(before, now) >= GROUND:
            return None
        return "missing" if before > now else "added"

    def _part(self, inside: NDArray[np.bool_], one_sided: str) -> str:
        """The kind by which picture shows a part, a contrast to what lies around it; else that of the distances."""
        query, reference, shown = (each[::FINER, ::FINER] for each in self._pictures)
        near, far = (ndimage.binary_dilation(inside, iterations=steps) for steps in (RIM, RING))
        around, inside = far & ~near & shown, inside & shown
        if not around.any() or not inside.any():
            return one_sided
        before, now = (
            float(np.linalg.norm(_median_lab(picture[inside]) - _median_lab(picture[around])))
            for picture in (reference, query)
        )
        grain = min(
            float(np.median([np.linalg.norm(cell - _median_lab(picture[around])) for cell in _lab(picture[around])]))
            for picture in (reference, query)
        )
        if before >= STANDS_OUT and before >= CLEARLY * now:
            return "missing" if before >= GRAINS * grain or one_sided == "missing" else "changed"
        if now >= STANDS_OUT and now >= CLEARLY * before:
            return "added" if now >= GRAINS * grain or one_sided == "added" else "changed"
        return "changed" if one_sided == "added" and before >= STANDS_OUT else one_sided

    @cached_property
    def _pictures(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Query and reference (rows, columns, 3) in register, and where the reference shows something."""
        columns, rows = (side // MAP_STEP * FINER for side in self.working.size)
        points = self.measured.similarity.inverse.apply(isotropic_grid(rows, columns))
        view = np.array(self.measured.view.resize((columns, rows), Image.Resampling.BOX), np.float32)
        reference = sample(view.transpose(2, 0, 1), points).transpose(1, 2, 0)
        query = np.asarray(self.working.resize((columns, rows), Image.Resampling.BOX), np.float32)
        return query, reference, in_view(points, rows, columns)

    def _colours(
        self, inside: NDArray[np.bool_]
    ) -> tuple[dict[tuple[str | None, str], float], dict[str, list[float]], list[tuple[NDArray[np.float32], ...]]]:
        """Votes of the cells that deviate, each named on its own; other tones; the colours with enough votes."""
        query, reference, shown = self._pictures
        inside = np.kron(inside, np.ones((FINER, FINER), bool))
        votes: Counter[tuple[str | None, str]] = Counter()
        if 2 * (inside & shown).sum() < inside.sum():
            for colour in query[inside]:
                votes[None, _name(colour)] += 1
            return dict(votes), {}, []
        now, before = query[inside & shown], reference[inside & shown]
        deviation = np.abs(now - before).sum(1)
        most = deviation >= DEVIATING * deviation.max() - 1
        tones: defaultdict[str, list[list[float]]] = defaultdict(list)
        for old, new, size in zip(before[most], now[most], deviation[most], strict=True):
            votes[_name(old), _name(new)] += float(size) + 1
            if _name(old) == _name(new):
                light = float((new - old).sum()) / VISIBLY_LIGHTER
                redder, yellower = ((_lab(new[None]) - _lab(old[None]))[0, 1:] / VISIBLY_TINTED).tolist()
                tones[_name(new)].append([light, redder, yellower])
        names = [(_name(old), _name(new)) for old, new in zip(before[most], now[most], strict=True)]
        medians = []
        for pair, size in votes.items():
            if size >= NEAR * max(votes.values()):
                cells = [name == pair for name in names]
                medians.append((_median_lab(before[most][cells]), _median_lab(now[most][cells])))
        return dict(votes), {colour: np.median(sizes, 0).tolist() for colour, sizes in tones.items()}, medians

    def claims(self) -> Iterator[Claim]:
        """Every claim of headline, reasoning and details."""
        yield from self._headline(self.judgement.headline)
        yield from self._reasoning(self.judgement.reasoning)
        yield from self._details(self.judgement.details)

    def _headline(self, text: str) -> Iterator[Claim]:
        yield Claim("length", text, len(text.split()) <= 15)
        found = HEADLINE.fullmatch(text)
        if not found:
            yield Claim("unknown text", text, False)
            return
        if found["found"]:
            yield from self._parts(found, text)
            yield Claim("number", text, int(found["further"] or 0) == len(self.counts) - 1)
            if found["way"]:
                fewer = int(found["found"]) < int(found["expected"])
                yield Claim("parts", text, (found["way"] == "missing") == fewer)
            return
        yield Claim("ratio", text, abs(float(found["ratio"]) - self.ratio) < 0.006)
        yield Claim("answer", text, bool(found["nothing"]) == (not self.anomalous))
        for words in filter(None, (found["but"], found["whole"])):
            yield from self._whole(words, text)
        if found["whole"]:
            yield Claim("number", text, int(found["regions"] or 0) == len(self.outstanding))
            yield Claim("largest", text, 2 * self.measured.common > self.measured.appearance)
        if found["most"]:
            yield from self._amounts(found["most"], found["gained"], found["lost"], text)
        if found["kind"]:
            first = self.places[0]
            yield Claim("number", text, int(found["more"] or 0) == max(0, len(self.outstanding) - 1))
            yield Claim("place", text, found["place"] == place_words(first.x, first.y))
            yield self._kind(found["kind"].lower(), first, text)
            instead, part = INSTEAD.fullmatch(found["what"]), re.fullmatch(PART, found["what"])
            if instead:
                yield Claim("colour", text, first.says(instead["before"], instead["now"]))
            elif both := BOTH.fullmatch(found["what"]):
                yield Claim("colour", text, first.says(both["alike"], both["alike"]))
                yield from self._tone(both, first, text)
            elif part:
                colours = (part["colour"], None) if found["kind"] == "Missing" else (None, part["colour"])
                yield Claim("colour", text, first.says(*colours))
                yield from self._shape(part["shape"], first, text)
            else:
                yield Claim("unknown text", text, False)

    def _parts(self, said: re.Match[str], text: str) -> Iterator[Claim]:
        """Counted anew: does one of the rules find so many in the query, and in two of three references?"""
        found, expected = int(said["found"]), int(said["expected"])
        yield Claim("singular", text, (found == 1) == (said["noun"] == "part"))
        parts = self.references.parts
        queries, shown, left_over = set(), set(), set[str]()
        for rule in parts.rules:
            for kind, number in enumerate(rule.numbers):
                if number != expected:
                    continue
                counted = [self._recount(view, rule, kind) for view in (views[0] for views in self.matcher.views)]
                numbers = [number for number, _, _ in counted]
                if numbers.count(expected) >= SURE * len(numbers):
                    number, _, of_query = self._recount(self.working, rule, kind)
                    queries.add(number)
                    shown.add(counted[0][1])
                    if number == found:
                        of_references = [middles for number, _, middles in counted if number == expected]
                        left_over |= set().union(*(self._left_over(middles, of_query) for middles in of_references))
        yield Claim("parts", text, found in queries)
        yield Claim("colour", text, said["colour"] in shown)
        if said["places"]:
            yield Claim("place", text, set(said["places"].split(" and ")) <= left_over)

    def _left_over(self, before: Points, now: Points) -> set[str]:
        """Where parts are missing or too many, when they are paired at the least total distance.

        Both are the middles of the parts (parts, 2) as fractions, from the left and from the top.
        """
        extent = half_extent(self.working.height, self.working.width)
        angle = np.radians(self.measured.degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        moved = (self.measured.similarity.apply((2 * before - 1) * extent @ turn) / extent + 1) / 2
        few, many = sorted((moved, now), key=len)
        _, paired = linear_sum_assignment(np.linalg.norm((few[:, None] - many) * extent, axis=-1))
        return {place_words(*many[index].tolist()) for index in range(len(many)) if index not in paired}

    def _recount(self, image: Image.Image, rule: Rule, kind: int) -> tuple[int, str, Points]:
        """How many areas of this kind there are, the name of their colour, and their middles (areas, 2)."""
        parts = self.references.parts
        pixels = np.asarray(image.resize(parts.size, Image.Resampling.BOX))
        lab, palette = lab_colours(pixels), parts.palettes[rule.palette]
        lab[..., 0] *= palette.lightness
        mask = np.linalg.norm(lab[:, :, None] - palette.colours, axis=-1).argmin(-1) == rule.colour
        if rule.margin:
            mask = ndimage.binary_erosion(mask, np.ones((2 * rule.margin + 1,) * 2))
        labels, count = ndimage.label(mask)
        areas = ndimage.sum_labels(mask, labels, np.arange(1, count + 1)) / mask.size
        near = [int(np.abs(np.log(area / np.array(rule.kinds))).argmin()) for area in areas]
        chosen = [
            number
            for number, area in enumerate(areas, 1)
            if near[number - 1] == kind and area >= max(SMALLEST, SPECK * rule.kinds[0])
        ]
        inside = np.isin(labels, chosen)
        boxes = ndimage.find_objects(labels)
        middles = [[(side.start + side.stop) / 2 for side in boxes[number - 1][::-1]] for number in chosen]
        colour = _name(np.median(pixels[inside], axis=0).astype(int)) if chosen else ""
        return len(chosen), colour, np.array(middles).reshape(-1, 2) / parts.size

    def _amounts(self, place: str, more: str | None, less: str | None, text: str) -> Iterator[Claim]:
        """An assignment made anew: is its excess above what good pictures show, there, and of these colours?"""
        amount = self.measured.amount
        yield Claim("amount", text, self.measured.amount_speaks and max(amount.ratio, amount.above_typical) > 1)
        surplus = amount.surplus
        rows, columns = surplus.shape
        most = np.argwhere(surplus >= 0.5 * surplus.max())
        weights = surplus[most[:, 0], most[:, 1]]
        y, x = ((most + 0.5) * weights[:, None]).sum(0) / weights.sum() / (rows, columns)
        yield Claim("place", text, place == place_words(float(x), float(y)))
        if more and less:
            now = np.asarray(self.working.resize((columns, rows), Image.Resampling.BOX))
            view = self.matcher.views[amount.reference][0].resize((columns, rows), Image.Resampling.BOX)
            before = np.asarray(view).reshape(-1, 3)
            pairs = {(_name(now[row, column]), _name(before[amount.counterparts[row, column]])) for row, column in most}
            yield Claim("colour", text, (more, less) in pairs)

    def _reasoning(self, text: str) -> Iterator[Claim]:
        overall = OVERALL.search(text)
        if overall:
            yield Claim("ratio", text, abs(float(overall["ratio"] or overall["rest"]) - self.ratio) < 0.006)
            if overall["verdict"]:
                yield Claim("answer", text, overall["verdict"].startswith("more") == self.outside == self.anomalous)
            else:
                yield Claim("answer", text, self.anomalous and not self.outside)
        text = OVERALL.sub("", text)
        yield Claim("number", text, len(PARTS.findall(text)) == len(self.counts))
        for parts in PARTS.finditer(text):
            yield from self._parts(parts, parts[0])
            found, expected = int(parts["found"]), int(parts["expected"])
            yield Claim("parts", parts[0], (found > expected) == (parts["way"] == "many"))
            yield Claim("number", parts[0], abs(found - expected) == int(parts["off"]))
            yield Claim("singular", parts[0], (parts["who"] == "the") == (len(self.references.looks) == 1))
        text = PARTS.sub("", text).strip()
        places, amounts = self.outstanding, AMOUNTS.search(text)
        if amounts:
            yield from self._amounts(amounts["place"] or amounts["where"], amounts["more"], amounts["less"], text)
            text = AMOUNTS.sub("", text).strip()
        count, largest = COUNT.match(text), LARGEST.match(text)
        if count:
            number = int(count[1] or count[2] or 0)
            yield Claim("answer", count[0], self.outside)
            yield Claim("number", count[0], number == len(places) and (number == 1) == bool(count[1]))
            yield Claim("number", count[0], int(count["described"] or number) == len(REGION.findall(text)))
        if largest:
            yield Claim("answer", largest[0], not self.anomalous)
            yield Claim("number", largest[0], bool(self.places) == bool(largest["place"]))
            if largest["place"]:
                yield from _position(largest, self.places[0])
        for number, region in enumerate(REGION.finditer(text)):
            if number == len(places):
                yield Claim("number", region[0], False)
                break
            yield Claim("number", region[0], int(region["number"]) == number + 1)
            yield from self._region(region, places[number])
        for pattern in (COUNT, LARGEST, REGION):
            text = pattern.sub("", text)
        if text.strip():
            yield Claim("unknown text", text, False)

    def _region(self, said: re.Match[str], place: Place) -> Iterator[Claim]:
        yield from _position(said, place)
        yield Claim("size", said[0], abs(float(said["area"]) - 100 * place.inside.mean()) < 0.06)
        yield Claim("strength", said[0], abs(float(said["strength"]) - place.strength) < 0.06)
        what = said["what"]
        if missing := MISSING.fullmatch(what):
            yield self._kind("missing", place, what)
            yield Claim("colour", what, place.says(missing["colour"], missing["now"] or missing["colour"]))
            yield from self._shape(missing["shape"], place, what)
        elif added := ADDED.fullmatch(what):
            yield self._kind("added", place, what)
            yield Claim("colour", what, place.says(added["before"], added["colour"]))
            yield from self._shape(added["shape"], place, what)
        elif changed := CHANGED.fullmatch(what):
            yield self._kind("changed", place, what)
            both = changed["both"] or changed["alike"]
            now = changed["now"] or changed["after"] or both
            yield Claim("colour", what, place.says(changed["before"] or both, now))
            if changed["tone"]:
                yield from self._tone(changed, place, what)
        else:
            yield Claim("unknown text", what, False)

    def _tone(self, said: re.Match[str], place: Place, text: str) -> Iterator[Claim]:
        """Which is lighter, or of another tint, where both have the colour that is said."""
        change = place.tones[said["alike"]][TONES[said["tone"]]]
        yield Claim("tone", text, (change > 0) == (said["tone"] in ("lighter", "redder", "yellower")))
        yield Claim("tone", text, abs(change) >= 1 / 2)

    def _kind(self, kind: str, place: Place, text: str) -> Claim:
        return Claim("kind", text, kind in (place.kinds if place.strength >= 1 else {"changed"}))

    def _shape(self, shape: str | None, place: Place, text: str) -> Iterator[Claim]:
        if shape:
            long = place.elongation >= ELONGATED - 1e-6
            yield Claim("shape", text, long if shape == "elongated" else place.elongation <= ROUND + 1e-6)

    def _details(self, text: str) -> Iterator[Claim]:
        compared = COMPARED.search(text)
        if compared:
            yield from self._compared(compared)
        single = len(self.references.looks) == 1
        yield Claim("limit", text, (TYPICAL in text) == single)
        for said in WHOLE.finditer(text):
            yield Claim("singular", said[0], ("the references" not in said[0]) == single)
            words = next((key for key in ("grey", "blurred", "noisy", "compressed", "stretched") if said[key]), "")
            if said["light"]:
                words = f"{said['percent']} % {said['light']}"
            if said["width"]:
                words = "smaller" if said["rest"] == "more" else "larger"
                size = (int(said["width"]), int(said["height"]))
                yield Claim("size", said[0], size == (self.query.width, self.query.height))
            yield from self._whole(words, said[0])
        if turned := TURNED.search(text):
            yield from self._whole(turned[0].removeprefix("The picture is ").partition(",")[0], turned[0])
        alike = ALIKE.search(text)
        yield Claim("imitation", text, bool(alike) == bool(self.measured.imitated))
        if alike:
            yield Claim("singular", alike[0], ("nearest" not in alike[0]) == single)
            for said, likewise in (
                ("darker", "dark"),
                ("lighter", "light"),
                ("less sharp", "soft"),
                ("noisier", "noisy"),
            ):
                yield Claim("imitation", alike[0], (f"as {likewise}" in alike["alike"]) == (f" {said} than" in text))
        rest = text.replace(TYPICAL, "")
        for pattern in (COMPARED, WHOLE, TURNED, ALIKE):
            rest = pattern.sub("", rest)
        if rest.strip():
            yield Claim("unknown text", rest, False)

    def _compared(self, said: re.Match[str]) -> Iterator[Claim]:
        measured, count = self.measured, len(self.references.looks)
        yield Claim("number", said[0], int(said["references"] or 1) == count)
        if said["nearest"]:
            yield Claim("nearest", said[0], int(said["nearest"]) == measured.reference + 1)
        move, (width, height) = measured.similarity, measured.view.size
        half = max(width, height) / 2
        right = int(said["right"] or 0) * (1 if said["side"] == "right" else -1)
        down = int(said["down"] or 0) * (1 if said["up"] == "down" else -1)
        shift = (move.dx * half * self.query.width / width, move.dy * half * self.query.height / height)
        yield Claim("shift", said[0], max(abs(right - shift[0]), abs(down - shift[1])) < 0.51)
        yield Claim("shift", said[0], bool(said["both"]) == bool(said["right"] and said["down"]))
        yield self._turn(int(said["degrees"] or 0), said["turn"], said[0])
        yield Claim("scale", said[0], abs(float(said["scale"] or 1) - move.scale) < 0.006)
        for number, noun in (("right", "right_unit"), ("down", "down_unit"), ("degrees", "unit")):
            if said[number]:
                yield Claim("singular", said[0], (int(said[number]) == 1) == (not said[noun].endswith("s")))

    def _turn(self, degrees: int, way: str | None, text: str) -> Claim:
        clockwise = degrees * (1 if way == "clockwise" else -1)
        wrong = clockwise - self.measured.degrees - self.measured.similarity.degrees
        return Claim("turn", text, abs((wrong + 180) % 360 - 180) < 0.51 and (way is None) == (degrees in (0, 180)))

    def _whole(self, words: str, text: str) -> Iterator[Claim]:
        """A change of the whole picture, against what the references do among themselves."""
        look, looks = measure_look(self.query), self.references.looks
        if light := re.fullmatch(r"(\d+) % (darker|lighter)", words):
            levels = [each.level / looks[self.measured.reference].level for each in looks]
            low, gain, high = measure_gain(self.measured, self.working)
            darker = light[2] == "darker"
            yield Claim("light", text, high < min(levels) if darker else low > max(levels))
            yield Claim("light", text, abs(int(light[1]) - 100 * abs(gain / np.median(levels) - 1)) < 0.51)
            return
        if turned := re.fullmatch(TURN, words):
            upright = self.references.matcher.upright
            yield Claim("whole picture", text, upright and self.measured.degrees != 0 and int(turned["degrees"]) > 22)
            yield self._turn(int(turned["degrees"]), turned["way"], text)
            return
        pixels = look.width * look.height
        aspect = self.measured.view.width / self.measured.view.height
        checks: dict[str, Callable[[], bool]] = {
            "blurred": lambda: look.sharpness < min(each.sharpness for each in looks),
            "noisy": lambda: look.noise > max(each.noise for each in looks),
            "compressed": lambda: look.blocks > max(each.blocks for each in looks),
            "grey": lambda: look.chroma < min(each.chroma for each in looks) / 2,
            "smaller": lambda: pixels < min(each.width * each.height for each in looks),
            "larger": lambda: pixels > max(each.width * each.height for each in looks),
            "stretched": lambda: abs(look.width / look.height / aspect - 1) > 0.1,
        }
        yield Claim("whole picture", text, words in checks and checks[words]())


def _position(said: re.Match[str], place: Place) -> Iterator[Claim]:
    yield Claim("place", said[0], said["place"] == place_words(place.x, place.y))
    off = max(abs(int(said["x"]) - 100 * place.x), abs(int(said["y"]) - 100 * place.y))
    yield Claim("place", said[0], off < 0.51)


def _grow(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """By SciPy, so that the judge's own way is not taken for granted."""
    zoom = height / values.shape[0], width / values.shape[1]
    return ndimage.zoom(values, zoom, order=1, mode="nearest", grid_mode=True)


def _elongation(x: NDArray[np.intp], y: NDArray[np.intp]) -> float:
    """Ratio of the principal axes, by singular values."""
    cells = np.stack([x - x.mean(), y - y.mean()])
    long, short = (np.linalg.svd(cells, compute_uv=False) ** 2 / len(x) + 1 / 12) ** 0.5
    return float(long / short)


def _lab(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    return lab_colours(colours.round().astype(np.uint8)[None])[0]


def _median_lab(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    return lab_colours(np.median(colours.round(), axis=0).round().astype(np.uint8))


def _name(colour: NDArray[np.float32]) -> str:
    red, green, blue = colour.tolist()
    return name_colour((round(red), round(green), round(blue)))


def check_query(references: StudiedReferences, query: Picture) -> list[Claim]:
    """All claims about one query."""
    return list(Evidence(references, query).claims())


def _paint_over(image: Image.Image) -> Image.Image:
    """A red square on the picture."""
    changed = image.copy()
    changed.paste((200, 30, 30), (image.width // 5, image.height // 5, image.width // 3, image.height // 3))
    return changed


def _copy_part(image: Image.Image) -> Image.Image:
    """The centre, once more in a corner."""
    changed = image.copy()
    width, height = image.width // 4, image.height // 4
    changed.paste(image.crop((width, height, 2 * width, 2 * height)), (2 * width, 2 * height))
    return changed


def _shade(image: Image.Image) -> Image.Image:
    """A square with half the light."""
    changed = image.copy()
    box = (image.width // 2, image.height // 2, 2 * image.width // 3, 2 * image.height // 3)
    changed.paste(ImageEnhance.Brightness(image.crop(box)).enhance(0.5), box[:2])
    return changed


def _tint(image: Image.Image) -> Image.Image:
    """A square with more red and less blue."""
    changed = image.copy()
    box = (image.width // 5, image.height // 3, 2 * image.width // 5, 2 * image.height // 3)
    red, green, blue = image.crop(box).split()
    brighter, darker = red.point(lambda level: 1.25 * level), blue.point(lambda level: 0.7 * level)
    changed.paste(Image.merge("RGB", (brighter, green, darker)), box[:2])
    return changed


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "painted over": _paint_over,
    "copied part": _copy_part,
    "shaded part": _shade,
    "tinted part": _tint,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noisy": upkeep.CHANGES["noise 8"],
    "compressed": upkeep.CHANGES["JPEG 40"],
    "grey": lambda image: image.convert("L").convert("RGB"),
    "small": lambda image: image.resize((image.width // 2, image.height // 2)),
    "stretched": lambda image: image.resize((image.width, image.height * 3 // 2)),
    "half a turn": lambda image: image.rotate(180),
    "a quarter turn": lambda image: image.rotate(90),
}


def draw(product: str, split: str, kind: str, index: int) -> Picture:
    image = draw_picture(product, split, kind, index, size=SIDE, seed=5).image  # type: ignore[arg-type]
    return Picture(f"{product}/{kind}_{index}", image, image.width, image.height)


def draw_queries(product: str, number: int) -> Iterator[Picture]:
    """Queries of the three kinds in turn, every other one changed."""
    kinds, changes = ("good", "logical", "structural"), list(CHANGES.values())
    for index in range(number):
        query = draw(product, "test", kinds[index % 3], index // 3)
        if index % 2:
            image = changes[index // 2 % len(changes)](query.image)
            query = Picture(query.name, image, image.width, image.height)
        yield query


def check_product(product: str, number: int, backbone: Backbone) -> list[Claim]:
    """The claims about `number` queries of a product, by turns with one and with three references."""
    good = [draw(product, "train", "good", index) for index in range(3)]
    studied = [StudiedReferences.study(good[:count], backbone) for count in (1, 3)]
    claims = []
    for index, query in enumerate(draw_queries(product, number)):
        claims += check_query(studied[index // 2 % 2], query)
    return claims


def summarise(claims: Sequence[Claim]) -> str:
    """A line for each respect, and one for all."""
    lines = []
    for respect in [*dict.fromkeys(claim.respect for claim in claims), ""]:
        chosen = [claim for claim in claims if respect in ("", claim.respect)]
        true = sum(claim.true for claim in chosen)
        lines.append(f"{respect or 'all':14s} {true} of {len(chosen)} claims true ({100 * true / len(chosen):.1f} %)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Is what the evidence judge says true?")
    parser.add_argument("--number", type=int, default=500, help="pictures")
    number = parser.parse_args().number
    backbone, claims = load_backbone(), []
    shares = [number // len(PRODUCTS) + (index < number % len(PRODUCTS)) for index in range(len(PRODUCTS))]
    for product, share in zip(PRODUCTS, shares, strict=True):
        claims += check_product(product, share, backbone)
        print(f"{product}: {sum(not claim.true for claim in claims)} false so far", flush=True)
    for claim in claims:
        if not claim.true:
            print(f"false {claim.respect}: {claim.text}")
    print(summarise(claims))


if __name__ == "__main__":
    main()
