"""References once, then query after query.

    inspector = Inspector("evidence", ["good.png"])
    verdict = inspector.inspect("query.png")
    for verdict in inspector.inspect_many(folder.glob("*.png")): ...

Several inspectors may share one judge, in several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.judges import add_evidence, load_judge
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.runner import Judged, judge_batch, run

Source = str | Path | Image.Image

load_model = load_judge  # the public name


class Inspector:
    """Compares queries with references.

    `references` are one or more pictures of good products (paths or Pillow images). Raises `ImageError` if one of them
    cannot be read, `InputError` without references. With `evidence` the built-in judge adds its map and boxes to the
    verdicts of another model.
    """

    def __init__(
        self, model: str | Judge = "evidence", references: Sequence[Source] = (), *, evidence: bool = False
    ) -> None:
        if isinstance(references, str | Path | Image.Image):
            references = [references]
        if not references:
            raise InputError("no references: give at least one picture of a good product with --reference")
        self.references = tuple(read_picture(reference) for reference in references)
        if isinstance(model, str):
            self.judge = load_judge(model, evidence=evidence)
        else:
            self.judge = add_evidence(model) if evidence else model

    def inspect(self, query: Source) -> Verdict:
        """Judge one query; raises `InputError` if it cannot be read or judged."""
        return judge_batch(self.judge, [self._read(query)])[0].verdict

    def inspect_many(self, queries: Iterable[Source | Failure]) -> Iterator[Verdict | Failure]:
        """Judge many queries, in order and in the judge's batches; verdicts come batch by batch.

        A query that cannot be read or judged becomes a `Failure`; a `Failure` among the queries is passed through.
        """
        yield from map(_record, self.run(queries))

    def run(self, queries: Iterable[Source | Failure]) -> Iterator[Judged | Failure]:
        """Like `inspect_many`, with the pictures and the judgement of each verdict."""
        # A loop variable would keep the last picture in memory while the next batch is read.
        yield from map(itemgetter(1), run(self.judge, queries, self._read))

    def _read(self, query: Source | Failure) -> PicturePair:
        if isinstance(query, Failure):
            raise InputError(query.error)
        return PicturePair(self.references, read_picture(query))


def _record(result: Judged | Failure) -> Verdict | Failure:
    return result if isinstance(result, Failure) else result.verdict
