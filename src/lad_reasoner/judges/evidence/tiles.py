"""Long pictures, such as those of line cameras, in overlapping tiles: squeezed into one view, parts would vanish.

    if is_long(references[0]):
        tiles = cut(query, count_tiles(references[0]))
        judgement = join([judge(tile.picture) for tile in tiles], tiles, query)

The tiles of one position are compared with each other. The worst one decides and speaks; boxes and map are those of
the whole picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement
from lad_reasoner.records import Box

LONG = 4.0  # long side / short side: above this a picture is cut
LENGTH = 2.0  # of a tile, in short sides
OVERLAP = 1 / 3  # of a tile with the next one: a part cut by one tile is whole in the other
HEAT_SHORT = 32  # cells of the short side of the joined map
SAME = 0.3  # overlap over union: from here on two boxes of neighbouring tiles show the same place
MOST_WORDS = 15  # of a headline


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of a picture, and the pixel of the whole picture at which it starts."""

    picture: Picture
    left: int
    top: int


def is_long(picture: Picture) -> bool:
    """Whether a picture is judged in tiles."""
    return max(picture.width, picture.height) > LONG * min(picture.width, picture.height)


def cut(picture: Picture, number: int) -> list[Tile]:
    """`number` tiles along the long side, from the left or from the top."""
    is_wide = picture.width >= picture.height
    length, short = max(picture.width, picture.height), min(picture.width, picture.height)
    size = min(length, LENGTH * short)
    kept = max(picture.image.size) / length  # pixels in memory for each of the file
    tiles = []
    for at in range(number):
        start = round((length - size) * at / max(1, number - 1))
        end = min(length, round(start + size))
        first = round(start * kept)
        last = max(first + 1, round(end * kept))
        if is_wide:
            image = picture.image.crop((first, 0, last, picture.image.height))
            part = Picture(picture.name, image, end - start, picture.height)
            tiles.append(Tile(part, start, 0))
        else:
            image = picture.image.crop((0, first, picture.image.width, last))
            part = Picture(picture.name, image, picture.width, end - start)
            tiles.append(Tile(part, 0, start))
    return tiles


def count_tiles(picture: Picture) -> int:
    """How many tiles cover a long picture with the overlap."""
    aspect = max(picture.width, picture.height) / min(picture.width, picture.height)
    return math.ceil((aspect - LENGTH) / (LENGTH * (1 - OVERLAP))) + 1


def join(judgements: Sequence[Judgement], tiles: Sequence[Tile], query: Picture) -> Judgement:
    """The judgement of the whole picture from those of its tiles: the worst one's, with the boxes and map of all."""
    scores = [judgement.score or 0.0 for judgement in judgements]
    worst = int(np.argmax(scores))
    judgement, number = judgements[worst], len(tiles)
    side = "left" if query.width >= query.height else "top"
    where = (
        f"The picture is long and was judged in {number} overlapping parts; part {worst + 1} from the {side} decides."
    )
    return replace(
        judgement,
        response=judgement.response.replace("<think>", f"<think>{where} ", 1),
        reasoning=f"{where} {judgement.reasoning}",
        headline=_shorten(f"Part {worst + 1} of {number}: {judgement.headline}") if judgement.headline else "",
        boxes=_join_boxes(judgements, tiles, worst),
        heat=_join_heat(judgements, tiles, query),
    )


def _shorten(headline: str) -> str:
    """Without its last sentences, until few enough words are left."""
    sentences = re.split(r"(?<=\.) ", headline)
    while len(sentences) > 1 and len(" ".join(sentences).split()) > MOST_WORDS:
        sentences.pop()
    return " ".join(" ".join(sentences).split()[:MOST_WORDS])


def _join_boxes(judgements: Sequence[Judgement], tiles: Sequence[Tile], worst: int) -> tuple[Box, ...]:
    """Boxes of the tiles that are anomalous, and of the worst one, in pixels of the whole picture; each place once."""
    boxes: list[Box] = []
    for at, (judgement, tile) in enumerate(zip(judgements, tiles, strict=True)):
        if at == worst or judgement.answer == "yes":
            boxes += [_move(box, tile) for box in judgement.boxes]
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.strength):
        if all(_overlap(box, other) < SAME for other in kept):
            kept.append(box)
    return tuple(kept)


def _move(box: Box, tile: Tile) -> Box:
    return box.model_copy(update={"x": box.x + tile.left, "y": box.y + tile.top})


def _overlap(one: Box, other: Box) -> float:
    """Area that both share over the area of either."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    shared = max(0, width) * max(0, height)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _join_heat(judgements: Sequence[Judgement], tiles: Sequence[Tile], query: Picture) -> NDArray[np.float32]:
    """(rows, columns) of the whole picture; where tiles overlap, the hotter one counts."""
    scale = HEAT_SHORT / min(query.width, query.height)
    rows, columns = (max(1, round(side * scale)) for side in (query.height, query.width))
    heat = np.zeros((rows, columns), np.float32)
    for judgement, tile in zip(judgements, tiles, strict=True):
        assert judgement.heat is not None
        top, left = round(tile.top * scale), round(tile.left * scale)
        bottom = min(rows, max(top + 1, round((tile.top + tile.picture.height) * scale)))
        right = min(columns, max(left + 1, round((tile.left + tile.picture.width) * scale)))
        part = _resize(judgement.heat, bottom - top, right - left)
        heat[top:bottom, left:right] = np.maximum(heat[top:bottom, left:right], part)
    return heat


def _resize(heat: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The largest value of each cell's area, so that no peak is lost."""
    resized = np.empty((rows, columns), np.float32)
    for row, (top, bottom) in enumerate(_spans(heat.shape[0], rows)):
        for column, (left, right) in enumerate(_spans(heat.shape[1], columns)):
            resized[row, column] = heat[top:bottom, left:right].max()
    return resized


def _spans(size: int, number: int) -> list[tuple[int, int]]:
    """First and end of the old cells that each of `number` new ones covers, of which there is always one."""
    edges = np.linspace(0, size, number + 1)
    return [(int(start), max(int(start) + 1, math.ceil(end))) for start, end in pairwise(edges)]
