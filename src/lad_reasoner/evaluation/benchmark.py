"""A benchmark: the pairs to judge, and the pictures and facts behind their names.

    benchmark = open_benchmark("mvtec-loco", "mvtec_loco_anomaly_detection")
    pairs, notes = draw_pairs(benchmark, references=1, seed=0, kinds=("good", "logical"))
    picture, facts = benchmark.read(pairs[0].query)

Queries are the test pictures of the wanted kinds. References are drawn from the good training pictures of the query's
class, for each query anew, by a seed and the query's name: neither the order nor the number of the queries matters. A
source without training pictures (`good/` and `bad/`) lends its other good pictures. Names are relative to the
benchmark's folder, so that runs on two machines can be compared.

`miniloco` without a folder renders each picture when it is read: the same pictures that `lad-reasoner data miniloco`
writes.

Deviations from the paper (section 5.1): it shows one reference and does not say which; here a seed decides.
"""

from __future__ import annotations

import hashlib
import os
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lad_reasoner.data.masks import GroundTruth, name_defects, read_ground_truth
from lad_reasoner.data.public_sets import LICENCES, LOCO, MVTEC_AD, UNKNOWN_LICENCE, VISA
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.evaluation.pair_list import read_pair_list, read_reference_names
from lad_reasoner.files.bit_depth import DEEP
from lad_reasoner.files.pictures import Picture, find_depth, read_picture
from lad_reasoner.records import SAMPLE_KINDS, UNKNOWN_KIND, Kind, Pair, Sample
from lad_reasoner.text import listed, nearest_name, printable

if TYPE_CHECKING:
    from lad_reasoner.miniloco.render import Rendered

# The name of a benchmark -> the data set of its samples; None takes any.
BENCHMARKS: dict[str, str | None] = {
    "miniloco": "MiniLOCO",
    "mvtec-loco": "MVTec LOCO AD",
    "mvtec-ad": "MVTec AD",
    "visa": "VisA",
    "folder": None,
    "manifest": None,
}
CLASSES = {"MiniLOCO": LOCO, "MVTec LOCO AD": LOCO, "MVTec AD": frozenset(MVTEC_AD), "VisA": VISA}
PAPERS_KINDS = ("good", "logical")
PAPERS_QUERIES = 1136  # good and logical test pictures of MVTec LOCO AD
RENDERED_PER_KIND = 100  # queries of a class, and references to draw from
KEPT_FILES = 32  # references in memory, up to 7 MB each
DEPTH_FROM = 8  # pictures of a class
KEPT_QUERIES = 64  # rendered pictures whose mask may still be asked for: more than are judged at once
KEPT_RENDERED = 256  # the same of MiniLOCO: smaller, and rendering one again takes longer than reading a file

Facts = dict[str, Any]


class Benchmark(ABC):
    """Samples by name, in natural order, with their pictures and facts.

    `pools`: class -> names of the good pictures that references are drawn from. `notes` say what this copy lacks.
    `fingerprint` changes with the names, labels and file sizes of the samples. `fixed`: query -> its references, where
    they are given and not drawn.
    """

    def __init__(
        self, name: str, samples: Mapping[str, Sample], sizes: Iterable[int], notes: Iterable[str], kept: int
    ) -> None:
        self.name, self.samples, self.notes = name, samples, tuple(notes)
        self.fingerprint = _fingerprint(samples, sizes)
        self.fixed: dict[str, tuple[str, ...]] = {}
        self.pools = _pools(samples)
        self._references = {name for pool in self.pools.values() for name in pool}
        self._read_reference = lru_cache(kept)(self._read)  # of this benchmark alone: a decorator's would be of all

    def read(self, name: str) -> tuple[Picture, Facts | None]:
        """The picture, and its facts where they are known. ImageError for a picture that cannot be read.

        References are cached: pairs that share them share the `Picture` objects, which are the keys of what judges
        cache. Queries are read once, and would only push the references out.
        """
        return self._read_reference(name) if name in self._references else self._read(name)

    def fix_references(self, fixed: Mapping[str, tuple[str, ...]]) -> None:
        """Show these references instead of drawn ones; the fingerprint changes with them."""
        self.fixed = dict(fixed)
        self._references |= {name for names in fixed.values() for name in names}
        lines = (f"{query}\t{names}\n" for query, names in sorted(fixed.items()))
        self.fingerprint = hashlib.sha256((self.fingerprint + "".join(lines)).encode()).hexdigest()[:16]

    def files(self, names: Iterable[str]) -> list[tuple[str, int | None]]:
        """Path and depth of the pictures that are read from files; none of rendered ones."""
        return []

    @abstractmethod
    def _read(self, name: str) -> tuple[Picture, Facts | None]:
        """As `read`, without the cache."""

    def defect(self, name: str) -> str | None:
        """The names of its defects, joined by semicolons; None for a good picture and for unknown names."""
        return self.samples[name].defect

    @property
    def has_masks(self) -> bool:
        """Whether `ground_truth` knows any."""
        return any(sample.masks for sample in self.samples.values())

    def ground_truth(self, name: str) -> GroundTruth | None:
        """Where an anomalous picture is anomalous, None where that is not known; raises as `read_ground_truth`."""
        return read_ground_truth(self.samples[name])


class FolderBenchmark(Benchmark):
    """Samples that lie on a disk, named by their path from `base`."""

    def __init__(self, name: str, base: Path, samples: Sequence[Sample], notes: Iterable[str]) -> None:
        named = {Path(os.path.relpath(sample.image, base)).as_posix(): sample for sample in samples}
        sizes = [Path(sample.image).stat().st_size for sample in samples]
        # What a complete copy of a public data set would have; empty where it is there.
        lacking = _note_classes(BENCHMARKS[name], named), _note_masks(named), _note_defects(named)
        super().__init__(name, named, sizes, filter(None, (*notes, *lacking)), KEPT_FILES)
        self._depths = {category: self._find_depth(names) for category, names in self.pools.items()}
        deep = [f"{category} {depth}" for category, depth in self._depths.items() if depth not in (None, DEEP)]
        if deep:
            self.notes += (f"bits of the values in files of 16 bits, seen from the references: {listed(deep)}",)

    def _find_depth(self, names: Sequence[str]) -> int | None:
        """Bits of a value in a class, from the first of the pictures that references are drawn from."""
        return find_depth(self.samples[name].image for name in names[:DEPTH_FROM])

    def files(self, names: Iterable[str]) -> list[tuple[str, int | None]]:
        samples = [self.samples[name] for name in names]
        return [(sample.image, self._depths.get(sample.category, DEEP)) for sample in samples]

    def _read(self, name: str) -> tuple[Picture, Facts | None]:
        sample = self.samples[name]
        picture = replace(read_picture(sample.image, self._depths.get(sample.category, DEEP)), name=name)
        if problem := picture.blank:
            raise ImageError(f"{name}: {problem}")
        return picture, sample.facts

    def defect(self, name: str) -> str | None:
        """As above. MVTec LOCO AD encodes them in the grey values of its masks, which are read only here."""
        sample = self.samples[name]
        if sample.defect or not sample.masks or sample.dataset != "MVTec LOCO AD":
            return sample.defect
        try:
            return ";".join(name_defects(sample))
        except InputError:  # masks or defects_config.json are missing; verdicts can be measured without names
            return None


class RenderedBenchmark(Benchmark):
    """MiniLOCO without a folder: each picture is rendered when it is read."""

    def __init__(self) -> None:
        from lad_reasoner.miniloco import EVALUATION
        from lad_reasoner.miniloco.writer import GROUPS

        self._scenes: dict[str, tuple[str, str, Kind, int]] = {}  # product, split, kind, index
        for product in sorted(EVALUATION):
            for split, folder, kind in GROUPS:
                for index in range(RENDERED_PER_KIND if split != "validation" else 0):
                    self._scenes[f"{product}/{split}/{folder}/{index:03d}.png"] = product, split, kind, index
        samples = {name: _rendered_sample(name, *scene) for name, scene in self._scenes.items()}
        self._draw = lru_cache(KEPT_QUERIES)(self._draw_picture)
        super().__init__("miniloco", samples, [0] * len(samples), (), KEPT_RENDERED)

    def _draw_picture(self, name: str) -> Rendered:
        from lad_reasoner.miniloco import draw_picture

        return draw_picture(*self._scenes[name])

    def _read(self, name: str) -> tuple[Picture, Facts | None]:
        # References have a cache of their own, and would push the queries out of this one.
        drawn = self._draw_picture(name) if name in self._references else self._draw(name)
        return Picture(name, drawn.image, drawn.image.width, drawn.image.height), drawn.facts

    @property
    def has_masks(self) -> bool:
        return True

    def ground_truth(self, name: str) -> GroundTruth | None:
        mask = self._draw(name).mask > 0
        # One region of relative saturation 1, as the files of `data miniloco` say.
        return GroundTruth(mask, ((mask, int(mask.sum())),)) if mask.any() else None


def _rendered_sample(name: str, product: str, split: str, kind: Kind, index: int) -> Sample:
    from lad_reasoner.miniloco.painting.flaws import NAMES
    from lad_reasoner.miniloco.render import product_named

    defects = {"good": (None,), "logical": tuple(product_named(product).defects), "structural": NAMES}[kind]
    return Sample.model_validate(
        {
            "image": name,
            "dataset": "MiniLOCO",
            "category": product,
            "split": split,
            "kind": kind,
            "defect": defects[index % len(defects)],
            "licence": LICENCES["MiniLOCO"],
        }
    )


def default_kinds(name: str) -> tuple[str, ...]:
    """The paper's protocol for the two benchmarks of logical anomalies, all kinds for the others."""
    return PAPERS_KINDS if name in ("miniloco", "mvtec-loco") else SAMPLE_KINDS


def open_benchmark(
    name: str, root: str | Path | None = None, *, references_file: str | Path | None = None
) -> Benchmark:
    """The benchmark `name` (one of `BENCHMARKS`) in the folder `root`; `folder` also takes a CSV file.

    For `manifest`, `root` is a list of pairs (pair_list.py). The names in `references_file` are the references of all
    queries of their class. No picture is read. InputError for an unknown name, a missing folder, and one that holds
    another data set; the notes say what an incomplete copy lacks.
    """
    if name not in BENCHMARKS:
        raise InputError(f"{name}: no such benchmark; give one of {', '.join(BENCHMARKS)}")
    if root is None and name != "miniloco":
        raise InputError(f"{name}: give its folder with --root")
    if name == "manifest":
        if references_file is not None:
            raise InputError("--references-file: a manifest has references of its own; leave one of both out")
        return _open_pair_list(Path(str(root)))
    benchmark = RenderedBenchmark() if root is None else _open_folder(name, root)
    if references_file is not None:
        _fix_references(benchmark, Path(references_file))
    return benchmark


def _open_pair_list(path: Path) -> Benchmark:
    pairs = read_pair_list(path)
    own = partial(Sample, dataset="own pairs", licence=UNKNOWN_LICENCE)
    samples: dict[str, Sample] = {}
    for pair in pairs:
        samples[pair.query] = own(
            image=pair.query, category=pair.category, split="test", kind=pair.kind, defect=pair.defect
        )
    for pair in pairs:
        for name in pair.references:
            reference = own(image=name, category=pair.category, split="train", kind="good")
            sample = samples.setdefault(name, reference)
            if sample.kind != "good":
                raise InputError(f"{printable(path)}: {printable(name)}: is a reference and labelled anomalous")
    benchmark = FolderBenchmark("manifest", path.parent, list(samples.values()), ())
    names = {sample.image: name for name, sample in benchmark.samples.items()}
    benchmark.fix_references({names[pair.query]: tuple(names[each] for each in pair.references) for pair in pairs})
    return benchmark


def _fix_references(benchmark: Benchmark, path: Path) -> None:
    """The references of the file for each query of their class."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for name in read_reference_names(path):
        sample = benchmark.samples.get(name)
        if sample is None:
            near = nearest_name(name, benchmark.samples)
            hint = f"did you mean {near}?" if near else "write names as they stand in predictions.jsonl"
            raise InputError(f"{printable(path)}: {printable(name)}: no such picture in {benchmark.name}; {hint}")
        if sample.kind != "good":
            raise InputError(f"{printable(path)}: {printable(name)}: is labelled anomalous; references must be good")
        chosen[sample.category].append(name)
    lacking = sorted(benchmark.pools.keys() - chosen.keys())
    if lacking:
        raise InputError(f"{printable(path)}: no reference of {listed(lacking)}; each class needs one")
    benchmark.fix_references(
        {
            name: tuple(chosen[sample.category])
            for name, sample in benchmark.samples.items()
            if sample.category in chosen
        }
    )


def _open_folder(name: str, root: str | Path) -> Benchmark:
    source, dataset = find_samples(root), BENCHMARKS[name]
    chosen = [sample for sample in source.samples if dataset in (None, sample.dataset)]
    if not chosen:
        others = ", ".join(sorted({sample.dataset for sample in source.samples}))
        raise InputError(f"{printable(root)}: no {dataset} in it, but {others}; give another --benchmark or --root")
    notes = [*source.notes]
    notes += [
        f"{len(names)} pictures left out: they {reason} ({listed(list(names))})"
        for reason, names in source.refused.items()
    ]
    if len(chosen) < len(source.samples):
        notes.append(f"{len(source.samples) - len(chosen)} pictures of other data sets left out")
    return FolderBenchmark(name, Path(root) if Path(root).is_dir() else Path(root).parent, chosen, notes)


def _note_classes(dataset: str | None, samples: Mapping[str, Sample]) -> str:
    lacking = CLASSES.get(dataset or "", frozenset()) - {sample.category for sample in samples.values()}
    return f"{dataset} is not complete here: no {', '.join(sorted(lacking))}" if lacking else ""


def _note_masks(samples: Mapping[str, Sample]) -> str:
    # Samples with facts are rendered: their defects may have nothing to show in a mask.
    public = {name: sample for name, sample in samples.items() if sample.dataset in LICENCES and sample.facts is None}
    bare = [name for name, sample in public.items() if sample.label == "yes" and not sample.masks]
    if not bare:
        return ""
    return f"{len(bare)} anomalous pictures have no mask (only maps are measured with them), the first is {bare[0]}"


def _note_defects(samples: Mapping[str, Sample]) -> str:
    # MVTec LOCO AD: CLASS/ground_truth/KIND/NUMBER/MASK.png, and CLASS/defects_config.json
    folders = {
        sample.category: Path(sample.masks[0]).absolute().parents[3]
        for sample in samples.values()
        if sample.dataset == "MVTec LOCO AD" and sample.masks
    }
    unnamed = [category for category, folder in folders.items() if not (folder / "defects_config.json").is_file()]
    return f"no defects_config.json for {', '.join(sorted(unnamed))}: their defects are not named" if unnamed else ""


def _fingerprint(samples: Mapping[str, Sample], sizes: Iterable[int]) -> str:
    lines = (
        f"{name}\t{sample.category}\t{sample.split}\t{sample.kind}\t{sample.defect}\t{size}\n"
        for (name, sample), size in zip(samples.items(), sizes, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _pools(samples: Mapping[str, Sample]) -> dict[str, list[str]]:
    """Class -> the good pictures that references are drawn from."""
    pools: dict[str | None, dict[str, list[str]]] = {split: defaultdict(list) for split in ("test", None, "train")}
    for name, sample in samples.items():
        if sample.kind == "good" and sample.split != "validation":
            pools[sample.split][sample.category].append(name)
    # Other good pictures only for a class without training pictures, those of a test split last.
    return pools["test"] | pools[None] | pools["train"]


def draw_pairs(
    benchmark: Benchmark,
    *,
    references: int | None = None,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    given: Sequence[str] = (),
) -> tuple[list[Pair], tuple[str, ...]]:
    """The pairs to judge, in natural order of their queries, and notes on the queries that are left out.

    `references` is the number that is drawn for each query, 1 unless given. None is drawn with the names of `given`
    references, or where the benchmark's are fixed. A good query is left out if its class lends its test pictures as
    references and has too few others. InputError for unknown kinds, a class with fewer good pictures than `references`,
    and when no query is left.
    """
    kinds = default_kinds(benchmark.name) if kinds is None else tuple(kinds)
    for kind in kinds:
        if kind not in SAMPLE_KINDS:
            raise InputError(f"kind {kind!r}: no such kind; give some of {', '.join(SAMPLE_KINDS)}, with commas")
    if references is not None and benchmark.fixed:
        raise InputError("--references: the references are fixed here, none is drawn; leave it out")
    if given and benchmark.fixed:
        raise InputError("--station: has references of its own; leave --references-file or the manifest out")
    wanted = 1 if references is None else references
    if wanted < 1:
        raise InputError(f"references is {references}; give at least 1")
    pairs, alone = [], []
    for name, sample in benchmark.samples.items():
        if sample.split not in ("test", None) or (sample.kind or UNKNOWN_KIND) not in kinds:
            continue
        shown = tuple(given) or _references_of(benchmark, name, wanted, seed)
        if not shown:
            alone.append(name)
            continue
        pairs.append(
            Pair(
                references=shown,
                query=name,
                label=sample.label,
                kind=sample.kind,
                defect=sample.defect,
                category=sample.category,
            )
        )
    if not pairs:
        tests = [sample for sample in benchmark.samples.values() if sample.split in ("test", None)]
        mend = "give other --kinds" if tests else "all of them are for training or validation"
        raise InputError(f"{benchmark.name}: no test picture of the kinds {', '.join(kinds)}; {mend}")
    notes = []
    if alone and benchmark.fixed:
        notes.append(f"{len(alone)} queries left out, because they are references: {alone[0]} …")
    elif alone:
        notes.append(f"{len(alone)} good queries left out, because too few other good pictures are there: {alone[0]} …")
    if benchmark.name == "mvtec-loco" and set(kinds) == set(PAPERS_KINDS) and len(pairs) != PAPERS_QUERIES:
        notes.append(f"{len(pairs)} queries, not the {PAPERS_QUERIES:,} of MVTec LOCO AD: not the paper's protocol")
    return pairs, tuple(notes)


def _references_of(benchmark: Benchmark, name: str, wanted: int, seed: int) -> tuple[str, ...]:
    """The fixed references of a query, or those that are drawn for it; none if it is one itself, or too few are left.

    InputError if its class has too few good pictures for every query.
    """
    if benchmark.fixed:
        fixed = benchmark.fixed.get(name, ())
        return () if name in fixed else fixed
    category = benchmark.samples[name].category
    pool = benchmark.pools.get(category, [])
    if len(pool) < wanted:
        raise InputError(
            f"{category}: {len(pool)} good pictures to draw {wanted} references from; "
            "add some to train/good, or give a smaller --references" + "".join(f"; {note}" for note in benchmark.notes)
        )
    others = [reference for reference in pool if reference != name]
    # Seeded by the query's name: other queries, more or fewer, change nothing.
    return tuple(random.Random(f"{seed}/{name}").sample(others, wanted)) if len(others) >= wanted else ()


def limit_pairs(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """At most `limit` pairs, from all classes and kinds in turn, in their given order.

    A larger limit gives the same pairs and more.
    """
    sizes: dict[tuple[str | None, str | None], int] = defaultdict(int)  # pairs of each group so far
    order = []  # (round in which the pair has its turn, its index)
    for index, pair in enumerate(pairs):
        group = pair.category, pair.kind
        order.append((sizes[group], index))
        sizes[group] += 1
    chosen = sorted(index for _, index in sorted(order)[:limit])
    return [pairs[index] for index in chosen]
