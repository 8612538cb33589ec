"""Data sets in small: the real names and numbers of MVTec AD and VisA, tiny pictures, and a teacher to match."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lad_reasoner.data.public_sets import MVTEC_AD
from lad_reasoner.data.sets.built_set import Entry, read_entries
from lad_reasoner.data.sets.pairs import build_pairs, plan_pairs
from lad_reasoner.data.sets.pool import Pool, gather
from lad_reasoner.data.sources import find_samples
from lad_reasoner.data.teachers.teacher import Answered, CostEstimate, Outcome, Request, Unanswered
from lad_reasoner.remote.prices import Bill

# Test pictures of MVTec AD: all, and the good ones among them (Bergmann et al., CVPR 2019, table 1).
TEST = {
    **{"bottle": (83, 20), "cable": (150, 58), "capsule": (132, 23), "carpet": (117, 28), "grid": (78, 21)},
    **{"hazelnut": (110, 40), "leather": (124, 32), "metal_nut": (115, 22), "pill": (167, 26), "screw": (160, 41)},
    **{"tile": (117, 33), "toothbrush": (42, 12), "transistor": (100, 60), "wood": (79, 19), "zipper": (151, 32)},
}


def draw(path: Path, number: int, side: int = 16) -> Path:
    """A tiny picture of a colour that depends on the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    Image.new("RGB", (side, side), colour).save(path, compress_level=0)
    return path


def mvtec_ad(folder: Path, *, part: float = 1.0, train: int = 5) -> Path:
    """MVTec AD with this part of each class's test pictures; its defects share what is not good."""
    number = 0
    for category, (everything, good) in TEST.items():
        defects = sorted(MVTEC_AD[category])
        names = [f"train/good/{i:03d}.png" for i in range(train)]
        names += [f"test/good/{i:03d}.png" for i in range(round(good * part))]
        for i in range(round((everything - good) * part)):
            file = f"{defects[i % len(defects)]}/{i // len(defects):03d}"
            names.append(f"test/{file}.png")
            mask = folder / category / f"ground_truth/{file}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("L", (16, 16))
            picture.paste(255, (1, 1, 4, 4))
            picture.save(mask)
        for name in names:
            draw(folder / category / name, number)
            number += 1
    return folder


def visa(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """VisA in its own layout, from rows of its 1cls.csv."""
    table = folder / "split_csv/1cls.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["object", "split", "label", "image", "mask"])
        writer.writeheader()
        writer.writerows(rows)
    for number, row in enumerate(rows):
        draw(folder / row["image"], 1_000_000 + number)
    return folder


def own_folder(folder: Path, *, good: int = 4, bad: int = 6, train: int = 0) -> Path:
    """A folder of one's own: good/ and bad/, with splits if there are training pictures."""
    for i in range(train):
        draw(folder / f"train/good/{i}.png", 5000 + i)
    for i in range(good):
        draw(folder / ("test" if train else "") / f"good/{i}.png", i)
    for i in range(bad):
        draw(folder / ("test" if train else "") / f"bad/{i}.png", 1000 + i)
    return folder


def pool_of(*folders: Path) -> Pool:
    """What may be trained on in these folders."""
    return gather([find_samples(folder) for folder in folders])


def write_pairs(out: Path, pool: Pool, **settings: Any) -> list[Entry]:
    """A built set of pairs, and its records."""
    list(build_pairs(out, plan_pairs(pool, **settings)))
    return read_entries(out)


class FakeTeacher:
    """Answers with what `reply` returns: content that is checked as a service's would be, or why there is none."""

    def __init__(self, reply: Callable[[Request], dict[str, object] | Unanswered]) -> None:
        self.name, self.reply = "fake", reply
        self.paid, self.recalled = Bill(cost=0.0), Bill(cost=0.0)
        self.asked: list[Request] = []

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        return CostEstimate(len(requests), 0, 0, Bill(answers=len(requests), cost=0.0))

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        for index, request in enumerate(requests):
            self.asked.append(request)
            content = self.reply(request)
            self.paid.add(100, 20, None)
            if isinstance(content, Unanswered):
                yield index, content
            else:
                yield index, Answered(request.schema.model_validate(content, context=dict(request.facts)), "fake-1")


def truthful(request: Request) -> dict[str, object]:
    """The shortest answer that fits the label."""
    bad = request.facts["label"] == "yes"
    text = "Yes, a part of it is scratched." if bad else "No, the product is as it should be."
    return {"anomalous": bad, "answer": text}
