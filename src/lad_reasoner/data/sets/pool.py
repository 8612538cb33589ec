"""What a training set is made from: the samples of several sources, each once, with the names that they get in the set.

What `sources.why_not_train` refuses is left out here, so nothing of a benchmark reaches a builder.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lad_reasoner.data.layouts import Source, is_public, why_not_train
from lad_reasoner.data.mmad import name_of
from lad_reasoner.data.sets.built_set import Entry, hash_file
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.records import Sample
from lad_reasoner.report.terminal import track
from lad_reasoner.text import printable

TWICE = "are in two of the sources"
UNREADABLE = "cannot be read"
NAMES_TOLD = 20  # of each reason, in the manifest


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

    def masks(self) -> dict[str, str]:
        """Name in the set -> file."""
        files = self.sample.masks
        return {f"masks/{self.stem}/{at:03d}{Path(file).suffix}": file for at, file in enumerate(files)}


@dataclass
class Material:
    """What may be trained on. `refused`: reason -> pictures that were left out."""

    items: list[Item]
    folders: list[str]
    refused: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, reason: str, name: str) -> None:
        """Count a picture that is left out."""
        self.refused.setdefault(reason, []).append(name)

    def tests(self) -> list[Item]:
        """What a source calls its test pictures; all of a source without splits. InputError where there are none."""
        tests = [item for item in self.items if item.sample.split in ("test", None)]
        if not tests:
            raise InputError(f"{', '.join(self.folders)}: no test pictures; give the folder above train/ and test/")
        return tests

    def readable(self, items: Iterable[Item]) -> list[Item]:
        """Those whose picture can be decoded; the others are refused, each once."""
        chosen = list(items)
        files = [item.sample.image for item in chosen]
        if len(files) > 1:
            with ThreadPoolExecutor() as pool:
                errors = list(track(pool.map(_error, files), len(files), "Reading pictures"))
        else:
            errors = [_error(file) for file in files]
        for error in filter(None, errors):
            if error not in self.refused.get(UNREADABLE, ()):
                self.refuse(UNREADABLE, error)
        return [item for item, error in zip(chosen, errors, strict=True) if not error]

    def facts(self, used: Iterable[Item]) -> dict[str, Any]:
        """What the manifest says of refusals and sources.

        A source's hash is that of the names and hashes of the pictures used from it.
        """
        hashes = {folder: hashlib.sha256() for folder in self.folders}
        counts: Counter[str] = Counter()
        for item in {item.name: item for item in used}.values():
            hashes[item.folder].update(f"{item.source} {digest(item)}\n".encode())
            counts[item.folder] += 1
        return {
            "refused": {
                reason: {"count": len(names), "names": names[:NAMES_TOLD]} for reason, names in self.refused.items()
            },
            "sources": [
                {"folder": folder, "pictures": counts[folder], "sha256": value.hexdigest()}
                for folder, value in hashes.items()
            ],
        }


def gather(sources: Sequence[Source]) -> Material:
    """All samples of the sources that may be trained on, each once. InputError when none is left."""
    material = Material([], [str(source.folder) for source in sources])
    seen: set[Any] = set()
    names: Counter[str] = Counter()
    for source in sources:
        for why, pictures in source.refused.items():
            material.refused.setdefault(why, []).extend(pictures)
        for sample in source.samples:
            image = Path(sample.image)
            # A table speaks of the folder that it lies in, VisA's of the one above.
            path = next(image.relative_to(f) for f in (source.folder, *source.folder.parents) if f in image.parents)
            key: object = (name_of(sample), sample.split) if is_public(sample) else Path(sample.image).resolve()
            reason = why_not_train(sample) or (TWICE if key in seen else None)
            if reason:
                material.refuse(reason, printable(path.as_posix()))
                continue
            seen.add(key)
            parts = path.parts if sample.category.rpartition("/")[2] in path.parts else (sample.category, *path.parts)
            name = "/".join((sample.dataset, *parts)).replace(" ", "_").casefold()
            names[name] += 1
            if names[name] > 1:  # two of the user's own folders of the same name
                stem, _, suffix = name.rpartition(".")
                name = f"{stem}-{names[name]}.{suffix}"
            material.items.append(Item(sample, name, path.as_posix(), str(source.folder)))
    if not material.items:
        reasons = "; ".join(f"{len(refused)} {reason}" for reason, refused in material.refused.items())
        raise InputError(f"nothing is left to train on ({reasons}); give another source")
    return material


def make_entry(items: Sequence[Item], query: int = 0, **fields: Any) -> Entry:
    """The record of these pictures, of which the one at `query` is asked about or judged."""
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


def digest(item: Item) -> str:
    """SHA-256 of the picture's file."""
    return _digest(item.sample.image)


@cache
def _digest(path: str) -> str:
    return hash_file(path)


@cache
def _error(path: str) -> str:
    """Why a picture cannot be read, or nothing."""
    try:
        read_picture(path)
    except ImageError as error:
        return str(error)
    return ""
