"""Which answers of a teacher are refused, before a person looks at a sample of the others.

    complain(answer, "describe", "yes", hint)       # "mentions the hint", or None

The checks of the wording are heuristics: they know English words for defects and denials (answer_check.toml), and
refuse a good answer now and then. The teacher also states whether it describes an anomaly, which needs no guessing.

Deviation: in the paper people looked over samples of the answers, and nothing was refused by a machine.
"""

from __future__ import annotations

import re
import unicodedata

from pydantic import BaseModel, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from lad_reasoner.data.sets.questions import Question
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Label
from lad_reasoner.remote.ledger import UNFINISHED

_LISTS = read_packaged(__file__, "answer_check.toml")
COMPLAINTS: dict[str, str] = _LISTS["complaints"]
TRUTHS: dict[str, str] = _LISTS["truths"]
NO_FORM = "no answer in the wanted form"

LONGEST_ECHO = 7  # words in a row; fewer are shared by chance ("in the upper left of the picture")
SHORTEST = 3  # words
LONGEST = 1000  # words; two to five sentences are asked for, and a model that does not end writes more
ENGLISH_SHARE = 0.1  # of the words, at least; plain English has about a third
LATIN_SHARE = 0.9  # of the letters, at least


def _any_of(name: str) -> str:
    return "|".join(_LISTS[name])


def _words_of(name: str) -> str:
    return rf"\b(?:{_any_of(name)})\b"


_ENGLISH = re.compile(_any_of("english"))
_TOLD = re.compile(_any_of("told"), re.IGNORECASE)
_DEFECT = re.compile(_words_of("defects") + "(?!-free)", re.IGNORECASE)
_DENIAL = re.compile(_words_of("denials"), re.IGNORECASE)
_ALL_GOOD = re.compile(_any_of("all_good").replace("FAULTS", f"(?:{_any_of('faults')})"), re.IGNORECASE)
_LIMITED = re.compile(_words_of("limits"), re.IGNORECASE)

_MARKUP = re.compile(r"</?[a-zA-Z!|][^>]*>|```|\*\*|^#+ ", re.MULTILINE)
_END = re.compile(r"[.!?][\"'”’)]*$")
_WORD = re.compile(r"[\w'’%-]+")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+")


# A service gets this as a JSON schema: its name, docstring and descriptions are part of the request, by whose hash
# answers that were paid for are found again.
class Answer(BaseModel):
    """What the teacher writes. Checked against the request's facts where these are given as context."""

    anomalous: bool = Field(description="whether the picture shows an anomaly of any kind")
    answer: str = Field(description="the answer to the question: two to five full sentences in plain English")

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Answer:
        facts = info.context
        if facts is not None:
            reason = complain(self, facts["question"], facts["label"], facts["hint"])
            if reason is not None:
                message = COMPLAINTS[reason].format(truth=TRUTHS[facts["label"]])
                raise PydanticCustomError("answer", "{message}", {"message": message})
        return self


def complain(answer: Answer, question: Question, label: Label, hint: str) -> str | None:
    """Why an answer cannot be used, one of `COMPLAINTS`; None if it can."""
    text = answer.answer.strip()
    if len(_words(text)) > LONGEST:
        return "too long"
    if not _is_usable(text):
        return "not usable text"
    if answer.anomalous != (label == "yes") or _contradicts(text, question, label):
        return "contradicts the label"
    if _TOLD.search(text):
        return "mentions the hint"
    return "echoes the hint" if echoes(text, hint) else None


def reason_of(complaint: str) -> str:
    """The reason behind a complaint as a teacher returns it."""
    for reason, message in COMPLAINTS.items():
        if message.partition("{")[0] in complaint:
            return reason
    return complaint if complaint in UNFINISHED.values() else NO_FORM


def echoes(text: str, hint: str) -> bool:
    """Whether `LONGEST_ECHO` words in a row, or a name with an underscore, are copied from the hint."""
    return "_" in text or not _runs(text).isdisjoint(_runs(hint))


def _runs(text: str) -> set[tuple[str, ...]]:
    """All `LONGEST_ECHO` words in a row."""
    words = _words(text)
    return {tuple(words[at : at + LONGEST_ECHO]) for at in range(len(words) - LONGEST_ECHO + 1)}


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _is_usable(text: str) -> bool:
    words = _words(text)
    if len(words) < SHORTEST or _MARKUP.search(text) or not _END.search(text):
        return False
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    english = sum(_ENGLISH.fullmatch(word) is not None for word in words)
    return latin >= LATIN_SHARE * len(letters) and english >= ENGLISH_SHARE * len(words)


def _contradicts(text: str, question: Question, label: Label) -> bool:
    if question == "anomaly" and _words(text)[0] != label:
        return True
    sentences = _SENTENCE.split(text)
    if label == "no":
        return any(_DEFECT.search(sentence) and not _DENIAL.search(sentence) for sentence in sentences)
    return any(_ALL_GOOD.search(sentence) and not _LIMITED.search(sentence) for sentence in sentences)
