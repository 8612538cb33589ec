"""Predictions of any other system, read from its file: what `eval --model file:PATH` scores.

    judge = load_judge("file:scores.csv", benchmark=benchmark, columns="image=path,score=anomaly_score", threshold=0.7)

    image,score,answer,text            columns are recognised by the names in COLUMNS, or given with `columns`
    /data/loco/pushpins/test/good/000.png,0.31,,
    pushpins/test/logical_anomalies/004.png,0.82,yes,"Yes, there is an anomaly: a pin is missing."

A file is CSV (commas, semicolons or tabs), JSON lines, or JSON: a list of objects, or one object image -> score, answer
or object. MMAD's answer files are read as they are: of each image the question on anomaly detection. An image is found
by the end of its path, or by class, folder and file name. The answer comes from `answer` (any of `tables.LABELS`), else
from `text` (a structured response, or one that begins with yes or no), else from the score: yes from `threshold` on.

Scores that are not in [0, 1], or have another threshold than 0.5, are mapped to [0, 1] with their order kept and the
threshold at 0.5. Lines about images that are not in the benchmark and second lines about an image are counted and named
in the notes; a query without a line counts as wrong, as every query that could not be judged. A file that says nothing
about any image of the benchmark is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from lad_reasoner.answers import Answer
from lad_reasoner.data.csv_table import LABELS, word
from lad_reasoner.data.mmad import DETECTION
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import Benchmark
from lad_reasoner.files.tables import read_table_rows
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.packaged import read_packaged
from lad_reasoner.text import listed, printable

# Our names -> what other systems call them.
COLUMNS: dict[str, list[str]] = read_packaged(__file__, "imported.toml")["columns"]
NAMED = 3  # images in a note

Row = tuple[str, Mapping[str, Any]]  # `file:line`, column -> value
Parts = tuple[str, ...]

_BEGINS = re.compile(r"\W*(yes(?!\W*(?:or\W+)?no\b)|no(?!\W*(?:or\W+)?yes\b))\b", re.IGNORECASE)
_OPTION = re.compile(r"^\s*([A-Z])\s*[.:)]\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class _Said:
    answer: Answer | None
    score: float | None
    text: str


class ImportedPredictions:
    """Scores or answers of any other system, as CSV, JSON or JSON lines; the name is that of the file.

    InputError, with file and line or column, for what cannot be read, for a column that is not there, and for scores
    beyond [0, 1] without a `threshold` where there are no answers; with an image, where none is in the benchmark.
    """

    batch_size = 16
    parameters: int | None = None

    def __init__(
        self,
        path: str | Path,
        benchmark: Benchmark | None = None,
        *,
        columns: str | None = None,
        threshold: float | None = None,
    ) -> None:
        if benchmark is None:
            raise InputError(f"file:{path}: it knows the pictures of a benchmark only; use it with `lad-reasoner eval`")
        self.path = Path(path)
        if threshold is not None and not math.isfinite(threshold):
            raise InputError(f"threshold {threshold}: give a number")
        content = _read(self.path)
        rows = list(_detection_rows(_rows(self.path, content)))
        if not rows:
            raise InputError(f"{printable(path)}: no predictions in it")
        names = _find_columns(self.path, rows, columns)
        lines = [(where, _said(where, row, names), _name(where, row, names)) for where, row in rows]
        self._limit = 0.5 if threshold is None else threshold
        self._threshold = threshold
        self._within = all(said.score is None or 0 <= said.score <= 1 for _, said, _ in lines)
        only_scores = all(said.answer is None for _, said, _ in lines)
        if only_scores and threshold is None and not self._within:
            values = [said.score for _, said, _ in lines if said.score is not None]
            raise InputError(
                f"{printable(path)}: scores from {min(values):g} to {max(values):g} and no answers; "
                "say with -M threshold=… from which score on an image is anomalous"
            )
        images = _Images(benchmark)
        self._said: dict[str, _Said] = {}
        unknown, doubled = [], []
        for _, said, (image, category) in lines:
            name = images.find(image, category)
            if name is None:
                unknown.append(image)
            elif name in self._said:
                doubled.append(image)
            else:
                self._said[name] = said
        if not self._said:
            raise InputError(
                f"{printable(path)}: none of its images is in {benchmark.name}, such as {unknown[0]}; "
                "give another --benchmark or --root, or say with -M columns=image=… which column names them"
            )
        self.name = printable(self.path.stem)
        setting = f"{columns}\n{threshold}\n".encode()
        self.prompt_version = f"file-{hashlib.sha256(setting + content).hexdigest()[:12]}"
        self.notes = tuple(self._notes(unknown, doubled, only_scores))

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """What the file says about each query; InputError for one that it says nothing about."""
        return [self._judge(pair.query.name) for pair in pairs]

    def _judge(self, query: str) -> Judgement:
        said = self._said.get(query)
        if said is None or (said.answer is None and said.score is None):
            raise InputError(f"{query}: no prediction in {printable(self.path.name)}")
        score = None if said.score is None else self._place(said.score)
        answer = said.answer or ("yes" if said.score is not None and said.score >= self._limit else "no")
        return Judgement(answer, score, said.text, reasoning=Judgement.of(said.text).reasoning or said.text)

    def _place(self, score: float) -> float:
        """In [0, 1], with the threshold at 0.5."""
        if self._within and self._threshold in (None, 0.5):
            return score
        beyond = (score - (self._threshold or 0.0)) / (abs(self._threshold or 0.0) or 1.0)
        return 0.5 + math.atan(beyond) / math.pi

    def _notes(self, unknown: Sequence[str], doubled: Sequence[str], only_scores: bool) -> Iterator[str]:
        yield f"answers and scores are those of {printable(self.path.name)}, not made here"
        if only_scores:
            yield f"it gives scores only: from {self._limit:g} on the answer is yes"
        for images, what in ((unknown, "are not in the benchmark"), (doubled, "had a line before, which counts")):
            if images:
                yield f"{len(images)} lines left out, whose images {what}: {listed(images, NAMED, '; ')}"


class _Images:
    """Finds the benchmark's name of an image that another system calls by a path of its own."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.names: dict[Parts, str] = {}
        self.ends: defaultdict[Parts, list[str]] = defaultdict(list)
        self.places: defaultdict[Parts, list[str]] = defaultdict(list)  # class, folder, file
        self.categories = {sample.category for sample in benchmark.samples.values()}
        for name, sample in benchmark.samples.items():
            parts = PurePosixPath(name).parts
            self.names[parts] = name
            if sample.split in ("test", None):
                for start in range(len(parts)):
                    self.ends[parts[start:]].append(name)
                self.places[(sample.category, *parts[-2:])].append(name)

    def find(self, image: str, category: str = "") -> str | None:
        """None for one that is not there, or could be several."""
        parts = tuple(part for part in PurePosixPath(image.replace("\\", "/")).parts if part not in ("/", "."))
        if category and category not in parts:
            parts = (category, *parts)
        for start in range(len(parts)):
            if parts[start:] in self.names:
                return self.names[parts[start:]]
        found = self.ends.get(parts, [])
        for known in [part for part in parts if part in self.categories]:
            found = found or self.places.get((known, *parts[-2:]), [])
        return found[0] if len(found) == 1 else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"file:{printable(path)}: {error.strerror}") from None


def _rows(path: Path, content: bytes) -> Iterator[Row]:
    shown = printable(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{shown}: not UTF-8; save it as UTF-8 text") from None
    if path.suffix.lower() == ".json":
        yield from _from_json(shown, _load(shown, 1, text, "; name JSON lines .jsonl"))
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield from _from_json(f"{shown}:{number}", [_load(shown, number, line)], numbered=False)
    else:
        yield from _from_table(path, text)


def _load(shown: str, line: int, text: str, mend: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also a number too long, brackets too deep
        at, why = (line + error.lineno - 1, error.msg) if isinstance(error, json.JSONDecodeError) else (line, error)
        raise InputError(f"{shown}:{at}: no JSON ({why}){mend}") from None


def _from_table(path: Path, text: str) -> Iterator[Row]:
    header, rows = read_table_rows(path, text)
    for name in header:
        if name and header.count(name) > 1:
            raise InputError(f"{printable(path)}:1: two columns are called {name}; rename one")
    for where, cells in rows:
        if any(cells[len(header) :]):
            raise InputError(f"{where}: more cells than columns; put texts that hold the delimiter in quotes")
        yield where, dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))


def _from_json(where: str, content: Any, *, numbered: bool = True) -> Iterator[Row]:
    if isinstance(content, dict):
        content = [
            {"image": image, **(said if isinstance(said, dict) else _value(said))} for image, said in content.items()
        ]
    if not isinstance(content, list):
        raise InputError(f"{where}: neither a list nor an object of predictions")
    for number, row in enumerate(content, 1):
        at = f"{where}: number {number}" if numbered else where
        if not isinstance(row, dict):
            raise InputError(f"{at}: not an object with an image and what was said about it")
        yield at, row


def _value(said: object) -> dict[str, object]:
    number = isinstance(said, float) or (isinstance(said, int) and not isinstance(said, bool))
    return {"score" if number else "answer": said}


def _detection_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Of MMAD's answers those to the question whether there is an anomaly, in words; other files as they are."""
    for where, row in rows:
        if "gpt_answer" not in row or "question" not in row:
            yield where, row
            continue
        question = row["question"]
        asked = question if isinstance(question, dict) else {"text": question}
        options = asked.get("options") or row.get("options") or dict(_OPTION.findall(str(asked.get("text"))))
        if not isinstance(options, dict):
            raise InputError(f"{where}: options: not an object from letters to texts")
        words = {str(letter): word(str(option)).rstrip(".") for letter, option in options.items()}
        is_yes_or_no = set(words.values()) <= {"yes", "no"}
        kind = row.get("question_type") or row.get("type")
        if kind == DETECTION or (not kind and is_yes_or_no):
            letter = str(row["gpt_answer"]).strip().rstrip(".")
            yield where, {**row, "answer": words.get(letter, letter)}


def _find_columns(path: Path, rows: Sequence[Row], told: str | None) -> dict[str, str]:
    """Our name -> the file's name of each column."""
    there = list(dict.fromkeys(name for _, row in rows for name in row))
    listed = ", ".join(there[:20])
    names: dict[str, str] = {}
    for ours, theirs in COLUMNS.items():
        known = [name for alias in theirs for name in there if word(name) == alias]
        names |= {ours: known[0]} if known else {}
    for item in (told or "").split(",") if told else []:
        ours, equals, name = (text.strip() for text in item.partition("="))
        if not equals or ours not in COLUMNS:
            raise InputError(f"columns {item.strip()}: write one of {', '.join(COLUMNS)}, then = and the file's column")
        if name not in there:
            near = get_close_matches(name, there, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {listed}"
            raise InputError(f"columns {item.strip()}: no column {name} in {printable(path)}; {hint}")
        names[ours] = name
    if "image" not in names:
        raise InputError(f"{printable(path)}: no column with the images; say which with -M columns=image=… of {listed}")
    if not {"score", "answer", "text"} & names.keys():
        raise InputError(
            f"{printable(path)}: no column with scores or answers; "
            f"say which with -M columns=score=… (or answer=, text=) of {listed}"
        )
    return names


def _name(where: str, row: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str]:
    image, category = (str(row.get(names.get(ours, ""), "") or "").strip() for ours in ("image", "category"))
    if not image:
        raise InputError(f"{where}: {names['image']}: the cell is empty; name an image")
    return printable(image), category


def _said(where: str, row: Mapping[str, Any], names: Mapping[str, str]) -> _Said:
    cells = {ours: row.get(name) for ours, name in names.items()}
    score, answer = cells.get("score"), cells.get("answer")
    text = str(cells.get("text") or "").strip()
    number = None
    if score is not None and str(score).strip():
        try:
            number = float(score)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"{where}: {names['score']}: {str(score)[:40]!r} is no finite number")
    found: Answer | None = None
    if answer is not None and str(answer).strip():
        found = _read_answer(str(answer))
    elif text:
        begins = _BEGINS.match(text)
        found = Judgement.of(text).answer
        if found == "invalid" and begins and "<" not in text:
            found = "yes" if begins[1].lower() == "yes" else "no"
    return _Said(found, number, text)


def _read_answer(text: str) -> Answer:
    """Any word of `LABELS`, also as a number with a point; what is none of them is invalid."""
    label = word(text.strip().rstrip(".").removesuffix(".0"))
    if label not in LABELS:
        return "invalid"
    return "no" if LABELS[label] == "good" else "yes"
