"""A verdict as the page shows it: the picture, numbered boxes, the nearest reference."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.records import Box, Verdict
from lad_reasoner.report.verdicts import is_weak
from lad_reasoner.service.archived import REASONS, Inspection
from lad_reasoner.service.live import Watch
from lad_reasoner.service.runtime import LiveStation

THUMBNAIL = 32  # pixels: on which pictures are compared where the judge does not say which reference is nearest


def verdict_values(live: LiveStation, watch: Watch, inspection: Inspection) -> dict[str, Any]:
    """What verdict.html shows."""
    picture: Picture | None = None
    if inspection.picture:
        try:
            picture = read_picture(live.archive.content(inspection.id), live.open.depth)
        except InputError:  # deleted or changed on the disk meanwhile: the verdict is shown without it
            picture = None
    view, verdict, station = watch.view(inspection), inspection.verdict, live.open.station
    nearest = view.nearest
    if nearest is None and picture is not None:
        nearest = _most_like(live.open.references, picture)
    # The references may have changed since then.
    nearest = 0 if nearest is None or nearest >= len(live.open.references) else nearest
    return {
        "inspection": inspection,
        "verdict": verdict,
        "picture": picture,
        "mapped": view.heat is not None,
        "shapes": _shapes(verdict, picture) if verdict is not None and picture is not None else [],
        "nearest": nearest,
        "reference": PurePosixPath(station.compared[nearest]).name,
        "station": station,
        "current": inspection.version == live.version,
        "reasons": REASONS,
    }


def _shapes(verdict: Verdict, picture: Picture) -> list[dict[str, float]]:
    return [numbered_box(box, picture) | {"weak": is_weak(box, verdict)} for box in verdict.boxes]


def numbered_box(box: Box, picture: Picture) -> dict[str, float]:
    """A box and the square with its number, in pixels of the picture; the square stays inside of it."""
    side = max(picture.width, picture.height) / 20
    left = min(max(0.0, box.x), max(0.0, picture.width - side))
    above = box.y - side
    return {
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "left": left,
        "top": above if above >= 0 else min(box.y, picture.height - side),
        "side": side,
    }


def _most_like(references: tuple[Picture, ...], picture: Picture) -> int:
    """The index of the reference that differs least as a small picture of its grey levels."""
    query = _small(picture)

    def difference(index: int) -> float:
        return float(((_small(references[index]) - query) ** 2).mean())

    return min(range(len(references)), key=difference)


def _small(picture: Picture) -> NDArray[np.float32]:
    image = picture.image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    levels: NDArray[np.float32] = np.asarray(image, np.float32)
    centred: NDArray[np.float32] = levels - levels.mean(dtype=np.float32)
    return centred
