"""An opened station: judge and references in memory, and a decision for each picture.

    station = OpenStation("bottle")
    for decision in station.inspect(pictures):       # in order; a live source gets each decision at once
        decision.outcome, decision.p_value           # "unsure", 0.04

Several threads may share one. To judge pictures of several stations in one batch, give them one judge and run it
yourself: `run(judge, [(station, picture), …], lambda item: item[0].read(item[1]))`, then `station.decide(result)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import PictureSource
from lad_reasoner.inspector import Inspector
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.runner import Judged, run
from lad_reasoner.service.conformal import p_value
from lad_reasoner.service.station import FILE, Station, station_folder
from lad_reasoner.text import printable

Outcome = Literal["good", "anomalous", "unsure", "invalid"]


@dataclass(frozen=True, eq=False)
class Decision:
    """What a station says about one picture.

    `verdict` is the judge's, its answer by the station's limit (an unsure part is not called anomalous). `p_value` is
    the share of good parts that score at least as high; None without normals or without a valid answer. `judged` has
    the pictures, and the map in `judged.judgement.heat`.
    """

    verdict: Verdict
    outcome: Outcome
    p_value: float | None
    judged: Judged


def load_station_judge(station: Station) -> Judge:
    """The judge of a station. Raises what `load_judge` raises."""
    options: dict[str, Any] = {**station.options, "max_pixels": station.max_pixels}
    return load_judge(station.judge, evidence=station.evidence, **options)


class OpenStation:
    """A station with its judge and references in memory.

    `judge` is one that several stations share (see `load_station_judge`); by default the station loads its own.
    `station` is tried out in place of the file's content, such as with one more reference. InputError if the file or a
    reference cannot be used, or the judge is not the one that the limit was made with.
    """

    def __init__(self, folder: str | Path, judge: Judge | None = None, station: Station | None = None) -> None:
        self.folder = station_folder(folder)
        self.station = Station.load(self.folder) if station is None else station
        self.judge = load_station_judge(self.station) if judge is None else judge
        if self.judge.prompt_version != self.station.prompt_version:
            raise InputError(
                f"{printable(self.folder / FILE)}: prompt_version: the limit was made with "
                f"{self.station.prompt_version}, and {self.judge.name} is {self.judge.prompt_version} now; "
                "make it anew with `lad-reasoner station calibrate`"
            )
        self.inspector = Inspector(self.judge, [self.folder / name for name in self.station.references])

    def inspect(self, pictures: Iterable[PictureSource | Failure]) -> Iterator[Decision | Failure]:
        """A decision for each picture, in order, each as soon as the judge has made it.

        A picture that cannot be read or judged becomes a `Failure`; a `Failure` among them is passed through.
        """
        for _, result in run(self.judge, pictures, self.read):
            yield self.decide(result)

    def read(self, picture: PictureSource | Failure) -> PicturePair:
        """The picture as the judge takes it. Raises InputError if it cannot be used."""
        return self.inspector.read_pair(picture)

    def decide(self, result: Judged | Failure) -> Decision | Failure:
        """The station's decision on a judged picture; a `Failure` stays one."""
        if isinstance(result, Failure):
            return result
        verdict, station = result.verdict, self.station
        if verdict.answer == "invalid":
            return Decision(verdict, "invalid", None, result)
        p = p_value(station.normal_scores, verdict.score) if station.normals else None
        outcome = outcome_of(station, verdict)
        anomalous = outcome == "anomalous"
        verdict = verdict.model_copy(update={"answer": "yes" if anomalous else "no", "anomalous": anomalous})
        return Decision(verdict, outcome, p, result)


def outcome_of(station: Station, verdict: Verdict) -> Outcome:
    """By the station's limits; without them the judge's answer stands."""
    if station.limit is None:
        return "anomalous" if verdict.anomalous else "good"
    if verdict.score > station.limit:
        return "anomalous"
    if station.unsure_from is not None and verdict.score > station.unsure_from:
        return "unsure"
    return "good"
