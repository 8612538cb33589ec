"""The verb `inspect`: compares pictures with known-good ones; a verdict, a place and a reason for each."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli.options import (
    REFERENCE,
    STATION,
    FlagsError,
    exit_by,
    print_receipt,
    with_judge_options,
)
from lad_reasoner.cli.unquoted import describe_taken_queries
from lad_reasoner.errors import InputError
from lad_reasoner.text import counted, listed, shown
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judge import Judge
    from lad_reasoner.records import Failure, ResultLine, Tally, Verdict
    from lad_reasoner.report.inspection import InspectionRow
    from lad_reasoner.runner import Judged
    from lad_reasoner.service.inspection import OpenStation
    from lad_reasoner.service.second_look import SecondLook


VERDICTS = "verdicts.jsonl"
MANY_REFERENCES = 10  # from here on the first verdict takes long enough to say why
ENOUGH_REFERENCES = 4  # from here on they show how much is normal
MANY_JUDGED = 8  # queries: of fewer, most may be anomalous by chance


@with_judge_options
def inspect_verb(
    queries: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY",
            help="Pictures, folders or quoted globs to judge; with --ray also Parquet files, and addresses such as "
            "s3://bucket/folder.",
        ),
    ],
    model: str,
    options: dict[str, Any],
    reference: Annotated[list[str] | None, REFERENCE] = None,
    station: Annotated[Path | None, STATION] = None,
    edge: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of `lad-reasoner export --edge`: references, limit and network."),
    ] = None,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Add the map and boxes of `evidence` to a vision-language model's verdict."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the whole reasoning, not its headline.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One verdict a line, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write report.html and verdicts.jsonl to this folder, replacing earlier ones."
        ),
    ] = None,
    fail_on_anomaly: Annotated[
        bool, typer.Option(help="Exit with code 3 if an anomaly was found, else with 4 if a part is unsure.")
    ] = False,
    second_look: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Judge that is shown crops of what differs when a score is near the limit; its answer decides.",
        ),
    ] = None,
    second_look_server: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of the OpenAI-compatible service of --second-look.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Judge on a Ray cluster: local (this machine), auto, or HOST:PORT. --out gets part-*.jsonl, one line "
            "a query; the same command resumes.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --ray: judges at work; one for each processor unless given."),
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="With --ray: write part-*.parquet.")] = False,
) -> None:
    """Judge pictures against known-good ones. Each gets a verdict, a place and a reason."""
    for wrong, why in (
        (as_json and as_csv, "--json and --csv exclude each other; give one of them"),
        (station and evidence, "--evidence is a field of the station's file; leave it out beside --station"),
        (
            evidence and model == "evidence",
            "evidence already has a map and boxes; --evidence is for another --model",
        ),
        (
            sum(map(bool, (station, reference, edge))) != 1,
            "give known-good pictures with --reference, or --station, or --edge: one of these",
        ),
        (
            edge and (options or model != "evidence" or evidence or ray is not None),
            "--edge has its own judge; leave --model, --evidence, --ray and judge options out",
        ),
        (second_look_server and not second_look, "--second-look-server goes with --second-look; give both"),
        (ray is not None and second_look, "--second-look does not go with --ray; a station's own second look does"),
        (ray is None and (workers or parquet), "--workers and --parquet go with --ray; give it, or leave them out"),
        (
            ray is not None and (as_json or as_csv or verbose or out is None),
            "--ray writes lines into a folder: give --out, and no --json, --csv or --verbose",
        ),
    ):
        if wrong:
            raise FlagsError(why)
    if ray is not None and out is not None:
        from lad_reasoner.cli.bulk import inspect_on_cluster

        inspect_on_cluster(
            queries,
            out,
            address=ray,
            workers=workers,
            parquet=parquet,
            station=station,
            reference=reference or [],
            model=model,
            options=options,
            evidence=evidence,
            fail_on_anomaly=fail_on_anomaly,
        )
        return
    from lad_reasoner.files.walk import describe_passed_over, find_pictures
    from lad_reasoner.files.whole import check_own_folder
    from lad_reasoner.report.terminal import VerdictTable

    if out is not None:
        check_own_folder(out, "--out", VERDICTS)
    passed_over: list[Path] = []
    files = _find_queries(queries, passed_over)
    inspector: Inspector | OpenStation
    repeated = locked = ""
    if station:
        inspector = _open_station(station, options)
        locked = inspector.why_locked()
    elif edge:
        from lad_reasoner.service.edge import open_edge

        inspector = open_edge(edge)
    else:
        references = find_pictures(reference or [], passed_over)
        inspector = _open_references(references, model, options, evidence=evidence)
        repeated = _describe_repeated(files, references) or describe_taken_queries(queries, references)
    second = _load_second_look(inspector, second_look, second_look_server)
    with _Output(out, inspector) as output:
        output.notes += inspector.notes()
        if second is not None:
            output.notes += second.notes(inspector.references)
        output.notes += filter(None, [describe_passed_over(passed_over), repeated])
        expected = _announce(inspector, files, output.notes, locked)
        show: Callable[[Verdict | Failure], None]
        if as_json:
            show = _JsonPrinter(output.notes)
        elif as_csv:
            show = _CsvPrinter()
        else:
            show = VerdictTable(verbose=verbose, said=[locked]).add
        try:
            tally = _judge(inspector, files, second, output, show, expected)
        finally:  # also of a run that is stopped: what it asked for is paid
            print_receipt(inspector.judge)
            looks_again = second or getattr(inspector, "second", None)
            if looks_again is not None:
                print_receipt(looks_again.judge, "second look: ")
    invalid = tally.answers["invalid"]
    if not as_json and not as_csv:
        print(f"{tally} ({invalid} without a valid answer)" if invalid else str(tally))
    if invalid:
        why = "; ".join(tally.name_reasons())
        print(f"{invalid} of {len(files)} queries were not judged: no valid answer ({why})", file=sys.stderr)
    exit_by(tally, fail_on_anomaly=fail_on_anomaly)


def _announce(inspector: Inspector | OpenStation, files: list[Any], notes: list[str], locked: str) -> Counter[str]:
    """Print the notes, after those on what reading will change in the queries; returns these changes."""
    from lad_reasoner.files.changes import count_changes, describe_changes
    from lad_reasoner.report.terminal import track

    readable = [(file, inspector.depth) for file in files if isinstance(file, Path)]
    expected = count_changes(readable, partial(track, beside_results=False))
    notes += describe_changes(expected, len(files))
    if locked:
        notes.append(f"{counted(len(files), 'picture')} not judged: {locked}")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return expected


def _judge(
    inspector: Inspector | OpenStation,
    files: list[Any],
    second: SecondLook | None,
    output: _Output,
    show: Callable[[Verdict | Failure], None],
    expected: Counter[str],
) -> Tally:
    """Judge the files; each result is kept, then shown. Changes that were not `expected` are told at the end."""
    from lad_reasoner.files.changes import describe_changes
    from lad_reasoner.quality import lies_across
    from lad_reasoner.records import ResultLine, Tally
    from lad_reasoner.report.terminal import track
    from lad_reasoner.runner import Judged

    tally = Tally()
    changed: Counter[str] = Counter()
    across: list[str] = []
    for result in track(inspector.run(files), len(files), "Inspecting"):
        if second is not None and isinstance(result, Judged):
            result = second.look(result, limit=0.5)
        record = record_of(result)
        line = ResultLine.of(record, output.notes)
        output.add(result, line)  # first, so that it is kept even if stdout was closed
        show(record)
        tally.add(line)
        if isinstance(result, Judged):
            changed.update(result.pair.query.notes)
            if lies_across(result.pair):
                across.append(record.query)
    # Files that became others while they were judged.
    unexpected = {note: number for note, number in changed.items() if note not in expected}
    few = _describe_few_references(inspector, tally)
    for note in [*describe_changes(unexpected, len(files)), *_describe_across(across), *few]:
        output.notes.append(note)
        print(f"note: {note}", file=sys.stderr)
    return tally


def _describe_across(names: list[str]) -> list[str]:
    """A note on queries that lie across; none if there are none."""
    if not names:
        return []
    lie = "query lies" if len(names) == 1 else "queries lie"
    where = listed([shown(name) for name in names])
    return [f"{len(names)} {lie} across, landscape beside portrait or the other way round: turn by a quarter: {where}"]


def _describe_few_references(inspector: Inspector | OpenStation, tally: Tally) -> list[str]:
    """A note where most queries are anomalous and what is normal was guessed; not of a station, which measured it."""
    number, anomalous = len(inspector.references), tally.answers["yes"]
    judged = tally.answers.total() - tally.missing
    guesses = inspector.judge.name.partition(":")[0] == "evidence" and not hasattr(inspector, "station")
    if not guesses or number >= ENOUGH_REFERENCES or judged < MANY_JUDGED or 2 * anomalous <= judged:
        return []
    references = counted(number, "reference")
    return [
        f"{anomalous} of {judged} queries are anomalous by {references}: how much is normal is guessed from so few; "
        f"where good ones are among them, give {ENOUGH_REFERENCES} references or more"
    ]


def _open_references(references: list[Path], model: str, options: dict[str, Any], *, evidence: bool) -> Inspector:
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judges import load_judge

    inspector = Inspector(load_judge(model, evidence=evidence, **options), references)
    _announce_study(inspector)
    return inspector


def _open_station(station: Path, options: dict[str, Any]) -> OpenStation:
    from lad_reasoner.service.inspection import OpenStation, load_station_judge
    from lad_reasoner.service.station import Station

    judge = load_station_judge(Station.load(station), options)
    _show_study(judge)  # of references whose study is not kept in the station yet
    return OpenStation(station, judge)


def _announce_study(inspector: Inspector) -> None:
    """Of many references: a bar while they are studied, or a line where stderr is no terminal.

    Nothing of a judge that studies none: it reads them with the first query, or refuses them.
    """
    studies = hasattr(inspector.judge, "show_progress")
    if studies and len(inspector.references) >= MANY_REFERENCES and not _show_study(inspector.judge):
        print(f"studying {counted(len(inspector.references), 'reference')}", file=sys.stderr)


def _show_study(judge: Judge) -> bool:
    """Whether the judge will show a bar while it studies references."""
    from lad_reasoner.report.terminal import track

    show_progress = getattr(judge, "show_progress", None)
    if show_progress is None or not sys.stderr.isatty():
        return False
    show_progress(partial(track, beside_results=False))
    return True


def _load_second_look(inspector: Inspector | OpenStation, name: str | None, server: str | None) -> SecondLook | None:
    """The second look at verdicts without a station; a station gets it in place of its own."""
    if name is None:
        return None
    from lad_reasoner.judges import load_judge
    from lad_reasoner.service.second_look import SecondLook

    second = SecondLook(load_judge(name, server=server))
    if not hasattr(inspector, "second"):
        return second
    inspector.second = second
    return None


def record_of(result: Judged | Failure) -> Verdict | Failure:
    """The record of a result, which is written and shown."""
    return result.verdict if hasattr(result, "verdict") else result


def _find_queries(sources: list[str], passed_over: list[Path]) -> list[Any]:
    """The files of all sources; a source without files becomes a `Failure` in its place."""
    from lad_reasoner.files.walk import find_pictures
    from lad_reasoner.records import Failure
    from lad_reasoner.text import printable

    queries: list[Any] = []
    for source in sources:
        try:
            queries += find_pictures([source], passed_over)
        except InputError as error:
            queries.append(Failure(query=printable(source), error=str(error)))
    return queries


def _describe_repeated(queries: list[Any], references: list[Path]) -> str:
    """Queries that are among the references; empty if there are none."""
    # Not Path.resolve, which raises for a link to itself.
    known = set(map(os.path.realpath, references))
    repeated = sum(isinstance(query, Path) and os.path.realpath(query) in known for query in queries)
    if not repeated:
        return ""
    return f"{repeated} of {len(queries)} queries are references too: such a verdict compares a picture with itself"


class _JsonPrinter:
    """A line for each query, with the notes of the whole run in each."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = tuple(notes)

    def __call__(self, record: Verdict | Failure) -> None:
        from lad_reasoner.records import ResultLine

        print(ResultLine.of(record, self.notes).model_dump_json(), flush=True)


class _CsvPrinter:
    """A header, then one line for each query; boxes are x:y:width:height, with blanks between; references have `;`."""

    COLUMNS = (
        *("query", "anomalous", "score", "outcome", "p_value", "headline", "reasoning", "boxes", "boxes_from"),
        "broken_rules",
        *("references", "answer", "reason", "model", "prompt_version", "tokens", "seconds", "error"),
    )

    def __init__(self) -> None:
        self._write(dict(zip(self.COLUMNS, self.COLUMNS, strict=True)))

    def __call__(self, record: Any) -> None:
        from lad_reasoner.records import ResultLine

        values = ResultLine.of(record).model_dump()
        boxes = values["boxes"] or ()
        values["boxes"] = " ".join(f"{b['x']}:{b['y']}:{b['width']}:{b['height']}" for b in boxes)
        rules = values["checks"] or ()
        values["broken_rules"] = ";".join(rule["rule"] for rule in rules if rule["holds"] is False)
        values["references"] = ";".join(values["references"] or ())
        self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        from lad_reasoner.files.tables import format_table_row

        print(format_table_row(values.get(column) for column in self.COLUMNS), end="", flush=True)


class _Output:
    """`--out`: each verdict is appended at once; the report is written at the end, also of an interrupted run."""

    def __init__(self, folder: Path | None, inspector: Inspector | OpenStation) -> None:
        self.folder, self.inspector = folder, inspector
        self._held = ExitStack()  # the folder's lock
        self.rows: list[InspectionRow] = []
        self.notes: list[str] = []

    def __enter__(self) -> _Output:
        if self.folder is not None:
            from lad_reasoner.files.whole import own_folder, write_whole

            self._held.enter_context(own_folder(self.folder, "--out"))
            write_whole(self.folder / VERDICTS, "")
        return self

    def add(self, result: Judged | Failure, line: ResultLine) -> None:
        if self.folder is not None:
            from lad_reasoner.files.jsonl import append_record
            from lad_reasoner.report.inspection import inspection_row

            append_record(self.folder / VERDICTS, line)
            self.rows.append(inspection_row(result))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.folder is not None:
            if kind is not None:
                queries = "the query" if len(self.rows) == 1 else f"the {len(self.rows)} queries"
                self.notes.append(f"interrupted: this report has {queries} that came before")
            # What a judge behind a service has learned of it meanwhile, such as that another model answers.
            self.notes += [note for note in self.inspector.judge.notes if note not in self.notes]
            from lad_reasoner.report.inspection import write_inspection_page

            with self._held:
                station = getattr(self.inspector, "station", None)
                limits = {"limit": station.limit, "unsure_from": station.unsure_from} if station else {}
                path = write_inspection_page(
                    self.folder,
                    self.rows,
                    self.inspector.references,
                    title="Inspection",
                    notes=self.notes,
                    **{name: limit for name, limit in limits.items() if limit is not None},
                )
            print(f"report: {path}", file=sys.stderr)
