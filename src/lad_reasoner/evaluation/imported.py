"""Predictions of any other system, read from its file: what `eval --model file:PATH` scores.

    judge = load_judge("file:scores.csv", benchmark=benchmark, columns="image=path,score=anomaly_score", threshold=0.7)

    image,score,answer,text            columns are recognised by the names in COLUMNS, or given with `columns`
    /data/loco/pushpins/test/good/000.png,0.31,,
    pushpins/test/logical_anomalies/004.png,0.82,yes,"Yes, there is an anomaly: a pin is missing."

A file is CSV (commas, semicolons or tabs), JSON lines, or JSON: a list of objects, or one object image -> score, answer
or object. In MMAD's answer files the question on anomaly detection is read. An image is found by the end of its path,
or by class, folder and file name. The answer comes from `answer` (a label of data/words.toml), otherwise from `text` (a
structured response, or one that begins with yes or no), otherwise from the score: yes from `threshold` on.

Scores outside [0, 1], or with a threshold other than 0.5, are mapped to [0, 1]; their order is kept and the threshold
becomes 0.5. Lines about unknown images and second lines about an image are dropped, counted and named in the notes; a
query without a line counts as wrong. A file without any image of the benchmark is refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lad_reasoner.answers import Answer
from lad_reasoner.data.folder_words import read_labels, word
from lad_reasoner.data.mmad import DETECTION
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import Benchmark
from lad_reasoner.evaluation.table_files import Row, read_rows
from lad_reasoner.files.walk import Parts
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Kind
from lad_reasoner.text import counted, listed, nearest_name, printable

# Our name of a column -> names in files of other systems and in ours.
COLUMNS: dict[str, list[str]] = read_packaged(__file__, "imported.toml")["columns"]

_FIRST_WORD = re.compile(r"\W*(yes(?!\W*(?:or\W+)?no\b)|no(?!\W*(?:or\W+)?yes\b))\b", re.IGNORECASE)
_WRAPPED = re.compile(
    r"(?:tensor|array|np\.float\d+)\(\[*(?P<number>[-+.\de]+)\]*(?:, *[a-z_]+=.*)?\)|(?P<comma>[-+]?\d+,\d+)"
)
_OPTION = re.compile(r"^\s*([A-Z])\s*[.:)]\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class _Line:
    """The prediction in one row; the answer may be missing, or the score."""

    answer: Answer | None
    score: float | None
    text: str


class ImportedPredictions:
    """Scores or answers of any other system, as CSV, JSON or JSON lines; named after the file.

    InputError, with file and line or column, if a row cannot be read, a column is missing, or the file has scores
    outside [0, 1] without answers or a `threshold`; with an image, if no image is in the benchmark.
    """

    batch_size = 16
    parameters: int | None = None
    looks_at_pictures = False

    def __init__(
        self,
        path: str | Path,
        benchmark: Benchmark | None = None,
        *,
        columns: str | None = None,
        threshold: float | None = None,
    ) -> None:
        if benchmark is None:
            raise InputError(f"file:{path}: only judges pictures of a benchmark; use it with `lad-reasoner eval`")
        self.path = Path(path)
        if threshold is not None and not math.isfinite(threshold):
            raise InputError(f"threshold {threshold}: give a number")
        content = _read(self.path)
        rows = list(_detection_rows(read_rows(self.path, content)))
        if not rows:
            raise InputError(f"{printable(path)}: no predictions in it")
        names = _find_columns(self.path, rows, columns)
        if threshold is None and _has_labels_for_scores(rows, names):
            names["answer"] = names.pop("score")
        labels, self._label_notes = _read_labels([_cell(row, names, "answer") for _, row in rows])
        lines = [(_read_line(where, row, names, labels), _read_image(where, row, names)) for where, row in rows]
        scores = [line.score for line, _ in lines if line.score is not None]
        self._limit = 0.5 if threshold is None else threshold
        self._origin = threshold or 0.0  # of the mapping to [0, 1]
        # Scores in [0, 1] with the limit 0.5 stay as they are.
        self._keeps_scores = threshold in (None, 0.5) and all(0 <= score <= 1 for score in scores)
        only_scores = all(line.answer is None for line, _ in lines)
        if only_scores and threshold is None and not self._keeps_scores:
            raise InputError(
                f"{printable(path)}: scores from {min(scores):g} to {max(scores):g} and no answers; "
                "give the lowest score of an anomalous image with -M threshold=…"
            )
        index = _ImageIndex(benchmark)
        self._lines: dict[str, _Line] = {}
        unknown, repeated = [], []
        for line, (image, category) in lines:
            name = index.find(image, category)
            if name is None:
                unknown.append(image)
            elif name in self._lines:
                repeated.append(image)
            else:
                self._lines[name] = line
        if not self._lines:
            raise InputError(
                f"{printable(path)}: contains no image of {benchmark.name}, only others such as {unknown[0]}; "
                "give another --benchmark or --root, or the column of the images with -M columns=image=…"
            )
        self.name = printable(self.path.stem)
        setting = f"{columns}\n{threshold}\n".encode()
        self.prompt_version = f"file-{hashlib.sha256(setting + content).hexdigest()[:12]}"
        self.notes = tuple(self._notes(unknown, repeated, only_scores))

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """The file's prediction for each query; InputError for a query without one."""
        return [self._judge(pair.query.name) for pair in pairs]

    def _judge(self, query: str) -> Judgement:
        line = self._lines.get(query)
        if line is None or (line.answer is None and line.score is None):
            raise InputError(f"{query}: no prediction in {printable(self.path.name)}")
        score = None if line.score is None else self._map_score(line.score)
        answer = line.answer or ("yes" if line.score is not None and line.score >= self._limit else "no")
        return Judgement(answer, score, line.text, reasoning=Judgement.of(line.text).reasoning or line.text)

    def _map_score(self, score: float) -> float:
        """A score in [0, 1], 0.5 at the threshold."""
        if self._keeps_scores:
            return score
        distance = (score - self._origin) / (abs(self._origin) or 1.0)
        return 0.5 + math.atan(distance) / math.pi

    def _notes(self, unknown: Sequence[str], repeated: Sequence[str], only_scores: bool) -> Iterator[str]:
        yield f"answers and scores come from {printable(self.path.name)}; they were not made here"
        yield from self._label_notes
        if only_scores:
            yield f"the file has scores only: anomalous from {self._limit:g} on"
        for images, reason in (
            (unknown, "the benchmark has no such image"),
            (repeated, "the image has an earlier line"),
        ):
            if images:
                names = listed([printable(image) for image in images], separator="; ")
                yield f"{counted(len(images), 'line')} dropped, because {reason}: {names}"


class _ImageIndex:
    """Finds the benchmark's name of an image for the path in another system's file."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.names: dict[Parts, str] = {}  # all parts -> name; also of training pictures, which match no query
        self.ends: defaultdict[Parts, list[str]] = defaultdict(list)  # last parts -> names
        self.places: defaultdict[Parts, list[str]] = defaultdict(list)  # class, folder, file -> names
        self.categories = {sample.category for sample in benchmark.samples.values()}
        for name, sample in benchmark.samples.items():
            parts = PurePosixPath(name).parts
            self.names[parts] = name
            if sample.split in ("test", None):
                for start in range(len(parts)):
                    self.ends[parts[start:]].append(name)
                self.places[(sample.category, *parts[-2:])].append(name)

    def find(self, image: str, category: str = "") -> str | None:
        """The name; None if the benchmark has no such image, or several."""
        parts = tuple(part for part in PurePosixPath(image.replace("\\", "/")).parts if part not in ("/", "."))
        if category and category not in parts:
            parts = (category, *parts)
        for start in range(len(parts)):
            if parts[start:] in self.names:
                return self.names[parts[start:]]
        names = self.ends.get(parts, [])
        for part in parts:
            if not names and part in self.categories:
                names = self.places.get((part, *parts[-2:]), [])
        return names[0] if len(names) == 1 else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "a folder; give the file of predictions in it" if path.is_dir() else error.strerror
        raise InputError(f"file:{printable(path)}: {reason}") from None


def _detection_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows of MMAD: those of the question on anomaly detection, with the answer in words. Other rows are unchanged."""
    for where, row in rows:
        if "gpt_answer" not in row or "question" not in row:
            yield where, row
            continue
        question = row["question"] if isinstance(row["question"], dict) else {"text": row["question"]}
        options = question.get("options") or row.get("options") or dict(_OPTION.findall(str(question.get("text"))))
        if not isinstance(options, dict):
            raise InputError(f"{where}: options: must be an object from letters to texts")
        words = {str(letter): word(str(option)).rstrip(".") for letter, option in options.items()}
        is_yes_or_no = set(words.values()) <= {"yes", "no"}
        kind = row.get("question_type") or row.get("type")
        # Files without types: only the question on anomaly detection has yes and no for options.
        if kind == DETECTION or (not kind and is_yes_or_no):
            letter = str(row["gpt_answer"]).strip().rstrip(".")
            yield where, {**row, "answer": words.get(letter, letter)}


def _find_columns(path: Path, rows: Sequence[Row], columns: str | None) -> dict[str, str]:
    """Our name -> the file's name of each column; `columns` (`image=path,score=…`) comes before the usual names."""
    header = list(dict.fromkeys(name for _, row in rows for name in row))
    if {"pair", "verdict"} <= {*header}:
        raise InputError(f"file:{printable(path)}: the predictions of a run of `eval`; give its folder to `compare`")
    shown = ", ".join(header[:20])
    by_word = {word(name): name for name in reversed(header)}  # the first of those that are alike
    names: dict[str, str] = {}
    for column, aliases in COLUMNS.items():
        matches = [by_word[alias] for alias in aliases if alias in by_word]
        if matches:
            names[column] = matches[0]
    for item in columns.split(",") if columns else []:
        column, equals, name = (text.strip() for text in item.partition("="))
        if not equals or column not in COLUMNS:
            raise InputError(f"columns {item.strip()}: write one of {', '.join(COLUMNS)}, then = and the file's column")
        if name not in header:
            near = nearest_name(name, header)
            hint = f"did you mean {near}?" if near else f"it has {shown}"
            raise InputError(f"columns {item.strip()}: no column {name} in {printable(path)}; {hint}")
        names[column] = name
    if "image" not in names:
        raise InputError(f"{printable(path)}: no column of images; give it with -M columns=image=…, one of {shown}")
    if not {"score", "answer", "text"} & names.keys():
        raise InputError(
            f"{printable(path)}: no column of scores or answers; "
            f"give it with -M columns=score=… (or answer=, text=), one of {shown}"
        )
    return names


def _read_image(where: str, row: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str]:
    """Path and class of a row's image; the class may be empty."""
    image, category = (str(row.get(names.get(column, ""), "") or "").strip() for column in ("image", "category"))
    if not image:
        raise InputError(f"{where}: {names['image']}: the cell is empty; name an image")
    return printable(image), category


def _to_number(cell: Any) -> float:
    """A score, also as `tensor(0.9, device='cuda:0')` or with a decimal comma; NaN for what is no number."""
    wrapped = _WRAPPED.fullmatch(str(cell).strip())
    try:
        return float(wrapped["number"] or wrapped["comma"].replace(",", ".")) if wrapped else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _cell(row: Mapping[str, Any], names: Mapping[str, str], column: str) -> str:
    cell = row.get(names.get(column, ""))
    return "" if cell is None else str(cell)


def _read_labels(cells: Sequence[str]) -> tuple[dict[str, Kind | None], list[str]]:
    """What each answer that is no whole response means, and notes on what had to be decided."""
    labels, note = read_labels(cells)
    words = [cell for cell in cells if cell.strip() and not _is_response(cell)]
    unknown = dict.fromkeys(word for word in words if word not in labels)
    notes = [note] if note else []
    if unknown:
        shown = printable(listed(list(unknown), 5))
        notes.append(f"answers that are no known label count as invalid: {shown}")
    return labels, notes


def _has_labels_for_scores(rows: Sequence[Row], names: Mapping[str, str]) -> bool:
    """Whether the scores are scikit-learn's labels -1 and 1, and no column has answers."""
    if "score" not in names or "answer" in names:
        return False
    return {_cell(row, names, "score").strip().removesuffix(".0") for _, row in rows} == {"-1", "1"}


def _read_line(
    where: str, row: Mapping[str, Any], names: Mapping[str, str], labels: Mapping[str, Kind | None]
) -> _Line:
    cells = {column: row.get(name) for column, name in names.items()}
    text = str(cells.get("text") or "").strip()
    score = None
    cell = cells.get("score")
    if cell is not None and str(cell).strip():
        score = _to_number(cell)
        if not math.isfinite(score):
            raise InputError(f"{where}: {names['score']}: {str(cell)[:40]!r} is not a finite number")
    answer: Answer | None = None
    cell = cells.get("answer")
    if cell is not None and str(cell).strip():
        label = str(cell)
        if label not in labels and label.strip().startswith("-1"):
            raise InputError(f"{where}: {names['answer']}: {label!r} stands beside 0; write yes and no")
        # Any word that is no label is an invalid answer.
        answer = "invalid"
        if label in labels:
            answer = "no" if labels[label] == "good" else "yes"
        elif _is_response(label):
            text = text or label.strip()
            answer = _answer_of_text(label)
    elif text:
        answer = _answer_of_text(text)
    return _Line(answer, score, printable(text))


def _is_response(cell: str) -> bool:
    """Whether a cell of answers holds a whole response: VLMEvalKit calls it `prediction`."""
    return "<answer>" in cell or "<think>" in cell


def _answer_of_text(text: str) -> Answer:
    """The answer of a structured response, or the yes or no with which a text without tags begins."""
    answer = Judgement.of(text).answer
    first = _FIRST_WORD.match(text)
    if answer == "invalid" and first and "<" not in text:
        return "yes" if first[1].lower() == "yes" else "no"
    return answer
