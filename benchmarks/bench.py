"""All measurements of speed in one run, written to docs/performance.md: what `make bench` does.

    python benchmarks/bench.py                          everything: an hour on two cores
    python benchmarks/bench.py --only machine parts     some sections; the others stay as they are
    python benchmarks/bench.py --quick                  tries every section in a short form, printed only

Times of a shared machine vary: what is compared takes turns, and a number is the median of the rounds with the lowest
and the highest. The limits of the machine, its rate of matrix products and its memory bandwidth, are measured in the
same run; a share says how much of the rate a judge reaches, by the operations that torch counts in one query.

The sections are in bench_evidence.py, bench_micro.py, bench_card.py (a large model on a GPU) and speed.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import speed
import torch
from bench_card import NO_GPU, card
from bench_common import limits, table, words
from bench_evidence import parts, processes, queries, references, start
from bench_micro import engines, micro

from lad_reasoner.files.whole import write_whole
from lad_reasoner.version import __version__

PAGE = Path(__file__).parents[1] / "docs/performance.md"


def machine(quick: bool) -> str:
    """The limits that everything else is compared with."""
    rows = [(name, words(values, 0)) for name, values in limits().items()]
    told = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"{told}\n\n{table(('what', 'rate'), rows)}"


def _of_speed(name: str, quick: int) -> Callable[[bool], str]:
    """A section of speed.py, which prints."""

    def section(is_quick: bool) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            speed.SECTIONS[name](quick if is_quick else speed.NUMBERS[name])
        return printed.getvalue().strip()

    section.__doc__ = speed.SECTIONS[name].__doc__
    return section


QUICK = {"vlm": 10, "flagged": 10, "vision": 1}  # queries or rounds of speed.py's sections
SECTIONS: dict[str, Callable[[bool], str]] = {
    "machine": machine,
    "queries": queries,
    "references": references,
    "processes": processes,
    "parts": parts,
    "start": start,
    "micro": micro,
    **{name: _of_speed(name, QUICK.get(name, 1)) for name in speed.SECTIONS},
    "engines": engines,
    "card": card,
}


HEAD = """# Performance

Written by `make bench` (benchmarks/bench.py). What is compared takes turns in one run; a number is the median
of the rounds, with the lowest and the highest behind it.

"""


def _section(name: str, quick: bool) -> str:
    """The section with its heading, its command, and what else the machine did."""
    load = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    told = (SECTIONS[name].__doc__ or "").partition("\n")[0]
    body = re.sub(r"(?m)^(?!\|.*\n\|)(.+)\n(?=.)", r"\1\n\n", SECTIONS[name](quick))  # a paragraph a line, not a row
    where = f"LAD-Reasoner {__version__}, {platform.system()}, {os.cpu_count()} cores{load}"
    return f"## {name}\n\n{told} `python benchmarks/bench.py --only {name}` ({where})\n\n{body}\n"


def _split(page: str) -> dict[str, str]:
    """The sections of a page by name, as `_section` made them."""
    parts = re.split(r"(?m)^(?=## )", page)[1:]
    return {part[3:].partition("\n")[0]: part.rstrip("\n") + "\n" for part in parts}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections; the others stay on the page")
    parser.add_argument("--quick", action="store_true", help="a short form of each; the page stays as it is")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args(words)
    names = options.only or list(SECTIONS)
    made = _split(options.out.read_text("utf-8")) if options.out.exists() else {}
    for name in names:
        section = _section(name, options.quick)
        print(section, flush=True)
        if name not in made or NO_GPU not in section:  # what a GPU gave stays where there is none
            made[name] = section
    if not options.quick:
        write_whole(options.out, HEAD + "\n".join(made[name] for name in SECTIONS if name in made))
        print(f"written to {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
