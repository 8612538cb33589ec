"""References once, then query after query.

    inspector = Inspector("evidence", ["good.png"])
    verdict = inspector.inspect("query.png")
    for verdict in inspector.inspect_many(folder.glob("*.png")): ...

Several inspectors may share one judge, in several threads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.files.pictures import Picture, find_depth, map_pictures, read_picture
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.judges import add_evidence, check_judge, load_judge
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.runner import Judged, judge_batch, run
from lad_reasoner.text import counted, listed, shown

load_model = load_judge  # the public name


class Inspector:
    """Compares queries with references.

    `model` is a name for `load_model`, the folder of a checkpoint, or a judge. `references` are one or more pictures of
    good products: paths, Pillow images, arrays (height, width, 3) or bytes. They also show how many bits the values in
    files of 16 bits have. Raises `ImageError` when one of them cannot be read or shows nothing, `InputError` when there
    are none. With `evidence` the built-in judge adds its map and boxes to the verdicts of another model.
    """

    def __init__(
        self,
        model: str | Path | Judge = "evidence",
        references: PictureSource | Iterable[PictureSource] = (),
        *,
        evidence: bool = False,
    ) -> None:
        if not isinstance(model, str | Path):
            check_judge(model)
        sources = list(_each(references))
        if not sources:
            raise InputError("no references: give at least one picture of a good product")
        self.depth = find_depth(sources)
        self.references = self._read_references(sources)
        if isinstance(model, str | Path):
            self.judge = load_judge(str(model), evidence=evidence)
        else:
            self.judge = add_evidence(model) if evidence else model

    def __repr__(self) -> str:
        return f"Inspector({self.judge.name}, {counted(len(self.references), 'reference')})"

    def inspect(self, query: PictureSource) -> Verdict:
        """Judge one query; raises `InputError` if it cannot be read or judged."""
        return judge_batch(self.judge, [self.read_pair(query)])[0].verdict

    def inspect_many(self, queries: PictureSource | Iterable[PictureSource | Failure]) -> Iterator[Verdict | Failure]:
        """Judge many queries, in order and in the judge's batches; verdicts come batch by batch.

        A query that cannot be read or judged becomes a `Failure`; a `Failure` among the queries is passed through.
        """
        yield from map(_record, self.run(_each(queries)))

    def run(self, queries: Iterable[PictureSource | Failure]) -> Iterator[Judged | Failure]:
        """Like `inspect_many`, with the pictures and the judgement of each verdict."""
        # A loop variable would keep the last picture in memory while the next batch is read.
        yield from map(itemgetter(1), run(self.judge, queries, self.read_pair))

    def read_pair(self, query: PictureSource | Failure) -> PicturePair:
        """The query with the references, as a judge takes them; raises `InputError` if it cannot be read."""
        if isinstance(query, Failure):
            raise InputError(query.error)
        return PicturePair(self.references, self._read_picture(query))

    def _read_references(self, sources: Sequence[PictureSource]) -> tuple[Picture, ...]:
        """The references; those that cannot be used are all named in one ImageError."""

        def read(source: PictureSource) -> Picture | ImageError:
            try:
                return self._read_picture(source)
            except ImageError as error:
                return error

        results = list(map_pictures(read, sources))
        problems = [result for result in results if isinstance(result, ImageError)]
        if len(problems) == 1:
            raise problems[0]
        if problems:
            named = listed(problems, separator="; ")
            raise ImageError(f"{len(problems)} of {len(results)} references cannot be used: {named}")
        return tuple(result for result in results if isinstance(result, Picture))

    def _read_picture(self, source: PictureSource) -> Picture:
        picture = read_picture(source, self.depth)
        if problem := picture.blank:
            raise ImageError(f"{shown(picture.name)}: {problem}; look at the camera, and give a picture of the product")
        return picture

    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the verdicts should know: the judge's, and what was changed in the references."""
        changes: dict[str, list[str]] = defaultdict(list)
        for reference in self.references:
            for note in reference.notes:
                changes[note].append(shown(reference.name))
        notes = [f"references: {note}{self._which(names)}" for note, names in changes.items()]
        if self._repeated:
            notes.append(f"references: given more than once: {listed(self._repeated)}")
        return (*notes_of(self.judge, self.references), *notes)

    @cached_property
    def _repeated(self) -> list[str]:
        """`a.png = b.png` for references of the same pixels."""
        alike: dict[tuple[tuple[int, int], bytes], list[Picture]] = defaultdict(list)
        for reference in self.references:
            few = reference.image.resize((16, 16), Image.Resampling.NEAREST)  # tells most of them apart, in no time
            alike[reference.image.size, few.tobytes()].append(reference)
        same: dict[bytes, list[str]] = defaultdict(list)
        for references in alike.values():
            for reference in references if len(references) > 1 else ():
                same[reference.image.tobytes()].append(shown(reference.name))
        return [" = ".join(names) for names in same.values() if len(names) > 1]

    def _which(self, names: Sequence[str]) -> str:
        """The references that a note is about; empty for all of them."""
        return f" ({listed(names)})" if len(names) < len(self.references) else ""


def notes_of(judge: Judge, references: tuple[Picture, ...]) -> tuple[str, ...]:
    """The judge's notes; it may have a method `notes_on(references)`, for sentences that depend on them."""
    prepare = getattr(judge, "prepare", None)
    if prepare:
        prepare()
    notes_on = getattr(judge, "notes_on", None)
    return (*judge.notes, *(notes_on(references) if notes_on else ()))


def _each(pictures: Any) -> Iterable[Any]:
    """Several pictures, or one in their place, which is not taken apart; an array of four dimensions is several."""
    one = isinstance(pictures, str | Path | Image.Image | bytes | bytearray | memoryview) or hasattr(pictures, "read")
    if one or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return [pictures]
    if not isinstance(pictures, Iterable):
        raise InputError(f"{type(pictures).__name__} is not a picture, nor a list of pictures")
    return pictures


def _record(result: Judged | Failure) -> Verdict | Failure:
    return result if isinstance(result, Failure) else result.verdict
