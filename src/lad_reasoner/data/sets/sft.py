"""Builds the two training sets of the paper from what `sources.py` found (sections 3.2 and 4.1).

    material = gather([find_samples("mvtec"), find_samples("visa")])
    for done in build_sft("sft", plan_sft(material, mmad), teacher): ...    # questions and answers on test pictures
    for done in build_pairs("pairs", plan_pairs(material)): ...             # test pictures beside good ones, yes or no

**SFT.** The paper has 2,731 samples from test pictures of MVTec AD and VisA "focusing on appearance-level defects" and
does not say which. The rule here: every anomalous test picture once, and as many good ones as make a tenth of the
whole, spread over the classes. On the public test sets (1,258 and 1,200 anomalous) that is exactly 2,731. The five
kinds of question take turns, for good and bad alike.

**Pairs.** The paper has "approximately 984" from "several MVTec classes" with "number, color, existence, and functional
anomalies" and does not name them. `CLASSES` are the five classes that have a defect called `color`, and three whose
defects are about existence, number, place or function: their test pictures are exactly 984.

Deviations: pictures that cannot be read, and what `why_not_train` refuses, are left out and counted.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from lad_reasoner.data.kinds import SAMPLE_KINDS, UNKNOWN_KIND
from lad_reasoner.data.mmad import Mmad
from lad_reasoner.data.sets.built_set import Builder
from lad_reasoner.data.sets.pool import UNREADABLE, Item, Material, digest, files_of, make_entry
from lad_reasoner.data.sets.questions import (
    KINDS,
    QUESTIONS_VERSION,
    Answer,
    Question,
    artifact_type,
    ask_teacher,
    product_of,
    reason_of,
    teach_student,
    wording,
)
from lad_reasoner.data.teachers.teacher import Answered, Request, Teacher, Unanswered
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.prompts import PROMPT_VERSION, build_messages
from lad_reasoner.report.terminal import track

GOOD_SHARE = 0.1
# Class of MVTec AD -> why its anomalies are like logical ones; `data pairs` prints this table.
CLASSES = {
    "cable": "existence and number: missing cable, missing wire; colour: cable swap",
    "capsule": "function: squeezed, poked or cracked, its content gets out; existence: faulty imprint",
    "carpet": "colour: spots of another colour",
    "leather": "colour: spots of another colour",
    "metal_nut": "colour: stained; function: flipped, bent",
    "pill": "colour: wrong or spotted; existence: faulty imprint; the wrong type of pill",
    "transistor": "existence and place: missing or misplaced; function: bent or cut leads",
    "wood": "colour: stained",
}
PUBLIC = ("MVTec AD", "VisA")

NOT_CHOSEN = "of a class that was not chosen"
OTHER_KIND = "of a kind that was not chosen"
MMAD_SAYS = "known to MMAD, but"
GOOD_ENOUGH = "good, and there are enough good ones"
ALONE = "have too few good pictures beside them for a reference"
BALANCED_OUT = "left out to balance yes and no"


@dataclass(frozen=True, eq=False)
class Asked:
    """A question about a picture: `text` is what the student reads, `request` what the teacher gets."""

    id: str
    item: Item
    question: Question
    text: str
    request: Request


@dataclass(frozen=True, eq=False)
class SftPlan:
    """What an SFT set is to hold; `recipe` is all that this depends on."""

    material: Material
    recipe: Mapping[str, Any]
    asked: Sequence[Asked]

    @property
    def requests(self) -> list[Request]:
        """What the teacher is asked, in order."""
        return [asked.request for asked in self.asked]


def plan_sft(
    material: Material, mmad: Mmad, *, good_share: float = GOOD_SHARE, per_picture: int = 1, seed: int = 0
) -> SftPlan:
    """The questions of the SFT set, by the rule of the module's docstring; nothing is asked or written.

    `per_picture` kinds of question are asked of each picture. Where there are too few good pictures all are taken.
    Pictures and masks that cannot be read are refused, and MMAD's keys of pictures that are absent.
    """
    tests = material.tests()
    for reason, keys in mmad.refused.items():
        material.refused.setdefault(f"{MMAD_SAYS} {reason}", []).extend(keys)
    for name in mmad.absent(item.sample for item in tests):
        material.refuse(f"{MMAD_SAYS} absent from the sources", "/".join(name))
    bad = sum(item.sample.label == "yes" for item in tests)
    good = [item for item in tests if item.sample.label == "no"]
    wanted = round(bad * good_share / (1 - good_share)) if bad and good_share < 1 else len(good)
    kept = {item.name for item in _spread(good, wanted, seed)}
    for item in good:
        if item.name not in kept:
            material.refuse(GOOD_ENOUGH, item.source)
    chosen = [item for item in tests if item.sample.label == "yes" or item.name in kept]
    turns: Counter[str] = Counter()  # of each label, so that no question is asked of the good ones more often
    asked = []
    readable = material.readable(chosen)
    for item in track(readable, len(readable), "Reading masks"):
        sample = item.sample
        turn = turns[sample.label]
        turns[sample.label] += 1
        try:
            hint = mmad.hint(sample).text
        except ImageError as error:
            material.refuse("have a mask that cannot be read", f"{item.source} ({error})")
            continue
        for n in range(per_picture):
            question = KINDS[(turn + n) % len(KINDS)]
            text = wording(question, product_of(sample.category), turn // len(KINDS) + seed)
            request = _request(item, question, text, hint)
            asked.append(Asked(f"{item.stem}:{question}", item, question, text, request))
    known = repr((sorted(mmad.questions.items()), sorted(mmad.knowledge.items()))).encode()
    recipe = {"good_share": good_share, "per_picture": per_picture, "seed": seed, "folders": material.folders}
    recipe |= {"mmad_sha256": hashlib.sha256(known).hexdigest(), "prompt_version": QUESTIONS_VERSION}
    return SftPlan(material, recipe, asked)


def _request(item: Item, question: Question, text: str, hint: str) -> Request:
    sample = item.sample
    facts = {"question": question, "label": sample.label, "hint": hint, "scene": sample.facts, "masks": sample.masks}
    artifact = artifact_type(sample.label, sample.kind, sample.defect)
    messages = ask_teacher(question, text, artifact=artifact, hint=hint)
    return Request(messages, [sample.image], Answer, QUESTIONS_VERSION, facts)


def build_sft(out: str | Path, plan: SftPlan, teacher: Teacher) -> Iterator[str]:
    """Build or go on building the SFT set; yields the identifier of each question once it is settled.

    A record is on disk as soon as its answer is there. The manifest says `complete` once nothing is left to ask;
    questions that the service failed or the budget did not cover are asked by the next run.
    """
    material = plan.material
    refused: Counter[str] = Counter()
    unasked = 0
    with Builder(out, "sft", {**plan.recipe, "teacher": teacher.name}) as builder:
        for index, outcome in teacher.ask_many(plan.requests):
            asked = plan.asked[index]
            refused.update(reason_of(complaint) for complaint in outcome.complaints)
            if isinstance(outcome, Answered):
                assert isinstance(outcome.content, Answer)
                entry = make_entry(
                    [asked.item],
                    id=asked.id,
                    task="sft",
                    messages=teach_student(asked.text, outcome.content.answer.strip()),
                    question=asked.question,
                    prompt_version=QUESTIONS_VERSION,
                )
                builder.add(entry, files_of([asked.item], asked.item))
            else:
                unasked += outcome.reason in ("service", "budget")
                material.refuse(_why_unanswered(outcome), f"{asked.item.source} ({outcome.error})")
            yield asked.id
        facts = {
            "unasked": unasked,
            "answers_refused": dict(sorted(refused.items())),
            "teacher": {"name": teacher.name, "paid": asdict(teacher.paid), "recalled": asdict(teacher.recalled)},
            **material.facts(asked.item for asked in plan.asked),
        }
        builder.finish([asked.id for asked in plan.asked], facts, complete=not unasked)


def _why_unanswered(outcome: Unanswered) -> str:
    if outcome.reason == "malformed":
        return f"the teacher's answer: {reason_of(outcome.error)}" if outcome.complaints else outcome.error
    return {"service": "the service failed", "budget": "the budget was spent", "picture": UNREADABLE}[outcome.reason]


@dataclass(frozen=True, eq=False)
class Planned:
    """A pair before it is written. `at` is the place of the query among the pictures."""

    id: str
    references: tuple[Item, ...]
    query: Item
    at: int


@dataclass(frozen=True, eq=False)
class PairPlan:
    """What a set of pairs is to hold; `recipe` is all that this depends on."""

    material: Material
    recipe: Mapping[str, Any]
    pairs: Sequence[Planned]


def plan_pairs(
    material: Material,
    *,
    classes: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    references: int = 1,
    per_picture: int = 1,
    balanced: bool = False,
    good_good: bool = False,
    shuffle: bool = False,
    seed: int = 0,
) -> PairPlan:
    """Each test picture of the chosen classes with `references` good training pictures of its class.

    `classes` None: those of `CLASSES` of the public data sets, and all of others. `kinds` None: queries of all kinds,
    else of these (good, logical, structural, other). Each picture is a query `per_picture`
    times, with other references each time where there are enough. `good_good` adds pairs of good training pictures
    until a class has as many good queries as anomalous ones or runs out of pictures; `balanced` then leaves out, at
    random, what one label has more than the other in its class. `shuffle` puts the query first in about half of the
    pairs. Where a source has no training pictures, other good ones are the references. What is drawn for a class
    depends on the seed and on this class alone. A query with too few good pictures beside it is refused. InputError
    for kinds that do not exist, classes that are not there, and for one of which all queries are refused.
    """
    unknown = set(kinds or ()) - {*SAMPLE_KINDS}
    if unknown:
        raise InputError(f"--kinds {', '.join(sorted(unknown))}: no such kind; give some of {', '.join(SAMPLE_KINDS)}")
    by_class = _classes(material, classes)
    tests = [item for item in material.tests() if (item.sample.dataset, item.sample.category) in by_class]
    if kinds is not None:
        for item in tests:
            if (item.sample.kind or UNKNOWN_KIND) not in kinds:
                material.refuse(OTHER_KIND, item.source)
        tests = [item for item in tests if (item.sample.kind or UNKNOWN_KIND) in kinds]
    usable = {item.name for item in material.readable(tests)}
    drawers = {name: random.Random(f"{seed}/{'/'.join(name)}") for name in by_class}
    pools: dict[tuple[str, str], list[Item]] = {}
    chosen: list[tuple[tuple[str, str], Item]] = []
    for name, items in by_class.items():
        good = [item for item in items if item.sample.label == "no"]
        pools[name] = [item for item in good if item.sample.split == "train"] or good
        queries = [item for item in items if item.name in usable]
        if good_good:
            bad = sum(item.sample.label == "yes" for item in queries)
            spare = [item for item in pools[name] if item.sample.split == "train"]
            wanted = max(0, min(len(spare), bad - (len(queries) - bad)))
            queries += [item for item in drawers[name].sample(spare, wanted) if material.readable([item])]
        if balanced:
            queries = _balance(queries, material, drawers[name])
        chosen += [(name, query) for query in queries]
    pairs: list[Planned] = []
    paired: set[tuple[str, str]] = set()
    short: dict[tuple[str, str], int] = {}
    for name, query in track(chosen, len(chosen), "Drawing references"):
        drawn = _draw(pools[name], query, references * per_picture, material, drawers[name])
        if len(drawn) < references:
            material.refuse(ALONE, query.source)
            short[name] = len(drawn)
            continue
        paired.add(name)
        for n in range(per_picture):
            beside = tuple(drawn[(n * references + k) % len(drawn)] for k in range(references))
            at = drawers[name].choice((0, references)) if shuffle else references
            pairs.append(Planned(f"{query.stem}:{n}" if per_picture > 1 else query.stem, beside, query, at))
    for name in short.keys() - paired:
        raise InputError(
            f"{name[1]}: {references} references are wanted, but a query has {short[name]} good pictures beside it; "
            "give fewer --references, or more pictures"
        )
    recipe = {
        **{
            "classes": classes,
            "kinds": kinds,
            "references": references,
            "per_picture": per_picture,
            "balanced": balanced,
        },
        **{"good_good": good_good, "shuffle": shuffle, "seed": seed, "folders": material.folders},
    }
    return PairPlan(material, {**recipe, "prompt_version": PROMPT_VERSION}, pairs)


def build_pairs(out: str | Path, plan: PairPlan) -> Iterator[str]:
    """Build or go on building the pairs; yields the identifier of each once it is on disk."""
    with Builder(out, "pair", plan.recipe) as builder:
        for pair in plan.pairs:
            items = [*pair.references]
            items.insert(pair.at, pair.query)
            messages = build_messages(len(pair.references), query_first=pair.at == 0)
            fields = {"id": pair.id, "task": "pair", "messages": messages, "prompt": messages}
            entry = make_entry(items, pair.at, **fields, prompt_version=PROMPT_VERSION)
            builder.add(entry, files_of(items, pair.query))
            yield pair.id
        used = [item for pair in plan.pairs for item in (*pair.references, pair.query)]
        facts = plan.material.facts(used)
        facts["references_from_test"] = sum(i.sample.split != "train" for pair in plan.pairs for i in pair.references)
        builder.finish([pair.id for pair in plan.pairs], facts)


def _classes(material: Material, classes: Sequence[str] | None) -> dict[tuple[str, str], list[Item]]:
    """(data set, class) -> its pictures, of the chosen classes."""
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in material.items:
        dataset, category = item.sample.dataset, item.sample.category
        if classes is not None:
            wanted = category in classes
        else:
            wanted = dataset not in PUBLIC or (dataset == "MVTec AD" and category in CLASSES)
        if wanted:
            found[dataset, category].append(item)
        elif item.sample.split in ("test", None):
            material.refuse(NOT_CHOSEN, item.source)
    absent = set(classes or ()) - {category for _, category in found}
    if absent:
        there = ", ".join(dict.fromkeys(item.sample.category for item in material.items))
        raise InputError(f"--classes {', '.join(sorted(absent))}: not among the sources' classes ({there})")
    if not found:
        raise InputError(f"none of the default classes ({', '.join(CLASSES)}) is there; name others with --classes")
    return found


def _spread(items: Iterable[Item], wanted: int, seed: int) -> list[Item]:
    """So many of the items, at random, taken from the classes in turn."""
    classes: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        classes[item.sample.dataset, item.sample.category].append(item)
    for name, members in classes.items():
        random.Random(f"{seed}/{name}").shuffle(members)
    in_turn = chain.from_iterable(zip_longest(*classes.values()))
    return [item for item in in_turn if item is not None][:wanted]


def _balance(queries: Sequence[Item], material: Material, rng: random.Random) -> list[Item]:
    by_label = {label: [item for item in queries if item.sample.label == label] for label in ("yes", "no")}
    fewest = min(map(len, by_label.values()))
    kept = {item.name for members in by_label.values() for item in rng.sample(members, fewest)}
    for item in queries:
        if item.name not in kept:
            material.refuse(BALANCED_OUT, item.source)
    return [item for item in queries if item.name in kept]


def _draw(pool: Sequence[Item], query: Item, wanted: int, material: Material, rng: random.Random) -> list[Item]:
    """Up to `wanted` good pictures, none of which is the query, by name or by content."""
    drawn: list[Item] = []
    for item in rng.sample(pool, len(pool)):
        if len(drawn) == wanted:
            break
        if item.name != query.name and digest(item) != digest(query) and material.readable([item]):
            drawn.append(item)
    return drawn
