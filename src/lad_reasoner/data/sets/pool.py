"""The pool that a training set is made from: the samples of several sources, each once, with their names in the set.

    pool = gather([find_samples("mvtec"), find_samples("visa")])
    pool.tests()        # test pictures, of which sets are made

What `sources.why_not_train` refuses is left out here, so no builder ever gets a picture of a benchmark.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from lad_reasoner.data.folder_words import word
from lad_reasoner.data.mmad import name_of
from lad_reasoner.data.sets.built_set import Entry
from lad_reasoner.data.sources import Source, count_reasons, is_public, why_not_train
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.bit_depth import DEEP
from lad_reasoner.files.pictures import find_depth, map_pictures, read_picture
from lad_reasoner.files.whole import hash_file
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Sample
from lad_reasoner.text import printable

TWICE = "are in two of the sources"
UNREADABLE = "cannot be read"
MASK_UNREADABLE = "have a mask that cannot be read"
NAMES_IN_MANIFEST = 20  # of each reason
DEPTH_FROM = 8  # pictures of a class


@dataclass(frozen=True)
class Item:
    """A sample with its name in a set (`mvtec_ad/bottle/test/good/000.png`) and its path in its source's folder."""

    sample: Sample
    name: str
    source: str
    folder: str

    @property
    def stem(self) -> str:
        """The name without its suffix: the beginning of its records' identifiers."""
        return self.name.rpartition(".")[0]

    @property
    def class_name(self) -> tuple[str, str]:
        """(data set, class)."""
        return self.sample.dataset, self.sample.category

    def masks(self) -> dict[str, str]:
        """Name in the set -> file."""
        files = self.sample.masks
        return {f"masks/{self.stem}/{at:03d}{Path(file).suffix}": file for at, file in enumerate(files)}

    def sha256(self) -> str:
        """Of the picture's file."""
        return _hash_picture(self.sample.image)


@dataclass
class Pool:
    """The pictures that may be trained on. `refused`: reason -> pictures that were left out."""

    items: list[Item]
    folders: list[str]
    refused: dict[str, list[str]] = field(default_factory=dict)
    _depths: dict[tuple[str, str], int | None] = field(default_factory=dict, init=False)

    def refuse(self, reason: str, name: str) -> None:
        """Count a picture that is left out."""
        self.refused.setdefault(reason, []).append(name)

    def tests(self) -> list[Item]:
        """The test pictures; all of a source without splits. InputError if there are none."""
        tests = [item for item in self.items if item.sample.split in ("test", None)]
        if not tests:
            raise InputError(f"{', '.join(self.folders)}: no test pictures; give the folder above train/ and test/")
        return tests

    def readable(self, items: Sequence[Item], track: Track = silent) -> list[Item]:
        """The items whose picture can be decoded; the others are refused, each once."""
        errors = map_pictures(_read_error, [item.sample.image for item in items])
        for _ in track(errors, len(items), "Reading pictures"):
            pass
        return [item for item in items if self.is_readable(item)]

    def is_readable(self, item: Item) -> bool:
        """Whether the picture can be decoded; it is refused, once, if not."""
        error = _read_error(item.sample.image)
        if error and error not in self.refused.get(UNREADABLE, ()):
            self.refuse(UNREADABLE, error)
        return not error

    def depth(self, item: Item) -> int | None:
        """Bits of a value in the pictures of its class that have more than 8, as `eval` sees it: from the good ones.

        From all of the class where the good ones have 8 bits.
        """
        name = item.class_name
        if name not in self._depths:
            members = [other for other in self.items if other.class_name == name]
            good = [other for other in members if other.sample.label == "no"]
            shown = [other for other in good if other.sample.split == "train"] or good or [item]
            depth = find_depth(other.sample.image for other in shown[:DEPTH_FROM])
            self._depths[name] = depth or find_depth(other.sample.image for other in members)
        return self._depths[name]

    def facts(self, used: Iterable[Item]) -> dict[str, Any]:
        """The manifest's part about refusals, sources, and classes whose values were brought to 8 bits.

        A source's hash is that of the names and hashes of the pictures used from it.
        """
        hashes = {folder: hashlib.sha256() for folder in self.folders}
        counts: Counter[str] = Counter()
        depths = {}
        for item in {item.name: item for item in used}.values():
            depth = self.depth(item)
            if depth is not None and depth < DEEP:
                depths["/".join(item.class_name)] = depth
            hashes[item.folder].update(f"{item.source} {item.sha256()}\n".encode())
            counts[item.folder] += 1
        refused = {}
        for reason, names in self.refused.items():
            refused[reason] = {"count": len(names), "names": names[:NAMES_IN_MANIFEST]}
        sources = []
        for folder, value in hashes.items():
            sources.append({"folder": folder, "pictures": counts[folder], "sha256": value.hexdigest()})
        return {"refused": refused, "sources": sources, **({"depths": depths} if depths else {})}


def gather(sources: Sequence[Source]) -> Pool:
    """All samples of the sources that may be trained on, each once. InputError if none is left."""
    pool = Pool([], [str(source.folder) for source in sources])
    keys: set[object] = set()
    stems: Counter[str] = Counter()
    for source in sources:
        for reason, pictures in source.refused.items():
            pool.refused.setdefault(reason, []).extend(pictures)
        for sample in source.samples:
            path = _path_in_source(sample, source)
            key: object = (name_of(sample), sample.split) if is_public(sample) else Path(sample.image).resolve()
            refusal = why_not_train(sample) or (TWICE if key in keys else None)
            if refusal:
                pool.refuse(refusal, printable(path.as_posix()))
                continue
            keys.add(key)
            name = _name_in_set(sample, path)
            stem, _, suffix = name.rpartition(".")
            stems[stem] += 1
            # Two of the user's own folders of the same name, or a.jpg beside a.png: the stem names records and masks.
            if stems[stem] > 1:
                name = f"{stem}-{stems[stem]}.{suffix}"
            pool.items.append(Item(sample, name, path.as_posix(), str(source.folder)))
    if not pool.items:
        raise InputError(f"nothing is left to train on ({count_reasons(pool.refused)}); give another source")
    return pool


def _path_in_source(sample: Sample, source: Source) -> PurePath:
    """Relative to the source's folder; a table lies in the folder that it describes, VisA's one folder deeper."""
    image = Path(sample.image)
    folder = next(folder for folder in (source.folder, *source.folder.parents) if folder in image.parents)
    return image.relative_to(folder)


def _name_in_set(sample: Sample, path: PurePath) -> str:
    """data_set/class/…/picture.png, in lower case and without blanks."""
    has_class = word(sample.category.rpartition("/")[2]) in map(word, path.parts)
    parts = path.parts if has_class else (sample.category, *path.parts)
    return "/".join((sample.dataset, *parts)).replace(" ", "_").casefold()


def make_entry(items: Sequence[Item], query: int = 0, **fields: Any) -> Entry:
    """The record of these pictures; the question or the label is about the one at `query`."""
    sample = items[query].sample
    return Entry(
        images_file_names=tuple(f"images/{item.name}" for item in items),
        query=query,
        label=sample.label,
        kind=sample.kind,
        dataset=sample.dataset,
        category=sample.category,
        defect=sample.defect,
        source=items[query].source,
        masks=tuple(items[query].masks()),
        licence=" and ".join(dict.fromkeys(item.sample.licence for item in items)),
        **fields,
    )


def files_of(items: Sequence[Item], query: Item) -> Mapping[str, str]:
    """Pictures and the query's masks: name in the set -> file."""
    return {f"images/{item.name}": item.sample.image for item in items} | query.masks()


_hash_picture = cache(hash_file)


@cache
def _read_error(path: str) -> str:
    """Why a picture cannot be read; empty if it can."""
    try:
        read_picture(path)
    except ImageError as error:
        return str(error)
    return ""
