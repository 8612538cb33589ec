"""The verbs that measure: `eval`, `report`, `compare`. Heavy imports stay inside the verbs, see app.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lad_reasoner.cli.options import print_receipt, with_judge_options
from lad_reasoner.errors import MachineError, MissingExtraError

BENCHMARK_NAMES = "miniloco, mvtec-loco, mvtec-ad, visa, or folder (good/ and bad/, or a CSV file)."


@with_judge_options
def eval_verb(
    model: str,
    options: dict[str, Any],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder; an unfinished run is resumed.")],
    benchmark: Annotated[str, typer.Option(metavar="NAME", help=BENCHMARK_NAMES)] = "miniloco",
    root: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The benchmark's folder; without it miniloco is rendered."),
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
) -> None:
    """Measure a judge on a benchmark: predictions.jsonl, metrics.json and report.html; resumes where it stopped."""
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run
    from lad_reasoner.judges import load_judge
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.terminal import track

    opened = open_benchmark(benchmark, root)
    defaults = {"seed": seed, "benchmark": opened, "cache": out / "answers.jsonl"}
    judge = load_judge(model, defaults=defaults, **options)
    wanted = None if kinds is None else [kind.strip() for kind in kinds.split(",")]
    run = Run(out, judge, opened, references=references, seed=seed, kinds=wanted, limit=limit)
    if run.done:
        print(f"{out}: {run.done} pairs are there already, {len(run.todo)} to go", file=sys.stderr)
    try:
        for _ in track(run.predict(), len(run.todo), "Judging", beside_results=False):
            pass
    except (MachineError, KeyboardInterrupt):
        print(f"{out}: what was judged is kept; the same command resumes the run", file=sys.stderr)
        raise
    finally:
        print_receipt(judge)
    if judge.name == "april-gan":
        from lad_reasoner.evaluation.transductive import rescale_run

        print(f"report of the authors' transductive scores: {write_evaluation(rescale_run(out))[2]}", file=sys.stderr)
    report_verb(out)


def report_verb(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `eval`.")],
) -> None:
    """Metrics and report of a run, anew from its lines; no judge is asked."""
    from lad_reasoner.report.evaluation import write_evaluation
    from lad_reasoner.report.terminal import show_metrics

    recorded, metrics, page = write_evaluation(run)
    show_metrics(recorded, metrics)
    print(f"report: {page}", file=sys.stderr)


def compare_verb(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of two or more runs of `eval`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("runs/comparison"),
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Also rows printed elsewhere, marked: model,class,accuracy,f1 in percent."),
    ] = None,
) -> None:
    """Runs on the same pairs side by side: Table 1 of the paper, McNemar tests, plots, and what each system says."""
    from lad_reasoner.evaluation.comparison import compare_runs, to_markdown, write_comparison
    from lad_reasoner.report.gallery import write_gallery_page
    from lad_reasoner.report.plots import draw_plots

    comparison = compare_runs(runs, published=published)
    write_comparison(out, comparison)
    write_gallery_page(out, comparison)
    print(to_markdown(comparison), end="")
    print(f"tables: {out / 'table1.md'}, table1.csv, table1.tex, mcnemar.csv, gallery.html", file=sys.stderr)
    try:
        plots = draw_plots(out, comparison)
    except MissingExtraError as error:
        print(f"no figures: {error}", file=sys.stderr)
    else:
        print(f"figures: {', '.join(str(path) for path in plots)}", file=sys.stderr)
