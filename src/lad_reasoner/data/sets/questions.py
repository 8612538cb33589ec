"""The questions of the SFT set, how the teacher is asked them, and which of its answers are refused.

Every question fits a good picture as well as a bad one, so that the question does not give the answer away. The teacher
gets the artifact type, the hint and the instruction to look beyond it (paper, section 3.2); the student gets the
question alone.

Deviations: the paper prints neither its questions nor its prompt, and had people look over samples of the answers.
These are ours, and what a machine can refuse is refused before a person looks (`complain`). The checks of the wording
are heuristics: they know English words for defects and denials, and will refuse a good answer now and then. The teacher
also says as a plain fact whether it describes an anomaly, which needs no guessing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from lad_reasoner.records import Label

Question = Literal["describe", "where", "kind", "function", "anomaly"]
KINDS: tuple[Question, ...] = get_args(Question)

QUESTIONS_VERSION = "sft-1"  # goes up with every change of a word that the student or the teacher reads

WORDINGS: dict[Question, tuple[str, ...]] = {
    "describe": (
        "Describe this {product} in detail: its parts, its surface, and anything that is not as it should be.",
        "What does this picture of a {product} show? Mention all that is unusual.",
        "Give a careful description of this {product} and of its condition.",
    ),
    "where": (
        "Is any part of this {product} not as it should be? If so, where in the picture?",
        "Point out where this {product} differs from a good one, if it does.",
        "Which region of this picture of a {product} needs a closer look, and why?",
    ),
    "kind": (
        "What kind of anomaly, if any, does this {product} have?",
        "If this {product} is anomalous, say of what kind the anomaly is and what it looks like.",
        "How would you classify the condition of this {product}: good, or which kind of anomaly?",
    ),
    "function": (
        "Would this {product} do its job? Say which function suffers, if any.",
        "Does what you see impair the function of this {product}, and in which way?",
        "Could this {product} be used as intended? Explain what its condition means for its use.",
    ),
    "anomaly": (
        "Is there any anomaly in this picture of a {product}?",
        "Is anything wrong with this {product}?",
        "Does this {product} have a defect of any kind?",
    ),
}

INSTRUCTIONS = """You help to train a model that inspects products. Look closely at the picture.

Artifact type: {artifact}
Hint, by an annotator; it is short and may leave things out:
{hint}

Answer the question below, as an expert who sees nothing but the picture. The hint tells you where to look; then look \
beyond it, and name details of parts, colours, shapes, numbers and surfaces that it does not mention. Use your own \
words, not those of the hint. Never mention the hint, an annotation, a mask, or that you were told anything. Write two \
to five full sentences in plain English. {begin}

Question: {question}"""
BEGIN = "Begin with Yes or No."

# reason (as counted in the manifest) -> what the teacher is told
COMPLAINTS = {
    "not usable text": "the answer must be plain English sentences, complete, without tags or markup",
    "contradicts the label": "the answer contradicts what is known about the picture: it shows {truth}",
    "echoes the hint": "the answer copies the wording of the hint; use your own words",
    "mentions the hint": "the answer speaks of a hint, an annotation, a mask or what you were told; say what is seen",
}
TRUTHS = {"yes": "an anomaly", "no": "a good product"}
NO_FORM = "no answer in the wanted form"

LONGEST_ECHO = 7  # words in a row; fewer are shared by chance ("in the upper left of the picture")
SHORTEST = 3  # words
ENGLISH_SHARE = 0.1  # of the words, at least; plain English has about a third

_ENGLISH = re.compile(
    r"the|is|are|a|of|and|with|this|that|there|has|not|its?|to|up|on|at|be|can|by|from|as|which|where|for|but|"
    r"one|two|three|four|five|six"
)
_MARKUP = re.compile(r"</?[a-zA-Z!][^>]*>|```|\*\*|^#+ ", re.MULTILINE)
_END = re.compile(r"[.!?][\"'”’)]*$")
_WORD = re.compile(r"[\w'’%-]+")
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+")
_TOLD = re.compile(
    r"(?<!\ba )\bhints?\b(?! of\b)|\bground[- ]?truth|\bannotat(?:ed|ion|ions|or|ors)\b|(?<!solder )\bmasks?\b"
    r"|\bsegmentation\b|\bprovided (?:information|description|context)"
    r"|\b(?:as|was|were) (?:told|mentioned|provided|stated)\b"
    r"|\bi (?:was|am) (?:told|given)|\baccording to the (?:data|information|description|text|label)",
    re.IGNORECASE,
)
_SPOILED = (
    r"defects?|defective|anomal(?:y|ies|ous)|flaw(?:s|ed)?|damaged?|broken|scratch(?:es|ed)?|crack(?:s|ed)?|dent(?:s|ed)?|"
    r"stain(?:s|ed)?|contaminat(?:ed|ion)|misplaced|missing|faulty|torn|chipped|deformed|bent out of shape|swapped|"
    r"mismatch(?:es|ed)?|wrong|incorrect|imperfections?|irregularit(?:y|ies)|abnormal(?:ity|ities)?|unusual|issues?|problems?"
)
_DEFECT = re.compile(rf"\b(?:{_SPOILED})\b(?!-free)", re.IGNORECASE)
_DENIAL = re.compile(
    r"\b(?:no|not|none|nothing|never|neither|nor|without|free (?:of|from)|absence|lacks?|cannot|"
    r"\w+n['’]t|if|any|nowhere|rather than|instead of|would)\b",
    re.IGNORECASE,
)
_FAULTS = (
    r"(?:defects?|anomal(?:y|ies)|flaws?|damage|issues?|problems?|irregularit(?:y|ies)|abnormalit(?:y|ies)|"
    r"tears?|dents?)"
)
_ALL_GOOD = re.compile(
    rf"\bno (?:\w+ ){{0,5}}{_FAULTS}\b|\b(?:free (?:of|from)|without) (?:\w+ ){{0,4}}{_FAULTS}\b"
    r"|\bnothing (?:is |looks |seems |appears )?(?:to be )?(?:wrong|unusual|amiss|out of place|missing)\b"
    r"|\b(?:flawless|defect-free|everything is in order|in perfect condition)\b",
    re.IGNORECASE,
)
# What limits a denial to a part of the picture.
_LIMITED = re.compile(
    r"\b(?:other(?:wise)?|further|else(?:where)?|additional|besides|apart|except|rest|remaining|remainder|but|however|"
    r"although|though|while|only|surrounding|outside|around)\b",
    re.IGNORECASE,
)


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


def product_of(category: str) -> str:
    """How a class is called in a sentence: `metal_nut` -> `metal nut`, `pcb3` -> `pcb`, `tubes` -> `set of tubes`."""
    name = category.rpartition("/")[2].replace("_", " ").strip()
    name = name.rstrip("0123456789").strip() or name
    return f"set of {name}" if name.endswith("s") and not name.endswith(("ss", "us", "is", "ens")) else name


def ask_teacher(question: Question, text: str, *, artifact: str, hint: str) -> list[dict[str, Any]]:
    """The conversation that the teacher gets: a place for the picture, then all it is told."""
    begin = BEGIN if question == "anomaly" else ""
    prompt = INSTRUCTIONS.format(artifact=artifact, hint=hint, begin=begin, question=text)
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


def teach_student(text: str, answer: str) -> list[dict[str, Any]]:
    """The conversation that the student learns from."""
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def complain(answer: Answer, question: Question, label: Label, hint: str) -> str | None:
    """Why an answer cannot be used, one of `COMPLAINTS`; None where it can."""
    text = answer.answer.strip()
    if not _is_usable(text):
        return "not usable text"
    if answer.anomalous != (label == "yes") or _contradicts(text, question, label):
        return "contradicts the label"
    if _TOLD.search(text):
        return "mentions the hint"
    return "echoes the hint" if echoes(text, hint) else None


def reason_of(complaint: str) -> str:
    """The reason that stands behind a complaint as a teacher returns it."""
    fixed = {reason: message.partition("{")[0] for reason, message in COMPLAINTS.items()}
    return next((reason for reason, message in fixed.items() if message in complaint), NO_FORM)


def echoes(text: str, hint: str) -> bool:
    """Whether `LONGEST_ECHO` words in a row, or a name with an underscore, are copied from the hint."""
    words, source = _words(text), _words(hint)
    runs = {tuple(source[at : at + LONGEST_ECHO]) for at in range(len(source) - LONGEST_ECHO + 1)}
    copied = any(tuple(words[at : at + LONGEST_ECHO]) in runs for at in range(len(words) - LONGEST_ECHO + 1))
    return copied or "_" in text


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _is_usable(text: str) -> bool:
    words = _words(text)
    if len(words) < SHORTEST or _MARKUP.search(text) or not _END.search(text):
        return False
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if latin < 0.9 * len(letters):
        return False
    return sum(_ENGLISH.fullmatch(word) is not None for word in words) >= ENGLISH_SHARE * len(words)


def _contradicts(text: str, question: Question, label: Label) -> bool:
    if question == "anomaly" and _words(text)[0] != label:
        return True
    sentences = _SENTENCE.split(text)
    if label == "no":
        return any(_DEFECT.search(sentence) and not _DENIAL.search(sentence) for sentence in sentences)
    return any(_ALL_GOOD.search(sentence) and not _LIMITED.search(sentence) for sentence in sentences)


def wording(question: Question, product: str, turn: int) -> str:
    """One of the wordings of a question, in turn."""
    choices = WORDINGS[question]
    return choices[turn % len(choices)].format(product=product)


def artifact_type(label: Label, kind: str | None, defect: str | None) -> str:
    """What the teacher is told the picture shows: `logical anomaly (cable swap)`."""
    if label == "no":
        return "none, a good product"
    name = f" ({defect.replace('_', ' ')})" if defect else ""
    return f"{f'{kind} anomaly' if kind else 'anomaly'}{name}"
