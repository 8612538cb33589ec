"""The verbs that measure: `eval`, `report`, `compare`. Heavy imports stay inside the verbs, see app.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli.options import STATION, FlagsError, print_receipt, with_judge_options
from lad_reasoner.errors import InputError, LadError, MachineError, MissingExtraError
from lad_reasoner.text import counted
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.evaluation.comparison import RunComparison
    from lad_reasoner.evaluation.seeds import SeedComparison
    from lad_reasoner.files.pictures import Picture
    from lad_reasoner.judge import Judge

BENCHMARK_NAMES = (
    "miniloco, mvtec-loco, mvtec-ad, visa, folder (good/ and bad/, or a CSV file), or manifest (a list of pairs)."
)

WideTables = Annotated[bool, typer.Option("--wide", help="Print the interval of every value, 140 columns wide.")]


@with_judge_options
def eval_verb(
    model: str,
    options: dict[str, Any],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder; an unfinished run is resumed.")],
    benchmark: Annotated[str, typer.Option(metavar="NAME", help=BENCHMARK_NAMES)] = "miniloco",
    root: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The benchmark's folder or file; without it miniloco is rendered."),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="References of each query, drawn from the good training pictures of its class; 1 unless given.",
        ),
    ] = None,
    references_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fixed references: one name a line, as in predictions.jsonl."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed that draws the references.")] = 0,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Kinds of queries, with commas: good, logical, structural, other. Default: good,logical for miniloco "
            "and mvtec-loco (the paper's protocol), all kinds for the others.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="At most so many queries, taken from all classes and kinds in turn."),
    ] = None,
    wide: WideTables = False,
    station: Annotated[Path | None, STATION] = None,
) -> None:
    """Measure a judge on a benchmark. Writes predictions.jsonl, metrics.json, report.html; resumes where it stopped."""
    from lad_reasoner.evaluation.benchmark import draw_pairs, open_benchmark
    from lad_reasoner.evaluation.run import Run, read_run
    from lad_reasoner.files.whole import check_outside
    from lad_reasoner.judges import load_judge
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.terminal import track

    if root is not None:
        check_outside(out, "--out", root)
    opened = open_benchmark(benchmark, root, references_file=references_file)
    wanted = None if kinds is None else [kind.strip() for kind in kinds.split(",")]
    given: list[Picture] = []
    judge: Judge
    if station:
        from lad_reasoner.service.inspection import OpenStation, StationJudge

        if references is not None:
            raise FlagsError("--station has its own references; leave --references out")
        held = OpenStation(station, options=options)
        # Named as in the station's file, wherever its folder is.
        names = held.station.compared
        given = [replace(picture, name=name) for picture, name in zip(held.references, names, strict=True)]
        pairs, _ = draw_pairs(opened, seed=seed, kinds=wanted, given=names)
        judge = StationJudge(held, [path for path, _ in opened.files(pair.query for pair in pairs)])
    else:
        defaults = {"seed": seed, "benchmark": opened, "cache": out / "answers.jsonl"}
        judge = load_judge(model, defaults=defaults, **options)
    run = Run(out, judge, opened, references=references, seed=seed, kinds=wanted, limit=limit, given=given)
    told = (*run.settings.notes, *run.changes(partial(track, beside_results=False)))
    for note in told:
        print(f"note: {note}", file=sys.stderr)
    if len(run.labels) == 1:
        print(f"note: {_describe_one_label(run.labels)}", file=sys.stderr)
    if run.done:
        judged = run.done + len(run.todo)
        more = "" if limit is None or judged <= limit else f"; the report is of {judged}, as none is taken out of a run"
        print(f"{out}: resumed with {counted(run.done, 'pair')} judged and {len(run.todo)} left{more}", file=sys.stderr)
    try:
        for _ in track(run.predict(), len(run.todo), "Judging", beside_results=False):
            pass
    except (MachineError, KeyboardInterrupt, SystemExit):  # SystemExit: SIGTERM
        print(f"{out}: all verdicts so far are kept; the same command resumes the run", file=sys.stderr)
        _write_unfinished(out)
        raise
    finally:
        print_receipt(judge)
    if judge.name == "april-gan":
        from lad_reasoner.evaluation.transductive import rescale_run

        print(f"report of the authors' transductive scores: {write_evaluation(rescale_run(out))[2]}", file=sys.stderr)
    _report(out, wide=wide, printed=told)
    if all(prediction.verdict.answer == "invalid" for prediction in read_run(out).predictions):
        raise InputError(f"{out}: nothing was judged: no response has a valid answer")
    if len(run.labels) == 1 and limit is None:
        raise InputError(f"{out}: {_describe_one_label(run.labels)}")


def _write_unfinished(out: Path) -> None:
    """The report of what is judged so far, which says that pairs are missing."""
    from lad_reasoner.evaluation.run import PREDICTIONS
    from lad_reasoner.report.evaluation import write_evaluation

    # What stopped the run is what is reported, such as a full disk, not that its report fails, too.
    with suppress(LadError, OSError):
        if (out / PREDICTIONS).exists():
            print(f"report of these: {write_evaluation(out)[2]}", file=sys.stderr)


def _describe_one_label(labels: set[str]) -> str:
    only, other = ("anomalous", "good") if labels == {"yes"} else ("good", "anomalous")
    return f"all queries are {only}, so the figures do not say whether the judge can tell; add {other} pictures"


def report_verb(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `eval`.")],
    wide: WideTables = False,
) -> None:
    """Write metrics and report of a run again. It reads the predictions and needs no judge."""
    _report(run, wide=wide)


def _report(run: Path, *, wide: bool, printed: Sequence[str] = ()) -> None:
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.terminal import show_metrics

    recorded, metrics, page = write_evaluation(run)
    show_metrics(recorded, metrics, wide=wide, printed=printed)
    print(f"report: {page}", file=sys.stderr)


def compare_verb(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Run folders of `eval`: two or more, or one with --published. A folder of run folders, such as one "
            "for each seed, is one row: mean and standard deviation.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the results.")] = Path("runs/comparison"),
    published: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Published results to add, marked: model,class,accuracy,f1 in percent; `paper`: its Table 1.",
        ),
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Print all columns, as in table1.md.")] = False,
) -> None:
    """Compare runs on the same pairs. Writes Table 1 of the paper, McNemar tests, plots, and a gallery of answers."""
    from lad_reasoner.evaluation.comparison import compare_runs, to_markdown, to_narrow, write_comparison
    from lad_reasoner.evaluation.seeds import compare_seeds, holds_runs, seeds_to_markdown, seeds_to_narrow, write_seeds
    from lad_reasoner.files.whole import check_own_folder, own_folder
    from lad_reasoner.report.gallery import write_gallery_page

    check_own_folder(out, "--out", "table1.md", "seeds.md")
    if any(map(holds_runs, runs)):
        over_seeds = compare_seeds(runs, published=published)
        with own_folder(out, "--out"):
            written = write_seeds(out, over_seeds)
            print(seeds_to_markdown(over_seeds) if wide else seeds_to_narrow(over_seeds), end="")
            print(f"tables: {', '.join(map(str, written))}", file=sys.stderr)
            _draw(out, over_seeds)
        return
    comparison = compare_runs(runs, published=published)
    with own_folder(out, "--out"):
        write_comparison(out, comparison)
        write_gallery_page(out, comparison)
        print(to_markdown(comparison) if wide else to_narrow(comparison), end="")
        print(f"tables: {out / 'table1.md'}, table1.csv, table1.tex, mcnemar.csv, gallery.html", file=sys.stderr)
        _draw(out, comparison)


def _draw(out: Path, comparison: RunComparison | SeedComparison) -> None:
    from lad_reasoner.report.plots import draw_plots

    try:
        plots = draw_plots(out, comparison)
    except MissingExtraError as error:
        print(f"no plots: {error}", file=sys.stderr)
    else:
        print(f"plots: {', '.join(str(path) for path in plots)}", file=sys.stderr)
