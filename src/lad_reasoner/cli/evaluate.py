"""The verbs that measure: `eval`, `compare`. See cli.py, which they belong to; heavy imports stay inside here too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lad_reasoner.errors import MachineError, MissingExtraError

if TYPE_CHECKING:
    from lad_reasoner.judges.hosted import HostedJudge
    from lad_reasoner.judges.trivial import Predictor

BENCHMARK_NAMES = "miniloco, mvtec-loco, mvtec-ad, visa, or folder (good/ and bad/, or a CSV file)."


def evaluate(
    context: typer.Context,
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
    votes: Annotated[
        int | None,
        typer.Option(min=1, help="Responses that --model samples to each query; the score is the share of yes."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead: always-yes, always-no, random, pixel-difference, colour-histogram, evidence, evidence:NAME "
            "(with that model's vision tower), april-gan, april-gan-zero.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead: scores or answers of any other system, as CSV, JSON or JSON lines."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask --model of an OpenAI-compatible service there, such as http://localhost:8000/v1; its key is read "
            "from LAD_SERVER_KEY.",
        ),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="The service's cost of a million input and of a million output tokens."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Stop when the service was paid this much (needs --prices).")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the service's answers are kept; default: answers.jsonl in --out."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to the service at a time.")] = 8,
    clip: Annotated[str | None, typer.Option(metavar="NAME", help="APRIL-GAN's CLIP: folder or hub name.")] = None,
    layers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="APRIL-GAN's linear layers: its authors' .pth, or safetensors.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Columns of --predictions that are not recognised: image=path,score=anomaly_score,answer=pred,text=…",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="T", help="From which score of --predictions on an image is anomalous; default: 0.5."),
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
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.run import Run, finish
    from lad_reasoner.judges.trivial import JudgePredictor
    from lad_reasoner.report.terminal import show_metrics, track

    if report_only is not None:
        others = [name for name in context.params if name != "report_only" and _was_given(context, name)]
        if others:
            raise typer.BadParameter(f"--report-only takes a run's folder and nothing else; leave out --{others[0]}")
        out = report_only
    elif out is None:
        raise typer.BadParameter("give a folder for the run with --out")
    else:
        april_gan = baseline if (baseline or "").startswith("april-gan") else None
        _check_options(
            model=model,
            baseline=baseline,
            predictions=predictions,
            votes=(votes, None if server else model, "--model, without --server"),
            server=(server, model, "--model"),
            prices=(prices, server, "--server"),
            budget=(budget, server, "--server"),
            cache=(cache, server, "--server"),
            clip=(clip, april_gan, "--baseline april-gan"),
            layers=(layers, april_gan, "--baseline april-gan"),
            columns=(columns, predictions, "--predictions"),
            threshold=(threshold, predictions, "--predictions"),
        )
        opened = open_benchmark(benchmark, root)
        hosted: HostedJudge | None = None
        if predictions is not None:
            from lad_reasoner.evaluation.imported import ImportedPredictions

            predictor: Predictor = ImportedPredictions(predictions, opened, columns=columns, threshold=threshold)
        elif baseline is not None:
            from lad_reasoner.judges.trivial import load_baseline

            predictor = load_baseline(baseline, seed=seed, clip=clip, layers=layers)
        elif server is not None and model is not None:
            hosted = _load_hosted(server, model, cache or out / "answers.jsonl", prices, budget, concurrency)
            predictor = JudgePredictor(hosted)
        else:
            from lad_reasoner.inspector import load_model

            predictor = JudgePredictor(load_model(model or "", votes=votes or 1))
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
        finally:
            if hosted is not None:
                print(hosted.receipt(), file=sys.stderr)
        if baseline == "april-gan":
            from lad_reasoner.judges.april_gan import rescale_run

            print(f"report of the authors' transductive scores: {finish(rescale_run(out))[2]}", file=sys.stderr)
    recorded, metrics, page = finish(out)
    show_metrics(recorded, metrics)
    print(f"report: {page}", file=sys.stderr)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_options(
    *, model: object, baseline: object, predictions: object, **needed: tuple[object, object, str]
) -> None:
    """One of the three, and no option without what it belongs to: name=(value, what it belongs to, that one's name)."""
    if sum(one is not None for one in (model, baseline, predictions)) != 1:
        raise typer.BadParameter("give one of --model, --baseline and --predictions")
    for name, (value, base, called) in needed.items():
        if value is not None and base is None:
            raise typer.BadParameter(f"--{name} belongs to {called}")


def _load_hosted(
    server: str, model: str, cache: Path, prices: str | None, budget: float | None, concurrency: int
) -> HostedJudge:
    from lad_reasoner.judges.hosted import HostedJudge
    from lad_reasoner.remote.prices import parse_prices

    costs = None if prices is None else parse_prices(prices)
    return HostedJudge(server, model, cache=cache, prices=costs, budget=budget, concurrency=concurrency)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of two or more runs of `eval`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables go.")] = Path("runs/comparison"),
    published: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Also rows printed elsewhere, marked: model,class,accuracy,f1 in percent."),
    ] = None,
) -> None:
    """Runs on the same pairs side by side: Table 1 of the paper, McNemar tests, figures, and what each system says."""
    from lad_reasoner.evaluation.comparison import compare_runs, to_markdown, write_comparison
    from lad_reasoner.report.gallery import write_gallery_page
    from lad_reasoner.report.plots import draw_plots

    comparison = compare_runs(runs, published=published)
    write_comparison(out, comparison)
    write_gallery_page(out, comparison)
    print(to_markdown(comparison), end="")
    print(f"tables: {out / 'table1.md'}, table1.csv, table1.tex, mcnemar.csv, gallery.html", file=sys.stderr)
    try:
        figures = draw_plots(out, comparison)
    except MissingExtraError as error:
        print(f"no figures: {error}", file=sys.stderr)
    else:
        print(f"figures: {', '.join(str(path) for path in figures)}", file=sys.stderr)
