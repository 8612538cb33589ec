"""The SFT set of the paper (section 4.1.1): questions about test pictures, answered by a teacher.

    pool = gather([find_samples("mvtec"), find_samples("visa")])
    for identifier in build_sft("sft", plan_sft(pool, mmad), teacher):
        ...

The paper has 2,731 samples from test pictures of MVTec AD and VisA "focusing on appearance-level defects" and does not
say which. The rule here: every anomalous test picture once, and good ones until they are a tenth of the whole, spread
over the classes. On the public test sets (1,258 and 1,200 anomalous) that is exactly 2,731. The five kinds of question
take turns, for good and bad alike.

Deviations: pictures that cannot be read, and pictures that `why_not_train` refuses, are left out and counted.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from lad_reasoner.data.mmad import Mmad
from lad_reasoner.data.sets.answer_check import Answer, reason_of
from lad_reasoner.data.sets.built_set import Builder
from lad_reasoner.data.sets.pool import MASK_UNREADABLE, UNREADABLE, Item, Pool, files_of, make_entry
from lad_reasoner.data.sets.questions import (
    QUESTIONS,
    QUESTIONS_VERSION,
    Question,
    artifact_type,
    ask_teacher,
    product_of,
    teach_student,
    wording,
)
from lad_reasoner.data.teachers.teacher import Answered, Request, Teacher, Unanswered
from lad_reasoner.errors import ImageError, ServiceError
from lad_reasoner.progress import Track, silent
from lad_reasoner.remote.ledger import UNFINISHED
from lad_reasoner.text import listed

logger = logging.getLogger(__name__)

GOOD_SHARE = 0.1
# Questions whose answers were all refused, before one was usable. Where a teacher can answer one question in seven, 19
# of 20 builds have had an answer by then.
GIVE_UP_AFTER = 20

GOOD_ENOUGH = "are good pictures beyond --good-share"
REFUSED = "the teacher's answer"
UNANSWERED = {"service": "the service failed", "budget": "the budget was spent", "picture": UNREADABLE}


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
    """The questions of an SFT set; `recipe` is all that they depend on."""

    pool: Pool
    recipe: Mapping[str, Any]
    asked: Sequence[Asked]

    @property
    def requests(self) -> list[Request]:
        """The teacher's part of the questions, in order."""
        return [asked.request for asked in self.asked]


def plan_sft(
    pool: Pool,
    mmad: Mmad,
    *,
    good_share: float = GOOD_SHARE,
    per_picture: int = 1,
    seed: int = 0,
    track: Track = silent,
) -> SftPlan:
    """The questions of the SFT set, by the rule of the module's docstring; nothing is asked or written.

    `per_picture` kinds of question are asked of each picture. If there are too few good pictures, all are taken.
    Pictures and masks that cannot be read are refused, and MMAD's keys of pictures that are absent.
    """
    tests = pool.tests()
    for reason, keys in mmad.refused.items():
        pool.refused.setdefault(_mmad_reason(reason), []).extend(keys)
    for name in mmad.absent(item.sample for item in tests):
        pool.refuse(_mmad_reason("absent from the sources"), "/".join(name))
    readable = pool.readable(_choose(pool, tests, good_share, seed), track)
    turns: Counter[str] = Counter()  # of each label, so that no question is asked of the good ones more often
    asked: list[Asked] = []
    placeless: list[str] = []
    for item in track(readable, len(readable), "Reading masks"):
        sample = item.sample
        turn = turns[sample.label]
        turns[sample.label] += 1
        try:
            hint = mmad.hint(sample)
        except ImageError as error:
            pool.refuse(MASK_UNREADABLE, f"{item.source} ({error})")
            continue
        if sample.masks and not hint.where:
            placeless.append(item.source)
        for n in range(per_picture):
            question = QUESTIONS[(turn + n) % len(QUESTIONS)]
            text = wording(question, product_of(sample.category), turn // len(QUESTIONS) + seed)
            request = _make_request(item, question, text, hint.text, pool.depth(item))
            asked.append(Asked(f"{item.stem}:{question}", item, question, text, request))
    if placeless:
        masks = f"{len(placeless)} masks are black or have another shape than the picture"
        logger.warning("%s; the hint says no place: %s", masks, listed(placeless))
    known = repr((sorted(mmad.questions.items()), sorted(mmad.knowledge.items()))).encode()
    recipe = {
        "good_share": good_share,
        "per_picture": per_picture,
        "seed": seed,
        "folders": pool.folders,
        "mmad_sha256": hashlib.sha256(known).hexdigest(),
        "prompt_version": QUESTIONS_VERSION,
    }
    return SftPlan(pool, recipe, asked)


def build_sft(out: str | Path, plan: SftPlan, teacher: Teacher) -> Iterator[str]:
    """Build the SFT set or resume its build; yields the identifier of each question once it is settled.

    A record is on disk as soon as its answer is there. The manifest says `complete` once nothing is left to ask;
    questions that the service failed or the budget did not cover are asked by the next run. ServiceError if the answers
    to the first `GIVE_UP_AFTER` questions are all refused: the others would cost as much, and bring nothing.
    """
    pool = plan.pool
    refused: Counter[str] = Counter()
    models: Counter[str] = Counter()  # that wrote the answers; a service may have another behind the name
    hopeless = unasked = 0
    with Builder(out, "sft", {**plan.recipe, "teacher": teacher.name}) as builder:
        usable = bool(builder.done)
        for index, outcome in teacher.ask_many(plan.requests):
            asked = plan.asked[index]
            refused.update(reason_of(complaint) for complaint in outcome.complaints)
            if isinstance(outcome, Answered):
                assert isinstance(outcome.content, Answer)
                models[outcome.model] += 1
                entry = make_entry(
                    [asked.item],
                    id=asked.id,
                    task="sft",
                    messages=teach_student(asked.text, outcome.content.answer.strip()),
                    question=asked.question,
                    prompt_version=QUESTIONS_VERSION,
                )
                builder.add(entry, files_of([asked.item], asked.item), pool.depth(asked.item))
                usable = True
            else:
                # Not of one who gave no answer at all, such as the offline teacher of pictures that it does not know.
                hopeless += outcome.reason == "malformed" and bool(outcome.complaints)
                if hopeless == GIVE_UP_AFTER and not usable:
                    raise ServiceError(_describe_hopeless(teacher.name, refused))
                unasked += outcome.reason in ("service", "budget")
                pool.refuse(_why_unanswered(outcome), f"{asked.item.source} ({outcome.error})")
            yield asked.id
        bills = {"paid": asdict(teacher.paid), "recalled": asdict(teacher.recalled)}
        facts = {
            "unasked": unasked,
            "answers_refused": dict(sorted(refused.items())),
            "teacher": {"name": teacher.name, "models": dict(sorted(models.items())), **bills},
            **pool.facts(asked.item for asked in plan.asked),
        }
        builder.finish([asked.id for asked in plan.asked], facts, complete=not unasked)


def _mmad_reason(reason: str) -> str:
    return f"keys of MMAD: {reason}"


def _describe_hopeless(teacher: str, refused: Counter[str]) -> str:
    reason, number = refused.most_common(1)[0]
    return (
        f"{teacher}: none of its answers to the first {GIVE_UP_AFTER} questions can be used ({number} of "
        f"{refused.total()} answers: {reason}); give another --teacher-model with another --out; all answers are kept"
    )


def _why_unanswered(outcome: Unanswered) -> str:
    if outcome.reason != "malformed":
        return UNANSWERED[outcome.reason]
    return f"{REFUSED}: {reason_of(outcome.error)}" if outcome.complaints else outcome.error


def is_refused(reason: str) -> bool:
    """Whether a manifest's reason is about answers that could not be used, where others might be."""
    return reason.startswith(REFUSED) and reason.removeprefix(f"{REFUSED}: ") not in UNFINISHED.values()


def _choose(pool: Pool, tests: Sequence[Item], good_share: float, seed: int) -> list[Item]:
    """All anomalous pictures and `good_share` good ones; the other good ones are refused."""
    good = [item for item in tests if item.sample.label == "no"]
    bad = len(tests) - len(good)
    wanted = round(bad * good_share / (1 - good_share)) if bad and good_share < 1 else len(good)
    kept = {item.name for item in _spread(good, wanted, seed)}
    chosen = []
    for item in tests:
        if item.sample.label == "yes" or item.name in kept:
            chosen.append(item)
        else:
            pool.refuse(GOOD_ENOUGH, item.source)
    return chosen


def _spread(items: Iterable[Item], wanted: int, seed: int) -> list[Item]:
    """So many of the items, at random, taken from the classes in turn."""
    classes: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        classes[item.class_name].append(item)
    for name, members in classes.items():
        random.Random(f"{seed}/{name}").shuffle(members)
    in_turn = chain.from_iterable(zip_longest(*classes.values()))
    return [item for item in in_turn if item is not None][:wanted]


def _make_request(item: Item, question: Question, text: str, hint: str, depth: int | None) -> Request:
    sample = item.sample
    facts = {"question": question, "label": sample.label, "hint": hint, "scene": sample.facts, "masks": sample.masks}
    artifact = artifact_type(sample.label, sample.kind, sample.defect)
    messages = ask_teacher(question, text, artifact=artifact, hint=hint)
    return Request(messages, [sample.image], Answer, QUESTIONS_VERSION, facts, depth)
