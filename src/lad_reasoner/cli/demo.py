"""The verb `demo`: an inspection of built-in pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lad_reasoner.cli.options import Device, MaxPixels, ReasoningTokens, given_options
from lad_reasoner.errors import MissingExtraError
from lad_reasoner.text import print_shown as print

if TYPE_CHECKING:
    from lad_reasoner.files.pictures import Picture
    from lad_reasoner.report.inspection import InspectionRow


def demo_verb(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for pictures and report.")] = Path("runs/demo"),
    max_pixels: MaxPixels = None,
    device: Device = None,
    reasoning_tokens: ReasoningTokens = None,
) -> None:
    """Inspect built-in pictures and write a report. Their defects are known, so the verdicts are checked."""
    from lad_reasoner.files.whole import check_own_folder, own_folder

    check_own_folder(out, "--out")
    with own_folder(out, "--out"):
        _inspect_parts(out, given_options(max_pixels=max_pixels, device=device, reasoning_tokens=reasoning_tokens))


def _inspect_parts(out: Path, options: dict[str, Any]) -> None:
    from rich.console import Console

    from lad_reasoner.cli.demo_products import PARTS, render_part, summarise
    from lad_reasoner.cli.inspect import record_of
    from lad_reasoner.inspector import Inspector
    from lad_reasoner.judges import load_judge
    from lad_reasoner.report.inspection import inspection_row, write_inspection_page
    from lad_reasoner.report.terminal import VerdictTable, plain

    console = Console()
    rows: list[InspectionRow] = []
    references: list[Picture] = []
    notes: list[str] = []
    results = []
    for part in PARTS:
        try:
            # `evidence` has none of the options.
            judge = load_judge(part.judge, defaults=options)
        except MissingExtraError as error:
            results.append(f"{part.judge}: skipped, {error}")
            continue
        notes += [f"{part.judge}: {note}" for note in judge.notes]
        first = len(rows)
        for product in render_part(part, out / "pictures"):
            heading = plain(f"\n{product.name}", "bold")
            console.print(heading.append(f", judged by {part.judge}: {product.rule}", style="not bold"))
            inspector = Inspector(judge, product.references)
            table = VerdictTable(console)
            results_of_product = inspector.run([query.path for query in product.queries])
            for query, result in zip(product.queries, results_of_product, strict=True):
                table.add(record_of(result), query.truth)
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
