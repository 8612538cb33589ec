"""MMAD's annotations as hints for the teacher, without those of benchmarks.

    mmad = read_mmad("mmad.json", "domain_knowledge.json")
    mmad.hint(sample)       # -> Hint: class, defect, place, what MMAD says
    mmad.refused            # reason -> keys

MMAD (Jiang et al., ICLR 2025) asks multiple-choice questions about pictures of MVTec AD (as DS-MVTec), VisA, MVTec LOCO
AD and GoodsAD. `mmad.json` is one object, picture -> entry:

    "DS-MVTec/bottle/image/broken_large/000.png": {"conversation": [
        {"Question": "…", "Answer": "B", "Options": {"A": "…", "B": "…"}, "type": "Defect Description"}, …], …}

`domain_knowledge.json` is data set -> class -> defect -> text.

Keys are never opened as paths: they are compared with the samples that `sources.find_samples` found. MMAD's own
mask_path and lists of templates are not read; a sample knows its masks, and `sets/pairs.py` draws references.

The paper (section 4.1.1) gives the teacher "MMAD annotations as semantic priors". Deviations: the right option of each
question is quoted, not its wrong ones; whether there is a defect at all is known from the data set, not asked of MMAD;
the place is measured from the mask.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from lad_reasoner.data.masks import describe_mask, read_mask_of
from lad_reasoner.data.public_sets import LOCO, WRONG_IN_DS_MVTEC
from lad_reasoner.errors import InputError
from lad_reasoner.records import Record, Sample
from lad_reasoner.text import first_problem, printable

# (data set, class, defect or `good` or VisA's `bad`, number of the picture)
Name = tuple[str, str, str, str]

DATASETS = {"DS-MVTec": "MVTec AD", "MVTec-AD": "MVTec AD", "MVTec": "MVTec AD", "VisA": "VisA"}
BENCHMARK = "MVTec LOCO AD is the benchmark"
OUTSIDE = "a path out of the folder"
OTHER = "of a data set that is not trained on"
FORM = "not DATASET/CLASS/FOLDER/DEFECT/FILE"
WRONG = "a metal nut among DS-MVTec's pills"
ANSWER = "the answer is none of the options"

DETECTION = "Anomaly Detection"

Form = TypeVar("Form")


class Question(Record):
    """One of MMAD's questions, in MMAD's own field names."""

    question: str = Field(alias="Question")
    answer: str = Field(alias="Answer")
    options: dict[str, str] = Field(alias="Options")
    type: str

    @property
    def right(self) -> str | None:
        """The text of the right option, or None if there is no such option."""
        return self.options.get(self.answer.strip().rstrip(".").upper())


class _Entry(Record):
    conversation: tuple[Question, ...]


@dataclass(frozen=True)
class Hint:
    """What the teacher is told about a picture before it looks.

    `defect` is None if the data set does not name it, `where` is empty if there is no mask. `knowledge` is MMAD's text
    on this defect of this class, or on its good pictures. `said` are (question, right option) about this picture.
    """

    category: str
    anomalous: bool
    defect: str | None
    where: str
    knowledge: str
    said: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The hint as lines of text, for a prompt."""
        defect = _spoken(self.defect or "there is one") if self.anomalous else "none"
        lines = [f"Product: {_spoken(self.category)}", f"Defect: {defect}"]
        lines += [f"Where: {self.where}"] if self.where else []
        lines += [f"{question} {right}" for question, right in self.said]
        lines += [f"About such pictures: {self.knowledge}"] if self.knowledge else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Mmad:
    """MMAD's questions and texts. `refused`: reason -> keys that were left out."""

    questions: Mapping[Name, tuple[Question, ...]]
    knowledge: Mapping[tuple[str, str, str], str]
    refused: Mapping[str, tuple[str, ...]]

    def hint(self, sample: Sample) -> Hint:
        """The hint for one picture; only from its data set if MMAD says nothing about it.

        It says no place if the mask has another shape than the picture. ImageError for a mask that cannot be read.
        """
        name = name_of(sample)
        mask = read_mask_of(sample.image, sample.masks) if sample.masks else None
        asked = self.questions.get(name, ())
        return Hint(
            category=sample.category,
            anomalous=sample.label == "yes",
            defect=sample.defect,
            where="" if mask is None else describe_mask(mask),
            knowledge=self.knowledge.get(name[:3], ""),
            said=tuple((q.question.strip(), q.right.strip()) for q in asked if q.type != DETECTION and q.right),
        )

    def absent(self, samples: Iterable[Sample]) -> tuple[Name, ...]:
        """Pictures that MMAD asks about and that are not among the samples."""
        names = {name_of(sample) for sample in samples}
        return tuple(name for name in self.questions if name not in names)


def name_of(sample: Sample) -> Name:
    """MMAD's name of a sample, the same in every layout."""
    defect = "bad" if sample.dataset == "VisA" else sample.defect or "bad"
    folder = "good" if sample.kind == "good" else defect
    return sample.dataset, sample.category, folder, Path(sample.image).stem.casefold()


def read_mmad(questions: str | Path | None = None, knowledge: str | Path | None = None) -> Mmad:
    """Read MMAD's question file and its domain knowledge; either may be None.

    Keys of MVTec LOCO AD, of other data sets, of pictures known to be wrong, and keys that are paths out of the folder
    are refused and counted. InputError with file, key and field if a file is malformed.
    """
    refused: dict[str, list[str]] = {}
    asked: dict[Name, tuple[Question, ...]] = {}
    texts: dict[tuple[str, str, str], str] = {}
    if questions is not None:
        for key, entry in _read(questions, dict[str, _Entry], "mmad.json").items():
            reason, name = _parse(key)
            if name is None:
                refused.setdefault(reason, []).append(printable(key))
                continue
            answerable = []
            for question in entry.conversation:
                if question.right is None:
                    refused.setdefault(ANSWER, []).append(f"{printable(key)}: {question.question}")
                else:
                    answerable.append(question)
            asked[name] = (*asked.get(name, ()), *answerable)
    if knowledge is not None:
        for dataset, classes in _read(knowledge, dict[str, dict[str, dict[str, str]]], "domain_knowledge.json").items():
            for category, defects in classes.items():
                reason = _refusal(dataset, category)
                if reason:
                    refused.setdefault(reason, []).append(printable(f"{dataset}/{category}"))
                    continue
                for defect, text in defects.items():
                    texts[DATASETS[dataset], category, defect] = " ".join(text.split())
    return Mmad(asked, texts, {reason: tuple(keys) for reason, keys in refused.items()})


def _parse(key: str) -> tuple[str, Name | None]:
    """(reason of the refusal, None), or ("", the picture's name)."""
    path = PureWindowsPath(key)  # splits at either slash
    if path.anchor or ".." in path.parts:
        return OUTSIDE, None
    reason = _refusal(*(*path.parts, "", "")[:2])
    if reason:
        return reason, None
    if len(path.parts) != 5:
        return FORM, None
    dataset, category, _, defect, _ = path.parts
    name = (DATASETS[dataset], category, defect, path.stem.casefold())
    if dataset == "DS-MVTec" and name[1:] in WRONG_IN_DS_MVTEC:
        return WRONG, None
    return "", name


def _refusal(dataset: str, category: str) -> str:
    if "loco" in dataset.casefold() or category.casefold() in LOCO:
        return BENCHMARK
    return "" if dataset in DATASETS else OTHER


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _read(path: str | Path, form: type[Form], what: str) -> Form:
    try:
        return TypeAdapter(form).validate_json(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}; give MMAD's {what}") from None
    except ValidationError as error:
        raise InputError(f"{printable(path)}: {first_problem(error)}; give MMAD's {what}") from None
