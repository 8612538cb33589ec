"""The built-in judge for photographs: no training, no download, a verdict with place and reason from one good picture.

`matching.py` measures the difference, `amount.py` whether there is as much of everything, `tone.py` whether it is as
light as its like and of the same tint, `parts.py` whether there are as many parts of each kind, `part_places.py`
finds those that are missing or too many, `normal_variation.py` estimates how much is normal, `regions.py` finds the
regions that differ, `more_and_less.py` what there is more of and less, `whole_picture.py` what happened to the
picture as a whole, which `imitation.py` does to a reference as well, `labels.py` reads labels if that is asked for,
and `wording.py` describes all of it; `tiles.py` cuts long pictures. The paper has no such judge; its responses follow
the grammar of the paper's model. `WithEvidence` adds its map and boxes to another judge.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NoReturn
from weakref import WeakKeyDictionary, ref

from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judge, Judgement, PicturePair, refuse_copy
from lad_reasoner.judges.evidence.backbone import DEFAULT_BACKBONE, Backbone, load_backbone
from lad_reasoner.judges.evidence.imitation import imitate
from lad_reasoner.judges.evidence.labels import LabelReader, Text, TextChange, compare_texts
from lad_reasoner.judges.evidence.matching import Matcher, spread_evenly
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.more_and_less import find_more_and_less
from lad_reasoner.judges.evidence.normal_variation import NormalSpread
from lad_reasoner.judges.evidence.part_places import find_places
from lad_reasoner.judges.evidence.parts import Miscount, Parts, Place
from lad_reasoner.judges.evidence.processes import start_workers
from lad_reasoner.judges.evidence.regions import Region, find_regions
from lad_reasoner.judges.evidence.studied import load_studied, save_studied
from lad_reasoner.judges.evidence.threads import begin, count_cores, in_parallel
from lad_reasoner.judges.evidence.tiles import Tile, count_tiles, cut, is_long, join
from lad_reasoner.judges.evidence.views import fit_to, working_size
from lad_reasoner.judges.evidence.whole_picture import Look, find_changes, measure_look
from lad_reasoner.judges.evidence.wording import PROMPT_VERSION, Findings, write_details, write_headline, write_response
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Box

COUNTED = 12  # references whose parts are counted: on more of them the numbers agree as well
STUDIED = 4  # sets of references kept in memory; the least recently used is dropped first
MANY_REFERENCES = 10  # from here on it is said whether more of them would change the limit
SAME_LIMIT = 0.05  # of the limit: less is no change, less than half the width of the score
HEAT_SIDE = 96  # cells of the long side of the returned map


@dataclass(frozen=True, eq=False)
class StudiedReferences:
    """What is computed from references once; see `measure_query`."""

    matcher: Matcher
    looks: tuple[Look, ...]
    parts: Parts
    texts: tuple[tuple[Text, ...], ...] = ()  # of each reference; empty if they were not read

    @classmethod
    def study(cls, references: Sequence[Picture], backbone: Backbone, track: Track = silent) -> StudiedReferences:
        size = working_size(references[0], backbone.multiple)
        fitted = [fit_to(references[index], size) for index in spread_evenly(len(references), COUNTED)]
        parts = begin(Parts.study, fitted)  # one thread's work, as long as that of the matcher with few references
        matcher = Matcher(references, backbone, track=track)
        return cls(matcher, tuple(map(measure_look, references)), parts.result())


class Evidence:
    """Patch matching on any photographs; `backbone` is the folder or hub name of another vision model.

    With `text` the text on the product is read and compared as well. See
    `judge.Judge`.
    """

    def __init__(self, backbone: str | None = None, *, text: bool = False) -> None:
        self.prompt_version = f"{PROMPT_VERSION}, text" if text else PROMPT_VERSION
        self.reader = LabelReader() if text else None
        self.notes: tuple[str, ...] = ("text on the product is read and compared",) if text else ()
        self.backbone = load_backbone(backbone or DEFAULT_BACKBONE)
        self.name = "evidence" if backbone is None else f"evidence:{backbone}"
        self.parameters: int | None = getattr(self.backbone, "parameters", None)
        self.batch_size = 2 * count_cores()  # so that no core waits long for the slowest picture of a batch
        self._studied = lru_cache(STUDIED)(self._study)
        self._studied_tiles = lru_cache(STUDIED)(self._study_tiles)
        self._kept: WeakKeyDictionary[Picture, _Kept] = WeakKeyDictionary()
        self._studying = threading.Lock()
        self._track: Track = silent

    def __reduce__(self) -> NoReturn:
        refuse_copy(self, "a network", "make an Inspector there, or call inspect_many, which uses all cores")

    def show_progress(self, track: Track) -> None:
        """Show progress while references are studied."""
        self._track = track

    def notes_on(self, references: tuple[Picture, ...]) -> tuple[str, ...]:
        """Whether more references would change the limit; nothing about few, nor about those of a station."""
        if len(references) < MANY_REFERENCES or is_long(references[0]) or self._find_kept(references):
            return ()
        with self._studying:
            studied = self._studied(references)
        of_half = _with_half(studied.matcher, references, self._track)
        return (describe_gain(len(references), studied.matcher.spread, of_half),)

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge the pairs on all cores, each on one; what is computed from the references is cached."""
        # Before the threads start, since studying uses them as well.
        parts = [self._parts(pair) for pair in pairs]
        made = iter(in_parallel(self.judge_part, [part for of_pair in parts for part in of_pair]))
        judgements = []
        for pair, of_pair in zip(pairs, parts, strict=True):
            judged = list(islice(made, len(of_pair)))
            whole = not is_long(pair.references[0])
            judgements.append(judged[0] if whole else join(judged, [tile for _, tile in of_pair], pair.query))
        return judgements

    def many(self, number: int) -> AbstractContextManager[Judge]:
        """See `judge.Judge`: with the built-in network in processes, if that pays; see `processes.py`."""
        return start_workers(self, number) if self.name == "evidence" else nullcontext(self)

    def study(self, references: tuple[Picture, ...]) -> StudiedReferences:
        """What is computed of references that are not long, once; of the last STUDIED ones it is cached."""
        with self._studying:  # two threads with the same references study them once
            return self._find_kept(references) or self._studied(references)

    def judge_part(self, part: tuple[StudiedReferences, Tile]) -> Judgement:
        """A query, or one tile of it."""
        studied, tile = part
        return describe(measure_query(studied, tile.picture, self.reader), tile.picture)

    def _parts(self, pair: PicturePair) -> list[tuple[StudiedReferences, Tile]]:
        """The query, or its tiles if the picture is beyond 4:1, with what was studied of the same place."""
        if not is_long(pair.references[0]):
            return [(self.study(pair.references), Tile(pair.query, 0, 0))]
        with self._studying:
            positions = self._studied_tiles(pair.references)
        return list(zip(positions, cut(pair.query, len(positions)), strict=True))

    def _study_tiles(self, references: tuple[Picture, ...]) -> tuple[StudiedReferences, ...]:
        """What is computed of the tiles of long references, position by position."""
        number = count_tiles(references[0])
        tiles = [cut(reference, number) for reference in references]
        positions = zip(*tiles, strict=True)  # of each the same tile of all references
        return tuple(self._study(tuple(tile.picture for tile in position)) for position in positions)

    def keep(self, references: tuple[Picture, ...], path: Path | None = None) -> None:
        """Hold what is computed of these references in memory as long as they live, and in the file `path`.

        A file of the same references is read instead of studying them; any other is replaced.
        """
        if is_long(references[0]):  # judged in tiles, which have a cache of their own
            return
        with self._studying:
            studied = load_studied(path, references, self.backbone) if path else None
            if not isinstance(studied, StudiedReferences):
                studied = self._find_kept(references) or self._study(references)
                if path:
                    save_studied(path, studied, references, self.backbone)
            studied = self._read(studied, references)
            # The pictures only weakly: they are the key, whose end is the end of what is kept.
            self._kept[references[0]] = _Kept(tuple(ref(picture) for picture in references), studied)

    def _find_kept(self, references: tuple[Picture, ...]) -> StudiedReferences | None:
        kept = self._kept.get(references[0])
        return kept.studied if kept is not None and tuple(each() for each in kept.pictures) == references else None

    def _study(self, references: tuple[Picture, ...]) -> StudiedReferences:
        return self._read(StudiedReferences.study(references, self.backbone, self._track), references)

    def _read(self, studied: StudiedReferences, references: Sequence[Picture]) -> StudiedReferences:
        """With the texts of the references, if texts are compared and these are not read yet."""
        if self.reader is None or studied.texts:
            return studied
        return replace(studied, texts=tuple(map(self.reader.read, references)))


def _with_half(matcher: Matcher, references: Sequence[Picture], track: Track) -> NormalSpread:
    """What every second reference shows."""
    features = [
        of_reference.reshape(len(of_reference), *matcher.grid, -1) for of_reference in matcher.bank.features[::2]
    ]
    return Matcher(references[::2], matcher.backbone, features=features, track=track).spread


def describe_gain(references: int, spread: NormalSpread, of_half: NormalSpread) -> str:
    """Whether more references would change the limit, from what it is with half of them."""
    if not (spread.typical and of_half.typical):
        return f"{references} references: they are copies of one another, so they do not show how much is normal"
    # In units of what good pictures show, since the statistic itself hangs on the number of references.
    now, before = spread.limit / spread.typical, of_half.limit / of_half.typical
    more = "hardly change it" if abs(math.log(now / before)) < SAME_LIMIT else "may still change it"
    return (
        f"{references} references: the limit is {now:.2f} times what good pictures show, {before:.2f} times with "
        f"half of them; more references {more}"
    )


@dataclass(frozen=True, eq=False)
class _Kept:
    pictures: tuple[ref[Picture], ...]
    studied: StudiedReferences


def measure_query(references: StudiedReferences, query: Picture, reader: LabelReader | None = None) -> Findings:
    """All that the judge says is read from this; `reader` reads the query where texts are compared."""
    matcher = references.matcher
    working, look = matcher.fit(query), measure_look(query)
    comparison = matcher.compare(working)
    changes = find_changes(comparison, working, look, references.looks, upright=matcher.upright)
    if comparison.statistic >= comparison.limit:
        looks = (references.looks[comparison.reference], look)
        imitation = imitate(comparison, working, changes, looks)
        alike = matcher.compare(working, imitation, comparison) if imitation else comparison
        # If it explains more of the query than the reference does.
        if (alike.statistic, alike.appearance) < (comparison.statistic, comparison.appearance):
            comparison = alike
            # Its registration may be another.
            changes = find_changes(comparison, working, look, references.looks, upright=matcher.upright)
    # Also of a good picture: a station may set a lower limit, and then needs its places.
    regions = find_regions(comparison, working, matcher.spread.limit)
    amount = comparison.amount
    amounts = None
    if comparison.amount_speaks:
        amounts = find_more_and_less(amount, working, matcher.views[amount.reference][0])
    texts: tuple[TextChange, ...] = ()
    if reader is not None:
        texts = compare_texts(references.texts, reader.read(query), comparison.reference)
    counts = tuple(_placed(count, references, working, comparison) for count in references.parts.count(working))
    found = tuple(regions), tuple(changes), references.looks, amounts, texts, counts
    return Findings(comparison, matcher.spread, *found)


def _placed(count: Miscount, references: StudiedReferences, query: Image.Image, measurement: Measurement) -> Miscount:
    """With the places of the parts that are missing or too many."""
    views = references.matcher.views
    others = [views[index][0] for index in spread_evenly(len(views), COUNTED) if index != measurement.reference]
    nearest = views[measurement.reference][0]
    return replace(count, places=find_places(count, references.parts, query, nearest, others, measurement))


def describe(findings: Findings, query: Picture) -> Judgement:
    """The judgement with its texts, boxes and map."""
    longest = max(query.width, query.height)
    width, height = (max(1, round(HEAT_SIDE * side / longest)) for side in (query.width, query.height))
    return Judgement.of(
        write_response(findings),
        findings.score,
        headline=write_headline(findings),
        details=write_details(findings, query),
        boxes=_boxes(findings, query),
        nearest=findings.measurement.reference,
        heat=findings.measurement.anomaly_map(width, height) / findings.spread.limit,
    )


class WithEvidence:
    """Another judge's answer, score and reasoning, with the map and the boxes of `evidence`; see `judge.Judge`.

    The two judges are independent: a no may have boxes, a yes weak ones only.
    """

    def __init__(self, judge: Judge, evidence: Judge) -> None:
        self.judged_by, self.evidence = judge, evidence
        self.name, self.prompt_version, self.batch_size = judge.name, judge.prompt_version, judge.batch_size
        self.parameters, self.address = judge.parameters, getattr(judge, "address", "")
        self.looks_at_pictures: bool = getattr(judge, "looks_at_pictures", True)
        self.limit: float = getattr(judge, "limit", 0.5)

    def prepare(self) -> None:
        """See `judge.Judge`."""
        prepare = getattr(self.judged_by, "prepare", None)
        if prepare:
            prepare()

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the other judge, and where the map comes from."""
        origin = f"Map and boxes come from {self.evidence.name}, everything else from {self.name}."
        return (*self.judged_by.notes, origin)

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """The judgements of the other judge, with the map and the boxes of `evidence`."""
        judgements = []
        for judgement, lent in zip(self.judged_by.judge(pairs), self.evidence.judge(pairs), strict=True):
            shown = replace(judgement, boxes=lent.boxes, heat=lent.heat, nearest=lent.nearest)
            judgements.append(replace(shown, boxes_from=self.evidence.name))
        return judgements

    def keep(self, references: tuple[Picture, ...], path: Path | None = None) -> None:
        """See `Evidence.keep`."""
        keep = getattr(self.evidence, "keep", None)
        if keep:
            keep(references, path)

    def notes_on(self, references: Sequence[Picture]) -> tuple[str, ...]:
        """The other judge's, see `VlmJudge.notes_on`."""
        notes_on = getattr(self.judged_by, "notes_on", None)
        return tuple(notes_on(references)) if notes_on else ()

    def check_references(self, references: Sequence[Picture]) -> None:
        """See `judge.Judge`; `evidence` takes any number."""
        check = getattr(self.judged_by, "check_references", None)
        if check:
            check(references)

    def show_progress(self, track: Track) -> None:
        """See `Evidence.show_progress`."""
        for judge in (self.judged_by, self.evidence):
            if hasattr(judge, "show_progress"):
                judge.show_progress(track)

    def receipt(self) -> str:
        """The receipt of the other judge, see `HostedJudge.receipt`; empty if it has no service."""
        receipt = getattr(self.judged_by, "receipt", None)
        return receipt() if receipt else ""


def _boxes(findings: Findings, query: Picture) -> tuple[Box, ...]:
    """Of all regions, of all texts that the query has, and of parts: what made the verdict comes first.

    Where a missing text should be is not known so well as where a missing part should be.
    """
    regions = [_box(region, region.strength, query) for region in findings.regions]
    named = [_box(change.text, change.letters, query) for change in findings.texts if change.kind == "added"]
    # The score in units of its own limit.
    named += [_box(place, count.score / 0.5, query) for count in findings.counts for place in count.places]
    return (*regions, *named) if findings.appearance >= 0.5 else (*named, *regions)


def _box(place: Region | Text | Place, strength: float, query: Picture) -> Box:
    return Box(
        x=round(place.left * query.width),
        y=round(place.top * query.height),
        width=max(1, round(place.width * query.width)),
        height=max(1, round(place.height * query.height)),
        strength=round(strength, 3),
    )
