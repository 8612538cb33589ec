"""Normal pictures that are references as well: how each is judged without itself.

    for held_out, numbers in leave_folds_out(opened):          # of a station with folds = 5
        held_out.inspect([pictures[number] for number in numbers])

Split conformal prediction sets the normals aside: the judge never compares with them. In a station with `folds` it
does, so that a query is compared with all good pictures that there are. Each normal is then scored by the station
without its fold, and the limit comes from these scores (cross-validation as in CV+, Barber et al. 2021).

When that keeps the promise: let a new good part be compared with all normals, and each normal with all others and the
new part. These scores are drawn alike, so the new one is the highest of n + 1 in 1 of n + 1 cases (full conformal
prediction, Vovk, Gammerman and Shafer 2005). A normal was compared with fewer pictures than that. Where further
references never raise a score, its score in the file is no lower, nor is the limit: the promise holds. A distance to
the nearest reference is such a score. The score of `evidence` is not, since it is measured in units of a limit that
falls with more references: single scores rise and fall by a little, their mean stays. Then the promise is none that a
theorem gives, and `station show` says so; `benchmarks/coverage.py --folds 5` measures it. (Without any assumption
only twice the rate could be promised, and only if each query were scored without each fold: Barber et al. 2021.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lad_reasoner.service.inspection import OpenStation
from lad_reasoner.service.station import ScoredPicture


def leave_folds_out(opened: OpenStation) -> Iterator[tuple[OpenStation, list[int]]]:
    """The station without each of its folds, and the numbers of the normals in the fold; all of them without folds."""
    station, number = opened.station, len(opened.station.normals)
    if station.folds is None:
        yield opened, list(range(number))
        return
    for fold in range(min(station.folds, number)):
        inside = list(range(fold, number, station.folds))
        others = tuple(normal for index, normal in enumerate(station.normals) if index not in inside)
        held_out = OpenStation(opened.folder, opened.judge, station.model_copy(update={"normals": others}))
        held_out.rules, held_out.second = opened.rules, opened.second
        yield held_out, inside


def score_normals(
    opened: OpenStation, score: Callable[[OpenStation, Sequence[str]], Sequence[ScoredPicture]]
) -> tuple[ScoredPicture, ...]:
    """The normals with the scores that `score` gives to pictures of a station: each of them without its fold."""
    normals = list(opened.station.normals)
    for held_out, numbers in leave_folds_out(opened):
        scored = score(held_out, [normals[number].picture for number in numbers])
        for number, each in zip(numbers, scored, strict=True):
            normals[number] = each
    return tuple(normals)
