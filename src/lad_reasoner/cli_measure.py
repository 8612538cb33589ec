"""The verbs that measure: `eval`, `compare`. See cli.py, which they belong to; heavy imports stay inside here too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lad_reasoner.errors import MachineError, MissingExtraError

if TYPE_CHECKING:
    from lad_reasoner.baselines import Predictor

BENCHMARK_NAMES = "miniloco, mvtec-loco, mvtec-ad, visa, or folder (good/ and bad/, or a CSV file)."


def evaluate(
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the run; one that was begun is gone on with.")
    ] = None,
    benchmark: Annotated[str, typer.Option(metavar="NAME", help=BENCHMARK_NAMES)] = "miniloco",
    root: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The benchmark's folder; without it miniloco is rendered."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A judge, as in `inspect`: evidence, micro, folder or hub name.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead: always-yes, always-no, random, pixel-difference, colour-histogram, evidence.",
        ),
    ] = None,
    references: Annotated[
        int, typer.Option(min=1, help="References of each query, drawn from the good training pictures of its class.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other references.")] = 0,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Queries: good, logical, structural, other, with commas. Default: good,logical for miniloco and "
            "mvtec-loco (the paper's protocol), all for others.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many queries, from all classes and kinds in turn.")
    ] = None,
    report_only: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Ask nothing: figures and report of a run from its lines.")
    ] = None,
) -> None:
    """Measure a judge on a benchmark: predictions.jsonl, metrics.json and report.html; goes on where it stopped."""
    from lad_reasoner.baselines import JudgePredictor, load_baseline
    from lad_reasoner.benchmark import open_benchmark
    from lad_reasoner.console import show_metrics, track
    from lad_reasoner.evaluation import Run, finish

    if report_only is not None:
        if out or model or baseline:
            raise typer.BadParameter("--report-only takes a run's folder, and neither --out, --model nor --baseline")
        out = report_only
    elif out is None:
        raise typer.BadParameter("give a folder for the run with --out")
    elif (model is None) == (baseline is None):
        raise typer.BadParameter("give one of --model and --baseline")
    else:
        opened = open_benchmark(benchmark, root)
        if model is not None:
            from lad_reasoner.inspector import load_model

            predictor: Predictor = JudgePredictor(load_model(model))
        else:
            predictor = load_baseline(baseline or "", seed=seed)
        wanted = None if kinds is None else [kind.strip() for kind in kinds.split(",")]
        run = Run(out, predictor, opened, references=references, seed=seed, kinds=wanted, limit=limit)
        if run.done:
            print(f"{out}: {run.done} pairs are there already, {len(run.todo)} to go", file=sys.stderr)
        try:
            for _ in track(run.predict(), len(run.todo), "Judging", beside_results=False):
                pass
        except (MachineError, KeyboardInterrupt):
            print(f"{out}: what was judged is kept; the same command goes on from there", file=sys.stderr)
            raise
    recorded, metrics, page = finish(out)
    show_metrics(recorded, metrics)
    print(f"report: {page}", file=sys.stderr)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of two or more runs of `eval`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("runs/comparison"),
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Also rows printed elsewhere, marked: model,class,accuracy,f1 in percent."),
    ] = None,
) -> None:
    """Runs on the same pairs side by side: Table 1 of the paper, McNemar tests, figures, and what each system says."""
    from lad_reasoner.comparison import compare_runs, to_markdown, write_comparison
    from lad_reasoner.figures import draw_figures

    comparison = compare_runs(runs, published=published)
    write_comparison(out, comparison)
    print(to_markdown(comparison), end="")
    print(f"tables: {out / 'table1.md'}, table1.csv, table1.tex, mcnemar.csv, gallery.html", file=sys.stderr)
    try:
        figures = draw_figures(out, comparison)
    except MissingExtraError as error:
        print(f"no figures: {error}", file=sys.stderr)
    else:
        print(f"figures: {', '.join(str(path) for path in figures)}", file=sys.stderr)
