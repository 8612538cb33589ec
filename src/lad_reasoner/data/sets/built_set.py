"""A built data set on disk: written record by record, so that an interrupted build can be resumed, and read back.

    OUT/metadata.jsonl      a line a record (`Entry`), pictures by relative path
        images/  masks/     hard links to the sources where the file system allows, else copies; grey values of 10, 12
                            or 14 bits become 8 bits, as inspection sees them
        manifest.json       sources, counts, refusals, hashes, licences, prompts, teacher, cost
        README.md           the data set card
        teacher.jsonl       all answers of the service (SFT with a service only)
        decisions.jsonl     the review's decisions

`datasets.load_dataset(OUT)` reads it: the key `images_file_names` becomes a column `images` of pictures. `messages` is
what TRL's SFTTrainer takes; pairs have the same under `prompt`, the name that its GRPOTrainer asks for.

The card's header is needed. Without it `datasets` would guess the splits from folder names, and take `test/` and even
MiniLOCO's test_tubes for a test split.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.bit_depth import DEEP
from lad_reasoner.files.jsonl import load_json, read_records, repair_records
from lad_reasoner.files.pictures import encode_picture, find_depth, read_picture
from lad_reasoner.files.walk import suggest_path
from lad_reasoner.files.whole import describe_write_error, named_errors, own_file, own_folder, write_whole
from lad_reasoner.records import Kind, Label, Record, check_facts
from lad_reasoner.templates import render_markdown
from lad_reasoner.text import first_problem, label_counts, printable

METADATA, MANIFEST, CARD = "metadata.jsonl", "manifest.json", "README.md"
TEACHER, DECISIONS = "teacher.jsonl", "decisions.jsonl"
_OURS = frozenset({METADATA, MANIFEST, CARD, TEACHER, DECISIONS})


class _Part(Record):
    """A part of a message. Arrow adds absent keys as None."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    type: Literal["image", "text"]
    text: str | None = None

    @model_validator(mode="after")
    def _check_text(self) -> _Part:
        if (self.type == "text") != (self.text is not None):
            raise ValueError("a text part holds a text, and no other part does")
        return self


class _Message(Record):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    role: str
    content: list[_Part] | str


_MESSAGES = TypeAdapter(list[_Message])


class Entry(Record):
    """A line of metadata.jsonl.

    `images_file_names` are in the order of the places in `messages`; `query` is the index of the picture that is
    judged, the last unless the order was shuffled. `label` is yes for anomalous. `source` is the query's path in its
    source. `facts` of pairs are those of the pictures in their order, each as JSON: as objects they would get the keys
    of all records from Arrow. Empty where they are not known.
    """

    id: str
    images_file_names: tuple[str, ...]
    messages: list[dict[str, Any]]
    prompt: list[dict[str, Any]] | None = None
    task: Literal["sft", "pair"]
    question: str | None = None
    query: int
    label: Label
    kind: Kind | None
    dataset: str
    category: str
    defect: str | None
    source: str
    masks: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    licence: str
    prompt_version: str

    @field_validator("messages", "prompt")
    @classmethod
    def _check_messages(cls, messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if messages:
            _MESSAGES.validate_python(messages)
        return messages

    @field_validator("facts")
    @classmethod
    def _check_facts(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in filter(None, texts):
            facts = load_json(text)
            if not isinstance(facts, dict):
                raise ValueError("must be the facts of a picture as JSON")
            check_facts(facts)
        return texts

    def line(self) -> str:
        """JSON with a line end, without the fields that this task does not have."""
        absent = {name for name in ("prompt", "question", "facts") if not getattr(self, name)}
        return self.model_dump_json(exclude=absent) + "\n"


class _Manifest(Record):
    """The fields of manifest.json that the package reads; those after `recipe` are absent until the build ends."""

    task: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict)
    complete: bool = False
    records: int = 0
    unasked: int = 0
    classes: dict[str, dict[str, int]] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)
    licences: dict[str, int] = Field(default_factory=dict)
    refused: dict[str, dict[str, Any]] = Field(default_factory=dict)
    answers_refused: dict[str, int] = Field(default_factory=dict)
    depths: dict[str, int] = Field(default_factory=dict)


class Builder:
    """Writes one data set, in a `with` block. `done` are the identifiers that an earlier, interrupted build wrote.

    A record whose pictures or masks are gone is not done. `recipe` is all that the set depends on; it goes into the
    manifest at once. InputError if the folder holds anything else, a set of another recipe, or another process builds
    in it.
    """

    def __init__(self, out: str | Path, task: Literal["sft", "pair"], recipe: Mapping[str, Any]) -> None:
        self.out, self.task = Path(out), task
        self.recipe = json.loads(json.dumps(recipe))
        _check_folder(self.out, task, self.recipe)  # a folder of something else gets no lock file
        with ExitStack() as stack:
            stack.enter_context(own_folder(self.out, "--out"))
            _check_folder(self.out, task, self.recipe)
            repair_records(own_file(self.out, METADATA))
            entries = read_entries(self.out) if (self.out / METADATA).exists() else []
            self.done = {entry.id for entry in entries if _files_exist(entry, self.out)}
            self._write_manifest({"complete": False})
            self._file = stack.enter_context((self.out / METADATA).open("a", encoding="utf-8"))
            self._held = stack.pop_all()

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def add(self, entry: Entry, files: Mapping[str, str | Path], depth: int | None = None) -> None:
        """Put the files in their places (name in the set -> original), then write the line.

        `depth` is the number of bits of a value in those pictures that have more than 8 (`pictures.find_depth`).
        A record that is already there is skipped. MachineError if a file cannot be written; what was written stays.
        """
        if entry.id in self.done:
            return
        try:
            for name, original in files.items():
                put_file(Path(original), self.out / name, depth if name in entry.images_file_names else None)
            with named_errors(self.out / METADATA):
                self._file.write(entry.line())
                self._file.flush()
        except OSError as error:
            raise MachineError(describe_write_error(error, self.out)) from None
        self.done.add(entry.id)

    def finish(self, order: Sequence[str], facts: Mapping[str, Any], *, complete: bool = True) -> dict[str, Any]:
        """Sort the lines into this order of identifiers, write manifest and card; returns the manifest."""
        self._file.close()
        entries = {entry.id: entry for entry in read_entries(self.out)}
        kept = [entries[name] for name in order if name in entries]
        write_whole(self.out / METADATA, "".join(entry.line() for entry in kept))
        manifest = self._write_manifest({"complete": complete, **summarise_set(kept), **facts})
        labels = label_counts(manifest["labels"])
        title = {"sft": "Questions and answers about products", "pair": "Reference and query pairs"}[self.task]
        licences = ", ".join(manifest["licences"])
        card = render_markdown("data_card.md", title=title, records=len(kept), labels=labels, licences=licences)
        write_whole(self.out / CARD, card)
        return manifest

    def _write_manifest(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        manifest = {"task": self.task, "recipe": self.recipe, **facts}
        write_whole(self.out / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        return manifest


def _files_exist(entry: Entry, folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*entry.images_file_names, *entry.masks))


def read_entries(folder: str | Path) -> list[Entry]:
    """The records of a built set, in its order; a last line that a crash cut off is skipped.

    InputError if the folder has no metadata.jsonl, RecordError (file, line, field) if a line is not a record.
    """
    path = Path(folder) / METADATA
    if not path.is_file():
        mend = suggest_path(Path(folder)) or "; give a folder that `lad-reasoner data` built"
        lacking = f"no {METADATA}" if Path(folder).is_dir() else "no such folder"
        raise InputError(f"{printable(folder)}: {lacking}{mend}")
    return list(read_records(path, Entry))


def count_places(entry: Entry) -> int:
    """The places for pictures in the messages."""
    places = 0
    for message in entry.messages:
        content = message["content"]
        if not isinstance(content, str):
            places += sum(part["type"] == "image" for part in content)
    return places


def names_outside(entry: Entry, folder: str | Path) -> list[str]:
    """Names of an entry's files that lead out of its set: absolute, by `..`, or through a link."""
    root = Path(folder).resolve()
    return [name for name in (*entry.images_file_names, *entry.masks) if _is_outside(name, root)]


def _is_outside(name: str, root: Path) -> bool:
    if ".." in Path(name).parts or "\0" in name:  # a name with a NUL is that of no file
        return True
    return not (root / name).resolve().is_relative_to(root)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """manifest.json; InputError if it is absent, or a field that the package reads is not what a build writes."""
    path = Path(folder) / MANIFEST
    try:
        manifest = load_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}; give a folder that `lad-reasoner data` built") from None
    except ValueError as error:
        raise InputError(f"{printable(path)}: not valid JSON ({error}); build the set again") from None
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        raise InputError(f"{printable(path)}: not a manifest ({first_problem(error)}); build the set again") from None
    return dict(manifest)


def summarise_set(entries: Sequence[Entry]) -> dict[str, Any]:
    """Counts of a set: by class and label, kind, label, question, licence and prompt version."""
    classes: dict[str, Counter[str]] = {}
    for entry in entries:
        classes.setdefault(f"{entry.dataset}/{entry.category}", Counter())[entry.label] += 1
    questions = _count(entry.question for entry in entries if entry.question)
    return {
        "records": len(entries),
        "classes": {name: dict(sorted(counts.items())) for name, counts in classes.items()},
        "kinds": _count(entry.kind or "unknown" for entry in entries),
        "labels": _count(entry.label for entry in entries),
        **({"questions": questions} if questions else {}),
        "licences": _count(entry.licence for entry in entries),
        "prompt_versions": _count(entry.prompt_version for entry in entries),
        "masks_missing": sum(entry.label == "yes" and not entry.masks for entry in entries),
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _check_folder(out: Path, task: str, recipe: Mapping[str, Any]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out {printable(out)}: a file; give a folder")
    if not (out / MANIFEST).exists():
        others = sorted(path.name for path in out.iterdir() if not _is_ours(path.name))
        if others:
            raise InputError(
                f"--out {printable(out)}: holds {printable(others[0])} and no {MANIFEST}; give an empty folder"
            )
        return
    before = read_manifest(out)
    if before.get("task") != task:
        raise InputError(f"--out {printable(out)}: holds a set of another task; give another folder")
    earlier = before.get("recipe") or {}
    for name in {**earlier, **recipe}:
        if earlier.get(name) != recipe.get(name):
            raise InputError(
                f"--out {printable(out)}: was built with other settings ({name}: {earlier.get(name)} there, "
                f"{recipe.get(name)} here); give another folder"
            )


def _is_ours(name: str) -> bool:
    """Also locks, and what a kill left of a file that was being written."""
    return name.removesuffix(".lock") in {*_OURS, ""} or name.endswith(".part")


def put_file(original: Path, target: Path, depth: int | None = None) -> None:
    """A hard link, or a copy where links are not possible, never half of one; an existing target stays.

    A picture with values of `depth` bits, more than 8 and fewer than its file has, is written with 8 bits.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if depth is not None and depth < DEEP and find_depth([original]) is not None:
        encoding = "TIFF" if target.suffix.lower() in (".tif", ".tiff") else "PNG"
        write_whole(target, encode_picture(read_picture(original, depth).image, encoding))
        return
    original = original.resolve()
    try:
        os.link(original, target)
    except OSError:  # another file system, or one without links
        write_whole(target, original.read_bytes())
