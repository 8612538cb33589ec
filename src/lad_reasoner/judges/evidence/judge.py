"""The built-in judge for photographs: no training, no download, a verdict with place and reason from one good picture.

`matching.py` measures the difference, `spread.py` says how much of it is normal, `regions.py` finds what differs,
`reasoning.py` puts it into words. The paper has no such judge; it answers in the same grammar as the paper's model.
`WithEvidence` lends its map and its boxes to a judge that has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judge, Judgement, PicturePair, judge_one_by_one
from lad_reasoner.judges.evidence.backbone import DEFAULT_BACKBONE, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.regions import Region, find_regions
from lad_reasoner.judges.evidence.wording import PROMPT_VERSION
from lad_reasoner.judges.evidence.wording import write_response as respond
from lad_reasoner.records import Box

HEAT_SIDE = 96  # cells of the long side of the map that is handed out


class Evidence:
    """See `judge.Judge`."""

    prompt_version = PROMPT_VERSION
    batch_size = 1
    notes: tuple[str, ...] = ()

    def __init__(self, backbone: str | None = None) -> None:
        self.backbone = load_backbone(backbone or DEFAULT_BACKBONE)
        self.name = "evidence" if backbone is None else f"evidence:{backbone}"
        self.parameters: int | None = getattr(self.backbone, "parameters", None)

    def study(self, references: Sequence[Picture]) -> None:
        self.matcher = Matcher(references, self.backbone)

    def judge_many(self, queries: Sequence[Picture]) -> list[Judgement]:
        """Judge query after query."""
        return [self._judge(query) for query in queries]

    def judge_pairs(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """Study and judge pair after pair."""
        return judge_one_by_one(self, pairs)

    def _judge(self, query: Picture) -> Judgement:
        matcher = self.matcher
        working = matcher.fit(query)
        comparison = matcher.compare(working)
        score = matcher.spread.score(comparison.statistic)
        regions = find_regions(comparison, working, matcher.spread.limit) if score >= 0.5 else []
        longest = max(query.width, query.height)
        width, height = (max(1, round(HEAT_SIDE * side / longest)) for side in (query.width, query.height))
        return Judgement(
            response=respond(comparison, regions, matcher.spread, references=len(matcher.views), query=query),
            score=score,
            boxes=tuple(_box(region, query) for region in regions),
            heat=comparison.anomaly_map(width, height) / matcher.spread.limit,
        )


class WithEvidence:
    """Another judge's answer, score and reasoning, with the map and the boxes of `evidence`; see `judge.Judge`.

    The two know nothing of each other: boxes may stand beside a no, and none beside a yes.
    """

    def __init__(self, judge: Judge, evidence: Judge) -> None:
        self.judge, self.evidence = judge, evidence
        self.name, self.prompt_version, self.batch_size = judge.name, judge.prompt_version, judge.batch_size
        origin = f"Map and boxes come from {evidence.name}, not from {judge.name}, which gives all the rest."
        self.notes = (*judge.notes, origin)
        self.parameters: int | None = getattr(judge, "parameters", None)

    def study(self, references: Sequence[Picture]) -> None:
        """Both look at the references."""
        self.judge.study(references)
        self.evidence.study(references)

    def judge_many(self, queries: Sequence[Picture]) -> list[Judgement]:
        """The other judge's judgements, each with its map and its boxes."""
        return self._join(self.judge.judge_many(queries), self.evidence.judge_many(queries))

    def judge_pairs(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """The same for pairs."""
        return self._join(self.judge.judge_pairs(pairs), self.evidence.judge_pairs(pairs))

    def _join(self, said: Sequence[Judgement], seen: Sequence[Judgement]) -> list[Judgement]:
        return [
            replace(one, boxes=other.boxes, heat=other.heat, boxes_from=self.evidence.name)
            for one, other in zip(said, seen, strict=True)
        ]


def _box(region: Region, query: Picture) -> Box:
    return Box(
        x=round(region.left * query.width),
        y=round(region.top * query.height),
        width=max(1, round(region.width * query.width)),
        height=max(1, round(region.height * query.height)),
        strength=round(region.strength, 3),
    )
