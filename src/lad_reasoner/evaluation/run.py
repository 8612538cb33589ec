"""Runs a predictor over a benchmark: one line of predictions.jsonl a query, in a folder that can be gone on with.

    run = Run("runs/micro", predictor, open_benchmark("miniloco"))
    for prediction in run.predict(): ...
    metrics = measure_run(read_run("runs/micro").predictions)

    RUN/settings.json        what was asked of whom; a folder holds lines of one setting only
    RUN/predictions.jsonl    appended and pushed to the disk query by query
    RUN/thumbnails/          each picture that was shown, small, for the report
    RUN/metrics.json         computed from predictions.jsonl alone
    RUN/report.html          from the same lines and the thumbnails (see evaluation_page.py)

What is on the disk is never asked again. A query that cannot be read, or that the predictor cannot take, becomes a line
with an `error` and counts as wrong. What fails for want of memory or of a server ends the run instead: the next start
goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from lad_reasoner.errors import InputError, MachineError, RecordError
from lad_reasoner.evaluation.benchmark import Benchmark, Facts, default_kinds, draw_pairs, limit_pairs, open_benchmark
from lad_reasoner.evaluation.explanations import Explanations, measure_explanations
from lad_reasoner.evaluation.metrics import RESAMPLES, Metrics, Summary, compute_metrics
from lad_reasoner.evaluation.thumbnails import save_thumbnail
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.whole import lock
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.judges.trivial import BASELINES, JudgePredictor, Opinion, Predictor, load_baseline
from lad_reasoner.records import Pair, Prediction, Record, Verdict

SETTINGS, PREDICTIONS, METRICS, THUMBNAILS = "settings.json", "predictions.jsonl", "metrics.json", "thumbnails"


class Settings(Record):
    """What a run asks of whom. Two runs with the same `COMPARED` fields ask the same; the rest is for the reader.

    `pairs` is how many queries the benchmark has with these settings, whatever part of them was asked so far.
    `parameters` is how many weights the model has, where it says so.
    """

    benchmark: str
    fingerprint: str
    model: str
    prompt_version: str
    references: int
    seed: int
    kinds: tuple[str, ...]
    pairs: int
    notes: tuple[str, ...] = ()
    parameters: int | None = None


COMPARED = ("benchmark", "model", "prompt_version", "references", "seed", "kinds", "fingerprint")


class RunMetrics(Metrics):
    """What metrics.json holds.

    `trivial` are the constant answers on the same pairs. `explanations` are None where nothing was explained.
    `failed` are the queries with an error instead of an opinion, which count as wrong, and why.
    """

    trivial: dict[str, Summary]
    explanations: Explanations | None
    failed: dict[str, str]
    mean_seconds: float
    mean_tokens: float


@dataclass(frozen=True)
class Recorded:
    """What a run's folder holds."""

    settings: Settings
    predictions: list[Prediction]


class Run:
    """A predictor on a benchmark, from where the folder `out` stands.

    `done` predictions are there already, `todo` pairs are still to be asked. InputError when the folder holds other
    settings (it names the first that differs) or something else, while another process works there, and for what
    `draw_pairs` refuses.
    """

    def __init__(
        self,
        out: str | Path,
        predictor: Predictor,
        benchmark: Benchmark,
        *,
        references: int = 1,
        seed: int = 0,
        kinds: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> None:
        self.out, self.predictor, self.benchmark = Path(out), predictor, benchmark
        pairs, notes = draw_pairs(benchmark, references=references, seed=seed, kinds=kinds)
        settings = Settings(
            benchmark=benchmark.name,
            fingerprint=benchmark.fingerprint,
            model=predictor.name,
            prompt_version=predictor.prompt_version,
            references=references,
            seed=seed,
            kinds=tuple(sorted(default_kinds(benchmark.name) if kinds is None else set(kinds))),
            pairs=len(pairs),
            notes=(*predictor.notes, *benchmark.notes, *notes),
            parameters=getattr(predictor, "parameters", None),
        )
        self.settings = _settle(self.out, settings)
        with lock(self.out, "--out"):
            repair_records(self.out / PREDICTIONS)
            asked = {line.pair.query for line in _read_lines(self.out)}
        wanted = pairs if limit is None else limit_pairs(pairs, limit)
        self.todo = [pair for pair in wanted if pair.query not in asked]
        self.done = len(asked)

    def predict(self) -> Iterator[Prediction]:
        """Ask what is still to be asked; each prediction is on the disk before it is handed out.

        InputError where another process writes into the folder.
        """
        size = self.predictor.batch_size
        batches = [self.todo[start : start + size] for start in range(0, len(self.todo), size)]
        with lock(self.out, "--out"), ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
            coming = pool.submit(self._look, batches[0]) if batches else None
            for following in [*batches[1:], []]:
                if coming is None:
                    return
                looks = coming.result()
                coming = pool.submit(self._look, following) if following else None
                yield from self._record(looks)

    def _look(self, pairs: Sequence[Pair]) -> list[_Look]:
        return [_look(self.benchmark, pair) for pair in pairs]

    def _record(self, looks: Sequence[_Look]) -> Iterator[Prediction]:
        opinions = self._ask([look for look in looks if look.shown])
        for look in looks:
            seconds, opinion = (0.0, look.error) if look.error else next(opinions)
            if look.shown:
                for picture in (*look.shown.references, look.shown.query):
                    save_thumbnail(self.out / THUMBNAILS, picture)
            prediction = self._conclude(look, opinion, seconds)
            append_record(self.out / PREDICTIONS, prediction)
            yield prediction

    def _ask(self, looks: Sequence[_Look]) -> Iterator[tuple[float, Opinion | str]]:
        """All at once; where that fails one by one, so that only the faulty ones fail, or memory is enough."""
        start = time.perf_counter()
        opinions: list[Opinion] = []
        try:
            opinions = self.predictor.predict([look.shown for look in looks if look.shown]) if looks else []
        except InputError as error:
            if len(looks) == 1:
                yield 0.0, str(error)
                return
        except MachineError:
            if len(looks) == 1:
                raise
        if opinions:
            seconds = (time.perf_counter() - start) / len(looks)
            yield from ((seconds, opinion) for opinion in opinions)
        else:
            for look in looks:
                yield from self._ask([look])

    def _conclude(self, look: _Look, said: Opinion | str, seconds: float) -> Prediction:
        opinion = Opinion("invalid", None) if isinstance(said, str) else said
        repeated = {"yes": 1.0, "no": 0.0, "invalid": 0.5}[opinion.answer]
        verdict = Verdict(
            query=look.pair.query,
            references=look.pair.references,
            answer=opinion.answer,
            anomalous=opinion.answer == "yes",
            score=repeated if opinion.score is None else opinion.score,
            reasoning=opinion.reasoning,
            response=opinion.response,
            boxes=opinion.boxes,
            boxes_from=opinion.boxes_from,
            model=self.predictor.name,
            prompt_version=self.predictor.prompt_version,
            tokens=opinion.tokens,
            seconds=round(seconds, 4),
        )
        return Prediction(
            pair=look.pair,
            verdict=verdict,
            scored=opinion.score is not None,
            error=said if isinstance(said, str) else "",
            facts=look.facts,
        )


@dataclass(frozen=True)
class _Look:
    """A pair with its pictures, or with the reason why they cannot be shown."""

    pair: Pair
    shown: PicturePair | None = None
    facts: tuple[Facts, ...] = ()
    error: str = ""


def _look(benchmark: Benchmark, pair: Pair) -> _Look:
    pair = pair.model_copy(update={"defect": benchmark.defect(pair.query)})
    try:
        seen: list[tuple[Picture, Facts | None]] = [benchmark.read(name) for name in (*pair.references, pair.query)]
    except InputError as error:
        return _Look(pair, error=str(error))
    *references, query = (picture for picture, _ in seen)
    facts = tuple(facts for _, facts in seen if facts is not None)
    return _Look(pair, PicturePair(references, query, pair.category or ""), facts if len(facts) == len(seen) else ())


def _settle(out: Path, settings: Settings) -> Settings:
    """The settings of this folder: written if it is new, held against those that are there if it is not."""
    path = out / SETTINGS
    if path.exists():
        before = _read_settings(out)
        for field in COMPARED:
            old, new = getattr(before, field), getattr(settings, field)
            if old != new:
                raise InputError(f"{out}: made with {field} {_text(old)}, not {_text(new)}; give another --out")
        return before
    if (out / PREDICTIONS).exists():
        raise InputError(f"{out}: holds {PREDICTIONS} without {SETTINGS}; give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(path)  # whole or not at all
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; choose a folder that can be written") from None
    return settings


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read_settings(out: Path) -> Settings:
    path = out / SETTINGS
    try:
        return Settings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{out}: no {SETTINGS} in it; give the --out folder of an evaluation") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {field + ': ' if field else ''}{first['msg']}; give another --out") from None


def _read_lines(out: Path) -> list[Prediction]:
    path = out / PREDICTIONS
    return list(read_records(path, Prediction)) if path.exists() else []


def read_run(out: str | Path) -> Recorded:
    """Settings and predictions of a run's folder; InputError where there are none, or a line cannot be read."""
    out = Path(out)
    settings, predictions = _read_settings(out), _read_lines(out)
    if not predictions:
        raise InputError(f"{out}: no predictions in it yet; run the evaluation first")
    return Recorded(settings, predictions)


def measure_run(predictions: Sequence[Prediction], *, resamples: int = RESAMPLES) -> RunMetrics:
    """All metrics of a run; the order of the lines does not matter. Raises what `compute_metrics` raises."""
    lines = sorted(predictions, key=lambda line: line.pair.query)
    figures = compute_metrics(lines, resamples=resamples)
    trivial = {name: compute_metrics(constant, resamples=resamples) for name, constant in trivial_runs(lines).items()}
    return RunMetrics(
        **dict(figures),
        trivial={
            name: Summary(pooled=constant.pooled, mean_over_classes=constant.mean_over_classes)
            for name, constant in trivial.items()
        },
        explanations=measure_explanations(lines, resamples=resamples),
        failed={line.pair.query: line.error for line in lines if line.error},
        mean_seconds=round(sum(line.verdict.seconds for line in lines) / len(lines), 4),
        mean_tokens=round(sum(line.verdict.tokens for line in lines) / len(lines), 1),
    )


def trivial_runs(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """The same pairs as always-yes and always-no answer them."""
    return {
        name: [
            line.model_copy(
                update={
                    "verdict": line.verdict.model_copy(update={"answer": answer, "score": score}),
                    "scored": True,
                    "error": "",
                }
            )
            for line in predictions
        ]
        for name, answer, score in (("always-yes", "yes", 1.0), ("always-no", "no", 0.0))
    }


def finish(out: str | Path) -> tuple[Recorded, RunMetrics, Path]:
    """Write metrics.json and report.html from what a run's folder holds; returns run, figures and the report's path."""
    from lad_reasoner.report.evaluation import write_evaluation_page

    recorded = read_run(out)
    metrics = measure_run(recorded.predictions)
    (Path(out) / METRICS).write_text(metrics.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return recorded, metrics, write_evaluation_page(Path(out), recorded, metrics)


def evaluate(
    model: str | Judge | Predictor,
    benchmark: str = "miniloco",
    *,
    out: str | Path,
    root: str | Path | None = None,
    references: int = 1,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    limit: int | None = None,
) -> RunMetrics:
    """Judge a benchmark, or what is left of it, into the folder `out`; returns the figures of all its lines.

    `model` is the name of a baseline or one for `load_model`, or what `load_model` returns, or any predictor (see
    baselines.py); the rest is as in `open_benchmark`, `draw_pairs` and `Run`. In a terminal a bar shows how far it is.
    """
    from lad_reasoner.report.terminal import track

    predictor = _predictor(model, seed)
    run = Run(
        out, predictor, open_benchmark(benchmark, root), references=references, seed=seed, kinds=kinds, limit=limit
    )
    for _ in track(run.predict(), len(run.todo), "Judging", beside_results=False):
        pass
    return finish(out)[1]


def _predictor(model: str | Judge | Predictor, seed: int) -> Predictor:
    if isinstance(model, str):
        if model in BASELINES:
            return load_baseline(model, seed=seed)
        from lad_reasoner.inspector import load_model

        return JudgePredictor(load_model(model))
    # What can judge pairs is a judge; the interfaces are told apart by this alone.
    return JudgePredictor(cast(Judge, model)) if hasattr(model, "judge_pairs") else model
