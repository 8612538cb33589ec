"""Parts: does the query show as many parts of each kind as the references do?

    parts = Parts.study(views)                       # pictures of the references
    for count in parts.count(query):
        count.expected, count.found                  # 15, 16
        count.score                                  # 0.83

Nobody says what a part is. The pixels of the references are grouped by their colours, into few groups and into many,
once by their lightness as well and once by their hue above all; a group less some margin falls into connected areas.
Areas of one size are parts of one kind, if there are few kinds, and if the numbers stay the same when the picture is
lighter, darker, softer or noisier: fifteen yellow pins. That is a rule if all references on which the numbers are sure
agree on it.

A query breaks a rule if its numbers are as sure, and one of them is another. Several rules see the same parts, by other
groups and margins; it takes two of them to say so, and not many that say otherwise. Where parts touch, lie on each
other, or have other colours than in the references, the numbers are not sure, and nothing is said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.ndimage import find_objects, generate_binary_structure, label

from lad_reasoner.judges.evidence.colours import lab_colours

AREA = 192 * 192  # pixels of the pictures that are counted in
GROUPS = (2, 3, 4, 5, 6, 8, 10)  # of colours
GROUPS_OF_HUES = (3, 4, 6, 9)
LIGHTNESS = 0.4  # how much it counts among hues: a round part is not of one lightness
SAME_COLOUR = 8.0  # side of a cell of CIELAB whose pixels are one colour where colours are weighed
FEWEST_PIXELS = 2  # of the sample: fewer of one colour are chance
MOST_WEIGHT = 200  # of a colour, in units of that of the rarest
MARGINS = (0, 1, 2, 4)  # pixels that are taken off all around: parts that touch fall apart, thin things vanish
SAMPLE = 4000  # pixels that the colours are found from
SMALLEST, LARGEST = 0.0004, 0.08  # share of the picture that an area takes; what is smaller is not looked at
GAP = 1.6  # areas of two kinds differ by this factor at least
ALIKE = 2.0  # and areas of one kind from the typical one at most; less where the next kind is near
SPECK = 0.2  # of the smallest kind: what is smaller still is no part
MOST_KINDS = 3
SURE = 2 / 3  # of the references must show the numbers
FEWEST_VOTES = 2
MOST_RULES = 8  # for the same parts: more cost time and say the same
OUTVOTED = 3  # times as many rules that see the expected number overrule those that do not
SAME_PARTS = 0.5  # of the smaller area of two rules' parts lies inside the other's: they see the same parts
CROSS = generate_binary_structure(2, 1)  # pixels that touch with a side are connected

RGB = tuple[int, int, int]
Pixels = NDArray[np.uint8]  # (height, width, 3)
Mask = NDArray[np.bool_]  # (height, width)


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours that stand for all colours of a product."""

    lightness: float  # how much it counts
    colours: NDArray[np.float32]  # (colours, 3) in CIELAB, L times `lightness`


@dataclass(frozen=True, eq=False)
class Rule:
    """All pixels nearest to one colour of a palette, less a margin, make so many areas of these sizes."""

    palette: int  # index
    colour: int  # of the palette
    margin: int  # pixels
    kinds: tuple[float, ...]  # typical areas, shares of the picture, the smallest first
    numbers: tuple[int, ...]  # of each kind
    parts: tuple[int, ...]  # of each kind: rules with the same number here see the same parts
    shown: tuple[RGB, ...]  # of each kind: median colour in the first reference


@dataclass(frozen=True)
class Place:
    """A rectangle in fractions of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Miscount:
    """A number of parts that is not that of the references."""

    expected: int
    found: int
    agreement: float  # in (0, 1], share of the rules for these parts that find this number
    shown: RGB  # colour of the parts
    rule: Rule  # one of those that find this number
    kind: int  # of that rule: these parts
    places: tuple[Place, ...] = ()  # in the query, of the parts that are missing or too many; see `part_places.py`

    @property
    def score(self) -> float:
        """Above 0.5, at most 1."""
        return 0.5 + 0.5 * self.agreement


@dataclass(frozen=True, eq=False)
class Parts:
    """What can be counted in the references."""

    size: tuple[int, int]  # (width, height) in which parts are counted
    palettes: tuple[Palette, ...]
    rules: tuple[Rule, ...]

    @classmethod
    def study(cls, references: Sequence[Image.Image]) -> Parts:
        """From pictures of one size."""
        width, height = references[0].size
        scale = (AREA / (width * height)) ** 0.5
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = [np.asarray(image.resize(size, Image.Resampling.BOX)) for image in references]
        colours = np.concatenate([lab_colours(each).reshape(-1, 3) for each in pixels])
        sample = colours[:: max(1, len(colours) // SAMPLE)]
        palettes = tuple(_find_palettes(sample))
        pictures = [_Seen(each, palettes) for each in pixels]
        rules: list[Rule] = []
        seen: list[tuple[int, Mask]] = []  # number of parts and where they are in the first reference
        for index, palette in enumerate(palettes):
            for colour in range(len(palette.colours)):
                for margin in MARGINS:
                    rules += _find_rule(pictures, index, colour, margin, seen)
        of_parts: Counter[tuple[int, ...]] = Counter()
        few = []
        for rule in rules:
            of_parts[rule.parts] += 1
            if of_parts[rule.parts] <= MOST_RULES:
                few.append(rule)
        return cls(size, palettes, tuple(few))

    def count(self, query: Image.Image) -> tuple[Miscount, ...]:
        """Numbers that differ from those of the references, the surest first."""
        picture = _Seen(np.asarray(query.resize(self.size, Image.Resampling.BOX)), self.palettes)
        votes: dict[int, list[_Vote]] = defaultdict(list)  # parts -> of each rule
        for rule in self.rules:
            for vote in _votes(rule, picture):
                votes[vote.parts].append(vote)

        @cache
        def is_sure(rule: Rule) -> bool:
            return _sure_numbers(picture, rule) is not None

        def keep_sure(of_parts: list[_Vote]) -> list[_Vote]:
            return [vote for vote in of_parts if vote.agrees or is_sure(vote.rule)]

        # Only where votes may say something else: to see whether they are sure takes most of the time.
        sure = [keep_sure(of_parts) for of_parts in votes.values() if _may_differ(of_parts)]
        # Other parts in the same numbers are most often the rims of the same ones: the larger are told.
        counts: dict[tuple[int, int], Miscount] = {}
        for of_parts in sorted(filter(None, sure), key=lambda each: max(vote.area for vote in each)):
            count = _tally(of_parts)
            if count:
                counts[count.expected, count.found] = count
        return tuple(sorted(counts.values(), key=lambda count: -count.score))

    def find(self, image: Image.Image, rule: Rule, kind: int) -> list[Place]:
        """Where the picture shows the parts of one kind of a rule; none if it shows something else as well."""
        picture = _Seen(np.asarray(image.resize(self.size, Image.Resampling.BOX)), self.palettes)
        labels, areas = _label(picture.mask(rule.palette, rule.colour, rule.margin))
        kinds = _sort(areas, rule.kinds)
        if kinds is None:
            return []
        width, height = self.size
        boxes = [box for box, of_area in zip(find_objects(labels), kinds, strict=True) if of_area == kind]
        places = []
        for rows, columns in boxes:
            # The margin that was taken off is put back.
            left, right = max(0, columns.start - rule.margin), min(width, columns.stop + rule.margin)
            top, bottom = max(0, rows.start - rule.margin), min(height, rows.stop + rule.margin)
            places.append(Place(left / width, top / height, (right - left) / width, (bottom - top) / height))
        return places


@dataclass(frozen=True)
class _Vote:
    """What one rule finds of one kind of parts."""

    rule: Rule
    kind: int
    agrees: bool  # whether the rule finds all its numbers
    parts: int
    expected: int
    found: int
    area: float  # of a part
    shown: RGB


def _votes(rule: Rule, picture: _Seen) -> list[_Vote]:
    """One for each kind, which may not be sure."""
    numbers = picture.count(rule, 0)
    # Two kinds that differ: two parts that touch are one of another kind.
    if numbers is None or sum(map(int.__ne__, numbers, rule.numbers)) > 1:
        return []
    of_kinds = zip(rule.parts, rule.numbers, numbers, rule.kinds, rule.shown, strict=True)
    agrees = numbers == rule.numbers
    votes = [_Vote(rule, kind, agrees, *of_kind) for kind, of_kind in enumerate(of_kinds)]
    # Parts that all vanished were not recognised.
    return [vote for vote in votes if vote.expected <= 2 * vote.found <= 4 * vote.expected]


def _may_differ(votes: Sequence[_Vote]) -> bool:
    """Whether votes for some parts can find another number, if all those are sure that do."""
    against = Counter(vote.found for vote in votes if vote.found != vote.expected).most_common(1)
    same = sum(vote.agrees for vote in votes)  # surely
    return bool(against) and _outvotes(against[0][1], same)


def _outvotes(against: int, same: int) -> bool:
    return against >= FEWEST_VOTES and against * OUTVOTED >= same


def _tally(votes: Sequence[_Vote]) -> Miscount | None:
    """The number that most of the rules for some parts find, if it is another and enough of them do."""
    expected = votes[0].expected
    found = Counter(vote.found for vote in votes)
    same = found.pop(expected, 0)
    if not found:
        return None
    number, against = found.most_common(1)[0]
    if not _outvotes(against, same):
        return None
    largest = max(votes, key=lambda vote: vote.area)
    other = max((vote for vote in votes if vote.found == number), key=lambda vote: vote.area)
    return Miscount(expected, number, against / (against + same), largest.shown, other.rule, other.kind)


def _lighter(pixels: Pixels, gain: float) -> Pixels:
    return (pixels * gain).clip(0, 255).astype(np.uint8)


def _softer(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.7)))


def _noisier(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 5, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


# What the camera might have made of the same thing; the picture as it is first.
CHANGES: tuple[Callable[[Pixels], Pixels], ...] = (
    lambda pixels: pixels,
    lambda pixels: _lighter(pixels, 0.88),
    lambda pixels: _lighter(pixels, 1.12),
    _softer,
    _noisier,
)


class _Seen:
    """A picture as it is and as a camera might also have taken it, with what was computed of it."""

    def __init__(self, pixels: Pixels, palettes: Sequence[Palette]) -> None:
        self.pixels, self.palettes = pixels, palettes
        self._weighed: dict[tuple[int, float], NDArray[np.float32]] = {}
        self._groups: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._areas: dict[tuple[int, int, int, int], NDArray[np.float64]] = {}

    def mask(self, palette: int, colour: int, margin: int, change: int = 0) -> Mask:
        """The pixels that are nearest to this colour, less a margin, after one of CHANGES."""
        if (palette, change) not in self._groups:
            chosen = self.palettes[palette]
            groups = _nearest_colour(self._colours(change, chosen.lightness), chosen.colours)
            self._groups[palette, change] = groups.reshape(self.pixels.shape[:2])
        inside: Mask = self._groups[palette, change] == colour
        return _shrink(inside, margin) if margin else inside

    def _colours(self, change: int, lightness: float) -> NDArray[np.float32]:
        """After one of CHANGES, (pixels, 3) in CIELAB, L times `lightness`."""
        if (change, 1) not in self._weighed:
            self._weighed[change, 1] = lab_colours(CHANGES[change](self.pixels)).reshape(-1, 3)
        if (change, lightness) not in self._weighed:
            self._weighed[change, lightness] = self._weighed[change, 1] * _weigh(lightness)
        return self._weighed[change, lightness]

    def areas(self, palette: int, colour: int, margin: int, change: int = 0) -> NDArray[np.float64]:
        """The shares of the picture that the connected areas of `mask` take."""
        key = palette, colour, margin, change
        if key not in self._areas:
            self._areas[key] = _label(self.mask(*key))[1]
        return self._areas[key]

    def count(self, rule: Rule, change: int) -> tuple[int, ...] | None:
        """How many areas of each kind there are; None if one is of no kind."""
        kinds = _sort(self.areas(rule.palette, rule.colour, rule.margin, change), rule.kinds)
        if kinds is None:
            return None
        return tuple(np.bincount(kinds[kinds >= 0], minlength=len(rule.kinds)).tolist())


def _shrink(inside: Mask, margin: int) -> Mask:
    """Less a margin all around; what lies outside the picture is not inside."""
    shrunk: Mask = inside.ravel()
    # Along the whole picture, where a step to the next row is as many pixels as a row has.
    for step in (1, inside.shape[1]):
        core, size = shrunk, 1  # where so many pixels from here on are all inside
        while size <= 2 * margin:
            further = min(size, 2 * margin + 1 - size)
            core = core[: -further * step] & core[further * step :]
            size += further
        shrunk = np.zeros(inside.size, bool)
        shrunk[margin * step : margin * step + len(core)] = core
    shrunk = shrunk.reshape(inside.shape)
    shrunk[:, :margin] = shrunk[:, -margin:] = False  # the ends of two rows lie next to each other there
    return shrunk


def _nearest_colour(pixels: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.uint8]:
    """For each pixel (pixels, 3) the index (pixels,) of the nearest colour (colours, 3); the first of equal ones."""
    # Squared distances less the pixel's own square, which is the same for all colours.
    distances = (palette**2).sum(1)[:, None] - 2 * palette @ pixels.T  # (colours, pixels)
    nearest, least = np.zeros(len(pixels), np.uint8), distances[0]
    # Colour by colour: NumPy's argmin is slow along so short an axis.
    for colour in range(1, len(palette)):
        nearer = (distances[colour] < least).view(np.uint8)
        np.maximum(nearest, nearer * np.uint8(colour), out=nearest)
        np.minimum(least, distances[colour], out=least)
    return nearest


def _sure_numbers(picture: _Seen, rule: Rule) -> tuple[int, ...] | None:
    """How many areas of each kind the picture shows; None if that hangs on how it was taken."""
    numbers = picture.count(rule, 0)
    if numbers is None or any(picture.count(rule, change) != numbers for change in range(1, len(CHANGES))):
        return None
    return numbers


def _weigh(lightness: float) -> NDArray[np.float32]:
    """What colours in CIELAB (…, 3) are multiplied with."""
    return np.array([lightness, 1, 1], np.float32)


def _find_palettes(colours: NDArray[np.float32]) -> Iterator[Palette]:
    """Means of the colours (pixels, 3) in few groups and in many."""
    for groups in _group(colours, GROUPS):
        yield Palette(1.0, groups)
    for groups in _group(_even_out(colours) * _weigh(LIGHTNESS), GROUPS_OF_HUES):
        yield Palette(LIGHTNESS, groups)


def _group(colours: NDArray[np.float32], numbers: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """The means (groups, 3) of each number of groups; not of more groups than the colours (pixels, 3) make."""
    distinct = len(np.unique(colours, axis=0))
    for number in numbers:
        if number < distinct:
            with suppress(ClusterError):  # a group without a pixel
                yield kmeans2(colours, number, minit="++", missing="raise", seed=0)[0]


def _even_out(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """As many pixels of each colour (pixels, 3) as the root of their number.

    A large ground would else take all groups, and small parts none.
    """
    cells, cell, pixels = np.unique(np.floor(colours / SAME_COLOUR), axis=0, return_inverse=True, return_counts=True)
    means = np.zeros((len(cells), 3))
    np.add.at(means, cell.ravel(), colours)
    common = pixels >= FEWEST_PIXELS
    weights = (pixels[common] / pixels[common].min(initial=len(colours))) ** 0.5
    repeats = weights.round().astype(int).clip(1, MOST_WEIGHT)
    colour_of_cell = (means / pixels[:, None])[common]  # (common cells, 3)
    evened: NDArray[np.float32] = np.repeat(colour_of_cell, repeats, axis=0).astype(np.float32)
    return evened


def _label(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Connected areas by number, zero outside, and their shares of the picture."""
    labels = np.zeros(mask.shape, np.intp)
    # Only the part of the picture that shows any: numbering looks at every pixel.
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return labels, np.zeros(0)
    shown = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    number = label(mask[shown], CROSS, output=labels[shown])
    # Of the pixels inside alone: there are few of them, and the numbering itself takes less time than counting all.
    areas = np.bincount(labels[mask], minlength=number + 1)[1:] / mask.size
    return labels, areas


def _sort(areas: NDArray[np.float64], kinds: Sequence[float]) -> NDArray[np.intp] | None:
    """The kind of each area, -1 for specks; None if one area is of no kind."""
    distance = np.abs(np.log(areas)[:, None] - np.log(kinds))  # (areas, kinds)
    speck = (areas < SMALLEST) | (areas < kinds[0] * SPECK)
    if (distance[~speck].min(1, initial=np.inf) > np.log(ALIKE)).any():
        return None
    return np.where(speck, -1, distance.argmin(1))


def _find_kinds(areas: NDArray[np.float64]) -> tuple[float, ...]:
    """Typical areas of the kinds; none if there are too many."""
    ordered = np.sort(areas[areas >= SMALLEST])
    if not len(ordered):
        return ()
    kinds = np.split(ordered, np.flatnonzero(ordered[1:] > GAP * ordered[:-1]) + 1)
    if len(kinds) > MOST_KINDS or ordered[-1] > LARGEST:
        return ()
    return tuple(map(_median_of_ordered, kinds))


def _median_of_ordered(values: NDArray[np.float64]) -> float:
    """The middle one, or the mean of the two in the middle."""
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return float(low + high) / 2


def _find_rule(
    pictures: Sequence[_Seen], palette: int, colour: int, margin: int, seen: list[tuple[int, Mask]]
) -> list[Rule]:
    """The rule, if the references agree on one; `seen` grows by the parts that no other rule saw."""
    areas = pictures[0].areas(palette, colour, margin)
    kinds = _find_kinds(areas)
    sorted_areas = _sort(areas, kinds) if kinds else None
    if sorted_areas is None:
        return []
    rule = Rule(palette, colour, margin, kinds, (), (), ())
    # As the pictures are, which settles most cases, and then after all changes.
    for count in (lambda picture: picture.count(rule, 0), lambda picture: _sure_numbers(picture, rule)):
        known = [numbers for picture in pictures if (numbers := count(picture)) is not None]
        if len(known) < SURE * len(pictures) or len(set(known)) != 1 or not all(known[0]):
            return []
    labels, _ = _label(pictures[0].mask(palette, colour, margin))
    of_pixel = np.append(-1, sorted_areas)[labels]  # (height, width), the kind
    masks = [of_pixel == kind for kind in range(len(kinds))]
    parts = tuple(_same_parts(number, mask, seen) for number, mask in zip(known[0], masks, strict=True))
    shown = tuple(_median_colour(pictures[0].pixels[mask]) for mask in masks)
    return [replace(rule, numbers=known[0], parts=parts, shown=shown)]


def _median_colour(pixels: Pixels) -> RGB:
    red, green, blue = np.median(pixels, axis=0).astype(int).tolist()
    return red, green, blue


def _same_parts(number: int, mask: Mask, seen: list[tuple[int, Mask]]) -> int:
    """The index of these parts among those that are seen; new ones are added."""
    for index, (other, of_other) in enumerate(seen):
        shared = (mask & of_other).sum() / min(mask.sum(), of_other.sum())
        if number == other and shared > SAME_PARTS:
            return index
    seen.append((number, mask))
    return len(seen) - 1
