"""Pictures of MiniLOCO that several tests look at."""

from functools import cache

from lad_reasoner.miniloco import Rendered, draw_picture


@cache
def picture(product: str, kind: str, index: int, size: int = 224) -> Rendered:
    """A test picture; shared, because drawing is what takes the time here."""
    return draw_picture(product, "test", kind, index, size=size)
