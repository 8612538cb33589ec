"""The verbs of `lad-reasoner data`: render, build, review, check and export data sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lad_reasoner.cli.options import FlagsError
from lad_reasoner.errors import InputError
from lad_reasoner.text import counted, label_counts, listed, nearest_name
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.data.sets.pool import Pool
    from lad_reasoner.data.teachers.teacher import Teacher

ATTEMPTS = 2  # of a teacher at a question in a run
RENDER_FIRST = "Example: lad-reasoner data miniloco m --products training --per-class 5 &&"
Framework = Literal["llama-factory", "easyr1", "ms-swift", "inspect", "lmms-eval", "vlmevalkit", "mmad"]

data = typer.Typer(help="Build, review, check and export data sets.", no_args_is_help=True)

Sources = Annotated[
    list[Path] | None, typer.Argument(metavar="SOURCE", help="Folders or CSV files; their layout is recognised.")
]
MvtecAd = Annotated[Path | None, typer.Option(metavar="DIR", help="MVTec AD, or its DS-MVTec form.")]
Visa = Annotated[Path | None, typer.Option(metavar="DIR", help="VisA, with split_csv/1cls.csv or converted.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the set; an interrupted build is resumed.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of all random draws.")]
MaxPixels = Annotated[
    int | None, typer.Option(min=784, metavar="N", help="Pixel budget of a picture; default: no limit.")
]
Built = Annotated[Path, typer.Argument(metavar="DIR", help="A set built by `data sft` or `data pairs`.")]


@data.command(epilog="Example: lad-reasoner data miniloco data/miniloco --products screw_bag,pushpins --per-class 20")
def miniloco(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the pictures, one folder for each product.")],
    products: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Products with commas between, and `evaluation`, `training`, `free` or `all`."
        ),
    ] = "evaluation",
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Of `free`: products drawn from each of the five families.", show_default="20"
        ),
    ] = None,
    per_class: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of pictures of each kind in each split.")
    ] = 100,
    size: Annotated[int, typer.Option(metavar="N", min=64, max=4096, help="Long side of a picture in pixels.")] = 224,
    seed: Seed = 0,
) -> None:
    """Render MiniLOCO, the built-in benchmark.

    It has MVTec LOCO AD's folder layout, and facts about every picture.

    `free` are not its products but free scenes to train on: each draw of a family is a product with a rule of its own.
    """
    from lad_reasoner.miniloco import EVALUATION, PRODUCTS, TRAINING, count_pictures, write_benchmark
    from lad_reasoner.miniloco.families.free import free_names
    from lad_reasoner.report.terminal import track

    words = _split(products) or ()
    if draws is not None and "free" not in words:
        raise FlagsError("--draws: is about free products; give --products free")
    groups = {"evaluation": EVALUATION, "training": TRAINING, "free": free_names(draws or 20), "all": PRODUCTS}
    for word in words:
        near = nearest_name(word, [*groups, *PRODUCTS])
        if word not in groups and near in groups:
            raise InputError(f"--products {word}: no such product; did you mean {near}?")
    names = list(dict.fromkeys(name for word in words for name in groups.get(word, (word,))))
    records: Iterator[dict[str, Any]] = write_benchmark(out, products=names, per_class=per_class, size=size, seed=seed)
    total = count_pictures(names, per_class=per_class)
    written = sum(1 for _ in track(records, total, "Rendering"))
    print(f"{written} pictures of {listed(names, 20)} in {out}")


@data.command(epilog=f"{RENDER_FIRST} lad-reasoner data sft m --teacher offline --out sft")
def sft(
    out: Out,
    teacher: Annotated[
        str, typer.Option(metavar="URL", help="An OpenAI-compatible service, or `offline`: free, about MiniLOCO only.")
    ],
    sources: Sources = None,
    mvtec_ad: MvtecAd = None,
    visa: Visa = None,
    mmad: Annotated[Path | None, typer.Option(metavar="FILE", help="MMAD's mmad.json, for hints.")] = None,
    knowledge: Annotated[Path | None, typer.Option(metavar="FILE", help="MMAD's domain_knowledge.json.")] = None,
    teacher_model: Annotated[str | None, typer.Option(metavar="NAME", help="Model that the service uses.")] = None,
    prices: Annotated[str | None, typer.Option(metavar="IN,OUT", help="Prices of a million tokens in and out.")] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SUM", min=0, help="Stop once this much is spent (needs --prices).")
    ] = None,
    teacher_attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Answers to a question in one run until one is usable.", show_default=str(ATTEMPTS)
        ),
    ] = None,
    teacher_temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0, help="Sampling temperature; default: the service's.")
    ] = None,
    teacher_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Limit of an answer in tokens; default: the service's.")
    ] = None,
    teacher_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Time limit of one request.", show_default="120"),
    ] = None,
    teacher_patience: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Time limit of a request with its retries.", show_default="300"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that keeps all answers; default: teacher.jsonl in --out.")
    ] = None,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Number of concurrent requests.")] = 8,
    good_share: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of good pictures in the set.")
    ] = 0.1,
    per_picture: Annotated[
        int, typer.Option(metavar="N", min=1, max=5, help="Number of questions about each picture.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the expected cost; ask nothing.")] = False,
    seed: Seed = 0,
) -> None:
    """Build the SFT set: questions that a teacher answers.

    The questions are about test pictures, and the teacher gets hints.
    Takes all anomalous test pictures, and good ones up to --good-share of the set: 2,731 pictures of MVTec AD and VisA,
    as in the paper. The service's key is read from the environment variable LAD_TEACHER_KEY.
    """
    from lad_reasoner.data.mmad import read_mmad
    from lad_reasoner.data.sets.sft import UNANSWERED, build_sft, is_refused, plan_sft
    from lad_reasoner.report.terminal import track

    in_total = _attempts_in_total(out) if teacher_attempts is None else None
    hints = read_mmad(mmad, knowledge)
    settings = None if teacher_temperature is None else {"temperature": teacher_temperature}
    kept = cache or out / "teacher.jsonl"
    answering = _load_teacher(
        teacher,
        {
            "--teacher-model": teacher_model,
            "--prices": prices,
            "--budget": budget,
            "--teacher-attempts": teacher_attempts,
            "--teacher-temperature": settings,
            "--teacher-tokens": teacher_tokens,
            "--teacher-timeout": teacher_timeout,
            "--teacher-patience": teacher_patience,
        },
        cache=kept,
        concurrency=concurrency,
        in_total=in_total,
    )
    pool = _gather(out, sources, mvtec_ad, visa)
    plan = plan_sft(pool, hints, good_share=good_share, per_picture=per_picture, seed=seed, track=track)
    if dry_run:
        estimate = answering.estimate(plan.requests)
        expected = estimate.expected
        cost = "unknown without --prices" if expected.cost is None else f"{expected.cost:.4g}"
        pictures = {asked.item.name for asked in plan.asked}
        _print_refused({reason: len(names) for reason, names in pool.refused.items()})
        print(
            f"{estimate.requests} questions about {len(pictures)} pictures, "
            f"{estimate.on_disk} of them answered on disk; {expected.answers} to ask: about {expected.input_tokens} "
            f"input and {expected.output_tokens} output tokens, cost {cost}"
        )
        return
    try:
        for _ in track(build_sft(out, plan, answering), len(plan.asked), "Asking"):
            pass
    finally:
        if answering.paid.input_tokens or answering.recalled.answers:  # the offline teacher has no bill
            bills = f"paid: {answering.paid.describe()}; already in {kept}: {answering.recalled.describe()}"
            print(f"{answering.name}: {bills}", file=sys.stderr)
    manifest = _print_built(out)
    if not manifest["complete"]:
        more = ", with a larger --budget" if UNANSWERED["budget"] in manifest["refused"] else ""
        unasked = counted(manifest["unasked"], "question")
        verb = "is" if manifest["unasked"] == 1 else "are"
        raise InputError(f"{out}: {unasked} {verb} still to be asked; run the same command again{more}")
    if in_total is not None and any(map(is_refused, manifest["refused"])):
        print(
            "note: questions whose answers an earlier run refused were not asked again; --teacher-attempts N asks them",
            file=sys.stderr,
        )
    if not manifest["records"]:
        raise InputError(f"{out}: no question was answered; the reasons are printed above")


@data.command(epilog=f"{RENDER_FIRST} lad-reasoner data pairs m --out pairs --balanced")
def pairs(
    out: Out,
    sources: Sources = None,
    mvtec_ad: MvtecAd = None,
    visa: Visa = None,
    classes: Annotated[
        str | None, typer.Option(metavar="LIST", help="Classes with commas; default: 8 of MVTec AD, all of your own.")
    ] = None,
    kinds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Of the queries: good, logical, structural, other; default: all.")
    ] = None,
    defects: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Of MVTec AD: number, color, existence, functional; default: all."),
    ] = None,
    references: Annotated[int, typer.Option(min=1, metavar="N", help="Number of good pictures beside each query.")] = 1,
    per_picture: Annotated[int, typer.Option(min=1, metavar="N", help="Number of pairs of each test picture.")] = 1,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Drop pairs until each class has as many good as anomalous ones.")
    ] = False,
    good_good: Annotated[
        bool,
        typer.Option(
            "--good-good", help="Add pairs of good training pictures to classes with more anomalous than good."
        ),
    ] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the query first in about half of the pairs.")] = False,
    allowed: Annotated[
        bool, typer.Option("--allowed", help="Good queries differ from their references in what the rule allows.")
    ] = False,
    hard_from: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Take only what this run of `eval` judged wrongly.")
    ] = None,
    easy_first: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Order the pairs by how right this run of `eval` was.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Build the GRPO pairs: test pictures beside good ones.

    Each is labelled anomalous or good, and stands beside good training pictures of its class.
    Of MVTec AD it takes by default the eight classes whose anomalies are about number, colour, existence or function
    (984 pairs), and prints the reason for each.
    """
    from lad_reasoner.data.sets.pairs import CLASSES, build_pairs, plan_pairs
    from lad_reasoner.report.terminal import track

    plan = plan_pairs(
        _gather(out, sources, mvtec_ad, visa),
        classes=_split(classes),
        kinds=_split(kinds),
        defects=_split(defects),
        references=references,
        per_picture=per_picture,
        balanced=balanced,
        good_good=good_good,
        shuffle=shuffle,
        allowed=allowed,
        hard_from=hard_from,
        easy_first=easy_first,
        seed=seed,
        track=track,
    )
    for _ in track(build_pairs(out, plan), len(plan.pairs), "Pairing"):
        pass
    manifest = _print_built(out, CLASSES)
    if not manifest["records"]:
        raise InputError(f"{out}: holds no pair, since every picture was left out")
    without = [name for name, counts in manifest["classes"].items() if not counts.get("no")]
    if without and not good_good:
        print(
            f"note: no good pair of {listed(without)}: --good-good adds pairs of good training pictures",
            file=sys.stderr,
        )


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


@data.command(epilog="Example: lad-reasoner data review data/sft --sample 200")
def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A built data set; decisions.jsonl is written there.")],
    sample: Annotated[
        int, typer.Option(metavar="N", min=1, help="Size of the sample, spread over classes and labels.")
    ] = 200,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed draws another sample.")] = 0,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port of the page; 0 takes any free port.")
    ] = 8765,
) -> None:
    """Accept, reject or edit answers of a set in the browser. An interrupted review is resumed."""
    from contextlib import suppress

    from lad_reasoner.data.review.page import ReviewServer
    from lad_reasoner.data.review.session import Review
    from lad_reasoner.data.sets.built_set import DECISIONS
    from lad_reasoner.files.whole import lock

    sampled = Review(folder, sample=sample, seed=seed)
    with lock(folder / DECISIONS, "data set"), ReviewServer(sampled, port=port) as server:
        print(f"review: {server.url} (Ctrl-C ends; every decision is saved at once)", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    print(sampled.summary())


@data.command(epilog="Example: lad-reasoner data check data/pairs --benchmark mvtec_loco_anomaly_detection")
def check(
    folder: Built,
    benchmark: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Pictures that must not be in the set; repeatable.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help="Longer records are errors.")] = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Check whether a built set is fit to train on. Exit code 1 if it is not."""
    from lad_reasoner.data.sets.check import check_set
    from lad_reasoner.data.sources import find_samples
    from lad_reasoner.report.terminal import track

    benchmarks = [find_samples(path) for path in benchmark or ()]
    report = check_set(folder, benchmarks=benchmarks, max_tokens=max_tokens, max_pixels=max_pixels, track=track)
    for word, problems in (("error", report.errors), ("warning", report.warnings)):
        for reason, names in problems.items():
            print(f"{word}: {len(names)}: {reason}: {listed(names, separator='; ')}")
    licences = ", ".join(f"{name} ({count})" for name, count in report.summary["licences"].items())
    print(f"licences: {licences}")
    if report.rejected:
        print(f"left out: {counted(report.rejected, 'record')} that the review rejected")
    labels = label_counts(report.summary["labels"])
    verdict = "fit to train on" if report.fit else "NOT fit to train on"
    print(f"{report.summary['records']} records ({labels}), longest about {report.longest} tokens: {verdict}")
    if not report.fit:
        raise typer.Exit(1)


@data.command(epilog="Example: lad-reasoner data export data/sft --to llama-factory --out data/sft-llama-factory")
def export(
    to: Annotated[
        Framework,
        typer.Option(
            metavar="FRAMEWORK",
            help="Trainers: llama-factory, easyr1, ms-swift; harnesses: inspect, lmms-eval, vlmevalkit, mmad.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A set built by `data sft` or `data pairs`; with --benchmark its folder, unless miniloco is rendered.",
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For a harness: the pairs that `eval --benchmark NAME` judges."),
    ] = None,
    references: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of --benchmark: references of each query; 1 unless given.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of --benchmark: at most so many pairs, as in `eval`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Start of the training: folder or hub name. Trainers on pairs need it."),
    ] = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Write a set, or the pairs of a benchmark, for another framework.

    Its settings do not shrink or drop pictures.
    """
    from lad_reasoner.data.sets.export import export_set
    from lad_reasoner.evaluation.benchmark import open_benchmark
    from lad_reasoner.evaluation.pair_export import export_benchmark
    from lad_reasoner.report.terminal import track

    if benchmark is not None:
        if to not in ("inspect", "lmms-eval", "vlmevalkit", "mmad"):
            raise FlagsError(
                f"--to {to}: trains, and nobody trains on a benchmark; give a harness, or leave --benchmark out"
            )
        for flag, value in (("--model", model), ("--max-pixels", max_pixels)):
            if value is not None:
                raise FlagsError(f"{flag}: is for trainers; leave it out with --benchmark")
        if folder is None and benchmark != "miniloco":
            raise InputError(f"{benchmark}: give its folder with DIR")
        opened = open_benchmark(benchmark, folder)
        for note in opened.notes:
            print(f"note: {note}", file=sys.stderr)
        measured = export_benchmark(opened, out, to=to, references=references, limit=limit, track=track)
        print(f"{measured.records} pairs in {out}; start with:\n  {measured.command}")
        return
    for flag, number in (("--references", references), ("--limit", limit)):
        if number is not None:
            raise FlagsError(f"{flag}: is about a benchmark; give --benchmark NAME")
    if folder is None:
        raise FlagsError("DIR: is missing; give a set that `lad-reasoner data` built, or --benchmark NAME")
    written = export_set(folder, out, to=to, model=model, max_pixels=max_pixels, track=track)
    print(f"{written.records} records in {out}; start with:\n  {written.command}")


def _gather(out: Path, sources: list[Path] | None, mvtec_ad: Path | None, visa: Path | None) -> Pool:
    """The samples of all sources; InputError if the set would be written into one of them."""
    from lad_reasoner.data.sets.pool import gather
    from lad_reasoner.data.sources import find_samples
    from lad_reasoner.files.whole import check_outside

    for folder in filter(None, (*(sources or ()), mvtec_ad, visa)):
        check_outside(out, "--out", folder)
    gathered = []
    for flag, name, folder in (("--mvtec-ad", "MVTec AD", mvtec_ad), ("--visa", "VisA", visa)):
        if folder is None:
            continue
        source = find_samples(folder)
        datasets = {sample.dataset for sample in source.samples}
        if datasets != {name}:
            raise InputError(f"{flag} {folder}: holds {', '.join(sorted(datasets))}; give {name}, or leave {flag} out")
        gathered.append(source)
    gathered += [find_samples(folder) for folder in sources or ()]
    if not gathered:
        raise FlagsError("no source is given; give a folder, --mvtec-ad or --visa")
    for note in dict.fromkeys(note for source in gathered for note in source.notes):
        print(f"note: {note}", file=sys.stderr)
    return gather(gathered)


# Flag -> the name of the same option of `RemoteTeacher`.
_TEACHER_OPTIONS = {
    "--budget": "budget",
    "--teacher-attempts": "attempts",
    "--teacher-temperature": "settings",
    "--teacher-tokens": "max_tokens",
    "--teacher-timeout": "timeout",
    "--teacher-patience": "patience",
}


def _attempts_in_total(out: Path) -> int | None:
    """How often a question is asked where answers of earlier runs count; None where they do not.

    Once in a complete set, so that what was refused is not asked again, and `ATTEMPTS` times in an interrupted one. A
    set without a record says nothing: the service may be another by now.
    """
    from lad_reasoner.data.sets.built_set import MANIFEST, METADATA, read_manifest

    if not (out / MANIFEST).is_file() or not (out / METADATA).is_file() or not (out / METADATA).stat().st_size:
        return None
    return 1 if read_manifest(out).get("complete") is True else ATTEMPTS


def _load_teacher(
    name: str, flags: Mapping[str, Any], *, cache: Path, concurrency: int, in_total: int | None
) -> Teacher:
    given = {flag: value for flag, value in flags.items() if value is not None}
    if name == "offline":
        from lad_reasoner.data.teachers.offline import OfflineTeacher

        if given:
            raise FlagsError(f"{next(iter(given))}: has no effect with --teacher offline; leave it out")
        return OfflineTeacher()
    from lad_reasoner.data.teachers.remote import RemoteTeacher
    from lad_reasoner.remote.prices import budget_needs_prices, parse_prices

    if "://" not in name:
        raise InputError(f"--teacher {name}: neither `offline` nor an address such as http://localhost:8000/v1")
    if "--teacher-model" not in given:
        raise FlagsError("--teacher-model is missing; give the model that the service should use")
    if "--budget" in given and "--prices" not in given:
        raise FlagsError(budget_needs_prices("--budget", "--prices"))
    cost = parse_prices(given["--prices"]) if "--prices" in given else None
    options = {option: given[flag] for flag, option in _TEACHER_OPTIONS.items() if flag in given}
    return RemoteTeacher(
        name,
        given["--teacher-model"],
        cache=cache,
        prices=cost,
        concurrency=concurrency,
        in_total=in_total is not None,
        **{"attempts": in_total or ATTEMPTS, **options},
    )


def _print_refused(counts: Mapping[str, int]) -> None:
    for reason, count in counts.items():
        print(f"left out: {count} {reason}", file=sys.stderr)


def _print_built(out: Path, reasons: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Print the classes with their counts, and the refusals; returns the manifest."""
    from rich.console import Console
    from rich.table import Table

    from lad_reasoner.data.sets.built_set import read_manifest
    from lad_reasoner.report.terminal import plain

    manifest = read_manifest(out)
    known = {f"MVTec AD/{category}": reason for category, reason in (reasons or {}).items()}
    explained = known.keys() & manifest["classes"].keys()
    table = Table("class", "anomalous", "good", *(["why"] if explained else []), box=None)
    for name, counts in manifest["classes"].items():
        why = [known.get(name, "")] if explained else []
        table.add_row(plain(name), str(counts.get("yes", 0)), str(counts.get("no", 0)), *why)
    Console().print(table)
    _print_refused({reason: refused["count"] for reason, refused in manifest["refused"].items()})
    for reason, count in manifest.get("answers_refused", {}).items():
        print(f"answers refused: {count} {reason}", file=sys.stderr)
    for name, depth in manifest.get("depths", {}).items():
        print(f"note: {name}: values of {depth} bits in files of 16 became values of 8", file=sys.stderr)
    labels = label_counts(manifest["labels"])
    print(f"{manifest['records']} records ({labels}) in {out}")
    return manifest
