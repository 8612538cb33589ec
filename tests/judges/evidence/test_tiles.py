"""Long pictures: tiles cover them, boxes and map are those of the whole, and one bad part among many decides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lad_reasoner import Inspector
from lad_reasoner.files.pictures import KEPT_SHORT_SIDE, read_picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.evidence.tiles import LONG, count_tiles, cut, is_long, join
from lad_reasoner.records import Box


def row(parts: int, bad: int | None = None, seed: int = 0, side: int = 96) -> Image.Image:
    """Parts in a row, as a line camera sees them: a disc with a hole and a mark; the bad one lacks the mark."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (parts * side, side), (150, 150, 150))
    draw = ImageDraw.Draw(image)
    for part in range(parts):
        x, y = part * side + side // 2 + int(random.integers(-2, 3)), side // 2 + int(random.integers(-2, 3))
        draw.ellipse((x - 36, y - 36, x + 36, y + 36), fill=(60, 80, 160))
        draw.ellipse((x - 10, y - 10, x + 10, y + 10), fill=(20, 20, 20))
        if part == bad:
            draw.polygon([(x + 5, y - 36), (x + 40, y + 5), (x + 8, y)], fill=(220, 60, 30))
        else:
            draw.rectangle((x - 8, y + 18, x + 8, y + 28), fill=(240, 240, 240))
    return image


@pytest.mark.parametrize("size", [(1200, 100), (100, 1200), (401, 100), (16000, 80)])
def test_tiles_cover_the_whole_picture_and_overlap(size: tuple[int, int]) -> None:
    picture = read_picture(Image.new("RGB", size, (9, 99, 199)))
    tiles = cut(picture, count_tiles(picture))
    assert is_long(picture)
    along = 0 if size[0] > size[1] else 1
    spans = [
        ((t.left, t.top)[along], (t.left, t.top)[along] + (t.picture.width, t.picture.height)[along]) for t in tiles
    ]
    assert (spans[0][0], spans[-1][1]) == (0, max(size))
    for before, after in pairwise(spans):
        assert before[0] < after[0] < before[1]  # a part that one cuts is whole in the next
    for tile in tiles:
        assert not is_long(tile.picture)
        assert min(tile.picture.image.size) >= min(min(size), 1)


def test_a_long_picture_keeps_its_short_side() -> None:
    picture = read_picture(Image.new("L", (8000, 500)))
    assert min(picture.image.size) == KEPT_SHORT_SIDE
    assert (picture.width, picture.height) == (8000, 500)
    assert not is_long(read_picture(Image.new("L", (int(LONG * 100), 100))))


def test_boxes_and_map_are_in_the_pixels_of_the_whole_picture() -> None:
    query = read_picture(Image.new("RGB", (1000, 100)))
    tiles = cut(query, count_tiles(query))
    judgements = []
    for at, tile in enumerate(tiles):
        heat = np.zeros((48, 96), np.float32)
        heat[10, 20] = 3.0 if at == 4 else 0.1
        box = Box(x=40, y=20, width=10, height=5, strength=3.0 if at == 4 else 0.5)
        response = f"<think>Tile at {tile.left}.</think><answer>{'yes' if at == 4 else 'no'}</answer>"
        judgements.append(Judgement.of(response, 0.9 if at == 4 else 0.1, boxes=(box,), heat=heat, headline="A. B."))
    whole = join(judgements, tiles, query)
    assert (whole.answer, whole.score) == ("yes", 0.9)
    assert [(box.x, box.y) for box in whole.boxes] == [(40 + tiles[4].left, 20)]
    assert whole.headline == f"Part 5 of {len(tiles)}: A. B."
    assert f"part 5 from the left decides. Tile at {tiles[4].left}." in whole.reasoning
    assert Judgement.of(whole.response).answer == "yes"
    assert whole.heat is not None
    rows, columns = np.unravel_index(int(whole.heat.argmax()), whole.heat.shape)
    assert whole.heat.shape == (32, 320)
    assert abs(columns / 320 * 1000 - (tiles[4].left + 20 / 96 * tiles[4].picture.width)) < 10
    assert abs(rows / 32 - 10 / 48) < 0.1


def test_one_bad_part_in_a_row_is_found() -> None:
    inspector = Inspector(references=[row(5, seed=1)])
    good, bad = inspector.inspect(row(5, seed=2)), inspector.inspect(row(5, bad=3, seed=3))
    assert (good.answer, bad.answer) == ("no", "yes")
    x = bad.boxes[0].x + bad.boxes[0].width / 2
    assert 3 * 96 <= x <= 4 * 96
