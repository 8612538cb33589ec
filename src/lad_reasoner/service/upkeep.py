"""Is a station still the one that was set up? Its scores, its drift, and what it stands.

    rescore(station).changed                         # normals that judge and limit see otherwise than at first
    measure_drift(station, recent).p                 # 0.0004: the good parts of today do not look like the normals
    for change in measure_robustness(station): ...   # light, focus, shift, compression, noise

Drift compares the scores of recent good parts with those of the normals by the two-sample Kolmogorov-Smirnov test. That
is the test of their p-values against the uniform distribution, corrected for the finite number of normals: ranks do
not change from scores to p-values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter
from scipy.stats import ks_2samp

from lad_reasoner.errors import InputError
from lad_reasoner.files.opening import check_file
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Estimate, Failure, Outcome, share_of
from lad_reasoner.service.folds import leave_folds_out
from lad_reasoner.service.inspection import Decision, OpenStation, outcome_of
from lad_reasoner.service.station import ScoredPicture, path_inside
from lad_reasoner.text import counted, printable

DRIFT = 0.01  # a p-value of the test below this is called drift
SAME = 0.01  # a score that changes by no more is the same
ROUNDING = 1e-4  # processors differ by less; the limit is itself the score of a normal picture
LEAST_RECENT = 8  # pictures: with fewer the test sees nothing
CHANGED = 5  # pictures of the robustness report


@dataclass(frozen=True)
class Rescored:
    """The station's pictures, scored again: how many, the largest change of a score, and those that changed."""

    pictures: int
    largest: float
    changed: tuple[str, ...]


def rescore(opened: OpenStation, track: Track = silent) -> Rescored:
    """Score normal and bad pictures again. InputError for one that cannot be judged any more."""
    scored = (*opened.station.normals, *opened.station.bad)
    largest, changed = 0.0, []
    for old, decision in track(_decide_again(opened), len(scored), "Scoring again"):
        if isinstance(decision, Failure):
            raise InputError(decision.error)
        before = decision.verdict.model_copy(update={"score": old.score})
        difference = abs(decision.verdict.score - old.score)
        largest = max(largest, difference)
        crossed = difference > ROUNDING and outcome_of(opened.station, before) != decision.outcome
        if difference > SAME or crossed:
            changed.append(old.picture)
    return Rescored(len(scored), largest, tuple(changed))


def _decide_again(opened: OpenStation) -> Iterator[tuple[ScoredPicture, Decision | Failure]]:
    """Normals, each without its fold, and bad pictures, with what the station says of them now."""
    normals, bad = opened.station.normals, opened.station.bad
    for held_out, numbers in leave_folds_out(opened):
        pictures = [path_inside(opened.folder, normals[number].picture) for number in numbers]
        yield from zip((normals[number] for number in numbers), held_out.inspect(pictures), strict=True)
    pictures = [path_inside(opened.folder, each.picture) for each in bad]
    yield from zip(bad, opened.inspect(pictures), strict=True)


@dataclass(frozen=True)
class Drift:
    """Recent good parts against the normals: the test's statistic and p-value, and the share above the limit.

    `own` of the pictures are references or normals of the station.
    """

    pictures: int
    statistic: float
    p: float
    alarms: Estimate
    own: int

    @property
    def found(self) -> bool:
        """Whether the parts of today look otherwise than the normals."""
        return self.p < DRIFT


def measure_drift(opened: OpenStation, recent: Sequence[Path], track: Track = silent) -> Drift:
    """Of pictures that are known to be good. InputError for too few, or one that cannot be judged."""
    normals = opened.station.normal_scores
    if not normals:
        raise InputError(f"{opened.station.name}: has no normal pictures to compare with")
    for path in recent:  # first: the name of a folder that was mistyped is one picture too few
        check_file(path, printable(path))
    if len(recent) < LEAST_RECENT:
        count = counted(len(recent), "recent picture")
        raise InputError(f"--recent: too few to see a drift: {count}; give {LEAST_RECENT} or more")
    decisions: list[Decision] = []
    for decision in track(opened.inspect(recent), len(recent), "Looking for drift"):
        if isinstance(decision, Failure):
            raise InputError(decision.error)
        decisions.append(decision)
    test = ks_2samp([decision.verdict.score for decision in decisions], normals)
    alarms = share_of(sum(decision.outcome == "anomalous" for decision in decisions), len(decisions))
    return Drift(len(decisions), float(test.statistic), float(test.pvalue), alarms, opened.count_own(recent))


@dataclass(frozen=True)
class Stood:
    """What became of good pictures after a harmless change; mean `score` of those that were judged."""

    change: str
    outcomes: tuple[Outcome, ...]
    score: float

    @property
    def good(self) -> int:
        """How many are still called good."""
        return self.outcomes.count("good")


def measure_robustness(opened: OpenStation, pictures: int = CHANGED, track: Track = silent) -> list[Stood]:
    """Changes that a camera makes, on the station's normal pictures, or its references where it has none."""
    station = opened.station
    names = [each.picture for each in station.normals] or list(station.references)
    step = max(1, len(names) // pictures)
    chosen = range(len(names))[::step][:pictures]
    results = _inspect_changed(opened, names, chosen)
    outcomes: dict[str, list[Outcome]] = {change: [] for change in CHANGES}
    scores: dict[str, list[float]] = {change: [] for change in CHANGES}
    for change, decision in track(results, len(chosen) * len(CHANGES), "Changing pictures"):
        if isinstance(decision, Failure):  # such as a picture that has become black
            outcomes[change].append("invalid")
        else:
            outcomes[change].append(decision.outcome)
            scores[change].append(decision.verdict.score)
    stood = []
    for change in CHANGES:
        mean = float(np.mean(scores[change] or [1.0]))
        stood.append(Stood(change, tuple(outcomes[change]), mean))
    return stood


def _inspect_changed(
    opened: OpenStation, names: Sequence[str], chosen: Sequence[int]
) -> Iterator[tuple[str, Decision | Failure]]:
    """Each change, and what becomes of a picture of `chosen` after it; a normal one is judged without its fold."""
    groups = leave_folds_out(opened) if opened.station.normals else [(opened, list(chosen))]
    for judged_by, numbers in groups:
        for number in set(numbers) & set(chosen):
            picture = opened.read(path_inside(opened.folder, names[number])).query
            changed = [change(picture.image) for change in CHANGES.values()]
            yield from zip(CHANGES, judged_by.inspect(changed), strict=True)


def _blur(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


def _shift(share: float) -> Callable[[Image.Image], Image.Image]:
    def shift(image: Image.Image) -> Image.Image:
        pixels = round(share * image.width)
        moved = ImageChops.offset(image, pixels, 0)
        # What comes into view on the left is unknown: the edge is mirrored.
        moved.paste(image.crop((0, 0, pixels, image.height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (0, 0))
        return moved

    return shift


def _light(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def _jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def compress(image: Image.Image) -> Image.Image:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return compress


def _noise(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "light +10 %": _light(1.1),
    "light +20 %": _light(1.2),
    "light -10 %": _light(0.9),
    "light -20 %": _light(0.8),
    "focus 0.1 %": _blur(0.001),
    "focus 0.3 %": _blur(0.003),
    "shift 2 %": _shift(0.02),
    "shift 5 %": _shift(0.05),
    "JPEG 75": _jpeg(75),
    "JPEG 40": _jpeg(40),
    "noise 8": _noise,
}
