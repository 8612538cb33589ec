"""Rows of the files that hold pairs or predictions: CSV, JSON, JSON lines, and the logs of evaluation harnesses.

    for where, row in read_rows(path, path.read_bytes()):
        ...                     # where is "scores.csv:2"; row is column -> value

CSV has commas, semicolons or tabs. JSON is a list of objects, or one object image -> score, answer or object. Of
inspect_ai's logs (.json or .eval), lmms-eval's samples and VLMEvalKit's results, a row has the query that our exports
put into each item, and the text that the model wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.files.jsonl import load_json
from lad_reasoner.files.tables import decode_text, read_table_rows
from lad_reasoner.judges.completions import join_reasoning
from lad_reasoner.text import printable

Row = tuple[str, Mapping[str, Any]]  # `file:line`, column -> value


def read_rows(path: Path, content: bytes) -> Iterator[Row]:
    """Rows of a file with these bytes; InputError with file and line for one that cannot be read."""
    shown = printable(path)
    if path.suffix.lower() == ".eval":
        yield from _from_inspect_log(path)
        return
    text = decode_text(content, path)
    if path.suffix.lower() == ".json":
        yield from _from_json(shown, _load(shown, 1, text, "; a file of JSON lines must end in .jsonl"))
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield from _from_json(f"{shown}:{number}", [_load(shown, number, line)], numbered=False)
    else:
        yield from _from_table(path, text)


def _load(shown: str, line: int, text: str, remedy: str = "") -> Any:
    try:
        return load_json(text)
    except ValueError as error:
        reason = str(error)
        if isinstance(error, json.JSONDecodeError):
            line, reason = line + error.lineno - 1, error.msg
        raise InputError(f"{shown}:{line}: not valid JSON ({reason}){remedy}") from None


def _from_table(path: Path, text: str) -> Iterator[Row]:
    header, rows = read_table_rows(path, text)
    for name in header:
        if name and header.count(name) > 1:
            raise InputError(f"{printable(path)}:1: two columns have the name {name}; rename one")
    for where, cells in rows:
        if any(cells[len(header) :]):
            raise InputError(f"{where}: more cells than columns; put texts with the delimiter in quotes")
        yield where, _plain_row(dict.fromkeys(header, "") | dict(zip(header, cells, strict=False)))


def _from_json(where: str, content: Any, *, numbered: bool = True) -> Iterator[Row]:
    if isinstance(content, dict) and isinstance(content.get("samples"), list) and "eval" in content:
        content = [_inspect_sample(sample) for sample in content["samples"]]
    if isinstance(content, dict):
        content = [{"image": image, **_as_columns(value)} for image, value in content.items()]
    if not isinstance(content, list):
        raise InputError(f"{where}: must be a list or an object of predictions")
    for number, row in enumerate(content, 1):
        place = f"{where}: number {number}" if numbered else where
        if not isinstance(row, dict):
            raise InputError(f"{place}: must be an object with an image and a score or an answer")
        yield place, _plain_row(row)


def _as_columns(value: Any) -> dict[str, Any]:
    """The value of an image: an object of columns, a score or an answer."""
    if isinstance(value, dict):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"score" if is_number else "answer": value}


def _plain_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row; of lmms-eval and VLMEvalKit the query and the text that the model wrote."""
    if "filtered_resps" in row:
        return _lmms_sample(row)
    if {"prediction", "answer", "question"} <= row.keys():  # of VLMEvalKit, whose `answer` is the right one
        image = row.get("query") or row.get("image_path") or row.get("index")
        return {"image": image, "category": row.get("category"), "text": row["prediction"]}
    return row


def _from_inspect_log(path: Path) -> Iterator[Row]:
    """A packed log of inspect_ai, which only inspect_ai itself reads on every version of Python."""
    log = require("inspect_ai.log", "inspect", "inspect_ai").read_eval_log(str(path)).model_dump(mode="json")
    yield from _from_json(printable(path), log)


def _inspect_sample(sample: Any) -> Any:
    """A sample of inspect_ai's log: our tasks put the query into its metadata, others have its name as the id."""
    if not isinstance(sample, dict):
        return sample
    metadata, output = _field(sample, "metadata"), _field(sample, "output")
    choices = _field(output, "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    written = _field(_field(first, "message"), "content")
    text = join_parts(written) if isinstance(written, list) else _field(output, "completion") or written
    image = _field(metadata, "query") or sample.get("id")
    return {"image": image, "category": _field(metadata, "category"), "text": text}


def join_parts(parts: list[Any]) -> str:
    """The response in the parts of a message of inspect_ai, which takes `<think>…</think>` out of the text."""
    text = "".join(str(_field(part, "text") or "") for part in parts)
    hidden = [_field(part, "summary" if _field(part, "redacted") else "reasoning") for part in parts]
    return join_reasoning(text, "".join(str(each or "") for each in hidden))


def _lmms_sample(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of lmms-eval's samples: the item is under `doc`, or beside our metric; the text is the first response."""
    item, responses = row.get("doc") or row.get("balanced_accuracy"), row["filtered_resps"]
    text = responses[0] if isinstance(responses, list) and responses else responses
    return {"image": _field(item, "query") or row.get("doc_id"), "category": _field(item, "category"), "text": text}


def _field(value: Any, name: str) -> Any:
    """A field of an object; None of anything else, since other versions of a harness write other shapes."""
    return value.get(name) if isinstance(value, dict) else None
