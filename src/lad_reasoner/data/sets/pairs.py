"""The pairs of the paper (section 4.1.2): test pictures beside good ones, labelled yes or no.

    pool = gather([find_samples("mvtec")])
    for identifier in build_pairs("pairs", plan_pairs(pool)):
        ...

The paper has "approximately 984" from "several MVTec classes" with "number, color, existence, and functional anomalies"
and does not name them. `CLASSES` are the five classes that have a defect called `color`, and three whose defects are
about existence, number, place or function: their test pictures are exactly 984. So are those of 45 other choices of
classes. Some of the 716 anomalies have a defect whose name none of these words describes; with `defects` they are left
out (`DEFECTS`).

Deviations: VisA, which section 1 names beside MVTec AD and section 4.1.2 does not, is left out unless classes of it are
named; pictures that cannot be read, and pictures that `why_not_train` refuses, are left out and counted.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from lad_reasoner.data.folder_words import word
from lad_reasoner.data.masks import read_mask
from lad_reasoner.data.sets.built_set import Builder
from lad_reasoner.data.sets.pool import MASK_UNREADABLE, Item, Pool, files_of, make_entry
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.jsonl import read_records
from lad_reasoner.miniloco.words import differing
from lad_reasoner.packaged import read_packaged
from lad_reasoner.progress import Track, silent
from lad_reasoner.prompts import PROMPT_VERSION, build_messages
from lad_reasoner.records import SAMPLE_KINDS, UNKNOWN_KIND, Prediction
from lad_reasoner.text import nearest_name, printable

# Class of MVTec AD -> why its anomalies are like logical ones; `data pairs` prints this table.
_TABLE = read_packaged(__file__, "pairs.toml")
CLASSES: dict[str, str] = _TABLE["classes"]
DEFECTS: dict[str, list[str]] = _TABLE["defects"]  # word of the paper -> class/defect
PUBLIC = ("MVTec AD", "VisA")

NOT_CHOSEN = "are of a class that was not chosen"
OTHER_KIND = "are of a kind that was not chosen"
OTHER_DEFECT = "have a defect that was not chosen"
ALONE = "have too few other good pictures for a reference"
BALANCED_OUT = "were dropped to balance anomalous and good"
JUDGED_RIGHT = "were judged right by the run of --hard-from, or not judged by it"
PREDICTIONS = "predictions.jsonl"  # of a run of `eval`

ClassName = tuple[str, str]  # (data set, class)


@dataclass(frozen=True, eq=False)
class PlannedPair:
    """A pair before it is written. `at` is the place of the query among the pictures."""

    id: str
    references: tuple[Item, ...]
    query: Item
    at: int


@dataclass(frozen=True, eq=False)
class PairPlan:
    """The pairs of a set; `recipe` is all that they depend on."""

    pool: Pool
    recipe: Mapping[str, Any]
    pairs: Sequence[PlannedPair]


def plan_pairs(
    pool: Pool,
    *,
    classes: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    defects: Sequence[str] | None = None,
    references: int = 1,
    per_picture: int = 1,
    balanced: bool = False,
    good_good: bool = False,
    shuffle: bool = False,
    allowed: bool = False,
    hard_from: str | Path | None = None,
    easy_first: str | Path | None = None,
    seed: int = 0,
    track: Track = silent,
) -> PairPlan:
    """Each test picture of the chosen classes with `references` good training pictures of its class.

    `classes` None: `CLASSES` of the public data sets, and all classes of others. `kinds` None: queries of all
    `SAMPLE_KINDS`. `defects` None: all anomalies, otherwise those of these words of `DEFECTS`. Each picture is a query
    `per_picture` times, with other references each time if there are enough.
    `good_good` adds pairs of good training pictures until a class has as many good queries as anomalous ones or runs
    out of pictures; `balanced` then drops, at random, the surplus of one label in each class. `shuffle` puts the query
    first in about half of the pairs. If a source has no training pictures, its other good ones are the references.
    What is drawn for a class depends on the seed and on this class alone.

    With `allowed` a good query gets references that differ from it in what the rule of its product allows, as far as
    there are any: only MiniLOCO's facts tell. `hard_from` is a run of `eval` on these pictures; only the queries that
    it judged wrongly are taken. `easy_first` is such a run, too: the pairs are ordered by how right it was
    (`_order_by_ease`), for a training that keeps their order.

    A query with too few good pictures beside it is refused. InputError for unknown kinds, defects and classes, and for
    a class of which all queries are refused.
    """
    if classes is not None:
        classes = _find_classes(pool, classes)
    recipe = {
        "classes": classes,
        "kinds": kinds,
        "references": references,
        "per_picture": per_picture,
        "balanced": balanced,
        "good_good": good_good,
        "shuffle": shuffle,
        "seed": seed,
        "folders": pool.folders,
        "prompt_version": PROMPT_VERSION,
    }
    # A set that was begun without these choices can still be resumed.
    if defects is not None:
        recipe["defects"] = defects
    if allowed:
        recipe["allowed"] = True
    if hard_from is not None:
        recipe["hard_from"] = str(hard_from)
    if easy_first is not None:
        recipe["easy_first"] = str(easy_first)
    by_class = _choose_classes(pool, classes)
    of_classes = [item for item in pool.tests() if item.class_name in by_class]
    tests = _choose_kinds(pool, of_classes, kinds)
    if hard_from is not None:
        tests = _choose_hard(pool, tests, Path(hard_from))
    tests = _choose_masks(pool, _choose_defects(pool, tests, defects))
    usable = {item.name for item in pool.readable(tests, track)}
    generators = {name: random.Random(f"{seed}/{'/'.join(name)}") for name in by_class}
    good_pictures = {name: _reference_pool(items) for name, items in by_class.items()}
    queries: list[Item] = []
    for name, items in by_class.items():
        chosen = [item for item in items if item.name in usable]
        if good_good:
            chosen += _draw_good_queries(pool, chosen, good_pictures[name], generators[name])
        if balanced:
            chosen = _balance(pool, chosen, generators[name])
        queries += chosen
    pairs = _draw_pairs(
        pool,
        track(queries, len(queries), "Drawing references"),
        good_pictures,
        generators,
        references=references,
        per_picture=per_picture,
        shuffle=shuffle,
        allowed=allowed,
    )
    if easy_first is not None:
        pairs = _order_by_ease(pairs, Path(easy_first), random.Random(f"{seed}/easy_first"))
    return PairPlan(pool, recipe, pairs)


def _reference_pool(items: Sequence[Item]) -> list[Item]:
    """The good pictures of a class that references are drawn from: those for training, where there are any."""
    good = [item for item in items if item.sample.label == "no"]
    return [item for item in good if item.sample.split == "train"] or good


def build_pairs(out: str | Path, plan: PairPlan) -> Iterator[str]:
    """Build the pairs or resume their build; yields the identifier of each once it is on disk."""
    with Builder(out, "pair", plan.recipe) as builder:
        for pair in plan.pairs:
            items = [*pair.references]
            items.insert(pair.at, pair.query)
            messages = build_messages(len(pair.references), query_first=pair.at == 0)
            entry = make_entry(
                items,
                pair.at,
                id=pair.id,
                task="pair",
                messages=messages,
                prompt=messages,
                facts=_write_facts(items),
                prompt_version=PROMPT_VERSION,
            )
            builder.add(entry, files_of(items, pair.query), plan.pool.depth(pair.query))
            yield pair.id
        used: list[Item] = []
        from_test = 0
        for pair in plan.pairs:
            used += [*pair.references, pair.query]
            from_test += sum(item.sample.split != "train" for item in pair.references)
        facts = {**plan.pool.facts(used), "references_from_test": from_test}
        builder.finish([pair.id for pair in plan.pairs], facts)


def _write_facts(items: Sequence[Item]) -> tuple[str, ...]:
    """The facts of each picture as JSON; none unless those of all pictures are known."""
    facts = [item.sample.facts for item in items]
    return tuple(json.dumps(known, sort_keys=True) for known in facts) if all(facts) else ()


def _find_classes(pool: Pool, classes: Sequence[str]) -> list[str]:
    """The sources' classes of these names, each as it is written there; InputError for one that they do not have."""
    categories = list(dict.fromkeys(item.sample.category for item in pool.items))
    names = {word(category): category for category in categories}
    found = []
    for name in classes:
        category = name if name in categories else names.get(word(name))
        if category is None:
            near = nearest_name(name, categories)
            meant = f"; did you mean {near}?" if near else ""
            raise InputError(f"--classes {name}: not among the sources' classes ({', '.join(categories)}){meant}")
        found.append(category)
    return found


def _choose_classes(pool: Pool, classes: Sequence[str] | None) -> dict[ClassName, list[Item]]:
    """The chosen classes, each with its pictures; the test pictures of the others are refused."""
    chosen: dict[ClassName, list[Item]] = defaultdict(list)
    for item in pool.items:
        dataset, category = item.class_name
        if classes is not None:
            wanted = category in classes
        else:
            wanted = dataset not in PUBLIC or (dataset == "MVTec AD" and category in CLASSES)
        if wanted:
            chosen[item.class_name].append(item)
        elif item.sample.split in ("test", None):
            pool.refuse(NOT_CHOSEN, item.source)
    if not chosen:
        categories = ", ".join(dict.fromkeys(item.sample.category for item in pool.items))
        raise InputError(
            f"the sources have none of the paper's classes of MVTec AD ({', '.join(CLASSES)}); give some of theirs, "
            f"such as --classes {categories.replace(', ', ',')}"
        )
    return chosen


def _choose_kinds(pool: Pool, tests: list[Item], kinds: Sequence[str] | None) -> list[Item]:
    """The test pictures of these kinds; the others are refused."""
    if kinds is None:
        return tests
    unknown = set(kinds) - {*SAMPLE_KINDS}
    if unknown:
        raise InputError(f"--kinds {', '.join(sorted(unknown))}: no such kind; give some of {', '.join(SAMPLE_KINDS)}")
    chosen = []
    for item in tests:
        if (item.sample.kind or UNKNOWN_KIND) in kinds:
            chosen.append(item)
        else:
            pool.refuse(OTHER_KIND, item.source)
    return chosen


def _choose_defects(pool: Pool, tests: list[Item], defects: Sequence[str] | None) -> list[Item]:
    """The good test pictures and those with a defect of these words; the others are refused."""
    if defects is None:
        return tests
    unknown = set(defects) - DEFECTS.keys()
    if unknown:
        raise InputError(f"--defects {', '.join(sorted(unknown))}: no such word; give some of {', '.join(DEFECTS)}")
    wanted = {name for word in defects for name in DEFECTS[word]}
    chosen = []
    for item in tests:
        if item.sample.label == "no" or f"{item.sample.category}/{item.sample.defect}" in wanted:
            chosen.append(item)
        else:
            pool.refuse(OTHER_DEFECT, item.source)
    return chosen


def _order_by_ease(pairs: Sequence[PlannedPair], run: Path, rng: random.Random) -> list[PlannedPair]:
    """The pairs from those that a run of `eval` judged right to those that it judged wrongly.

    A query's measure is the share of right answers: with `--votes` of the votes, otherwise the score of the right
    answer; the mean where it was judged several times. Each label is ordered for itself and both are mixed evenly, so
    that no stretch of the set has one label only. InputError for a query that the run did not judge.
    """
    shares: dict[str, list[float]] = defaultdict(list)
    for line in _read_run(run, "--easy-first"):
        score = line.verdict.score if line.pair.label == "yes" else 1 - line.verdict.score
        shares[line.pair.query].append(0.0 if line.verdict.answer == "invalid" else score)
    ordered: list[tuple[float, str, PlannedPair]] = []
    for label in ("no", "yes"):
        members = [pair for pair in pairs if pair.query.sample.label == label]
        rng.shuffle(members)  # equal ones in any order, not class by class
        for pair in members:
            if pair.query.source not in shares:
                raise InputError(
                    f"--easy-first {printable(run)}: did not judge {printable(pair.query.source)}; "
                    "run `eval` on the same folder with the same --kinds, or give the --kinds of that run here"
                )
        members.sort(key=lambda pair: -mean(shares[pair.query.source]))  # stable
        ordered += [((place + 0.5) / len(members), label, pair) for place, pair in enumerate(members)]
    return [pair for _, _, pair in sorted(ordered, key=lambda entry: entry[:2])]


def _read_run(run: Path, flag: str) -> Iterator[Prediction]:
    """The predictions of a run of `eval`; InputError, naming the flag, if it is none."""
    path = run / PREDICTIONS
    if not path.is_file():
        raise InputError(f"{flag} {printable(run)}: no {PREDICTIONS}; give a run folder of `eval`")
    return read_records(path, Prediction)


def _choose_hard(pool: Pool, tests: list[Item], run: Path) -> list[Item]:
    """The test pictures that a run of `eval` judged wrongly; an invalid answer is wrong, too."""
    wrong: dict[str, bool] = {}  # name of a query -> whether some answer to it was wrong
    for line in _read_run(run, "--hard-from"):
        name = line.pair.query
        wrong[name] = wrong.get(name, False) or line.verdict.answer != line.pair.label
    if not any(item.source in wrong for item in tests):
        raise InputError(f"--hard-from {printable(run)}: judged none of these pictures; run `eval` on the same folder")
    chosen = []
    for item in tests:
        if wrong.get(item.source):
            chosen.append(item)
        else:
            pool.refuse(JUDGED_RIGHT, item.source)
    if not chosen:
        raise InputError(f"--hard-from {printable(run)}: it judged all of these pictures right; nothing is left")
    return chosen


def _differs(reference: Item, query: Item) -> bool:
    """Whether two good pictures differ in what their facts say, such as the colours of cables."""
    facts = reference.sample.facts, query.sample.facts
    return bool(facts[0] and facts[1] and differing(facts[0], facts[1]))


def _choose_masks(pool: Pool, tests: list[Item]) -> list[Item]:
    """The test pictures whose masks can be read, if they have any; a file that is none must not get into the set."""
    chosen = []
    for item in tests:
        try:
            if item.sample.masks:
                read_mask(item.sample.masks)
        except ImageError as error:
            pool.refuse(MASK_UNREADABLE, f"{item.source} ({error})")
        else:
            chosen.append(item)
    return chosen


def _draw_good_queries(
    pool: Pool, queries: Sequence[Item], good_pictures: Sequence[Item], rng: random.Random
) -> list[Item]:
    """Good training pictures, as many as there are more anomalous queries than good ones."""
    bad = sum(item.sample.label == "yes" for item in queries)
    spare = [item for item in good_pictures if item.sample.split == "train"]
    wanted = max(0, min(len(spare), bad - (len(queries) - bad)))
    return [item for item in rng.sample(spare, wanted) if pool.is_readable(item)]


def _draw_pairs(
    pool: Pool,
    queries: Iterable[Item],
    good_pictures: Mapping[ClassName, Sequence[Item]],
    generators: Mapping[ClassName, random.Random],
    *,
    references: int,
    per_picture: int,
    shuffle: bool,
    allowed: bool,
) -> list[PlannedPair]:
    """`per_picture` pairs of each query with references of its class; see `plan_pairs`."""
    pairs: list[PlannedPair] = []
    paired: set[ClassName] = set()
    short: dict[ClassName, int] = {}
    for query in queries:
        name = query.class_name
        wanted = references * per_picture
        drawn = _draw_references(pool, query, good_pictures[name], wanted, generators[name], allowed=allowed)
        if len(drawn) < references:
            pool.refuse(ALONE, query.source)
            short[name] = len(drawn)
            continue
        paired.add(name)
        for n in range(per_picture):
            beside = tuple(drawn[(n * references + k) % len(drawn)] for k in range(references))
            at = generators[name].choice((0, references)) if shuffle else references
            pairs.append(PlannedPair(f"{query.stem}:{n}" if per_picture > 1 else query.stem, beside, query, at))
    for name in short.keys() - paired:
        raise InputError(
            f"{name[1]}: {references} references are wanted, but a query has {short[name]} good pictures beside it; "
            "give fewer --references, or more pictures"
        )
    return pairs


def _balance(pool: Pool, queries: Sequence[Item], rng: random.Random) -> list[Item]:
    """As many queries of one label as of the other; the surplus is refused."""
    anomalous = [item for item in queries if item.sample.label == "yes"]
    good = [item for item in queries if item.sample.label == "no"]
    fewest = min(len(anomalous), len(good))
    kept: set[str] = set()
    for members in (anomalous, good):
        kept.update(item.name for item in rng.sample(members, fewest))
    for item in queries:
        if item.name not in kept:
            pool.refuse(BALANCED_OUT, item.source)
    return [item for item in queries if item.name in kept]


def _draw_references(
    pool: Pool, query: Item, good_pictures: Sequence[Item], wanted: int, rng: random.Random, *, allowed: bool
) -> list[Item]:
    """Up to `wanted` good pictures, none of which is the query, by name or by content.

    With `allowed` those that differ from a good query come first.
    """
    drawn: list[Item] = []
    candidates = rng.sample(good_pictures, len(good_pictures))
    if allowed and query.sample.label == "no":
        candidates.sort(key=lambda item: not _differs(item, query))  # stable: otherwise in the order of the draw
    for item in candidates:
        if len(drawn) == wanted:
            break
        if item.name != query.name and item.sha256() != query.sha256() and pool.is_readable(item):
            drawn.append(item)
    return drawn
