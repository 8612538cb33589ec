"""What the reasonings of a run are worth: are their claims true, do they name the defect, do they fit the answer?

Everything is read from the prediction lines: the facts of both pictures (MiniLOCO) and the names of the query's defects
stand in them, so that figures can be computed again without the data set, on any machine. All is matched by words;
defect_words.toml holds them. A run of which nobody gave a reason (a baseline) has no figures here.

A reasoning **names a defect** when one sentence has a word for its object and a word for its change, the change is not
denied ("no nut is missing"), and no other object of the lists stands nearer to the change. What this is worth is said
by `others_named`: how often the same reasonings name, by the same rule, the other defects of their class in the run,
which are not there. Who writes down all words names everything.

A reasoning **contradicts** the answer when the last words that conclude something conclude the opposite.

Deviation from the paper, which shows explanations and measures none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean

from lad_reasoner.estimate import Estimate
from lad_reasoner.evaluation.claims import SORTS, ClaimScore, check_reasoning
from lad_reasoner.evaluation.metrics import RESAMPLES, UNNAMED, estimate_share
from lad_reasoner.records import Prediction, Record
from lad_reasoner.word_lists import Hit, Phrases, denial, distance, is_place, normalise, sentences, word_lists

_LISTED = re.compile(r",? (?:and |or |nor )?(?:the |an? |one |two |three |both )?")
_AWAY = 10  # words by which a place is farther from a change than the part that lies there
ANY = "any"  # the object of a defect that may be anywhere
ALL = "all"


class Faithfulness(Record):
    """Claims held against the facts: precision = true / claims, recall = told / facts (see claims.py)."""

    true: int
    claims: int
    precision: Estimate
    told: int
    facts: int
    recall: Estimate


class Naming(Record):
    """Whether the reasonings name the defects that are there, of `defects` whose words are known.

    object: a word for it stands somewhere. change: one for it does, and is not denied. defect: both belong together.
    when_found: the same, of the `found` defects in queries that were answered yes. others_named: of the `others` that
    are not there, see the module's docstring. `unknown` are names without words in defect_words.toml.
    """

    defects: int
    object: Estimate
    change: Estimate
    defect: Estimate
    found: int
    when_found: Estimate
    others: int
    others_named: Estimate
    unknown: tuple[str, ...]


class Explanations(Record):
    """Figures of all reasonings of a run; failures are left out.

    empty: no reasoning. repeated: the same text stands at another query too, as that of `most_repeated` does at
    `most_repeated_times` queries. contradicting: of those that conclude anything (`concluding`). words: on average.
    """

    responses: int
    empty: Estimate
    repeated: Estimate
    most_repeated: str
    most_repeated_times: int
    concluding: int
    contradicting: Estimate
    mean_words: float
    most_words: int
    faithfulness: dict[str, Faithfulness] | None
    faithfulness_by_class: dict[str, Faithfulness] | None
    claiming: int
    naming: Naming | None


@dataclass(frozen=True)
class Meaning:
    """The objects and changes of a defect, as defect_words.toml calls them."""

    objects: frozenset[str]
    changes: frozenset[str]


@dataclass(frozen=True)
class Said:
    """What a reasoning says of objects and changes: each by itself, and those that belong together."""

    objects: frozenset[str]
    changes: frozenset[str]
    together: frozenset[tuple[str, str]]

    def names(self, meaning: Meaning) -> bool:
        """Whether it names a defect of this meaning."""
        if ANY in meaning.objects:
            return bool(self.changes & meaning.changes)
        return any(one in meaning.objects and change in meaning.changes for one, change in self.together)


def meaning_of(defect: str, category: str | None) -> Meaning | None:
    """What a defect's name means; None where its words are not listed."""
    defects = word_lists()["defects"]
    words = defects.get(category, {}).get(defect) or defects["miniloco"].get(defect)
    if words is None:
        return None
    objects, changes = (frozenset(one.strip() for one in part.split(",")) for part in words.split(":"))
    return Meaning(objects, changes)


def read_said(reasoning: str) -> Said:
    """What a reasoning says of the objects and changes in defect_words.toml."""
    objects: set[str] = set()
    changes: set[str] = set()
    together: set[tuple[str, str]] = set()
    for sentence in sentences(normalise(reasoning)):
        all_changes = _phrases("changes").find(sentence)
        things = [
            thing
            for thing in _phrases("objects").find(sentence)
            if not any(change.start <= thing.start and thing.end <= change.end for change in all_changes)
        ]
        denials = {change: denial(sentence, change.start) for change in all_changes}
        objects |= {name for thing in things for name in thing.names}
        for change in (change for change, denied in denials.items() if denied is None):
            changes |= change.names
            for thing in _nearest(sentence, change, things):
                together |= {(name, how) for name in thing.names for how in change.names}
        for thing in things:  # "there is no nut", unless that "no" belongs to a change: "no nut is loose"
            at = denial(sentence, thing.start)
            if at is None or at in denials.values():
                continue
            if sentence[at : thing.start].strip() in ("no", "without", "without a", "without any"):
                changes.add("missing")
                together |= {(name, "missing") for name in thing.names}
    return Said(frozenset(objects), frozenset(changes), frozenset(together))


def _nearest(sentence: str, change: Hit, things: Sequence[Hit]) -> list[Hit]:
    """The object nearest to a change, or several as near, and those listed with it: "the nut and the washer"."""
    away = [distance(sentence, change, thing) + _AWAY * is_place(sentence, thing) for thing in things]
    nearest = {at for at, far in enumerate(away) if far == min(away)}
    for step in (1, -1):  # from each end, so that a whole list is taken in
        for at in range(len(things))[::step]:
            left, right = sorted((at, at + step))
            if at not in nearest or left < 0 or right == len(things):
                continue
            if _LISTED.fullmatch(sentence[things[left].end : things[right].start]):
                nearest.add(at + step)
    return [things[at] for at in sorted(nearest)]


@cache
def _phrases(section: str) -> Phrases:
    return Phrases(word_lists()[section])


def conclude(reasoning: str) -> str | None:
    """What a reasoning concludes, as an answer: `yes` for anomalous, `no`, or None where no word of the lists says."""
    for sentence in reversed(sentences(normalise(reasoning))):
        hits = _phrases("conclusion").find(sentence)
        if hits:
            last = hits[-1]
            anomalous = ("anomalous" in last.names) == (denial(sentence, last.start) is None)
            return "yes" if anomalous else "no"
    return None


def check_line(line: Prediction) -> ClaimScore:
    """The claims of one reasoning, of all sorts together; nothing where the facts are not known."""
    return sum(_checks(line).values(), ClaimScore())


def _checks(line: Prediction) -> dict[str, ClaimScore]:
    if not line.facts:
        return dict.fromkeys(SORTS, ClaimScore())
    *references, query = line.facts
    return check_reasoning(line.verdict.reasoning, references, query)


def measure_explanations(predictions: Sequence[Prediction], *, resamples: int = RESAMPLES) -> Explanations | None:
    """All figures; None where no prediction has a response."""
    lines = sorted((line for line in predictions if not line.error), key=lambda line: line.pair.query)
    if not any(line.verdict.response or line.verdict.reasoning for line in lines):
        return None
    texts = [line.verdict.reasoning for line in lines]
    strata = [line.pair.category or UNNAMED for line in lines]
    times = Counter(" ".join(normalise(text).split()) for text in texts)
    repeats = [times[" ".join(normalise(text).split())] if text else 0 for text in texts]
    most = max(range(len(lines)), key=lambda at: repeats[at])
    concluded = [conclude(text) for text in texts]
    concludes = [
        said is not None and line.verdict.answer != "invalid" for said, line in zip(concluded, lines, strict=True)
    ]
    against = [
        counts and said != line.verdict.answer for counts, said, line in zip(concludes, concluded, lines, strict=True)
    ]
    words = [len(text.split()) for text in texts]

    def part(parts: Sequence[int], wholes: Sequence[int]) -> Estimate:
        return estimate_share(parts, wholes, strata, resamples=resamples)

    checks = [_checks(line) for line in lines] if any(line.facts for line in lines) else None
    return Explanations(
        responses=len(lines),
        empty=part([not text for text in texts], [1] * len(lines)),
        repeated=part([count > 1 for count in repeats], [bool(text) for text in texts]),
        most_repeated=texts[most] if repeats[most] > 1 else "",
        most_repeated_times=repeats[most] if repeats[most] > 1 else 0,
        concluding=sum(concludes),
        contradicting=part(against, concludes),
        mean_words=round(mean(words), 1),
        most_words=max(words),
        faithfulness=checks
        and {sort: _faithfulness([_sum(check, sort) for check in checks], strata, resamples) for sort in (ALL, *SORTS)},
        faithfulness_by_class=checks
        and {
            name: _faithfulness(
                [_sum(check, ALL) for check, of in zip(checks, strata, strict=True) if of == name],
                [name] * strata.count(name),
                resamples,
            )
            for name in sorted(set(strata))
        },
        claiming=sum(_sum(check, ALL).claims > 0 for check in checks or ()),
        naming=_naming(lines, strata, resamples),
    )


def _sum(checks: Mapping[str, ClaimScore], sort: str) -> ClaimScore:
    return sum(checks.values(), ClaimScore()) if sort == ALL else checks[sort]


def _faithfulness(checks: Sequence[ClaimScore], strata: Sequence[str], resamples: int) -> Faithfulness:
    total = sum(checks, ClaimScore())
    return Faithfulness(
        true=total.true,
        claims=total.claims,
        precision=estimate_share(
            [check.true for check in checks], [check.claims for check in checks], strata, resamples=resamples
        ),
        told=total.told,
        facts=total.facts,
        recall=estimate_share(
            [check.told for check in checks], [check.facts for check in checks], strata, resamples=resamples
        ),
    )


@dataclass
class _Named:
    """Of one prediction: how many defects it has, and of how many object, change and both are said."""

    defects: int = 0
    objects: int = 0
    changes: int = 0
    both: int = 0
    others: int = 0
    others_both: int = 0


def _naming(lines: Sequence[Prediction], strata: Sequence[str], resamples: int) -> Naming | None:
    meanings = [
        {name: meaning_of(name, line.pair.category) for name in line.pair.defect_names()}
        if line.pair.label == "yes"
        else {}
        for line in lines
    ]
    unknown = {name for found in meanings for name, meaning in found.items() if meaning is None}
    of_class: dict[str, set[Meaning]] = {}
    for category, found in zip(strata, meanings, strict=True):
        of_class.setdefault(category, set()).update(filter(None, found.values()))
    rows = []
    for line, category, found in zip(lines, strata, meanings, strict=True):
        row, own = _Named(), [meaning for meaning in found.values() if meaning]
        said = read_said(line.verdict.reasoning)
        for meaning in own:
            row.defects += 1
            row.objects += ANY in meaning.objects or bool(said.objects & meaning.objects)
            row.changes += bool(said.changes & meaning.changes)
            row.both += said.names(meaning)
        for meaning in of_class[category] - set(own) if own else ():
            row.others += 1
            row.others_both += said.names(meaning)
        rows.append(row)
    if not any(row.defects for row in rows):
        return None

    def part(parts: Sequence[int], wholes: Sequence[int]) -> Estimate:
        return estimate_share(parts, wholes, strata, resamples=resamples)

    defects = [row.defects for row in rows]
    found_only = [line.verdict.answer == "yes" for line in lines]
    return Naming(
        defects=sum(defects),
        object=part([row.objects for row in rows], defects),
        change=part([row.changes for row in rows], defects),
        defect=part([row.both for row in rows], defects),
        found=sum(row.defects for row, found in zip(rows, found_only, strict=True) if found),
        when_found=part(
            [row.both * found for row, found in zip(rows, found_only, strict=True)],
            [row.defects * found for row, found in zip(rows, found_only, strict=True)],
        ),
        others=sum(row.others for row in rows),
        others_named=part([row.others_both for row in rows], [row.others for row in rows]),
        unknown=tuple(sorted(unknown)),
    )
