"""What the reasonings of a run are worth: are their claims true, do they name the defect, do they fit the answer?

Everything is read from the prediction lines: they hold the facts of both pictures (MiniLOCO) and the names of the
query's defects, so that everything can be computed again without the data set, on any machine. All matching is by the
words in defect_words.toml. A run without reasonings (a baseline) has no explanations to measure.

A reasoning **names a defect** when one sentence has a word for its object and a word for its change, the change is not
denied ("no nut is missing"), and no other object of the lists stands nearer to the change. `others_named` puts this
into proportion: how often the same reasonings name, by the same rule, the other defects of their class in the run,
which their query does not have. A reasoning that lists all words names everything.

A reasoning **contradicts** the answer when its last words that conclude something conclude the opposite.

Deviation from the paper, which shows explanations and measures none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from statistics import mean

from lad_reasoner.evaluation.claims import SORTS, ClaimScore, check_reasoning
from lad_reasoner.evaluation.metrics import RESAMPLES, UNNAMED, estimate_share
from lad_reasoner.records import Estimate, Prediction, Record
from lad_reasoner.word_lists import PhraseHit, Phrases, denial, distance, is_place, normalise, sentences, word_lists

# What stands between two things of a list: "the nut, a washer and the screw".
_LISTED = re.compile(r",? (?:and |or |nor )?(?:the |an? |one |two |three |both )?")
# Counted as words: "the nut on the washer is missing" means the nut, though the washer stands nearer to the change.
_AWAY = 10
ANY = "any"  # the object of a defect that may be anywhere
ALL = "all"


class Faithfulness(Record):
    """Claims checked against the facts: precision = true / claims, recall = told / facts (see claims.py)."""

    true: int
    claims: int
    precision: Estimate
    told: int
    facts: int
    recall: Estimate


class Naming(Record):
    """How often the reasonings name the defects of their query, of `defects` whose words are known.

    object: some sentence has a word for it. change: some sentence has one that is not denied. defect: both, together.
    when_found: the same as defect, of the `found` defects in queries that were answered yes. others_named: of the
    `others` that the query does not have, see the module's docstring. `unknown` are names without words in
    defect_words.toml.
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
    """Metrics of all reasonings of a run; failures are left out.

    empty: no reasoning. repeated: another query has the same text; `most_repeated` is the text that most queries have,
    `most_repeated_times` of them. contradicting: of those that conclude anything (`concluding`). claiming: reasonings
    with at least one claim that can be checked.
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
class Mentions:
    """The objects and changes in a reasoning, by their names in defect_words.toml; `together`: (object, change)."""

    objects: frozenset[str]
    changes: frozenset[str]
    together: frozenset[tuple[str, str]]

    def name(self, meaning: Meaning) -> bool:
        """Whether they name a defect of this meaning."""
        if ANY in meaning.objects:
            return bool(self.changes & meaning.changes)
        return not self.together.isdisjoint(product(meaning.objects, meaning.changes))


def meaning_of(defect: str, category: str | None) -> Meaning | None:
    """The meaning of a defect's name; None where its words are not listed."""
    defects = word_lists()["defects"]
    words = defects.get(category, {}).get(defect) or defects["miniloco"].get(defect)
    if words is None:
        return None
    objects, changes = (frozenset(map(str.strip, part.split(","))) for part in words.split(":"))
    return Meaning(objects, changes)


def read_mentions(reasoning: str) -> Mentions:
    """The objects and changes of defect_words.toml that a reasoning mentions."""
    objects: set[str] = set()
    changes: set[str] = set()
    together: set[tuple[str, str]] = set()
    for sentence in sentences(normalise(reasoning)):
        change_hits = _phrases("changes").find(sentence)
        object_hits = [hit for hit in _phrases("objects").find(sentence) if not _is_within(hit, change_hits)]
        denials = {change: denial(sentence, change.start) for change in change_hits}
        # "Screw" is the long one or the short one: a hit has all names of its phrase.
        for hit in object_hits:
            objects |= hit.names
        for change, denied_at in denials.items():
            if denied_at is None:
                changes |= change.names
                for hit in _nearest(sentence, change, object_hits):
                    together |= {*product(hit.names, change.names)}
        # "There is no nut" has no word for a change, and still says that one is missing.
        for hit in object_hits:
            if _is_said_to_lack(sentence, hit, denials.values()):
                changes.add("missing")
                together |= {(name, "missing") for name in hit.names}
    return Mentions(frozenset(objects), frozenset(changes), frozenset(together))


def _is_within(hit: PhraseHit, others: Iterable[PhraseHit]) -> bool:
    """An object that is part of a change's phrase is no object of its own."""
    return any(other.start <= hit.start and hit.end <= other.end for other in others)


def _is_said_to_lack(sentence: str, hit: PhraseHit, denials: Iterable[int | None]) -> bool:
    """`there is no nut`; but in `no nut is loose` the denial belongs to a change."""
    at = denial(sentence, hit.start)
    if at is None or at in denials:
        return False
    return sentence[at : hit.start].strip() in ("no", "without", "without a", "without any")


def _nearest(sentence: str, change: PhraseHit, hits: Sequence[PhraseHit]) -> list[PhraseHit]:
    """The object nearest to a change, or several as near, and those listed with it: "the nut and the washer"."""
    distances = [distance(sentence, change, hit) + _AWAY * is_place(sentence, hit) for hit in hits]
    nearest = {index for index, words in enumerate(distances) if words == min(distances)}
    for step in (1, -1):  # once in each direction, so that a list is followed to both of its ends
        for index in range(len(hits))[::step]:
            left, right = sorted((index, index + step))
            if index not in nearest or left < 0 or right == len(hits):
                continue
            if _LISTED.fullmatch(sentence[hits[left].end : hits[right].start]):
                nearest.add(index + step)
    return [hits[index] for index in sorted(nearest)]


@cache
def _phrases(section: str) -> Phrases:
    return Phrases(word_lists()[section])


def conclude(reasoning: str) -> str | None:
    """The answer that a reasoning concludes: `yes` for anomalous, `no`; None where it has no word for either."""
    for sentence in reversed(sentences(normalise(reasoning))):
        hits = _phrases("conclusion").find(sentence)
        if hits:
            last = hits[-1]
            # A denial turns the word round: "not in order" is anomalous, "no anomaly" is not.
            anomalous = ("anomalous" in last.names) == (denial(sentence, last.start) is None)
            return "yes" if anomalous else "no"
    return None


def leaves_open(reasoning: str) -> bool:
    """Whether it says that the pictures differ, and nowhere whether that matters: `It differs in label.`"""
    if conclude(reasoning) is not None:
        return False
    return any(_phrases("open").find(sentence) for sentence in sentences(normalise(reasoning)))


def check_line(line: Prediction) -> ClaimScore:
    """The claims of one reasoning, of all sorts together; zeros where the facts are not known."""
    return _scores(line)[ALL]


def _scores(line: Prediction) -> dict[str, ClaimScore]:
    if not line.facts:
        return dict.fromkeys((ALL, *SORTS), ClaimScore())
    *references, query = line.facts
    scores = check_reasoning(line.verdict.reasoning, references, query)
    return {ALL: sum(scores.values(), ClaimScore()), **scores}


@dataclass(frozen=True)
class _Row:
    """One prediction and what is counted of it: every metric is a sum over the rows, or a share of two."""

    category: str  # the stratum of the bootstrap
    text: str
    answer: str
    repeats: int  # queries with this text; 0 for an empty one
    conclusion: str | None
    scores: Mapping[str, ClaimScore]  # by sort, and of all sorts together under ALL
    defects: int  # of this query, with known words
    objects: int  # of these defects, those whose object is mentioned somewhere
    changes: int  # those whose change is
    named: int  # those of which both are, together
    others: int  # defects that only other queries of the class have
    others_named: int  # those that this reasoning names all the same

    @property
    def concludes(self) -> bool:
        """Something that can be compared with an answer."""
        return self.conclusion is not None and self.answer != "invalid"

    @property
    def contradicts(self) -> bool:
        return self.concludes and self.conclusion != self.answer

    @property
    def found(self) -> bool:
        return self.answer == "yes"


@dataclass(frozen=True)
class _Rows:
    """Rows in the order of their queries; shares of sums over them have intervals that are drawn within each class."""

    rows: Sequence[_Row]
    resamples: int

    def sum(self, count: Callable[[_Row], int]) -> int:
        return sum(map(count, self.rows))

    def share(self, part: Callable[[_Row], int], whole: Callable[[_Row], int]) -> Estimate:
        strata = [row.category for row in self.rows]
        return estimate_share([*map(part, self.rows)], [*map(whole, self.rows)], strata, resamples=self.resamples)

    def of_class(self, category: str) -> _Rows:
        return _Rows([row for row in self.rows if row.category == category], self.resamples)


def measure_explanations(predictions: Sequence[Prediction], *, resamples: int = RESAMPLES) -> Explanations | None:
    """All metrics of the reasonings; None where no prediction has a response."""
    lines = sorted((line for line in predictions if not line.error), key=lambda line: line.pair.query)
    if not any(line.verdict.response or line.verdict.reasoning for line in lines):
        return None
    table = _Rows(_make_rows(lines), resamples)
    # The order of `lines` decides between texts that are as frequent, and which resamples the bootstrap draws.
    most = max(table.rows, key=lambda row: row.repeats)
    words = [len(row.text.split()) for row in table.rows]
    faithfulness = by_class = None
    if any(line.facts for line in lines):  # only MiniLOCO has facts to check claims against
        faithfulness = {sort: _faithfulness(table, sort) for sort in (ALL, *SORTS)}
        categories = sorted({row.category for row in table.rows})
        by_class = {category: _faithfulness(table.of_class(category), ALL) for category in categories}
    return Explanations(
        responses=len(lines),
        empty=table.share(lambda row: not row.text, lambda row: 1),
        repeated=table.share(lambda row: row.repeats > 1, lambda row: bool(row.text)),
        most_repeated=most.text if most.repeats > 1 else "",
        most_repeated_times=most.repeats if most.repeats > 1 else 0,
        concluding=table.sum(lambda row: row.concludes),
        contradicting=table.share(lambda row: row.contradicts, lambda row: row.concludes),
        mean_words=round(mean(words), 1),
        most_words=max(words),
        faithfulness=faithfulness,
        faithfulness_by_class=by_class,
        claiming=table.sum(lambda row: row.scores[ALL].claims > 0),
        naming=_naming(table, lines),
    )


def _make_rows(lines: Sequence[Prediction]) -> list[_Row]:
    # Copies may differ in case and in spaces.
    spellings = [" ".join(normalise(line.verdict.reasoning).split()) for line in lines]
    times = Counter(spellings)
    meanings_of_class: dict[str, set[Meaning]] = {}
    for line in lines:
        meanings_of_class.setdefault(_category(line), set()).update(_meanings(line))
    rows = []
    for line, spelling in zip(lines, spellings, strict=True):
        text = line.verdict.reasoning
        mentions, own = read_mentions(text), _meanings(line)
        # Only reasonings on anomalous queries are asked for others: those on good ones should name nothing at all.
        others = meanings_of_class[_category(line)] - {*own} if own else set()
        row = _Row(
            category=_category(line),
            text=text,
            answer=line.verdict.answer,
            repeats=times[spelling] if text else 0,
            conclusion=conclude(text),
            scores=_scores(line),
            defects=len(own),
            objects=sum(ANY in meaning.objects or bool(mentions.objects & meaning.objects) for meaning in own),
            changes=sum(bool(mentions.changes & meaning.changes) for meaning in own),
            named=sum(map(mentions.name, own)),
            others=len(others),
            others_named=sum(map(mentions.name, others)),
        )
        rows.append(row)
    return rows


def _category(line: Prediction) -> str:
    return line.pair.category or UNNAMED


def _meanings(line: Prediction) -> list[Meaning]:
    """Of the query's defects, as far as their words are known; two names may mean the same."""
    meanings = (meaning_of(name, line.pair.category) for name in _defect_names(line))
    return [meaning for meaning in meanings if meaning]


def _defect_names(line: Prediction) -> list[str]:
    return list(dict.fromkeys(line.pair.defect_names())) if line.pair.label == "yes" else []


def _faithfulness(table: _Rows, sort: str) -> Faithfulness:
    return Faithfulness(
        true=table.sum(lambda row: row.scores[sort].true),
        claims=table.sum(lambda row: row.scores[sort].claims),
        precision=table.share(lambda row: row.scores[sort].true, lambda row: row.scores[sort].claims),
        told=table.sum(lambda row: row.scores[sort].told),
        facts=table.sum(lambda row: row.scores[sort].facts),
        recall=table.share(lambda row: row.scores[sort].told, lambda row: row.scores[sort].facts),
    )


def _naming(table: _Rows, lines: Sequence[Prediction]) -> Naming | None:
    if not table.sum(lambda row: row.defects):
        return None
    unknown = set()
    for line in lines:
        unknown |= {name for name in _defect_names(line) if meaning_of(name, line.pair.category) is None}
    return Naming(
        defects=table.sum(lambda row: row.defects),
        object=table.share(lambda row: row.objects, lambda row: row.defects),
        change=table.share(lambda row: row.changes, lambda row: row.defects),
        defect=table.share(lambda row: row.named, lambda row: row.defects),
        found=table.sum(lambda row: row.defects * row.found),
        when_found=table.share(lambda row: row.named * row.found, lambda row: row.defects * row.found),
        others=table.sum(lambda row: row.others),
        others_named=table.share(lambda row: row.others_named, lambda row: row.others),
        unknown=tuple(sorted(unknown)),
    )
