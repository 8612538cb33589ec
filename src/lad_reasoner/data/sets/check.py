"""Is a built set fit to train on? Everything is looked at again on the disk; nothing that the builder said is believed.

    report = check_set("pairs", benchmarks=[find_samples("mvtec_loco")])
    report.errors       # reason -> names: training must not start
    report.warnings     # reason -> names: worth knowing

Exact duplicates are told by their bytes. Near ones by a perceptual hash: whether the brightness of the picture, reduced
to a small grid, falls from left to right and from top to bottom, 512 bits in all. Pictures of one product from one
camera are much alike, so only a difference of at most `NEAR` bits counts, and it stays a warning, for a person to look
at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.data.layouts import Source, why_not_train
from lad_reasoner.data.masks import read_mask
from lad_reasoner.data.sets.built_set import Entry, hash_file, read_entries, read_manifest, summarise
from lad_reasoner.data.sets.tokens import record_tokens
from lad_reasoner.errors import ImageError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.records import Sample
from lad_reasoner.report.terminal import track

NEAR = 8  # of 512 bits
GRID = 16

INCOMPLETE = "the build is not complete; run the same command again"
FEW = "too few records of one label: a model that always says the other is nearly right"
FEWEST = 0.05  # share of the rarer label


@dataclass(frozen=True)
class Look:
    """What is seen of a file: its bytes' hash, its size, its perceptual hash; or the error."""

    sha256: str = ""
    size: tuple[int, int] = (0, 0)
    bits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(GRID * GRID * 2 // 8, np.uint8))
    error: str = ""


@dataclass
class Report:
    """What was found; `longest` is the number of tokens of the longest prompt and answer together."""

    summary: dict[str, Any]
    longest: int = 0
    errors: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def fit(self) -> bool:
        """Whether to train."""
        return not self.errors

    def error(self, reason: str, name: str) -> None:
        """Something because of which training must not start."""
        self.errors.setdefault(reason, []).append(name)

    def warn(self, reason: str, name: str) -> None:
        """Something that is worth knowing."""
        self.warnings.setdefault(reason, []).append(name)


def check_set(
    folder: str | Path,
    *,
    benchmarks: Sequence[Source] = (),
    max_tokens: int | None = None,
    max_pixels: int | None = None,
) -> Report:
    """Look at every record, picture and mask of a built set.

    `benchmarks` are looked for in the set (leakage). Records of more than `max_tokens` tokens, with pictures resized to
    `max_pixels`, are errors. InputError for a folder that holds no built set.
    """
    folder = Path(folder)
    entries = read_entries(folder)
    report = Report(summarise(entries))
    if not entries:
        report.error("the set is empty", folder.name)
    if read_manifest(folder).get("complete") is not True:
        report.error(INCOMPLETE, folder.name)
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            report.error("the identifier is there twice", entry.id)
        seen.add(entry.id)
        _check_record(entry, report)
    looks = _check_pictures(folder, entries, report)
    _check_masks(folder, entries, report)
    _check_labels(entries, looks, report)
    for entry in entries:
        sizes = [looks[name].size for name in entry.images_file_names]
        if all(min(size) > 0 for size in sizes):
            tokens = sum(record_tokens(entry.messages, sizes, max_pixels))
            report.longest = max(report.longest, tokens)
            if max_tokens is not None and tokens > max_tokens:
                report.error(f"more than {max_tokens} tokens", f"{entry.id} ({tokens})")
    _check_leaks(looks, benchmarks, report)
    return report


def _check_record(entry: Entry, report: Report) -> None:
    places = sum(part.get("type") == "image" for message in entry.messages for part in _parts(message))
    if places != len(entry.images_file_names) or not 0 <= entry.query < places:
        report.error("places in the messages and pictures do not match", entry.id)
    if entry.kind is not None and (entry.label == "no") != (entry.kind == "good"):
        report.error("label and kind contradict each other", entry.id)
    if entry.label == "no" and (entry.defect or entry.masks):
        report.error("labelled good, but has a defect or a mask", entry.id)
    roles = [message.get("role") for message in entry.messages]
    if roles != (["user", "assistant"] if entry.task == "sft" else ["user"]):
        report.error("the turns are not those of its task", entry.id)
    for name in (*entry.images_file_names, *entry.masks):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            report.error("a path leads out of the folder", entry.id)
    for path in (entry.source, *entry.images_file_names):
        sample = Sample(
            image=path, dataset=entry.dataset, category=entry.category, split=None, kind=entry.kind, licence=""
        )
        if (reason := why_not_train(sample)) is not None:
            report.error(reason, entry.id)
            break


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _check_pictures(folder: Path, entries: Sequence[Entry], report: Report) -> dict[str, Look]:
    names = list(dict.fromkeys(name for entry in entries for name in entry.images_file_names))
    looks = _look_at(folder, names)
    for look in looks.values():
        if look.error:
            report.error("a picture cannot be read", look.error)
    for entry in entries:
        query = looks[entry.images_file_names[min(entry.query, len(entry.images_file_names) - 1)]]
        others = [looks[name] for at, name in enumerate(entry.images_file_names) if at != entry.query]
        if query.sha256 and any(other.sha256 == query.sha256 for other in others):
            report.error("a picture is its own reference", entry.id)
    same: dict[str, list[str]] = defaultdict(list)
    for name, look in looks.items():
        if look.sha256:
            same[look.sha256].append(name)
    for group in same.values():
        if len(group) > 1:
            report.warn("the same picture under several names", " = ".join(group[:3]))
    firsts = [group[0] for group in same.values()]
    for one, other in _near(looks, firsts, looks, firsts):
        if one < other:
            report.warn("nearly the same picture", f"{one} ~ {other}")
    return looks


def _check_masks(folder: Path, entries: Sequence[Entry], report: Report) -> None:
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


def _check_labels(entries: Sequence[Entry], looks: dict[str, Look], report: Report) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        query = looks[entry.images_file_names[min(entry.query, len(entry.images_file_names) - 1)]]
        labels[query.sha256 or entry.id].add(entry.label)
        if len(labels[query.sha256 or entry.id]) > 1:
            report.error("one picture is labelled good and anomalous", entry.id)
    counts = [sum(entry.label == label for entry in entries) for label in ("yes", "no")]
    if entries and min(counts) == 0:
        report.error("all records have the same label", entries[0].label)
    elif entries and min(counts) < FEWEST * len(entries):
        report.warn(FEW, f"{counts[0]} yes, {counts[1]} no")


def _check_leaks(looks: dict[str, Look], benchmarks: Sequence[Source], report: Report) -> None:
    """Pictures of a benchmark that the set holds, by content, whatever they are called."""
    for source in benchmarks:
        found = _look_at(Path(), [sample.image for sample in source.samples])
        known = {look.sha256: name for name, look in looks.items() if look.sha256}
        for name, look in found.items():
            if look.sha256 in known:
                report.error("a picture of the benchmark", f"{known[look.sha256]} = {name}")
        for one, other in _near(looks, list(looks), found, list(found)):
            if looks[one].sha256 != found[other].sha256:
                report.warn("nearly a picture of the benchmark", f"{one} ~ {other}")


def _look_at(folder: Path, names: Sequence[str]) -> dict[str, Look]:
    with ThreadPoolExecutor() as pool:
        looks = track(pool.map(lambda name: _look(folder / name), names), len(names), "Looking at pictures")
        return dict(zip(names, looks, strict=True))


def _look(path: Path) -> Look:
    try:
        picture = read_picture(path)
        grey = picture.image.convert("L").resize((GRID + 1, GRID + 1), Image.Resampling.BOX)
    except ImageError as error:
        return Look(error=str(error))
    values = np.asarray(grey, np.int16)
    falls = [values[:GRID, 1:] < values[:GRID, :-1], values[1:, :GRID] < values[:-1, :GRID]]
    return Look(hash_file(path), (picture.width, picture.height), np.packbits(np.stack(falls)))


def _near(
    looks: dict[str, Look], names: Sequence[str], others: dict[str, Look], other_names: Sequence[str]
) -> list[tuple[str, str]]:
    """Pairs whose hashes differ in at most `NEAR` bits. Pictures without any contrast are like all others: left out."""
    left = [name for name in names if looks[name].bits.any()]
    right = [name for name in other_names if others[name].bits.any()]
    if not left or not right:
        return []
    bits = np.stack([others[name].bits for name in right])
    found = []
    for name in left:
        apart = np.bitwise_count(bits ^ looks[name].bits).sum(1)
        found += [(name, right[at]) for at in np.flatnonzero(apart <= NEAR)]
    return found
