"""Ground-truth masks: read, named by their grey values, and described in words.

In MVTec LOCO AD and MiniLOCO a mask's grey value names a defect and an anomaly may have several files; VisA's values
are small numbers. So whatever is not black is anomalous.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from scipy import ndimage

from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.files.opening import open_picture
from lad_reasoner.files.pictures import orientation, read_turn, turn_upright
from lad_reasoner.records import Record, Sample
from lad_reasoner.text import first_problem, place_words, printable

MAX_PLACES = 4  # regions that are described one by one
SMALLEST = 0.05  # share of the anomalous area: smaller specks belong to the larger regions
WIDE = 0.6  # share of both sides: a region that reaches so far is in no single place
CHANNELLED = ("MVTec LOCO AD", "MiniLOCO")  # data sets in which each mask file is a region with a saturation area
JPEG_NOISE = 127  # a lossy file has grey around its black: only brighter values count


class _Defect(Record):
    """An entry of defects_config.json."""

    defect_name: str
    pixel_value: int
    saturation_threshold: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    relative_saturation: bool = False

    def saturation(self, area: int) -> int | None:
        """How many pixels of a region of this area are enough; None where the file does not say."""
        if self.saturation_threshold is None:
            return None
        wanted = self.saturation_threshold * area if self.relative_saturation else self.saturation_threshold
        return max(1, min(int(wanted), area))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Where a picture is anomalous: `mask` (height, width); all False for a good one.

    `channels` are the regions of MVTec LOCO AD and MiniLOCO, one a mask file, each with its saturation area in pixels.
    Regions may overlap. There are none where defects_config.json does not give the saturation of all of them.
    """

    mask: NDArray[np.bool_]
    channels: tuple[tuple[NDArray[np.bool_], int], ...] = ()


def read_mask(files: Sequence[str | Path]) -> NDArray[np.bool_]:
    """(height, width), True where any of a picture's masks is not black.

    ImageError for a file that cannot be read, and for masks of different sizes.
    """
    if not files:
        raise InputError("no mask to read; this picture has none")
    union: NDArray[np.bool_] | None = None
    for file in files:
        values = _read_values(file)
        if union is not None and union.shape != values.shape:
            raise ImageError(f"{printable(file)}: its size differs from that of {printable(files[0])}; copy them again")
        union = values > 0 if union is None else union | (values > 0)
    assert union is not None
    return union


def read_mask_of(picture: str | Path, files: Sequence[str | Path]) -> NDArray[np.bool_] | None:
    """As `read_mask`, turned as the picture is by its orientation tag; None for a mask of another shape.

    Annotation tools draw on the stored pixels or on the upright ones. Which of them is seen from the shape; where it is
    not (half a turn, a mirrored or square picture), the answer is None as well. A mask may be smaller than the picture.
    None also for a mask that `looks_inverted`. It is taken as it is if the picture cannot be read. ImageError for masks
    that cannot be read.
    """
    mask = read_mask(files)
    if looks_inverted(mask) and not mask.all():
        return None
    try:
        turn, width, height = read_turn(picture)
    except ImageError:
        return mask
    upright = _same_aspect(mask.shape, (height, width))
    stored = _same_aspect(mask.shape, (width, height) if turn >= 5 else (height, width))
    if turn == 1 or _read_turned(files[0])[1]:
        return mask if upright else None
    if upright == stored:
        return None
    return mask if upright else turn_upright(mask, turn)


def looks_inverted(mask: NDArray[np.bool_]) -> bool:
    """Whether black and white may be swapped: more than half is marked, and the whole border."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(border.all() and mask.mean() > 0.5)


def _same_aspect(shape: tuple[int, ...], other: tuple[int, int]) -> bool:
    """Whether one is the other, scaled, but for rounding to whole pixels."""
    return abs(shape[0] * other[1] - shape[1] * other[0]) <= max(*shape, *other)


def name_defects(sample: Sample) -> tuple[str, ...]:
    """The defects of a picture of MVTec LOCO AD or MiniLOCO, by the grey values of its masks and defects_config.json.

    InputError if the file is absent or malformed, or does not name a value.
    """
    if not sample.masks:
        return ()
    entries = _read_config(sample)
    defects: dict[str, None] = {}  # in the order of the files, each once
    for file in sample.masks:
        values = _read_values(file)
        for value in np.unique(values[values != 0]):
            defects[_entry_of(int(value), entries, file).defect_name] = None
    return tuple(defects)


def read_ground_truth(sample: Sample) -> GroundTruth | None:
    """The masks of an anomalous picture; None without any, for black ones, and as `read_mask_of` says.

    ImageError for masks that cannot be read, InputError for a defects_config.json that is malformed or lacks a value.
    """
    mask = read_mask_of(sample.image, sample.masks) if sample.masks else None
    if mask is None or not mask.any():
        return None
    if sample.dataset not in CHANNELLED or not _config_of(sample).is_file():
        return GroundTruth(mask)
    entries = _read_config(sample)
    channels = []
    for file in sample.masks:
        values = _read_values(file)
        for value in np.unique(values[values != 0]):
            # As stored: pictures of these sets have no orientation tag.
            region = values == value
            saturation = _entry_of(int(value), entries, file).saturation(int(region.sum()))
            if saturation is None or region.shape != mask.shape:
                return GroundTruth(mask)
            channels.append((region, saturation))
    return GroundTruth(mask, tuple(channels))


def _config_of(sample: Sample) -> Path:
    # CLASS/ground_truth/KIND/NUMBER/MASK.png
    return Path(sample.masks[0]).parents[3] / "defects_config.json"


def _read_config(sample: Sample) -> dict[int, _Defect]:
    """Grey value -> entry of defects_config.json; InputError if the file is absent or malformed."""
    config = _config_of(sample)
    try:
        entries = TypeAdapter(list[_Defect]).validate_json(config.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise InputError(f"{printable(config)}: {error.strerror}; it names the defects, copy it beside test/") from None
    except ValidationError as error:
        raise InputError(f"{printable(config)}: {first_problem(error)}; copy it again") from None
    return {entry.pixel_value: entry for entry in entries}


def _entry_of(value: int, entries: Mapping[int, _Defect], file: str) -> _Defect:
    if value not in entries:
        raise InputError(f"{printable(file)}: the value {value} is not named in defects_config.json; copy both again")
    return entries[value]


def describe_mask(mask: NDArray[np.bool_]) -> str:
    """Where and how large: `upper left, 3.1 % of the picture`; empty for a black mask.

    A region around its own centre, such as a ring, is `around the centre`; one that reaches over most of both sides is
    `all over`.
    """
    total = int(mask.sum())
    if not total:
        return ""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())[1:]
    largest_first = np.argsort(-areas, kind="stable")
    order = [int(at) for at in largest_first if areas[at] >= SMALLEST * total][:MAX_PLACES]
    boxes = ndimage.find_objects(labels)
    places = [_where(labels[boxes[at]] == at + 1, boxes[at], mask.shape) for at in order]
    whole = f"{_percent(total / mask.size)} of the picture"
    if len(places) == 1:
        return f"{places[0]}, {whole}"
    shares = [_percent(areas[at] / mask.size) for at in order]
    each = ", ".join(f"{place} ({share})" for place, share in zip(places, shares, strict=True))
    return f"{each}; together {whole}"


def _where(region: NDArray[np.bool_], box: tuple[slice, ...], shape: tuple[int, ...]) -> str:
    """The place of one region, cut out of a picture of this shape along its box."""
    rows, columns = np.nonzero(region)
    row, column = float(rows.mean()), float(columns.mean())
    x = (box[1].start + column + 0.5) / shape[1]
    y = (box[0].start + row + 0.5) / shape[0]
    name = place_words(x, y)
    if all(inside > WIDE * whole for inside, whole in zip(region.shape, shape, strict=True)):
        return "all over"
    return name if region[round(row), round(column)] else f"around the {name}"


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _read_values(file: str | Path) -> NDArray[np.integer]:
    """As `_read_turned`, without the orientation."""
    return _read_turned(file)[0]


def _read_turned(file: str | Path) -> tuple[NDArray[np.integer], bool]:
    """(height, width) integers, and whether the file's own orientation tag turned them.

    Grey values are as in the file; of colours the largest channel counts, without transparency.
    """
    name = printable(file)
    try:
        with open_picture(file) as image:
            values = np.asarray(image)
            # A TIFF is upright once it is loaded, and has no tag any more.
            turn = orientation(image)
            lossy, has_alpha = image.format == "JPEG", image.mode in ("LA", "RGBA")
    except ImageError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise ImageError(f"{name}: the mask cannot be read ({reason})") from None
    if has_alpha:
        values = values[..., :-1]
    values = values.max(axis=2) if values.ndim == 3 else values
    if not np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.uint8) if values.dtype == np.bool_ else (values > 0).astype(np.uint8)
    values = turn_upright(values, turn)
    return np.where(values > JPEG_NOISE, values, 0) if lossy else values, turn > 1
