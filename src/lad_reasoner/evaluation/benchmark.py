"""A benchmark: the pairs to judge, and the pictures and facts behind their names.

    benchmark = open_benchmark("mvtec-loco", "mvtec_loco_anomaly_detection")
    pairs = draw_pairs(benchmark, references=1, seed=0, kinds=("good", "logical"))
    picture, facts = benchmark.look(pairs[0].query)

Queries are the test pictures of the wanted kinds. References are drawn from the good training pictures of the query's
class, for each query anew, by a seed and the query's name: neither the order nor the number of the queries matters. A
source without training pictures (`good/` and `bad/`) lends its other good pictures. Names are relative to the
benchmark's folder, so that runs on two machines can be compared.

`miniloco` without a folder is rendered picture by picture as it is looked at: the same pictures that
`lad-reasoner data miniloco` writes.

Deviations from the paper (section 4.2): it shows one reference and does not say which; here a seed says so.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from lad_reasoner.data.csv_table import VISA
from lad_reasoner.data.layouts import LICENCES, LOCO, MVTEC_AD, find_samples
from lad_reasoner.data.masks import name_defects
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture, printable, read_picture
from lad_reasoner.records import Kind, Pair, Sample

# The name of a benchmark -> the data set of its samples; None takes any.
BENCHMARKS: dict[str, str | None] = {
    "miniloco": "MiniLOCO",
    "mvtec-loco": "MVTec LOCO AD",
    "mvtec-ad": "MVTec AD",
    "visa": "VisA",
    "folder": None,
}
CLASSES = {"MiniLOCO": LOCO, "MVTec LOCO AD": LOCO, "MVTec AD": frozenset(MVTEC_AD), "VisA": VISA}
OTHER = "other"  # the kind of an anomalous picture of which the source does not say what kind it is
KINDS = (*get_args(Kind), OTHER)
PAPERS_KINDS = ("good", "logical")
PAPERS_QUERIES = 1136  # good and logical test pictures of MVTec LOCO AD
RENDERED_PER_KIND = 100  # queries of a class, and references to draw from
KEPT_RENDERED = 256  # pictures: references are drawn more than once

Facts = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Samples by name, in natural order. `notes` say what a reader of the figures should know.

    `look(name)` gives the picture and, where they are known, its facts; it raises `ImageError` for one that cannot be
    read. `defect(name)` names its defects, joined by semicolons; MVTec LOCO AD tells them by the grey values of its
    masks, which are read only then. `fingerprint` changes with the names, labels and sizes of what is judged.
    """

    name: str
    samples: Mapping[str, Sample]
    fingerprint: str
    look: Callable[[str], tuple[Picture, Facts | None]]
    defect: Callable[[str], str | None]
    notes: tuple[str, ...] = ()


def default_kinds(name: str) -> tuple[str, ...]:
    """The paper's protocol for the two benchmarks of logical anomalies, all kinds for the others."""
    return PAPERS_KINDS if name in ("miniloco", "mvtec-loco") else KINDS


def open_benchmark(name: str, root: str | Path | None = None) -> Benchmark:
    """The benchmark of this name (one of `BENCHMARKS`) in a folder, or for `folder` in a CSV file. No picture is read.

    InputError for an unknown name, a missing folder, and one that holds something else; what is only incomplete is said
    in the notes.
    """
    if name not in BENCHMARKS:
        raise InputError(f"{name}: no such benchmark; give one of {', '.join(BENCHMARKS)}")
    if root is None:
        if name != "miniloco":
            raise InputError(f"{name}: give its folder with --root")
        return _rendered()
    source, dataset = find_samples(root), BENCHMARKS[name]
    chosen = [sample for sample in source.samples if dataset in (None, sample.dataset)]
    if not chosen:
        found = ", ".join(sorted({sample.dataset for sample in source.samples}))
        raise InputError(f"{printable(root)}: no {dataset} in it, but {found}; give another --benchmark or --root")
    notes = [f"{len(names)} pictures left out: they {reason}" for reason, names in source.refused.items()]
    if len(chosen) < len(source.samples):
        notes.append(f"{len(source.samples) - len(chosen)} pictures of other data sets left out")
    base = Path(root) if Path(root).is_dir() else Path(root).parent
    samples = {Path(os.path.relpath(sample.image, base)).as_posix(): sample for sample in chosen}
    notes += _missing(dataset, samples)

    def look(name: str) -> tuple[Picture, Facts | None]:
        sample = samples[name]
        return replace(read_picture(sample.image), name=name), sample.facts

    def defect(name: str) -> str | None:
        sample = samples[name]
        if sample.defect or not sample.masks or sample.dataset != "MVTec LOCO AD":
            return sample.defect
        try:
            return ";".join(name_defects(sample))
        except InputError:  # the verdict on the picture needs no name
            return None

    sizes = [Path(sample.image).stat().st_size for sample in chosen]
    return Benchmark(name, samples, _fingerprint(samples, sizes), look, defect, tuple(notes))


def _missing(dataset: str | None, samples: Mapping[str, Sample]) -> list[str]:
    """What a complete copy of a public data set would have."""
    notes = []
    lacking = sorted(CLASSES.get(dataset or "", frozenset()) - {sample.category for sample in samples.values()})
    if lacking:
        notes.append(f"{dataset} is not complete here: no {', '.join(lacking)}")
    # A rendered defect may have nothing to show in a mask.
    public = {name: sample for name, sample in samples.items() if sample.dataset in LICENCES and sample.facts is None}
    bare = [name for name, sample in public.items() if sample.label == "yes" and not sample.masks]
    if bare:
        notes.append(f"{len(bare)} anomalous pictures have no mask (verdicts need none), the first is {bare[0]}")
    unnamed = {
        sample.category
        for sample in samples.values()
        if sample.dataset == "MVTec LOCO AD" and sample.masks and not _config(sample).is_file()
    }
    if unnamed:
        notes.append(f"no defects_config.json for {', '.join(sorted(unnamed))}: their defects are not named")
    return notes


def _config(sample: Sample) -> Path:
    return Path(sample.masks[0]).absolute().parents[3] / "defects_config.json"


def _fingerprint(samples: Mapping[str, Sample], sizes: Sequence[int]) -> str:
    lines = (
        f"{name}\t{sample.category}\t{sample.split}\t{sample.kind}\t{sample.defect}\t{size}\n"
        for (name, sample), size in zip(samples.items(), sizes, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _rendered() -> Benchmark:
    from lad_reasoner.miniloco import EVALUATION, draw_picture
    from lad_reasoner.miniloco.painting.flaws import NAMES
    from lad_reasoner.miniloco.render import product_named
    from lad_reasoner.miniloco.writer import GROUPS

    samples: dict[str, Sample] = {}
    for product in sorted(EVALUATION):
        defects = {"good": (None,), "logical": tuple(product_named(product).defects), "structural": NAMES}
        for split, folder, kind in GROUPS:
            for index in range(RENDERED_PER_KIND if split != "validation" else 0):
                name = f"{product}/{split}/{folder}/{index:03d}.png"
                samples[name] = Sample.model_validate(
                    {
                        "image": name,
                        "dataset": "MiniLOCO",
                        "category": product,
                        "split": split,
                        "kind": kind,
                        "defect": defects[kind][index % len(defects[kind])],
                        "licence": LICENCES["MiniLOCO"],
                    }
                )

    @lru_cache(KEPT_RENDERED)
    def look(name: str) -> tuple[Picture, Facts | None]:
        sample, index = samples[name], int(Path(name).stem)
        assert sample.split
        assert sample.kind
        drawn = draw_picture(sample.category, sample.split, sample.kind, index)
        return Picture(name, drawn.image, drawn.image.width, drawn.image.height), drawn.facts

    return Benchmark(
        "miniloco", samples, _fingerprint(samples, [0] * len(samples)), look, lambda name: samples[name].defect
    )


def draw_pairs(
    benchmark: Benchmark, *, references: int = 1, seed: int = 0, kinds: Sequence[str] | None = None
) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs to judge, in natural order of their queries, and notes on those that there cannot be.

    Of a class that lends its good test pictures as references, good queries without enough others are left out.
    InputError for unknown kinds, a class with fewer good pictures than `references`, and when nothing is left.
    """
    kinds = default_kinds(benchmark.name) if kinds is None else tuple(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"kind {kind!r}: no such kind; give some of {', '.join(KINDS)}, with commas")
    if references < 1:
        raise InputError(f"references is {references}; give at least 1")
    pools = _pools(benchmark)
    pairs, alone = [], []
    for name, sample in benchmark.samples.items():
        if sample.split not in ("test", None) or (sample.kind or OTHER) not in kinds:
            continue
        pool = pools[sample.category]
        if len(pool) < references:
            raise InputError(
                f"{sample.category}: {len(pool)} good pictures to draw {references} references from; "
                "add some to train/good, or give a smaller --references"
            )
        others = [one for one in pool if one != name]
        if len(others) < references:
            alone.append(name)
            continue
        pairs.append(
            Pair(
                references=tuple(random.Random(f"{seed}/{name}").sample(others, references)),
                query=name,
                label=sample.label,
                kind=sample.kind,
                defect=sample.defect,
                category=sample.category,
            )
        )
    if not pairs:
        raise InputError(f"{benchmark.name}: no test picture of the kinds {', '.join(kinds)}; give other --kinds")
    notes = []
    if alone:
        notes.append(f"{len(alone)} good queries left out, because too few other good pictures are there: {alone[0]} …")
    if benchmark.name == "mvtec-loco" and set(kinds) == set(PAPERS_KINDS) and len(pairs) != PAPERS_QUERIES:
        notes.append(f"{len(pairs)} queries, not the {PAPERS_QUERIES:,} of MVTec LOCO AD: not the paper's protocol")
    return pairs, tuple(notes)


def _pools(benchmark: Benchmark) -> dict[str, list[str]]:
    """Class -> the good pictures that references are drawn from."""
    train: dict[str, list[str]] = defaultdict(list)
    rest: dict[str, list[str]] = defaultdict(list)
    for name, sample in benchmark.samples.items():
        if sample.kind == "good" and sample.split != "validation":
            (train if sample.split == "train" else rest)[sample.category].append(name)
    return defaultdict(list, {**rest, **train})


def take(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """The first `limit` pairs when classes and kinds take turns, in their old order; more contain fewer."""
    turns: dict[tuple[str | None, str | None], int] = defaultdict(int)
    order = []
    for at, pair in enumerate(pairs):
        group = pair.category, pair.kind
        order.append((turns[group], at))
        turns[group] += 1
    chosen = sorted(at for _, at in sorted(order)[:limit])
    return [pairs[at] for at in chosen]
