"""The pairs of a benchmark in the form that an evaluation harness reads.

    export_benchmark(open_benchmark("miniloco"), "out", to="lmms-eval", limit=200)

They are those that `eval` judges: the same queries, and the same references by the same seed. Sets to train on never
hold them; data/sets/export.py writes those for a harness, in the same files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from lad_reasoner.data.sets.built_set import Entry, names_outside, put_file
from lad_reasoner.data.sets.export import Exported
from lad_reasoner.data.sets.harnesses import check_for_harness, write_for_harness
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import Benchmark, draw_pairs, limit_pairs
from lad_reasoner.files.pictures import encode_picture
from lad_reasoner.files.walk import HEIC_SUFFIXES, SUFFIXES
from lad_reasoner.files.whole import check_new_folder, new_folder, write_whole
from lad_reasoner.progress import Track, silent
from lad_reasoner.prompts import PROMPT_VERSION
from lad_reasoner.records import Pair
from lad_reasoner.text import printable


def export_benchmark(
    benchmark: Benchmark,
    out: str | Path,
    *,
    to: Literal["inspect", "lmms-eval", "vlmevalkit", "mmad"],
    references: int | None = None,
    limit: int | None = None,
    track: Track = silent,
) -> Exported:
    """Write pairs and pictures to `out`, which must be new or empty, or left by the same call before it was killed.

    The options are those of `eval`. InputError for a picture that cannot be read, and for names that lead out of the
    benchmark's folder or are those of no picture.
    """
    out = Path(out).absolute()
    pairs, _ = draw_pairs(benchmark, references=references)
    if limit is not None:
        pairs = limit_pairs(pairs, limit)
    entries = [_entry(benchmark, pair) for pair in pairs]
    check_for_harness(entries, to)
    for entry in entries:
        wrong = [name for name in entry.images_file_names if Path(name).suffix.lower() not in SUFFIXES]
        for name in (*names_outside(entry, out), *wrong):
            raise InputError(f"{printable(name)}: lies outside of the benchmark, or has no picture's suffix; rename it")
        for name in entry.images_file_names:
            if Path(name).suffix.lower() in HEIC_SUFFIXES:
                raise InputError(f"{printable(name)}: other programs do not open HEIC; save it as JPEG or PNG")
    work = hashlib.sha256(f"{to} {benchmark.fingerprint} {pairs}".encode("utf-8", "backslashreplace")).hexdigest()
    check_new_folder(out, "--out", work)
    names = list(dict.fromkeys(name for entry in entries for name in entry.images_file_names))
    with new_folder(out, "--out", work):
        for name in track(names, len(names), "Writing pictures"):
            picture, _ = benchmark.read(name)  # also a check of one that lies on the disk
            files = benchmark.files([name])
            for path, _ in files:
                put_file(Path(path), out / name)
            if not files:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                write_whole(out / name, encode_picture(picture.image))
        return Exported(len(entries), write_for_harness(out, entries, to))


def _entry(benchmark: Benchmark, pair: Pair) -> Entry:
    sample = benchmark.samples[pair.query]
    return Entry(
        id=pair.query,
        images_file_names=(*pair.references, pair.query),
        messages=[],
        task="pair",
        query=len(pair.references),
        label=sample.label,
        kind=pair.kind,
        dataset=sample.dataset,
        category=sample.category,
        defect=pair.defect,
        source=pair.query,
        licence=sample.licence,
        prompt_version=PROMPT_VERSION,
    )
