"""A small built data set in the form that the builders write: rendered pictures, questions and pairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lad_reasoner.miniloco import draw_picture
from lad_reasoner.prompts import build_messages

PRODUCTS = ("bolt_plate", "circuit_board")
ANSWERS = {
    "good": "Nothing is wrong: all parts are in their places.",
    "logical": "A part is missing or in a wrong place.",
}


def build(folder: Path, *, per_kind: int = 2, size: int = 96) -> list[dict[str, Any]]:
    """Each picture with one question (id `sft-…`) and one pair (id `pair-…`); returns the records."""
    records = []
    for product in PRODUCTS:
        reference = f"images/{product}/reference.png"
        (folder / reference).parent.mkdir(parents=True)
        draw_picture(product, "train", "good", 0, size=size).image.save(folder / reference)
        for kind in ("good", "logical"):
            for index in range(per_kind):
                name = f"{product}-{kind}-{index}"
                drawn = draw_picture(product, "test", kind, index, size=size)  # type: ignore[arg-type]
                query, mask = f"images/{product}/{kind}_{index}.png", f"masks/{name}.png"
                drawn.image.save(folder / query)
                if kind != "good":
                    (folder / "masks").mkdir(exist_ok=True)
                    Image.fromarray(np.asarray(drawn.mask)).save(folder / mask)
                facts = {
                    "label": "no" if kind == "good" else "yes",
                    "kind": kind,
                    "dataset": "miniloco",
                    "category": product,
                    "defect": None if kind == "good" else str(drawn.facts["defect"]),
                    "source": f"{product}/test/{kind}/{index:03}.png",
                    "masks": [] if kind == "good" else [mask],
                    "licence": "Apache-2.0",
                    "prompt_version": "test-1",
                }
                question = [{"type": "image"}, {"type": "text", "text": "Is anything wrong with this product?"}]
                answer = [{"type": "text", "text": ANSWERS[kind]}]
                turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                sft = {
                    "task": "sft",
                    "question": "anomaly",
                    "images_file_names": [query],
                    "query": 0,
                    "messages": turns,
                }
                pair = {
                    "task": "pair",
                    "question": None,
                    "images_file_names": [reference, query],
                    "query": 1,
                    "messages": build_messages(1),
                }
                records += [{"id": f"sft-{name}", **sft, **facts}, {"id": f"pair-{name}", **pair, **facts}]
    write(folder, records)
    return records


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
