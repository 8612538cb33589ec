"""Rendered pictures that several tests look at."""

from functools import cache

from lad_reasoner.files.pictures import Picture
from lad_reasoner.miniloco import draw_picture


@cache
def shot(kind: str, index: int, product: str = "circuit_board", split: str = "test") -> Picture:
    """A rendered picture; logical defects take turns with the index."""
    drawn = draw_picture(product, split, kind, index, size=384, seed=11)  # type: ignore[arg-type]
    return Picture(f"{kind}_{index}", drawn.image, drawn.image.width, drawn.image.height)


@cache
def defect(index: int, product: str = "circuit_board") -> str:
    return str(draw_picture(product, "test", "logical", index, size=64, seed=11).facts["defect"])
