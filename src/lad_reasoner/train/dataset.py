"""A built data set as TRL's trainers take it: checked as a whole before the first step, pictures opened on access.

    data = load_set("runs/sft", kind="sft", checkpoint=checkpoint)
    data[0]     # prompt, completion, images; id, label, kind, category

Whatever `lad-reasoner data check` calls an error stops training too: an incomplete set, a picture of a benchmark, only
one label, a picture that is missing or unreadable. So does a text with a special token of the model. The decisions of a
review are applied. Records that are longer than the model's context are counted and named: TRL would cut off their
answers.

An SFT record is split into `prompt` and `completion`, because TRL then takes the loss on the completion alone for any
chat template; in whole conversations it finds the answer only if the template marks what the model generates. Pictures
are read as in inspection (`files.pictures.read_picture`), so that training and use see the same pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from lad_reasoner.answers import TAGS
from lad_reasoner.data.review.decisions import read_decided
from lad_reasoner.data.sets.built_set import Entry
from lad_reasoner.data.sets.check import check_set
from lad_reasoner.errors import InputError, require
from lad_reasoner.files.pictures import map_pictures, read_picture
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.progress import Track, silent
from lad_reasoner.text import listed, printable
from lad_reasoner.train.session import first_process

logger = logging.getLogger(__name__)

WORDS = {"sft": "questions and answers (lad-reasoner data sft)", "pair": "pairs (lad-reasoner data pairs)"}


def load_set(
    folder: str | Path,
    *,
    kind: Literal["sft", "pair"],
    checkpoint: Checkpoint | None = None,
    max_length: int | None = None,
    room: int = 0,
    leave_out_long: bool = False,
    track: Track = silent,
) -> Any:
    """The `datasets.Dataset` of a built set, in its order; columns prompt, images, id, label, kind, category, and
    completion for `kind` sft, or query, query_file, masks and facts for pairs.

    With a `checkpoint` the length of every record in tokens is computed. A record plus `room` (tokens of a response)
    must fit into the model's context and `max_length`; with `leave_out_long` those that do not are dropped. InputError,
    in one line, for any problem with the set.
    """
    folder = Path(folder)
    entries = read_task(folder, kind)
    # It opens every picture, so only one of several processes does it.
    problems = check_set(folder, track=track).errors if first_process() else {}
    if problems:
        reason, names = next(iter(problems.items()))
        more = f"; {len(problems) - 1} more kinds of error, see lad-reasoner data check" if len(problems) > 1 else ""
        raise InputError(f"{printable(folder)}: {reason}: {listed(names)}{more}")
    rows = [_row(entry.model_dump(mode="json"), folder, kind) for entry in entries]
    if checkpoint is not None:
        _check_texts(rows, checkpoint, folder)
        rows = _fitting(rows, checkpoint, max_length, room, leave_out_long, folder, track)
    data = require("datasets", "train").Dataset.from_list(rows)
    return data.with_transform(_open)


def read_task(folder: Path, kind: Literal["sft", "pair"]) -> list[Entry]:
    """The records of a built set as its review left them; InputError if they are of the other stage."""
    entries = read_decided(folder)
    tasks = sorted({entry.task for entry in entries} - {kind})
    if tasks:
        raise InputError(f"{printable(folder)}: contains {WORDS[tasks[0]]}; this stage trains on {WORDS[kind]}")
    return entries


def _row(record: Mapping[str, Any], folder: Path, kind: str) -> dict[str, Any]:
    row = {name: record[name] for name in ("id", "label", "kind", "category")}
    row["images"] = [str(folder / name) for name in record["images_file_names"]]
    messages = [_in_parts(message) for message in record["messages"]]
    row["prompt"] = [message for message in messages if message["role"] != "assistant"]
    if kind == "pair":  # what rewards judge by
        row["query"], row["facts"] = record["query"], list(record["facts"])
        row["query_file"] = row["images"][record["query"]]
        row["masks"] = [str(folder / name) for name in record["masks"]]
    if kind == "sft":
        row["completion"] = [message for message in messages if message["role"] == "assistant"]
    return row


def _in_parts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with a list of parts as its content: a column of Arrow does not hold texts and lists."""
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _open(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A batch of columns as Arrow holds them -> with pictures for paths and without the empty keys in the messages."""
    opened = dict(batch)
    if "images" in batch:
        opened["images"] = [[read_picture(path).image for path in paths] for paths in batch["images"]]
    for name in {"prompt", "completion"} & batch.keys():
        opened[name] = [plain_messages(messages) for messages in batch[name]]
    return opened


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages without the keys of value None that Arrow adds, since all parts of a content have the same keys."""
    plain = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = list(map(_without_none, content))
        plain.append({**message, "content": content})
    return plain


def _without_none(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if value is not None}


def _check_texts(rows: Sequence[Mapping[str, Any]], checkpoint: Checkpoint, folder: Path) -> None:
    """InputError for a text that holds a special token of the model: it would end a turn, or ask for a picture."""
    special = [token for token in checkpoint.processor.tokenizer.all_special_tokens if token not in TAGS]
    for row in rows:
        for message in (*row["prompt"], *row.get("completion", ())):
            for part in message["content"]:
                text = part.get("text") or ""
                if found := next((token for token in special if token in text), ""):
                    raise InputError(
                        f"{printable(folder)}: {row['id']}: a text of its {message['role']} holds {found}, which is a "
                        "command to the model; reject the record with `lad-reasoner data review`"
                    )


def _fitting(
    rows: list[dict[str, Any]],
    checkpoint: Checkpoint,
    max_length: int | None,
    room: int,
    leave_out: bool,
    folder: Path,
    track: Track,
) -> list[dict[str, Any]]:
    """The rows that fit: all of them, or an error unless the others are to be dropped."""
    limit, why = context(checkpoint), "the model's context"
    if max_length is not None and (limit is None or max_length < limit):
        limit, why = max_length, "max_length"
    if limit is None:
        return rows
    fitting, long = [], []
    for row, length in zip(rows, row_lengths(rows, checkpoint, track=track), strict=True):
        if length + room <= limit:
            fitting.append(row)
        else:
            long.append(f"{row['id']} ({length} tokens)")
    if not long:
        return rows
    problem = f"{len(long)} of {len(rows)} records are longer than {why}, {limit}"
    problem += f" with {room} for the response" if room else ""
    if not leave_out or not fitting:
        remedy = "raise it, lower max_pixels" if why == "max_length" else "lower max_pixels"
        remedy += " or max_completion_length" if room else ""
        remedy += ", or set leave_out_long: true" if fitting else ""
        raise InputError(f"{printable(folder)}: {problem}: {listed(long)}; {remedy}")
    if first_process():
        logger.warning("%s: dropped, %s: %s", printable(folder), problem, listed(long))
    return fitting


def context(checkpoint: Checkpoint) -> int | None:
    """The number of tokens that the model was made for; None if its config does not say."""
    length = getattr(checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) else None


def row_lengths(rows: Sequence[Mapping[str, Any]], checkpoint: Checkpoint, *, track: Track = silent) -> list[int]:
    """Tokens of each row, pictures and answer included, as the processor makes them.

    The number of tokens of a picture depends on its size alone and is computed once for each size.
    """
    processor = checkpoint.processor
    paths = list(dict.fromkeys(path for row in rows for path in row["images"]))
    measured = track(map_pictures(_size, paths), len(paths), "Measuring pictures")
    sizes = dict(zip(paths, measured, strict=True))
    tokens_of_size = _picture_tokens(set(sizes.values()), processor)
    lengths = []
    for row in rows:
        messages = plain_messages([*row["prompt"], *row.get("completion", ())])
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt="completion" not in row)
        length = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        lengths.append(length + sum(tokens_of_size[sizes[path]] for path in row["images"]))
    return lengths


def _picture_tokens(sizes: Iterable[tuple[int, int]], processor: Any) -> dict[tuple[int, int], int]:
    """How many tokens a picture of each size adds to its placeholder in the text."""
    text = processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
    without = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
    tokens = {}
    for size in sizes:
        inputs = processor(text=[text], images=[[Image.new("RGB", size)]], add_special_tokens=False)
        tokens[size] = len(inputs["input_ids"][0]) - without
    return tokens


def _size(path: str) -> tuple[int, int]:
    return read_picture(path).image.size
