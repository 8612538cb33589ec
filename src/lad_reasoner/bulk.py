"""Bulk inspection on a Ray cluster: a million pictures, one line a query, resumed after a kill.

    opener = partial(open_inspector, "evidence", {}, read_references(["good.png"]))
    bulk = BulkRun("lines", find_queries(["archive/", "s3://bucket/line3/"]).queries, opener, settings)
    for line in bulk.lines("local", workers=2): ...

    OUT/_settings.json       judge, options and references; all lines of a folder have the same
    OUT/part-00000.jsonl     `ResultLine`s, `PART` a file, in the order in which they were judged
    OUT/part-00000.parquet   the same as Parquet, if that is wanted: made of a part that is complete

Ray Data hands units of queries to workers, each of which holds one judge and the references and judges a unit with the
runner. The lines come back to this process, the only one that writes, so that a unit that was judged twice has its
lines once. The pictures must be where every worker can read them: in a folder that all share, or behind an address.

A worker that dies is started again, and its unit is judged again, `RETRIES` times. What is then lost is judged query by
query; a query whose worker dies each time becomes a failure. A query with a line on disk is skipped by the next start.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, get_args, get_origin

from pydantic import ValidationError

from lad_reasoner.errors import ImageError, InputError, LadError, MachineError, RecordError, require
from lad_reasoner.files.archives import ArchiveQuery, TableRow, open_queries, query_name
from lad_reasoner.files.jsonl import append_lines, read_records, repair_records
from lad_reasoner.files.opening import PictureSource
from lad_reasoner.files.pictures import named, read_picture
from lad_reasoner.files.whole import check_own_folder, describe_write_error, lock, own_file, own_folder, write_whole
from lad_reasoner.inspector import Inspector
from lad_reasoner.judge import Judge
from lad_reasoner.judges import load_judge
from lad_reasoner.records import Failure, Record, ResultLine, Tally
from lad_reasoner.runner import Judged
from lad_reasoner.text import first_problem, printable

EXTRA = "ray"
SETTINGS = "_settings.json"  # readers of Parquet pass over a name with such a start
PART = 10_000  # lines of a file
PART_NAME = re.compile(r"part-\d+\.(jsonl|parquet)")
UNIT = 64  # queries that a worker is handed at a time: what a kill loses of each worker
UNITS = 8  # of each worker at least, so that all end at about the same time
RETRIES = 2  # of a unit whose worker died
MOST_LOST = 100  # units: when more are lost it is not the pictures
STALLED = 900  # seconds without a unit: longer than a large model takes to load
STARTS = 2  # tries to start Ray, which gives up early on a busy machine
ARROW: dict[type, str] = {str: "string", bool: "bool", int: "int64", float: "float64"}
ADDRESS = re.compile(r"local|auto|(ray://)?[\w.-]+:\d+|(ray://)?\[[0-9a-f:]+\]:\d+", re.IGNORECASE)


class Inspecting(Protocol):
    """What judges in a worker: an `Inspector` or an opened station."""

    @property
    def judge(self) -> Judge: ...
    def notes(self) -> tuple[str, ...]: ...
    def run(self, queries: Iterable[PictureSource | Failure], /) -> Iterator[Judged | Failure]: ...


class BulkSettings(Record):
    """Judge and references of a bulk run; it can be resumed if they are the same.

    `references` are SHA-256 of the files, `prompt_version` and `notes` are empty until a worker has said them. Notes
    come with each unit, since a judge may learn more as it works. `station` is the name of the one that judges.
    """

    model: str
    station: str = ""
    options: str = ""
    references: tuple[str, ...] = ()
    prompt_version: str = ""
    notes: tuple[str, ...] = ()


def open_inspector(
    model: str, options: Mapping[str, Any], references: Sequence[tuple[str, bytes]], *, evidence: bool = False
) -> Inspector:
    """The inspector of one worker; `references` are names and contents of files."""
    sources = [named(content, name) for name, content in references]
    return Inspector(load_judge(model, evidence=evidence, **options), sources)


def read_references(paths: Iterable[str | Path]) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of files, for `open_inspector`. ImageError if one cannot be read or shows nothing."""
    files = []
    for path in paths:
        if problem := read_picture(path).blank:
            raise ImageError(f"{printable(path)}: {problem}; give a picture of the product")
        files.append((printable(path), Path(path).read_bytes()))
    return tuple(files)


class BulkRun:
    """Queries, judged into the folder `out`, which is created or resumed.

    `opener` makes what judges, in every worker; it is pickled. `parquet` turns complete parts into Parquet. `todo` are
    the queries without a line, `done` counts the others, `tally` all lines by their answer, `repeated` the units that
    were judged again because their worker had died. InputError if the folder has other settings, other files, or is
    used by another process.
    """

    def __init__(
        self,
        out: str | Path,
        queries: Iterable[ArchiveQuery],
        opener: Callable[[], Inspecting],
        settings: BulkSettings,
        *,
        parquet: bool = False,
    ) -> None:
        self.out, self.opener, self.settings, self.parquet = Path(out), opener, settings, parquet
        if parquet:
            require("pyarrow.parquet", EXTRA)
        self.tally = Tally()
        self.repeated = 0
        self._waiting = {query_name(query): query for query in queries}
        check_own_folder(self.out, "--out", SETTINGS)
        with own_folder(self.out, "--out"):
            self._settle()
            judged = self._read_parts()
        self.done = len(judged)
        for name in judged:
            self._waiting.pop(name, None)

    @property
    def todo(self) -> list[ArchiveQuery]:
        """The queries without a line."""
        return list(self._waiting.values())

    def lines(self, address: str = "local", *, workers: int | None = None, gpus: float = 0) -> Iterator[ResultLine]:
        """Judge the remaining queries; each line is on the disk before it is yielded.

        `address` is `local` (a cluster on this machine, which ends with the run), `auto` (the cluster of this machine)
        or `HOST:PORT`. `workers` is the number of judges, by default one for each processor (or each `gpus`) of the
        cluster. InputError if another process uses the folder or a worker cannot use what it was given; MachineError if
        the cluster or the judge fails. What is judged stays.
        """
        with lock(self.out, "--out"):
            if self._waiting:
                with _cluster(address, workers) as ray:
                    pool = _Pool(ray, self.opener, workers or _places(ray, gpus), gpus)
                    yield from self._judge(pool)
            self._finish_parts()

    def _judge(self, pool: _Pool) -> Iterator[ResultLine]:
        yield from self._round(pool, _units(self.todo, unit_size(len(self._waiting), pool.workers)))
        if self._waiting:
            # Their units are lost: one of the queries may have killed the worker each time.
            yield from self._round(pool, _units(self.todo, 1))
        for name in list(self._waiting):
            error = f"{name}: its worker died {RETRIES + 1} times; it may need more memory than a worker has"
            yield from self._write([ResultLine.of(Failure(query=name, error=error, station=self.settings.station))])

    def _round(self, pool: _Pool, units: list[list[ArchiveQuery]]) -> Iterator[ResultLine]:
        for answer in pool.answers(units):
            self._check(answer)
            self.repeated += answer["attempt"] > 1
            yield from self._write([ResultLine.model_validate_json(line) for line in answer["lines"]])

    def _write(self, lines: list[ResultLine]) -> Iterator[ResultLine]:
        new = [line for line in lines if line.query in self._waiting]
        if self._length >= PART:
            self._finish_parts()
        append_lines(self._part, [line.model_dump_json() for line in new])
        self._length += len(new)
        for line in new:
            del self._waiting[line.query]
            self.tally.add(line)
            yield line

    def _settle(self) -> None:
        """Compare the settings with those on disk, or write them; a start that judged nothing binds nobody."""
        path = self.out / SETTINGS
        if path.exists() and not any(part.stat().st_size for part in self._parts()):
            self._save_settings()
            return
        if not path.exists():
            if any(self.out.glob("part-*")):
                raise InputError(f"{self.out}: contains lines without {SETTINGS}; give another --out")
            self._save_settings()
            return
        try:
            recorded = BulkSettings.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RecordError(f"{path}: {first_problem(error)}; give another --out") from None
        for name in ("model", "options", "references"):
            if getattr(recorded, name) != getattr(self.settings, name):
                old = f"model {recorded.model}" if name == "model" else f"other {name}"
                raise InputError(f"{self.out}: made with {old}; give another --out")
        self.settings = recorded

    def _save_settings(self) -> None:
        try:
            write_whole(self.out / SETTINGS, self.settings.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise InputError(f"--out {describe_write_error(error, self.out)}") from None

    def _check(self, answer: dict[str, Any]) -> None:
        """Stop if a worker could not work, or its judge is another one than that of the lines on disk."""
        if "stop" in answer:
            raise InputError(answer["stop"]) if answer["input"] else MachineError(answer["stop"])
        version, notes = answer["prompt_version"], tuple(dict.fromkeys((*self.settings.notes, *answer["notes"])))
        if self.settings.prompt_version not in ("", version):
            raise InputError(
                f"{self.out}: made with prompt_version {self.settings.prompt_version}, not {version}; "
                "give another --out, and the same version of the package to all workers"
            )
        if (version, notes) != (self.settings.prompt_version, self.settings.notes):
            self.settings = self.settings.model_copy(update={"prompt_version": version, "notes": notes})
            self._save_settings()

    def _read_parts(self) -> set[str]:
        """The names of the queries that have a line; half a line at the end is removed."""
        names: Counter[str] = Counter()
        self._number, self._length = 0, 0
        for path in self._parts():
            self._number = int(path.stem.partition("-")[2])
            if path.suffix == ".parquet":
                path.with_suffix(".jsonl").unlink(missing_ok=True)  # killed before that was done
        for path in self._parts():
            if path.suffix == ".parquet":
                lines = [ResultLine.model_validate(row) for row in _read_parquet(path)]
            else:
                repair_records(own_file(self.out, path.name))
                lines = list(read_records(path, ResultLine))
            for line in lines:
                names[line.query] += 1
                self.tally.add(line)
            self._length = PART if path.suffix == ".parquet" else len(lines)
        for name, count in names.items():
            if count > 1:
                raise RecordError(f"{self.out}: holds {count} lines about {name}; remove all but one")
        return set(names)

    def _parts(self) -> list[Path]:
        """The parts on disk, without other files of the user's, such as copies of parts."""
        return sorted(path for path in self.out.glob("part-*.*") if PART_NAME.fullmatch(path.name))

    @property
    def _part(self) -> Path:
        return self.out / f"part-{self._number:05d}.jsonl"

    def _finish_parts(self) -> None:
        """The part is complete: the next line begins another."""
        for path in self._parts() if self.parquet else ():
            if path.suffix == ".parquet":
                continue
            _write_parquet(path.with_suffix(".parquet"), list(read_records(path, ResultLine)))
            path.unlink()
        if self._length:
            self._number, self._length = self._number + 1, 0


def unit_size(queries: int, workers: int) -> int:
    """How many queries a worker is handed at a time: `UNIT`, or fewer where workers would run out of them."""
    return max(1, min(UNIT, queries // (UNITS * workers)))


def _units(queries: Iterable[ArchiveQuery], size: int) -> list[list[ArchiveQuery]]:
    """At most `size` queries each, in order; the rows of a unit are of one group of one table."""
    units: list[list[ArchiveQuery]] = []
    last: object = None
    for query in queries:
        place = (query.table, query.group) if isinstance(query, TableRow) else None
        if not units or len(units[-1]) == size or place != last:
            units.append([])
        units[-1].append(query)
        last = place
    return units


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = require("pyarrow.parquet", EXTRA).read_table(path).to_pylist()
    return rows


def _arrow_type(arrow: ModuleType, annotation: Any) -> Any:
    """The column's type for a field of a record: `tuple[Box, ...] | None` is a list of structures."""
    kinds = [kind for kind in get_args(annotation) if kind not in (type(None), Ellipsis)]
    if get_origin(annotation) is tuple:
        return arrow.list_(_arrow_type(arrow, kinds[0]))
    if get_origin(annotation) is Literal:
        return arrow.string()
    if kinds:  # with None
        return _arrow_type(arrow, kinds[0])
    if issubclass(annotation, Record):
        fields = annotation.model_fields.items()
        return arrow.struct([(name, _arrow_type(arrow, field.annotation)) for name, field in fields])
    return arrow.type_for_alias(ARROW[annotation])


def _write_parquet(path: Path, lines: Sequence[ResultLine]) -> None:
    arrow = require("pyarrow", EXTRA)
    # Told, not found out: a column without values in one file would have another type there.
    schema = arrow.schema(
        [(name, _arrow_type(arrow, field.annotation)) for name, field in ResultLine.model_fields.items()]
    )
    buffer = io.BytesIO()
    table = arrow.Table.from_pylist([line.model_dump() for line in lines], schema=schema)
    require("pyarrow.parquet", EXTRA).write_table(table, buffer)
    write_whole(path, buffer.getvalue())


class _Pool:
    """Workers of a cluster, started for each round."""

    def __init__(self, ray: ModuleType, opener: Callable[[], Inspecting], workers: int, gpus: float) -> None:
        self.ray, self.opener, self.workers, self.gpus = ray, opener, workers, gpus

    def answers(self, units: Sequence[list[ArchiveQuery]]) -> Generator[dict[str, Any]]:
        """The answers of `_Worker`, as they come, without those of lost units. MachineError if too many are lost."""
        data = require("ray.data", EXTRA)
        exceptions = require("ray.exceptions", EXTRA)
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = STALLED
        workers = min(self.workers, len(units))
        counter = self.ray.remote(_Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        lost = 0
        # JSON in ASCII: a name that is not UTF-8 has no Arrow string.
        blocks = data.from_items([{"unit": json.dumps(unit)} for unit in units], override_num_blocks=len(units))
        judged = blocks.map_batches(
            _Worker,
            fn_constructor_args=(self.opener, str(Path.cwd()), _SharedAttempts(counter)),
            batch_size=1,
            compute=data.ActorPoolStrategy(min_size=1, initial_size=workers, max_size=workers),
            num_cpus=0 if self.gpus else 1,
            num_gpus=self.gpus,
        )
        try:
            for batch in judged.iter_batches(batch_size=None, prefetch_batches=0):
                for answer in map(json.loads, batch["answer"]):
                    lost += answer is None
                    if lost > MOST_LOST:
                        raise MachineError(f"workers died while judging {lost} units; they may lack memory")
                    if answer is not None:
                        yield answer
        except (exceptions.RayError, data.exceptions.ExecutionTimeoutError) as error:
            reason = " ".join(str(error).split())[:300]
            raise MachineError(f"the cluster failed ({reason}); the same command goes on where it stopped") from None


class _Attempts:
    """Counts, beside the workers, how often each unit was begun: Ray starts a dead worker and its unit for ever."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def begin(self, unit: str) -> int:
        """Which attempt at this unit it is, from 1."""
        self.counts[unit] += 1
        return self.counts[unit]

    def end(self, unit: str) -> None:
        """Forget the unit."""
        del self.counts[unit]


class _SharedAttempts:
    """`_Attempts` in a process of its own, asked by the workers."""

    def __init__(self, counter: Any) -> None:
        self.counter = counter

    def begin(self, unit: str) -> int:
        """As `_Attempts.begin`."""
        attempt: int = require("ray", EXTRA).get(self.counter.begin.remote(unit))
        return attempt

    def end(self, unit: str) -> None:
        """As `_Attempts.end`."""
        self.counter.end.remote(unit)


class _Worker:
    """Judges units in a process of the cluster; holds the judge and the references."""

    def __init__(self, opener: Callable[[], Inspecting], folder: str, attempts: _Attempts | _SharedAttempts) -> None:
        self.opener, self.folder, self.attempts = opener, folder, attempts
        self.inspector: Inspecting | None = None  # opened with the first unit, which can carry the error back

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        unit = str(batch["unit"][0])
        attempt = self.attempts.begin(unit)
        if attempt > RETRIES + 1:
            return {"answer": ["null"]}
        queries = [each if isinstance(each, str) else TableRow(*each) for each in json.loads(unit)]
        try:
            answer = self._judge(queries)
        except LadError as error:
            answer = {"stop": str(error), "input": isinstance(error, InputError)}
        except Exception as error:  # a fault of the judge: the same in every worker
            answer = {"stop": f"a worker failed: {type(error).__name__}: {error}", "input": False}
        self.attempts.end(unit)
        return {"answer": [json.dumps(answer | {"attempt": attempt})]}

    def _judge(self, queries: Sequence[ArchiveQuery]) -> dict[str, Any]:
        if self.inspector is None:
            if Path(self.folder).is_dir():
                os.chdir(self.folder)  # names are relative to where the command was given
            self.inspector = self.opener()
        lines = []
        for result in self.inspector.run(open_queries(queries)):
            record = result if isinstance(result, Failure) else result.verdict
            lines.append(ResultLine.of(record).model_dump_json())
        return {
            "lines": lines,
            "prompt_version": self.inspector.judge.prompt_version,
            "notes": self.inspector.notes(),
        }


def _places(ray: ModuleType, gpus: float) -> int:
    """How many workers the cluster has room for."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 1)))


@contextmanager
def _cluster(address: str, workers: int | None) -> Iterator[ModuleType]:
    """Connect to the cluster and disconnect at the end; one that this process is connected to already is used."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = require("ray", EXTRA)
    require("ray.data", EXTRA)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters comes as an exception
    if ray.is_initialized():
        yield ray
        return
    _start(ray, address, workers)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: ModuleType, address: str, workers: int | None) -> None:
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options |= {"num_cpus": workers, "include_dashboard": False}
    for attempt in range(STARTS):
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises plain ones
            ray.shutdown()
            if address != "local" or attempt == STARTS - 1:
                reason = " ".join(str(error).split())[:300]
                raise MachineError(f"--ray {address}: Ray did not start or answer ({reason})") from None
        else:
            return
