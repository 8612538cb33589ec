"""Masks: united, told in words that are true of what was drawn, and named by their grey values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.data.masks import describe_mask, name_defects, read_ground_truth, read_mask
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.miniloco import write_benchmark
from lad_reasoner.records import Sample
from lad_reasoner.text import place_words


def square(row: int, column: int, side: int = 10, of: int = 100) -> NDArray[np.bool_]:
    mask = np.zeros((of, of), bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_places_and_shares_in_words() -> None:
    assert describe_mask(square(0, 0)) == "upper left, 1.0 % of the picture"
    assert describe_mask(square(45, 45)) == "centre, 1.0 % of the picture"
    assert describe_mask(square(0, 0, 100)) == "all over, 100.0 % of the picture"
    assert describe_mask(square(3, 900, 2, of=1000)) == "upper right, less than 0.1 % of the picture"
    both = square(80, 10) | square(45, 70, 20)
    assert describe_mask(both) == "middle right (4.0 %), lower left (1.0 %); together 5.0 % of the picture"
    assert describe_mask(np.zeros((9, 9), bool)) == ""


def test_a_ring_is_not_where_its_centre_is() -> None:
    ring = square(10, 10, 30) & ~square(15, 15, 20)
    assert describe_mask(ring) == "around the upper left, 5.0 % of the picture"
    frame = square(5, 5, 90) & ~square(10, 10, 80)
    assert describe_mask(frame).startswith("all over, ")
    assert describe_mask(square(0, 0, 100) & (np.arange(100) < 5)[:, None]) == "upper middle, 5.0 % of the picture"


def test_specks_and_crowds_are_not_told_one_by_one() -> None:
    speck = square(0, 0, 20) | square(90, 90, 1)
    assert describe_mask(speck) == "upper left, 4.0 % of the picture"
    crowd = np.zeros((100, 100), bool)
    crowd[5::25, 5::25] = True
    assert describe_mask(crowd).count("%") == 5  # four places and the whole


@given(st.integers(0, 90), st.integers(0, 90))
def test_a_square_is_where_it_was_drawn(row: int, column: int) -> None:
    said = describe_mask(square(row, column))
    assert said == f"{place_words((column + 5) / 100, (row + 5) / 100)}, 1.0 % of the picture"


def test_whatever_is_not_black_counts(tmp_path: Path) -> None:
    left, right = square(0, 0), square(0, 90)
    Image.fromarray((left * 237).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray((right * 1).astype(np.uint8)).save(tmp_path / "b.png")
    assert (read_mask([tmp_path / "a.png", str(tmp_path / "b.png")]) == (left | right)).all()
    for name, image in {
        "bits.png": Image.fromarray(left),
        "rgb.png": Image.fromarray(np.dstack([left * 0, left * 9, left * 0]).astype(np.uint8)),
        "rgba.png": Image.fromarray(np.dstack([left * 5, left * 5, left * 5, left * 0 + 255]).astype(np.uint8)),
        "deep.png": Image.fromarray((left * 300).astype(np.uint16)),
        "float.tiff": Image.fromarray((left * 0.5).astype(np.float32)),
        "lossy.jpg": Image.fromarray((left * 255).astype(np.uint8)),
    }.items():
        image.save(tmp_path / name)
        mask = read_mask([tmp_path / name])
        assert mask.dtype == np.bool_
        assert (mask != left).sum() <= (20 if name == "lossy.jpg" else 0), name


def test_masks_that_cannot_be_read(tmp_path: Path) -> None:
    Image.fromarray(square(0, 0)).save(tmp_path / "a.png")
    Image.fromarray(square(0, 0, of=50)).save(tmp_path / "small.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(ImageError, match=r"small\.png: its size differs from that of .*a\.png"):
        read_mask([tmp_path / "a.png", tmp_path / "small.png"])
    for name in ("cut.png", "page.png", "gone.png"):
        with pytest.raises(ImageError, match=rf"{name.split('.')[0]}\.png: the mask cannot be read"):
            read_mask([tmp_path / name])
    with pytest.raises(InputError, match="no mask to read"):
        read_mask([])


def test_the_named_defects_of_miniloco_are_those_of_its_facts(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path, products=["bolt_plate"], per_class=3, size=64))
    told = [(sample.defect, name_defects(sample)) for sample in find_samples(tmp_path).samples if sample.masks]
    assert len(told) == 6
    for defect, names in told:
        assert names == (defect,)


def test_defects_of_several_masks_and_a_bad_config(tmp_path: Path) -> None:
    folder = tmp_path / "ground_truth/logical_anomalies/000"
    folder.mkdir(parents=True)
    for number, value in enumerate((200, 100, 200)):
        Image.fromarray((square(0, 0) * value).astype(np.uint8)).save(folder / f"{number:03d}.png")
    masks = tuple(str(path) for path in sorted(folder.iterdir()))
    sample = Sample(image="i", dataset="d", category="c", split="test", kind="logical", masks=masks, licence="l")
    config = tmp_path / "defects_config.json"
    with pytest.raises(InputError, match=r"defects_config\.json: No such file.*it names the defects"):
        name_defects(sample)
    entries = [{"defect_name": "a", "pixel_value": 100}, {"defect_name": "b", "pixel_value": 200}]
    config.write_text(json.dumps(entries))
    assert name_defects(sample) == ("b", "a")
    config.write_text(json.dumps(entries[:1]))
    with pytest.raises(InputError, match=r"000\.png: the value 200 is not named in"):
        name_defects(sample)
    config.write_text(json.dumps([{"defect_name": "a"}]))
    with pytest.raises(InputError, match=r"defects_config\.json: 0\.pixel_value: Field required"):
        name_defects(sample)
    assert name_defects(sample.model_copy(update={"masks": ()})) == ()


def test_the_regions_of_mvtec_loco_and_their_saturation(tmp_path: Path) -> None:
    folder = tmp_path / "ground_truth/logical_anomalies/000"
    folder.mkdir(parents=True)
    one, other = square(0, 0), square(10, 10)  # they overlap
    Image.fromarray((one * 200).astype(np.uint8)).save(folder / "000.png")
    Image.fromarray((other * 100).astype(np.uint8)).save(folder / "001.png")
    masks = tuple(str(path) for path in sorted(folder.iterdir()))
    values = {"dataset": "MVTec LOCO AD", "category": "c", "split": "test", "kind": "logical", "licence": "l"}
    sample = Sample.model_validate({"image": "i", "masks": masks, **values})
    config = tmp_path / "defects_config.json"

    def regions(*saturations: tuple[float, bool]) -> list[int]:
        """Saturation areas with these thresholds of the grey values 200 and 100."""
        entries = [
            {
                "defect_name": "d",
                "pixel_value": value,
                "saturation_threshold": threshold,
                "relative_saturation": relative,
            }
            for value, (threshold, relative) in zip((200, 100), saturations, strict=False)
        ]
        config.write_text(json.dumps(entries))
        truth = read_ground_truth(sample)
        assert truth is not None
        assert np.array_equal(truth.mask, one | other)
        for (region, _), square in zip(truth.channels, (one, other), strict=True):
            assert np.array_equal(region, square)
        return [area for _, area in truth.channels]

    area = int(one.sum())
    assert regions((7, False), (1, True)) == [7, area]
    assert regions((area + 1, False), (0.5, True)) == [
        area,
        area // 2,
    ]  # an area is enough where it is the whole region
    assert regions((0.2, False), (0.001, True)) == [1, 1]
    with pytest.raises(InputError, match=r"001\.png: the value 100 is not named in"):
        regions((7, False))
    with pytest.raises(InputError, match=r"defects_config\.json: 0\.saturation_threshold: .*greater than 0"):
        regions((0, False), (1, True))
    config.write_text(json.dumps([{"defect_name": "d", "pixel_value": value} for value in (200, 100)]))
    assert regions_of(sample) == ()  # without saturation
    config.unlink()
    assert regions_of(sample) == ()
    assert regions_of(sample.model_copy(update={"dataset": "VisA"})) == ()
    assert read_ground_truth(sample.model_copy(update={"masks": ()})) is None
    for file in masks:
        Image.fromarray(one * np.uint8(0)).save(file)
    assert read_ground_truth(sample) is None  # all black


def regions_of(sample: Sample) -> tuple[object, ...]:
    truth = read_ground_truth(sample)
    assert truth is not None
    return truth.channels
