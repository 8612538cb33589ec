"""The training pictures of micro, drawn once by worker processes and kept on disk as raw pixels with their facts.

A pool is a folder of chunks. A chunk has groups of pictures with one rule: any two pictures of a group, of which the
first is good, make a pair. A training product has one rule, so all its pictures are one group; a family of free scenes
draws a new product, and so a new rule, for every `GROUP` pictures. Chunks are written atomically; a resumed run draws
the missing ones.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.whole import write_whole
from lad_reasoner.miniloco.catalogue import CATALOGUE
from lad_reasoner.miniloco.families.free import FAMILIES, draw_product
from lad_reasoner.miniloco.render import make_scene, render
from lad_reasoner.miniloco.scene import Kind

CELL = 28  # pixels of one picture token: a patch of 14, merged two by two
GROUP = 6  # pictures of one free product: half of them good


@dataclass(frozen=True)
class Shot:
    """One picture of a pool: the group of its rule, its facts and its pixels."""

    chunk: str
    group: str
    facts: dict[str, Any]
    pixels: NDArray[np.uint8]  # (height, width, 3), sides multiples of 28

    @property
    def good(self) -> bool:
        return bool(self.facts["kind"] == "good")


@dataclass(frozen=True)
class Chunk:
    """The content of one file of a pool: pictures of one product or one family."""

    name: str
    number: int
    pictures: int
    size: int  # pixels of the long side
    seed: int

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.number:04d}"


def fit_grid(image: Image.Image) -> Image.Image:
    """The picture with both sides rounded to whole cells, as Qwen2-VL's image processor does."""
    width, height = (max(CELL, round(side / CELL) * CELL) for side in image.size)
    return image if (width, height) == image.size else image.resize((width, height), Image.Resampling.BICUBIC)


def draw_chunk(chunk: Chunk, folder: Path) -> int:
    """Draw the pictures of a chunk and write them; returns their number."""
    stream = [chunk.seed, zlib.crc32(chunk.name.encode()), chunk.number]
    product = None if chunk.name in FAMILIES else CATALOGUE[chunk.name]
    lines, pixels, offset = list[dict[str, Any]](), list[bytes](), 0
    for index in range(chunk.pictures):
        group = index // GROUP
        if chunk.name in FAMILIES and index % GROUP == 0:
            product = draw_product(chunk.name, seed=[*stream, group, 0])
        assert product is not None
        kind: Kind = "good" if index % 2 == 0 else "logical"
        scene = make_scene(product, seed=[*stream, index, 1], kind=kind)
        drawn = render(scene, size=chunk.size, seed=[*stream, index, 2], paint=product.paint)
        image = fit_grid(drawn.image)
        facts = drawn.facts
        for thing in (*facts["items"], *facts.get("sights", ())):
            thing["centre"] = [
                round(thing["centre"][0] * image.width / facts["width"], 1),
                round(thing["centre"][1] * image.height / facts["height"], 1),
            ]
        facts["width"], facts["height"] = image.size
        name = chunk.name if chunk.name in CATALOGUE else f"{chunk.stem}-{group}"
        lines.append({"group": name, "offset": offset, "facts": facts})
        pixels.append(np.asarray(image).tobytes())
        offset += len(pixels[-1])
    write_whole(folder / f"{chunk.stem}.rgb", b"".join(pixels))
    write_whole(folder / f"{chunk.stem}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return len(lines)


def fill_pool(folder: Path, chunks: list[Chunk], *, workers: int) -> Iterator[int]:
    """Draw the missing chunks; yields the number of pictures of each chunk when it is on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [chunk for chunk in chunks if not (folder / f"{chunk.stem}.jsonl").is_file()]
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(draw_chunk, missing, [folder] * len(missing))


def end_with_parent() -> None:
    """In a worker: end when its parent does. After a SIGKILL of the parent it would wait for a next chunk for ever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_pool(folder: Path) -> list[Shot]:
    """All pictures of a pool; their pixels stay on disk until they are used."""
    return [shot for file in sorted(folder.glob("*.jsonl")) for shot in read_chunk(file)]


def read_chunk(file: Path) -> list[Shot]:
    """The pictures of one chunk, by its file of facts."""
    shots = []
    raw = np.memmap(file.with_suffix(".rgb"), dtype=np.uint8, mode="r")
    for line in file.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        facts = fields["facts"]
        shape = (facts["height"], facts["width"], 3)
        start = fields["offset"]
        pixels = raw[start : start + shape[0] * shape[1] * 3].reshape(shape)
        shots.append(Shot(file.stem, fields["group"], facts, pixels))
    return shots
