"""A built data set as TRL's trainers take it: checked as a whole before the first step, pictures opened when asked for.

    data = load_set("runs/sft", kind="sft", checkpoint=checkpoint)
    data[0]     # prompt, completion, images; id, label, kind, category

What `lad-reasoner data check` calls an error stops here too: a set that is not complete, a benchmark's picture, one
label only, a picture that is missing or cannot be read. What a review decided is honoured. Records longer than the
model's context are counted and named: TRL would cut off their answers.

An SFT record is split into `prompt` and `completion`, because TRL takes the loss on the completion alone for any chat
template; of whole conversations only templates with generation marks tell the answer apart. Pictures are read as in
inspection (`images.read_picture`), so that training and use see the same pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from lad_reasoner.data.review.decisions import decided, read_decisions
from lad_reasoner.data.sets.built_set import read_entries
from lad_reasoner.data.sets.check import check_set
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.report.terminal import track
from lad_reasoner.text import printable
from lad_reasoner.train.settings import first_process, library

WORDS = {"sft": "questions and answers (lad-reasoner data sft)", "pair": "pairs (lad-reasoner data pairs)"}
SHOWN = 3  # names in a message


def load_set(
    folder: str | Path,
    *,
    kind: Literal["sft", "pair"],
    checkpoint: Checkpoint | None = None,
    max_length: int | None = None,
    room: int = 0,
    leave_out_long: bool = False,
) -> Any:
    """The `datasets.Dataset` of a built set, in its order; columns prompt, images, id, label, kind, category, and
    completion for `kind` sft.

    With a `checkpoint` every record's length in tokens is computed; with `room` (tokens of a response) added, none may
    be longer than the model's context or `max_length`. InputError, in one line, for whatever is wrong with the set.
    """
    folder = Path(folder)
    entries = read_entries(folder)
    tasks = sorted({entry.task for entry in entries} - {kind})
    if tasks:
        raise InputError(f"{printable(folder)}: holds {WORDS[tasks[0]]}; this stage is trained on {WORDS[kind]}")
    problems = check_set(folder).errors if first_process() else {}  # one look at the pictures is enough
    if problems:
        reason, names = next(iter(problems.items()))
        more = f"; {len(problems) - 1} more kinds of error, see lad-reasoner data check" if len(problems) > 1 else ""
        raise InputError(f"{printable(folder)}: {reason}: {_shorten(names)}{more}")
    records = list(decided([entry.model_dump(mode="json") for entry in entries], read_decisions(folder)))
    labels = {record["label"] for record in records}
    if len(labels) < 2:
        left = f"only records labelled {labels.pop()} are" if labels else "no record is"
        raise InputError(f"{printable(folder)}: {left} left after the review; training needs both labels")
    rows = [_row(record, folder, kind) for record in records]
    if checkpoint is not None:
        rows = _fitting(rows, checkpoint, max_length, room, leave_out_long, folder)
    data = library("datasets").Dataset.from_list(rows)
    return data.with_transform(partial(_open, columns=tuple(rows[0])))


def _row(record: Mapping[str, Any], folder: Path, kind: str) -> dict[str, Any]:
    row = {name: record[name] for name in ("id", "label", "kind", "category")}
    row["images"] = [str(folder / name) for name in record["images_file_names"]]
    row["prompt"] = [message for message in record["messages"] if message["role"] != "assistant"]
    if kind == "sft":
        row["completion"] = [message for message in record["messages"] if message["role"] == "assistant"]
    return row


def _open(batch: dict[str, list[Any]], columns: Sequence[str]) -> dict[str, list[Any]]:
    """What Arrow keeps as paths becomes pictures, and its empty places in the messages go."""
    opened = dict(batch)
    if "images" in batch:
        opened["images"] = [[read_picture(path).image for path in paths] for paths in batch["images"]]
    for name in {"prompt", "completion"} & batch.keys():
        opened[name] = [plain_messages(messages) for messages in batch[name]]
    return opened


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages without the empty places that Arrow adds to parts of another kind."""

    def plain(content: Any) -> Any:
        return content if isinstance(content, str) else [{k: v for k, v in p.items() if v is not None} for p in content]

    return [{**message, "content": plain(message["content"])} for message in messages]


def _fitting(
    rows: list[dict[str, Any]],
    checkpoint: Checkpoint,
    max_length: int | None,
    room: int,
    leave_out: bool,
    folder: Path,
) -> list[dict[str, Any]]:
    """The rows that fit, all of them or an error unless the others are to be left out."""
    limit, why = context(checkpoint), "the model's context"
    if max_length is not None and (limit is None or max_length < limit):
        limit, why = max_length, "max_length"
    if limit is None:
        return rows
    lengths = row_lengths(rows, checkpoint)
    long = [
        f"{row['id']} ({length} tokens)" for row, length in zip(rows, lengths, strict=True) if length + room > limit
    ]
    if not long:
        return rows
    needs = f"{len(long)} of {len(rows)} records are longer than {why}, {limit}"
    needs += f" with {room} for the response" if room else ""
    if not leave_out or len(long) == len(rows):
        mend = "raise it, lower max_pixels" if why == "max_length" else "lower max_pixels"
        mend += " or max_completion_length" if room else ""
        mend += ", or say leave_out_long: true" if len(long) < len(rows) else ""
        raise InputError(f"{printable(folder)}: {needs}: {_shorten(long)}; {mend}")
    if first_process():
        print(f"{printable(folder)}: left out, {needs}: {_shorten(long)}", file=sys.stderr)
    return [row for row, length in zip(rows, lengths, strict=True) if length + room <= limit]


def context(checkpoint: Checkpoint) -> int | None:
    """The tokens that the model was made for; None where its config does not say."""
    found = getattr(checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def row_lengths(rows: Sequence[Mapping[str, Any]], checkpoint: Checkpoint) -> list[int]:
    """Tokens of each row, pictures and answer included, as the processor makes them.

    How many tokens a picture takes depends on its size alone and is asked once for each size.
    """
    processor, costs = checkpoint.processor, {}
    paths = list(dict.fromkeys(path for row in rows for path in row["images"]))
    with ThreadPoolExecutor() as pool:
        measured = track(pool.map(_size, paths), len(paths), "Measuring pictures")
        sizes = dict(zip(paths, measured, strict=True))
    one = processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
    lengths = []
    for row in rows:
        messages = plain_messages([*row["prompt"], *row.get("completion", ())])
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt="completion" not in row)
        length = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        for path in row["images"]:
            size = sizes[path]
            if size not in costs:
                with_picture = processor(text=[one], images=[[Image.new("RGB", size)]], add_special_tokens=False)
                alone = processor.tokenizer(one, add_special_tokens=False)["input_ids"]
                costs[size] = len(with_picture["input_ids"][0]) - len(alone)
            length += costs[size]
        lengths.append(length)
    return lengths


def _size(path: str) -> tuple[int, int]:
    return read_picture(path).image.size


def _shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
