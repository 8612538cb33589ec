"""References once, then query after query: the one interface of every judge.

`Inspector` reads pictures, times the judge, parses its responses and makes the `Verdict`s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import ImageError, InputError, MachineError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judge, Judgement
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.text import printable

Source = str | Path | Image.Image

READ_AHEAD = 4  # pictures that are decoded while the judge looks at others


def load_model(
    name: str = "evidence",
    *,
    server: str | None = None,
    backbone: str | None = None,
    evidence: bool = False,
    votes: int = 1,
    max_pixels: int | None = None,
    device: str | None = None,
) -> Judge:
    """The judge of this name: `evidence`, `micro`, or any vision-language checkpoint by folder or hub name.

    With `server`, the address of an OpenAI-compatible service, the model of this name there: see `hosted.HostedJudge`,
    which also takes prices and a file for the answers. `backbone` is the vision network of `evidence`; its own small
    one by default. The rest is for checkpoints: `evidence` adds its map and boxes to their verdicts, `votes` above one
    samples that many responses, `max_pixels` and `device` are those of `model.load_checkpoint`.
    """
    if name == "evidence":
        if server is not None:
            raise InputError("evidence: it needs no server; name the server's model with --model")
        if evidence:
            raise InputError("evidence: it has its map and boxes already; evidence=True is for another model")
        if votes > 1:
            raise InputError("evidence: it measures and gives a score anyway; votes are for a vision-language model")
        from lad_reasoner.judges.evidence.judge import Evidence

        return Evidence(backbone)
    if evidence:
        from lad_reasoner.judges.evidence.judge import WithEvidence

        lent = load_model(backbone=backbone)  # first, because it is there, or refused, at once
        return WithEvidence(load_model(name, server=server, votes=votes, max_pixels=max_pixels, device=device), lent)
    if backbone is not None:
        raise InputError(f"{name}: a backbone is for evidence only; add evidence to the model, or leave it out")
    if server is not None:
        if votes > 1 or max_pixels is not None or device is not None:
            raise InputError(f"{name}: votes, max_pixels and device are for a model in this process, not on a server")
        from lad_reasoner.judges.hosted import HostedJudge

        return HostedJudge(server, name)
    from lad_reasoner.judges.vlm.checkpoint import BUILT_IN, EXAMPLE

    if "/" not in name and name not in BUILT_IN and not Path(name).exists():
        known = ", ".join(["evidence", *BUILT_IN])
        raise InputError(f"{name}: no such model; give {known}, a model's folder, or a hub name such as {EXAMPLE}")
    from lad_reasoner.judges.vlm.transformers_engine import load_judge

    return load_judge(name, votes=votes, max_pixels=max_pixels, device=device)


@dataclass(frozen=True, eq=False)
class Examination:
    """A verdict together with the picture and the map it was made from."""

    verdict: Verdict
    picture: Picture
    heat: NDArray[np.float32] | None


class Inspector:
    """Compares queries with references.

    `references` are one or more pictures of good products (paths or Pillow images). Raises `ImageError` when one of
    them cannot be read, `InputError` when there are none. With `evidence` the built-in judge adds its map and boxes to
    the verdicts of another model.
    """

    def __init__(
        self, model: str | Judge = "evidence", references: Sequence[Source] = (), *, evidence: bool = False
    ) -> None:
        if isinstance(references, str | Path | Image.Image):
            references = [references]
        if not references:
            raise InputError("no references: give at least one picture of a good product with --reference")
        self.references = [read_picture(reference) for reference in references]
        if isinstance(model, str):
            model = load_model(model, evidence=evidence)
        elif evidence:
            from lad_reasoner.judges.evidence.judge import WithEvidence

            model = WithEvidence(model, load_model())
        self.judge = model
        self.judge.study(self.references)

    def inspect(self, query: Source) -> Verdict:
        """Judge one query; raises `InputError` when it cannot be read or the judge cannot take it."""
        return self.examine(query).verdict

    def inspect_many(self, queries: Iterable[Source | Failure]) -> Iterator[Verdict | Failure]:
        """Judge many queries, in order and in the judge's batches; a batch's verdicts come as soon as it is done.

        A query that cannot be read or judged becomes a `Failure`, a `Failure` stays one.
        """
        # A loop would hold on to the last picture while the next batch is read.
        yield from map(_without_picture, self.examine_many(queries))

    def examine(self, query: Source) -> Examination:
        """Like `inspect`, with the picture and the map."""
        return self._examine([read_picture(query)])[0]

    def examine_many(self, queries: Iterable[Source | Failure]) -> Iterator[Examination | Failure]:
        """Like `inspect_many`, with pictures and maps.

        Pictures are decoded in the background, no more of them than a batch (or `READ_AHEAD`) has.
        """
        queries, size = iter(queries), self.judge.batch_size
        with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
            waiting: deque[Future[Picture | Failure]] = deque()
            try:
                while True:
                    ahead = max(size, READ_AHEAD) - len(waiting)
                    waiting.extend(pool.submit(_read, query) for query in islice(queries, ahead))
                    if not waiting:
                        return
                    count = min(size, len(waiting))
                    yield from self._examine_batch([waiting.popleft().result() for _ in range(count)])
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _examine_batch(self, batch: Sequence[Picture | Failure]) -> Iterator[Examination | Failure]:
        results = self._examine_each([item for item in batch if isinstance(item, Picture)])
        for item in batch:
            yield item if isinstance(item, Failure) else next(results)

    def _examine_each(self, queries: Sequence[Picture]) -> Iterator[Examination | Failure]:
        """All at once; where that fails one by one, so that only the faulty ones fail, or memory is enough."""
        alone = len(queries) == 1
        results: list[Examination | Failure] = []
        try:
            results += self._examine(queries)
        except InputError as error:
            if alone:
                results.append(Failure(query=queries[0].name, error=str(error)))
        except MachineError:
            if alone:
                raise
        if results:
            yield from results
        else:
            for query in queries:
                yield from self._examine_each([query])

    def _examine(self, queries: Sequence[Picture]) -> list[Examination]:
        start = time.perf_counter()
        judgements = self.judge.judge_many(queries)
        seconds = (time.perf_counter() - start) / len(queries)
        return [self._conclude(*one, seconds) for one in zip(queries, judgements, strict=True)]

    def _conclude(self, query: Picture, judgement: Judgement, seconds: float) -> Examination:
        response = parse_response(judgement.response)
        verdict = Verdict(
            query=query.name,
            references=tuple(reference.name for reference in self.references),
            answer=response.answer,
            anomalous=response.answer == "yes",
            score=judgement.score,
            reasoning=response.reasoning,
            response=judgement.response,
            boxes=judgement.boxes,
            boxes_from=judgement.boxes_from,
            model=self.judge.name,
            prompt_version=self.judge.prompt_version,
            tokens=judgement.tokens,
            seconds=round(seconds, 4),
        )
        return Examination(verdict, query, judgement.heat)


def _without_picture(result: Examination | Failure) -> Verdict | Failure:
    return result if isinstance(result, Failure) else result.verdict


def _read(query: Source | Failure) -> Picture | Failure:
    if isinstance(query, Failure):
        return query
    try:
        return read_picture(query)
    except ImageError as error:
        return Failure(query=printable(query), error=str(error))
