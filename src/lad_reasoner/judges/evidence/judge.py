"""The built-in judge for photographs: no training, no download, a verdict with place and reason from one good picture.

`matching.py` measures the difference, `normal_variation.py` says how much of it is normal, `regions.py` finds what
differs, `wording.py` puts it into words. The paper has no such judge; it answers in the grammar of the paper's model.
`WithEvidence` lends its map and its boxes to a judge that has none.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges.evidence.backbone import DEFAULT_BACKBONE, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.regions import Region, find_regions
from lad_reasoner.judges.evidence.wording import PROMPT_VERSION
from lad_reasoner.judges.evidence.wording import write_response as respond
from lad_reasoner.records import Box

STUDIED = 4  # sets of references that are kept in memory, the least recently used goes first
HEAT_SIDE = 96  # cells of the long side of the map that is handed out


class Evidence:
    """Patch matching on any photographs, nothing to download; `backbone` is another vision model: hub name or folder.

    See `judge.Judge`.
    """

    prompt_version = PROMPT_VERSION
    batch_size = 1
    notes: tuple[str, ...] = ()

    def __init__(self, backbone: str | None = None) -> None:
        self.backbone = load_backbone(backbone or DEFAULT_BACKBONE)
        self.name = "evidence" if backbone is None else f"evidence:{backbone}"
        self.parameters: int | None = getattr(self.backbone, "parameters", None)
        self._matchers = lru_cache(STUDIED)(self._study)
        self._studying = threading.Lock()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Judge pair after pair; references that were studied before are not studied again."""
        judgements = []
        for pair in pairs:
            with self._studying:  # two threads that bring the same references study them once
                matcher = self._matchers(pair.references)
            judgements.append(_judge(matcher, pair.query))
        return judgements

    def _study(self, references: tuple[Picture, ...]) -> Matcher:
        return Matcher(references, self.backbone)


def _judge(matcher: Matcher, query: Picture) -> Judgement:
    working = matcher.fit(query)
    comparison = matcher.compare(working)
    score = matcher.spread.score(comparison.statistic)
    regions = find_regions(comparison, working, matcher.spread.limit) if score >= 0.5 else []
    longest = max(query.width, query.height)
    width, height = (max(1, round(HEAT_SIDE * side / longest)) for side in (query.width, query.height))
    return Judgement.of(
        respond(comparison, regions, matcher.spread, references=len(matcher.views), query=query),
        score,
        boxes=tuple(_box(region, query) for region in regions),
        heat=comparison.anomaly_map(width, height) / matcher.spread.limit,
    )


class WithEvidence:
    """Another judge's answer, score and reasoning, with the map and the boxes of `evidence`; see `judge.Judge`.

    The two know nothing of each other: boxes may stand beside a no, and none beside a yes.
    """

    def __init__(self, judge: Judge, evidence: Judge) -> None:
        self.judged_by, self.evidence = judge, evidence
        self.name, self.prompt_version, self.batch_size = judge.name, judge.prompt_version, judge.batch_size
        origin = f"Map and boxes come from {evidence.name}, not from {judge.name}, which gives all the rest."
        self.notes = (*judge.notes, origin)
        self.parameters = judge.parameters

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """The other judge's judgements, each with the map and the boxes of `evidence`."""
        judgements = []
        for judgement, lent in zip(self.judged_by.judge(pairs), self.evidence.judge(pairs), strict=True):
            judgements.append(replace(judgement, boxes=lent.boxes, heat=lent.heat, boxes_from=self.evidence.name))
        return judgements

    def receipt(self) -> str:
        """What the other judge's service was paid, see `HostedJudge.receipt`; empty for a judge without a service."""
        receipt = getattr(self.judged_by, "receipt", None)
        return receipt() if receipt else ""


def _box(region: Region, query: Picture) -> Box:
    return Box(
        x=round(region.left * query.width),
        y=round(region.top * query.height),
        width=max(1, round(region.width * query.width)),
        height=max(1, round(region.height * query.height)),
        strength=round(region.strength, 3),
    )
