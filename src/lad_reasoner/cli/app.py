"""The command line: verb -> function. Heavy imports stay inside the verbs, so that `--help` answers at once.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 the input or the machine is at fault (one line, no
traceback), 2 wrong usage, 3 all done and an anomaly was found (only with --fail-on-anomaly).
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli import evaluate as cli_measure
from lad_reasoner.cli.data import data
from lad_reasoner.cli.train import train
from lad_reasoner.errors import InputError, LadError, MissingExtraError

if TYPE_CHECKING:
    from lad_reasoner.files.pictures import Picture
    from lad_reasoner.inspector import Examination, Inspector
    from lad_reasoner.records import Failure
    from lad_reasoner.report.inspection import InspectionRow

EXIT_INPUT, EXIT_ANOMALY = 1, 3

app = typer.Typer(
    help="Logical anomaly detection that reasons in plain words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(train, name="train")
app.command("eval", epilog="Example: lad-reasoner eval --benchmark miniloco --baseline random --limit 20 --out runs/r")(
    cli_measure.evaluate
)
app.command(epilog="Example: lad-reasoner compare runs/random runs/pixels --out runs/comparison")(cli_measure.compare)


def main() -> None:
    """Entry point of `lad-reasoner`: every expected error becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # some terminals cannot show a █
    try:
        app()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lad-reasoner: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except LadError as error:
        print(f"lad-reasoner: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def _show_version(wanted: bool) -> None:
    if wanted:
        from lad_reasoner import __version__

        print(f"lad-reasoner {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Example: lad-reasoner inspect --reference good.png --out report/ query1.png query2.png folder/",
)
def inspect(
    queries: Annotated[
        list[str], typer.Argument(metavar="QUERY...", help="Pictures, folders or quoted globs to judge.")
    ],
    reference: Annotated[
        list[str],
        typer.Option("--reference", "-r", metavar="REF", help="Known-good picture, folder or quoted glob; repeatable."),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="`evidence`, `micro` (both built in), or a vision-language model: folder or hub name."
        ),
    ] = "evidence",
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask --model of an OpenAI-compatible service there, such as http://localhost:8000/v1; its key is read "
            "from LAD_SERVER_KEY, its answers are kept.",
        ),
    ] = None,
    votes: Annotated[
        int, typer.Option(min=1, help="Responses that a vision-language model samples; the score is the share of yes.")
    ] = 1,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Add the map and boxes of `evidence` to a vision-language model's verdict."),
    ] = False,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Vision model (hub name or folder) that evidence uses instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One verdict a line, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a header.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write report.html and verdicts.jsonl there (replaces an earlier run's)."
        ),
    ] = None,
    fail_on_anomaly: Annotated[bool, typer.Option(help="Exit with 3 when an anomaly was found.")] = False,
) -> None:
    """Judge pictures against known-good ones: verdict, place and reason for each."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if evidence and model == "evidence":
        raise typer.BadParameter("--evidence is for another --model; evidence has its map and boxes already")
    from lad_reasoner.files.pictures import find_pictures
    from lad_reasoner.inspector import Inspector, load_model

    wanted = _find_queries(queries)
    judge: Any = load_model(model, server=server, backbone=backbone, evidence=evidence, votes=votes)
    inspector = Inspector(judge, find_pictures(reference))
    failed = anomalous = 0
    with _Output(out, inspector) as output:
        for note in inspector.judge.notes:
            print(f"note: {note}", file=sys.stderr)
        from lad_reasoner.report.terminal import VerdictTable, track

        show = _print_json if as_json else _CsvPrinter() if as_csv else VerdictTable().add
        for result in track(inspector.examine_many(wanted), len(wanted), "Inspecting"):
            record = _record(result)
            output.add(result)  # first: what was judged is kept even when nobody reads on
            show(record)
            failed += hasattr(record, "error")
            anomalous += getattr(record, "anomalous", False)
    if server is not None:
        print(getattr(judge, "judge", judge).receipt(), file=sys.stderr)  # --evidence wraps it
    if not as_json and not as_csv:
        print(f"{len(wanted) - failed} judged, {anomalous} anomalous, {failed} not judged")
    if failed:
        raise typer.Exit(EXIT_INPUT)
    if anomalous and fail_on_anomaly:
        raise typer.Exit(EXIT_ANOMALY)


def _find_queries(sources: list[str]) -> list[Any]:
    """The files that the sources name; a source that names none becomes a `Failure` in its place."""
    from lad_reasoner.files.pictures import find_pictures
    from lad_reasoner.records import Failure
    from lad_reasoner.text import printable

    found: list[Any] = []
    for source in sources:
        try:
            found += find_pictures([source])
        except InputError as error:
            found.append(Failure(query=printable(source), error=str(error)))
    return found


def _record(result: Any) -> Any:
    return getattr(result, "verdict", result)


def _print_json(record: Any) -> None:
    print(record.model_dump_json(), flush=True)


class _CsvPrinter:
    """A header, then a line a verdict; boxes as x:y:width:height separated by blanks."""

    COLUMNS = ("query", "answer", "score", "boxes", "boxes_from", "reasoning", "model", "seconds", "error")

    def __init__(self) -> None:
        import csv

        self.writer = csv.DictWriter(sys.stdout, self.COLUMNS, extrasaction="ignore", lineterminator="\n")
        self.writer.writeheader()

    def __call__(self, record: Any) -> None:
        values = record.model_dump()
        values["boxes"] = " ".join(f"{b['x']}:{b['y']}:{b['width']}:{b['height']}" for b in values.get("boxes", ()))
        self.writer.writerow(values)
        sys.stdout.flush()


class _Output:
    """`--out`: verdicts are appended as they come; the report is written at the end, even of an interrupted run."""

    def __init__(self, folder: Path | None, inspector: Inspector) -> None:
        self.folder, self.inspector = folder, inspector
        self.rows: list[InspectionRow] = []

    def __enter__(self) -> _Output:
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "verdicts.jsonl").write_text("")
            except OSError as error:
                raise InputError(
                    f"--out {self.folder}: {error.strerror}; choose a folder that can be written"
                ) from None
        return self

    def add(self, result: Examination | Failure) -> None:
        if self.folder is not None:
            from lad_reasoner.files.jsonl import append_record
            from lad_reasoner.report.inspection import inspection_row

            append_record(self.folder / "verdicts.jsonl", _record(result))
            self.rows.append(inspection_row(result))

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            from lad_reasoner.report.inspection import write_inspection_page

            references, notes = self.inspector.references, self.inspector.judge.notes
            path = write_inspection_page(self.folder, self.rows, references, title="Inspection", notes=notes)
            print(f"report: {path}", file=sys.stderr)


@app.command(epilog="Example: lad-reasoner demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where pictures and the report go.")] = Path("runs/demo"),
) -> None:
    """The main job on built-in pictures: renders products with known defects, judges them, writes a report."""
    from rich.console import Console

    from lad_reasoner.cli.demo import PARTS, render_part, summarise
    from lad_reasoner.inspector import Inspector, load_model
    from lad_reasoner.report.inspection import inspection_row, write_inspection_page
    from lad_reasoner.report.terminal import VerdictTable

    console = Console()
    rows: list[InspectionRow] = []
    references: list[Picture] = []
    notes: list[str] = []
    results = []
    for part in PARTS:
        try:
            judge = load_model(part.judge)
        except MissingExtraError as error:
            results.append(f"{part.judge}: left out, {error}")
            continue
        notes += [f"{part.judge}: {note}" for note in judge.notes]
        first = len(rows)
        for product in render_part(part, out / "pictures"):
            console.print(f"\n[bold]{product.name}[/bold], judged by {part.judge}: {product.rule}", highlight=False)
            inspector = Inspector(judge, product.references)
            table = VerdictTable(console)
            examined = inspector.examine_many([query.path for query in product.queries])
            for query, result in zip(product.queries, examined, strict=True):
                table.add(_record(result), query.truth)
                rows.append(inspection_row(result, kind=query.kind, truth=query.truth, reference=len(references)))
            references += inspector.references
        results.append(f"{part.judge}: {summarise(rows[first:])}")
    path = write_inspection_page(out, rows, references, title="LAD-Reasoner demo", notes=notes)
    print("\n" + "\n".join(results))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"report: {path}\n\n"
        "Next, your own pictures:\n"
        "  lad-reasoner inspect --reference good.png query.png\n"
        "  lad-reasoner inspect --reference good_folder/ --out report/ query_folder/"
    )
