"""Runs a judge over a benchmark, one line of predictions.jsonl a query; an unfinished run is resumed.

    run = Run("runs/micro", load_judge("micro"), open_benchmark("miniloco"))
    for prediction in run.predict(): ...
    metrics = measure_run(read_run("runs/micro").predictions)

    RUN/settings.json        judge, benchmark and protocol; all lines of a folder have the same settings
    RUN/predictions.jsonl    one line a query, flushed to the disk one by one
    RUN/thumbnails/          small copies of the pictures, and maps of judges that make them, for the report
    RUN/localisation/        the pixels of each map, counted inside and outside the masks (localisation.py)
    RUN/metrics.json         computed from predictions.jsonl and localisation/ alone
    RUN/report.html          made from the lines and the thumbnails (report/evaluation.py)

A query with a line on disk is skipped, unless a service cut its response off. A query that cannot be read or judged
gets a line with an `error` and counts as wrong. A MachineError (memory, server) ends the run; the next start resumes
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from lad_reasoner.data.masks import GroundTruth
from lad_reasoner.errors import ImageError, InputError, RecordError
from lad_reasoner.evaluation.benchmark import Benchmark, Facts, default_kinds, draw_pairs, limit_pairs
from lad_reasoner.evaluation.explanations import Explanations, measure_explanations
from lad_reasoner.evaluation.localisation import (
    LOCALISATION,
    Localisation,
    count_pixels,
    measure_localisation,
    save_counts,
)
from lad_reasoner.evaluation.metrics import RESAMPLES, Metrics, Summary, compute_metrics
from lad_reasoner.evaluation.thumbnails import THUMBNAILS, save_map, save_thumbnail
from lad_reasoner.files.changes import count_changes, describe_changes
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.pictures import Picture
from lad_reasoner.files.walk import suggest_path
from lad_reasoner.files.whole import check_own_folder, describe_write_error, lock, own_file, own_folder, write_whole
from lad_reasoner.judge import NO_ANSWER, Judge, Judgement, PicturePair
from lad_reasoner.progress import Track, silent
from lad_reasoner.records import Failure, Pair, Prediction, Record
from lad_reasoner.runner import Judged, make_verdict, run
from lad_reasoner.templates import command_line
from lad_reasoner.text import first_problem, listed, printable
from lad_reasoner.version import installed_versions

PACKAGES = ("numpy", "pillow", "onnxruntime", "torch", "transformers")  # what verdicts are computed with
SETTINGS, PREDICTIONS, METRICS = "settings.json", "predictions.jsonl", "metrics.json"


class Settings(Record):
    """Judge, benchmark and protocol of a run, which is resumed with the same `COMPARED` fields and address only.

    `pairs` is the number of queries of the benchmark with these settings, judged or not. `parameters` is the number of
    weights of the model, or None. `limit` is the score from which on a query is anomalous, `command` the one that began
    the run; empty if a program of one's own did. `asked` is how many queries are judged once the last call has ended; 0
    in folders of older versions. `address` is that of the judge's service; empty without one, and in folders of older
    versions. `versions` are those of Python, this package and what it computes with when the run
    began.
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
    limit: float = 0.5
    command: str = ""
    asked: int = 0
    address: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


COMPARED = ("benchmark", "model", "prompt_version", "references", "seed", "kinds", "fingerprint")


class RunMetrics(Metrics):
    """The content of metrics.json.

    `trivial` holds the metrics of constant answers on the same pairs. `explanations` is None without explanations.
    `failed` maps each query without a judgement, which counts as wrong, to its error; `not_judged` counts the invalid
    answers of the others by their reason. `notes` are those of the run, and what was changed in how many pictures.
    `localisation` is None without maps or masks.
    """

    trivial: dict[str, Summary]
    explanations: Explanations | None
    failed: dict[str, str]
    not_judged: dict[str, int] = Field(default_factory=dict)
    localisation: Localisation | None = None
    notes: tuple[str, ...] = ()
    mean_seconds: float
    mean_tokens: float


@dataclass(frozen=True)
class Recorded:
    """The content of a run folder."""

    settings: Settings
    predictions: list[Prediction]


class Run:
    """A judge on a benchmark, in the run folder `out`, which is created or resumed.

    `given` are references that all queries share, in place of drawn ones. `done` is the number of predictions on disk,
    `todo` the remaining pairs. InputError if the folder has other settings (it names the first that differs), holds
    something else, or is used by another process, for a limit below 1, and as `draw_pairs` raises.
    """

    def __init__(
        self,
        out: str | Path,
        judge: Judge,
        benchmark: Benchmark,
        *,
        references: int | None = None,
        seed: int = 0,
        kinds: Sequence[str] | None = None,
        limit: int | None = None,
        given: Sequence[Picture] = (),
    ) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}; give at least 1")
        self.out, self.judge, self.benchmark, self.given = Path(out), judge, benchmark, tuple(given)
        check_own_folder(self.out, "--out", SETTINGS)
        names = [picture.name for picture in given]
        pairs, notes = draw_pairs(benchmark, references=references, seed=seed, kinds=kinds, given=names)
        prepare = getattr(judge, "prepare", None)
        if prepare:
            with own_folder(self.out, "--out"):  # it may keep a file there
                prepare()
        settings = Settings(
            benchmark=benchmark.name,
            fingerprint=benchmark.fingerprint,
            model=judge.name,
            prompt_version=judge.prompt_version,
            references=max(len(pair.references) for pair in pairs),
            seed=seed,
            kinds=tuple(sorted(default_kinds(benchmark.name) if kinds is None else set(kinds))),
            pairs=len(pairs),
            notes=(*judge.notes, *benchmark.notes, *notes),
            parameters=judge.parameters,
            limit=getattr(judge, "limit", 0.5),
            address=getattr(judge, "address", ""),
            command=command_line(),
            versions=installed_versions(PACKAGES),
        )
        with own_folder(self.out, "--out"):
            self.settings = _settle(self.out, settings)
            judged = _judged_queries(self.out)
        unknown = sorted(judged - {pair.query for pair in pairs})
        if unknown:
            raise InputError(
                f"{self.out / PREDICTIONS}: holds lines about pictures that the benchmark has not: "
                f"{listed(list(map(printable, unknown)))}; remove them, or give another --out"
            )
        wanted = pairs if limit is None else limit_pairs(pairs, limit)
        self.todo = [pair for pair in wanted if pair.query not in judged]
        if hasattr(judge, "keep"):
            # A judge that studies references, and has memory for those of a few pairs: pairs that share them follow
            # each other.
            self.todo.sort(key=lambda pair: pair.references)
        self.done = len(judged)
        self._check_references()
        self.labels = {str(pair.label) for pair in wanted}
        self._wanted = [pair.query for pair in wanted]
        self._known: dict[str, _Known] = {}
        self._not_localised: list[str] = []  # why maps are not measured, though there are masks

    def _check_references(self) -> None:
        """InputError if the judge cannot take as many references as its pairs have: all of them would fail."""
        check = getattr(self.judge, "check_references", None)
        if not check or not self.todo:
            return
        references = [*self.given]
        try:
            if not self.given:
                references = [self.benchmark.read(name)[0] for name in self.todo[0].references]
        except ImageError:  # the result of the pair says so
            return
        check(references)

    def changes(self, track: Track = silent) -> list[str]:
        """What reading changes in how many of all queries, in sentences as in `RunMetrics.notes`."""
        return describe_changes(count_changes(self.benchmark.files(self._wanted), track), len(self._wanted))

    def predict(self) -> Iterator[Prediction]:
        """Judge the remaining pairs; each prediction is on the disk before it is yielded.

        InputError if another process uses the folder.
        """
        with lock(self.out, "--out"):
            judged = _judged_queries(self.out)  # an earlier call or another process may have added lines
            todo = [pair for pair in self.todo if pair.query not in judged]
            if self.settings.asked != len(judged) + len(todo):
                self._change_settings(asked=len(judged) + len(todo))
            if judged and todo:
                self._note_versions()
            noted = {*self.settings.notes, *self.judge.notes}
            try:
                for pair, result in run(self.judge, todo, self._read):
                    prediction = self._predict(pair, result)
                    append_record(self.out / PREDICTIONS, prediction)
                    yield prediction
            finally:
                # What a judge behind a service has learned of it meanwhile, such as that another model answers.
                learned = [note for note in self.judge.notes if note not in noted]
                if self._not_localised:
                    learned.append(
                        f"{len(self._not_localised)} maps not measured: {listed(self._not_localised, 3, '; ')}"
                    )
                    self._not_localised = []
                if learned:
                    self._change_settings(notes=(*self.settings.notes, *learned))

    def _note_versions(self) -> None:
        """Note that lines of one run were made with several versions, since their scores may differ a little."""
        began, now = self.settings.versions, installed_versions(PACKAGES)
        changed = [
            f"{name} {version} and {now[name]}" for name, version in began.items() if now.get(name, version) != version
        ]
        note = f"begun and resumed with other versions: {', '.join(changed)}"
        if changed and note not in self.settings.notes:
            self._change_settings(notes=(*self.settings.notes, note))

    def _change_settings(self, **changes: object) -> None:
        self.settings = self.settings.model_copy(update=changes)
        _write_settings(self.out, self.settings)

    def _read(self, pair: Pair) -> PicturePair:
        """The pictures of a pair; its defect and its facts are kept in `_known` until it is judged."""
        defect = self.benchmark.defect(pair.query)
        # Set before the pictures are read: a pair that cannot be read has a line, too.
        self._known[pair.query] = _Known(defect)
        references: list[tuple[Picture, Facts | None]] = [(picture, None) for picture in self.given]
        if not self.given:
            references = [self.benchmark.read(name) for name in pair.references]
        query = self.benchmark.read(pair.query)
        for picture, _ in (*references, query):
            save_thumbnail(self.out / THUMBNAILS, picture)
        facts = tuple(facts for _, facts in (*references, query) if facts is not None)
        if len(facts) == len(references) + 1:
            self._known[pair.query] = _Known(defect, facts)
        return PicturePair(tuple(picture for picture, _ in references), query[0], pair.category or "")

    def _predict(self, pair: Pair, result: Judged | Failure) -> Prediction:
        known = self._known.pop(pair.query)
        pair = pair.model_copy(update={"defect": known.defect})
        if isinstance(result, Judged):
            judgement, query = result.judgement, result.pair.query
            if judgement.heat is not None:
                save_map(self.out / THUMBNAILS, pair.query, judgement.heat)
                self._localise(pair, query, judgement.heat)
            return Prediction(
                pair=pair,
                verdict=result.verdict,
                scored=judgement.score is not None,
                cut_off=judgement.cut_off,
                facts=known.facts,
                size=(query.width, query.height),
            )
        verdict = make_verdict(self.judge, pair.query, pair.references, Judgement("invalid"), seconds=0)
        return Prediction(pair=pair, verdict=verdict, scored=False, error=result.error, facts=known.facts)

    def _localise(self, pair: Pair, query: Picture, heat: NDArray[np.float32]) -> None:
        """Keep what `measure_localisation` needs of a map, if the benchmark knows where the query is anomalous."""
        if not self.benchmark.has_masks:
            return
        try:
            if pair.label == "no":
                truth: GroundTruth | None = GroundTruth(np.zeros((query.height, query.width), bool))
            else:
                truth = self.benchmark.ground_truth(pair.query)
            if truth is not None:
                save_counts(self.out / LOCALISATION, pair.query, count_pixels(heat, truth))
        except (ImageError, InputError) as error:
            self._not_localised.append(f"{printable(pair.query)}: {error}")


@dataclass(frozen=True)
class _Known:
    """What a benchmark knows about a pair: the defect of the query, and the facts of all pictures."""

    defect: str | None
    facts: tuple[Facts, ...] = ()


def _settle(out: Path, settings: Settings) -> Settings:
    """The settings of the folder: written if it is new, otherwise compared with those on disk.

    The caller holds the lock: two runs that begin in one new folder would mix theirs.
    """
    path = out / SETTINGS
    if path.exists():
        recorded = _read_settings(out)
        for field in (*COMPARED, "address"):
            old, new = getattr(recorded, field), getattr(settings, field)
            known = old or field != "address"  # an older version did not record it
            if known and old != new:
                raise InputError(f"{out}: made with {field} {_text(old)}, not {_text(new)}; give another --out")
        return recorded
    if (out / PREDICTIONS).exists():
        raise InputError(f"{out}: contains {PREDICTIONS} without {SETTINGS}; give another --out")
    _write_settings(out, settings)
    return settings


def _write_settings(out: Path, settings: Settings) -> None:
    try:
        write_whole(out / SETTINGS, settings.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--out {describe_write_error(error, out)}") from None


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read_settings(out: Path) -> Settings:
    path = out / SETTINGS
    try:
        return Settings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        mend = suggest_path(out) or "; give the --out folder of an evaluation"
        lacking = f"no {SETTINGS} in it" if out.is_dir() else "no such folder"
        raise InputError(f"{out}: {lacking}{mend}") from None
    except ValidationError as error:
        raise RecordError(f"{path}: {first_problem(error)}; evaluate again with another --out") from None
    except NotADirectoryError:
        raise InputError(f"{out}: a file; give the --out folder of an evaluation") from None


def _read_lines(out: Path) -> list[Prediction]:
    """The predictions of a run folder; RecordError for a line that cannot be read, or for two about one query."""
    path = out / PREDICTIONS
    lines = list(read_records(path, Prediction)) if path.exists() else []
    for query, count in Counter(line.pair.query for line in lines).items():
        if count > 1:
            raise RecordError(f"{path}: holds {count} lines about {printable(query)}; remove all but one")
    return lines


def _judged_queries(out: Path) -> set[str]:
    """The queries with a line, without half a line at the end and those to be asked again, which are removed.

    The caller holds the lock.
    """
    path = own_file(out, PREDICTIONS)
    repair_records(path)
    lines = _read_lines(out)
    kept = [line for line in lines if not line.cut_off]
    if len(kept) < len(lines):
        write_whole(path, "".join(line.model_dump_json() + "\n" for line in kept))
    return {line.pair.query for line in kept}


def read_run(out: str | Path) -> Recorded:
    """Settings and predictions of a run folder; InputError if there are no predictions or a line cannot be read."""
    out = Path(out)
    settings, predictions = _read_settings(out), _read_lines(out)
    if not predictions:
        raise InputError(f"{out}: no predictions yet; run the evaluation first")
    return Recorded(settings, predictions)


def measure_run(
    predictions: Sequence[Prediction], *, folder: str | Path | None = None, resamples: int = RESAMPLES
) -> RunMetrics:
    """All metrics of a run; the order of the lines does not matter. Its maps are measured if `folder` is the run's.

    Raises what `compute_metrics` and `measure_localisation` raise.
    """
    lines = sorted(predictions, key=lambda line: line.pair.query)
    metrics = compute_metrics(lines, resamples=resamples)
    trivial = {}
    for name, constant in trivial_runs(lines).items():
        summary = compute_metrics(constant, resamples=resamples)
        trivial[name] = Summary(pooled=summary.pooled, mean_over_classes=summary.mean_over_classes)
    invalid = [line.verdict for line in lines if line.verdict.answer == "invalid" and not line.error]
    reasons = Counter(verdict.reason.partition(":")[0] or NO_ANSWER for verdict in invalid)
    changes = Counter(note for line in lines for note in line.verdict.notes)
    localisation = None
    if folder is not None:
        localisation = measure_localisation(Path(folder) / LOCALISATION, lines, resamples=resamples)
    return RunMetrics(
        **dict(metrics),
        trivial=trivial,
        explanations=measure_explanations(lines, resamples=resamples),
        failed={line.pair.query: line.error for line in lines if line.error},
        not_judged=dict(reasons.most_common()),
        localisation=localisation,
        notes=tuple(describe_changes(changes, len(lines))),
        mean_seconds=round(sum(line.verdict.seconds for line in lines) / len(lines), 4),
        mean_tokens=round(sum(line.verdict.tokens for line in lines) / len(lines), 1),
    )


def trivial_runs(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """The same pairs as always-yes and always-no answer them."""
    runs: dict[str, list[Prediction]] = {}
    for name, answer, score in (("always-yes", "yes", 1.0), ("always-no", "no", 0.0)):
        runs[name] = []
        for line in predictions:
            verdict = line.verdict.model_copy(update={"answer": answer, "score": score})
            runs[name].append(line.model_copy(update={"verdict": verdict, "scored": True, "error": ""}))
    return runs


def write_metrics(out: str | Path) -> tuple[Recorded, RunMetrics]:
    """Write metrics.json from the predictions and maps of a run folder; returns the run and its metrics."""
    recorded = read_run(out)
    metrics = measure_run(recorded.predictions, folder=out)
    metrics = metrics.model_copy(update={"notes": (*recorded.settings.notes, *metrics.notes)})
    write_whole(Path(out) / METRICS, metrics.model_dump_json(indent=2) + "\n")
    return recorded, metrics
