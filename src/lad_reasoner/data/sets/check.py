"""Is a built set fit to train on? The check reads everything again from the disk and trusts nothing in the manifest.

    report = check_set("pairs", benchmarks=[find_samples("mvtec_loco")])
    report.errors       # reason -> names: training must not start
    report.warnings     # reason -> names: worth knowing

The decisions of a review count, as in training: rejected records are not looked at, edited answers are in their places.
Exact duplicates have the same bytes. Near duplicates have nearly the same perceptual hash: the picture is reduced to a
small grid, and each bit says whether the brightness falls to the right, or downwards; 512 bits in all. Pictures of one
product from one camera are much alike, so only a difference of at most `NEAR` bits counts, and it is a warning, for a
person to look at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.data.masks import read_mask
from lad_reasoner.data.review.decisions import decided_entries, read_decisions
from lad_reasoner.data.sets.built_set import (
    Entry,
    count_places,
    names_outside,
    read_entries,
    read_manifest,
    summarise_set,
)
from lad_reasoner.data.sets.tokens import record_tokens
from lad_reasoner.data.sources import Source, why_not_train
from lad_reasoner.errors import ImageError
from lad_reasoner.files.bit_depth import DEEP
from lad_reasoner.files.pictures import find_depth, map_pictures, read_picture
from lad_reasoner.files.whole import hash_file
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Sample
from lad_reasoner.text import label_counts

NEAR = 8  # of 512 bits
GRID = 16

INCOMPLETE = "the build is not complete; run the same command again"
ALL_REJECTED = "no record remains after the review"
ONE_LABEL = "all records have the same label"
ONE_LABEL_LEFT = "only records of one label remain after the review"
FEW = "too few records of one label: a model that always gives the other answer is nearly right"
FEWEST = 0.05  # share of the rarer label
ALMOST_BLACK = "values of fewer than 16 bits in files of 16, almost black to a model; save them as 8, and build anew"
ROLES = {"sft": ["user", "assistant"], "pair": ["user"]}
WRONG_PLACES = "the messages' places do not match the pictures"
WRONG_ROLES = "the roles of the messages are wrong for the task"


@dataclass(frozen=True)
class Fingerprint:
    """A picture's SHA-256, its (width, height), and its perceptual hash as packed bits; or the error."""

    sha256: str = ""
    size: tuple[int, int] = (0, 0)
    bits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(GRID * GRID * 2 // 8, np.uint8))  # (64,)
    error: str = ""


@dataclass
class CheckReport:
    """Errors and warnings (reason -> names); `longest` is the largest number of tokens of a prompt with its answer.

    `rejected` is the number of records that the review rejected; all else is about the others.
    """

    summary: dict[str, Any]
    rejected: int = 0
    longest: int = 0
    errors: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def fit(self) -> bool:
        """Whether training may start."""
        return not self.errors

    def error(self, reason: str, name: str) -> None:
        """Add a fault because of which training must not start."""
        self.errors.setdefault(reason, []).append(name)

    def warn(self, reason: str, name: str) -> None:
        """Add a fact that is worth knowing."""
        self.warnings.setdefault(reason, []).append(name)


def check_set(
    folder: str | Path,
    *,
    benchmarks: Sequence[Source] = (),
    max_tokens: int | None = None,
    max_pixels: int | None = None,
    track: Track = silent,
) -> CheckReport:
    """Check every record, picture and mask of a built set.

    Pictures of `benchmarks` must not be in the set. Records of more than `max_tokens` tokens, with pictures resized to
    `max_pixels`, are errors. InputError if the folder does not hold a built set.
    """
    folder = Path(folder)
    built, decisions = read_entries(folder), read_decisions(folder)
    entries = decided_entries(built, decisions)
    report = CheckReport(summarise_set(entries), rejected=len(built) - len(entries))
    ids = {entry.id for entry in built}
    for name in decisions:
        if name not in ids:
            report.warn("a decision of the review about no record of the set", name)
    if not entries:
        report.error(ALL_REJECTED if report.rejected else "the set is empty", folder.name)
    if read_manifest(folder).get("complete") is not True:
        report.error(INCOMPLETE, folder.name)
    for name, count in Counter(entry.id for entry in entries).items():
        if count > 1:
            report.error("two records have the same identifier", name)
    for entry in entries:
        _check_record(entry, folder, report)
    pictures = _check_pictures(folder, entries, report, track)
    _check_depths(folder, entries, report)
    _check_masks(folder, entries, report)
    _check_labels(entries, pictures, report)
    for entry in entries:
        sizes = [pictures[name].size for name in entry.images_file_names]
        if all(min(size) > 0 for size in sizes):
            tokens = sum(record_tokens(entry.messages, sizes, max_pixels))
            report.longest = max(report.longest, tokens)
            if max_tokens is not None and tokens > max_tokens:
                report.error(f"more than {max_tokens} tokens", f"{entry.id} ({tokens})")
    for benchmark in benchmarks:
        _check_leaks(pictures, benchmark, report, track)
    return report


def _check_record(entry: Entry, folder: Path, report: CheckReport) -> None:
    places = count_places(entry)
    if places != len(entry.images_file_names) or not 0 <= entry.query < places:
        report.error(WRONG_PLACES, entry.id)
    if entry.kind is not None and (entry.label == "no") != (entry.kind == "good"):
        report.error("label and kind contradict each other", entry.id)
    if entry.label == "no" and (entry.defect or entry.masks):
        report.error("labelled good, but has a defect or a mask", entry.id)
    if [message.get("role") for message in entry.messages] != ROLES[entry.task]:
        report.error(WRONG_ROLES, entry.id)
    if names_outside(entry, folder):
        report.error("a path leads out of the folder", entry.id)
    for path in (entry.source, *entry.images_file_names):
        sample = Sample(
            image=path, dataset=entry.dataset, category=entry.category, split=None, kind=entry.kind, licence=""
        )
        reason = why_not_train(sample)
        if reason is not None:
            report.error(reason, entry.id)
            break


def _find_query(entry: Entry, pictures: Mapping[str, Fingerprint]) -> str:
    """The hash of the query; empty if it cannot be read, or if the record has no such picture."""
    names = entry.images_file_names
    return pictures[names[entry.query]].sha256 if 0 <= entry.query < len(names) else ""


def _check_pictures(
    folder: Path, entries: Sequence[Entry], report: CheckReport, track: Track
) -> dict[str, Fingerprint]:
    names = list(dict.fromkeys(name for entry in entries for name in entry.images_file_names))
    pictures = _fingerprints(folder, names, track)
    for picture in pictures.values():
        if picture.error:
            report.error("a picture cannot be read", picture.error)
    for entry in entries:
        sha256 = _find_query(entry, pictures)
        references = [name for at, name in enumerate(entry.images_file_names) if at != entry.query]
        if sha256 and any(pictures[name].sha256 == sha256 for name in references):
            report.error("a picture is its own reference", entry.id)
    by_content: dict[str, list[str]] = defaultdict(list)
    for name, picture in pictures.items():
        if picture.sha256:
            by_content[picture.sha256].append(name)
    for copies in by_content.values():
        if len(copies) > 1:
            report.warn("the same picture under several names", " = ".join(copies[:3]))
    distinct = {copies[0]: pictures[copies[0]] for copies in by_content.values()}
    for first, second in _near(distinct, distinct):
        if first < second:
            report.warn("nearly the same picture", f"{first} ~ {second}")
    return pictures


def _check_depths(folder: Path, entries: Sequence[Entry], report: CheckReport) -> None:
    """Classes whose values have 10, 12 or 14 of the 16 bits of their files: a model gets the upper 8 of 16."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for entry in entries:
        names[f"{entry.dataset}/{entry.category}"] |= dict.fromkeys(entry.images_file_names)
    for name, pictures in names.items():
        depth = find_depth(folder / picture for picture in pictures)
        if depth is not None and depth < DEEP:
            report.error(ALMOST_BLACK, f"{name} ({depth} bits)")


def _check_masks(folder: Path, entries: Sequence[Entry], report: CheckReport) -> None:
    checked: set[tuple[str, ...]] = set()
    for entry in entries:
        if entry.label == "yes" and not entry.masks:
            report.warn("anomalous, without a mask", entry.id)
        if entry.masks and entry.masks not in checked:
            checked.add(entry.masks)
            try:
                if not read_mask([folder / name for name in entry.masks]).any():
                    report.warn("anomalous, but the mask is black: is the label right?", entry.id)
            except ImageError as error:
                report.error("a mask cannot be read", str(error))


def _check_labels(entries: Sequence[Entry], pictures: Mapping[str, Fingerprint], report: CheckReport) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        content = _find_query(entry, pictures) or entry.id
        labels[content].add(entry.label)
        if len(labels[content]) > 1:
            report.error("one picture is labelled good and anomalous", entry.id)
    counts = {label: sum(entry.label == label for entry in entries) for label in ("yes", "no")}
    fewest = min(counts.values())
    if entries and fewest == 0:
        report.error(ONE_LABEL_LEFT if report.rejected else ONE_LABEL, entries[0].label)
    elif entries and fewest < FEWEST * len(entries):
        report.warn(FEW, label_counts(counts))


def _check_leaks(pictures: Mapping[str, Fingerprint], benchmark: Source, report: CheckReport, track: Track) -> None:
    """Pictures of the benchmark that are in the set, by content, whatever their names."""
    others = _fingerprints(Path(), [sample.image for sample in benchmark.samples], track)
    known = {picture.sha256: name for name, picture in pictures.items() if picture.sha256}
    for name, other in others.items():
        if other.sha256 in known:
            report.error("a picture of the benchmark", f"{known[other.sha256]} = {name}")
    for name, near in _near(pictures, others):
        if pictures[name].sha256 != others[near].sha256:
            report.warn("nearly a picture of the benchmark", f"{name} ~ {near}")


def _fingerprints(folder: Path, names: Sequence[str], track: Track) -> dict[str, Fingerprint]:
    fingerprints = map_pictures(_fingerprint, [folder / name for name in names])
    return dict(zip(names, track(fingerprints, len(names), "Checking pictures"), strict=True))


def _fingerprint(path: Path) -> Fingerprint:
    try:
        picture = read_picture(path)
        grey = picture.image.convert("L").resize((GRID + 1, GRID + 1), Image.Resampling.BOX)
    except ImageError as error:
        return Fingerprint(error=str(error))
    values = np.asarray(grey, np.int16)  # (GRID + 1, GRID + 1); int16 because differences of uint8 wrap around
    falls_across = values[:GRID, 1:] < values[:GRID, :-1]  # (GRID, GRID)
    falls_down = values[1:, :GRID] < values[:-1, :GRID]
    bits = np.packbits(np.stack([falls_across, falls_down]))
    return Fingerprint(hash_file(path), (picture.width, picture.height), bits)


def _near(pictures: Mapping[str, Fingerprint], others: Mapping[str, Fingerprint]) -> list[tuple[str, str]]:
    """Pairs of names whose hashes differ in at most `NEAR` bits."""
    # A picture without any contrast has no bits and would be like all others.
    other_names = [name for name, other in others.items() if other.bits.any()]
    if not other_names:
        return []
    bits = np.stack([others[name].bits for name in other_names])  # (others, 64)
    near = []
    for name, picture in pictures.items():
        if picture.bits.any():
            distances = np.bitwise_count(bits ^ picture.bits).sum(1)
            near += [(name, other_names[at]) for at in np.flatnonzero(distances <= NEAR)]
    return near
