"""A set of pairs in the form that an evaluation harness reads.

    export_set("pairs", "out", to="inspect")      # or lmms-eval, vlmevalkit, mmad: sets/export.py

    OUT/pairs.jsonl   images/      the pairs as a manifest, as `eval --benchmark manifest` reads it, and the pictures
        lmms-eval: items.jsonl, lad_reasoner_pairs.yaml, lad_reasoner_utils.py
        VLMEvalKit: lad_reasoner_pairs.tsv
        MMAD: mmad.json, one question on anomaly detection for each picture

Items carry the query's name, so that `eval --benchmark manifest --root OUT/pairs.jsonl --model file:RESULTS` finds it
in what the harness wrote.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lad_reasoner.data.mmad import DETECTION
from lad_reasoner.data.sets.built_set import Entry
from lad_reasoner.errors import InputError
from lad_reasoner.files.whole import write_whole
from lad_reasoner.packaged import read_packaged
from lad_reasoner.prompts import build_prompt

PAIR_LIST = "pairs.jsonl"
TASK = "lad_reasoner_pairs"


def check_for_harness(entries: Sequence[Entry], to: str) -> None:
    """InputError for a picture that is the query of two pairs, and for pairs whose query does not come last."""
    queries: set[str] = set()
    for entry in entries:
        query = entry.images_file_names[entry.query]
        if entry.query != len(entry.images_file_names) - 1:
            raise InputError(f"--to {to}: {entry.id}: its query comes first; build the set without --shuffle")
        if query in queries:
            raise InputError(f"--to {to}: {query}: is asked about twice; build the set with --per-picture 1")
        queries.add(query)


def write_for_harness(out: Path, entries: Sequence[Entry], to: str) -> str:
    """Write the files beside the pictures of checked entries; returns the command that runs the harness."""
    write_jsonl(out / PAIR_LIST, [_pair(entry) for entry in entries])
    return WRITERS[to](out, entries)


def _pair(entry: Entry) -> dict[str, Any]:
    *references, query = entry.images_file_names
    label = "good" if entry.label == "no" else "anomalous"
    return {
        "query": query,
        "references": references,
        "label": label,
        "category": entry.category,
        "kind": entry.kind or "other",
        "defect": entry.defect,
    }


def _inspect(out: Path, entries: Sequence[Entry]) -> str:
    """https://inspect.aisi.org.uk: the tasks are in the package (evaluation/inspect_tasks.py)."""
    root = shlex.quote(str(out / PAIR_LIST))
    return f"inspect eval lad_reasoner/pairs -T benchmark=manifest -T root={root} --model PROVIDER/NAME"


def _lmms_eval(out: Path, entries: Sequence[Entry]) -> str:
    """https://github.com/EvolvingLMMs-Lab/lmms-eval: docs/task_guide.md."""
    items = []
    for entry in entries:
        pictures = [str(out / name) for name in entry.images_file_names]
        asked = {"prompt": _prompt(entry), "pictures": pictures, "answer": entry.label}
        items.append({**_pair(entry), **asked, "defect": entry.defect or ""})
    write_jsonl(out / "items.jsonl", items)
    files = read_packaged(__file__, "harnesses.toml")["lmms-eval"]
    write_whole(out / f"{TASK}.yaml", files["task"].replace("ITEMS", str(out / "items.jsonl")))
    write_whole(out / "lad_reasoner_utils.py", files["utils"])
    folder = shlex.quote(str(out))
    return (
        f"python -m lmms_eval --model qwen2_5_vl --model_args pretrained=MODEL --include_path {folder} --tasks {TASK} "
        f"--batch_size 1 --log_samples --output_path {folder}/results"
    )


def _vlmevalkit(out: Path, entries: Sequence[Entry]) -> str:
    """https://github.com/open-compass/VLMEvalKit: docs/en/Development.md; any .tsv in LMUData is a custom data set."""
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(["index", "query", "image_path", "question", "answer", "category"])
    for index, entry in enumerate(entries):
        pictures = json.dumps([str(out / name) for name in entry.images_file_names], ensure_ascii=False)
        query = entry.images_file_names[-1]
        writer.writerow([index, query, pictures, _prompt(entry), entry.label, entry.category])
    write_whole(out / f"{TASK}.tsv", table.getvalue())
    return f"LMUData={shlex.quote(str(out))} PRED_FORMAT=tsv python run.py --data {TASK} --model MODEL --mode infer"


def _mmad(out: Path, entries: Sequence[Entry]) -> str:
    """https://github.com/jam-cc/MMAD: mmad.json."""
    pictures = {}
    for entry in entries:
        *references, query = entry.images_file_names
        question = {
            "Question": "Is there any defect in the object?",
            "Answer": "A" if entry.label == "yes" else "B",
            "Options": {"A": "Yes.", "B": "No."},
            "type": DETECTION,
            "annotation": True,
        }
        pictures[query] = {
            "image_path": query,
            "mask_path": entry.masks[0] if entry.masks else "",
            "similar_templates": references,
            "random_templates": references,
            "conversation": [question],
        }
    write_whole(out / "mmad.json", json.dumps(pictures, indent=1, ensure_ascii=False) + "\n")
    folder = shlex.quote(str(out))
    return f"give {folder}/mmad.json as MMAD's annotations, and {folder} as the folder of its pictures"


WRITERS: dict[str, Callable[[Path, Sequence[Entry]], str]] = {
    "inspect": _inspect,
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
    "mmad": _mmad,
}


def _prompt(entry: Entry) -> str:
    return build_prompt(len(entry.images_file_names) - 1)


def write_jsonl(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of JSON lines, letters as they are."""
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
