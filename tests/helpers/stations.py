"""Stations of small pictures, and a judge that is quick: how far a picture's grey value is from its references'."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageStat

from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.service.setup import create_station
from lad_reasoner.service.station import Station


class Grey:
    """Scores the difference of the mean grey values, 255 as 1."""

    name, prompt_version, batch_size, notes = "grey", "grey-1", 4, ()
    parameters: int | None = None

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        scores = [abs(_grey(pair.query.image) - _grey(pair.references[0].image)) / 255 for pair in pairs]
        return [Judgement("yes" if score >= 0.5 else "no", score, reasoning="grey") for score in scores]


class SlowGrey(Grey):
    """Takes `seconds` for each batch."""

    name = "slow-grey"
    seconds = 0.2

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        time.sleep(self.seconds)
        return super().judge(pairs)


class NearestGrey(Grey):
    """The difference from the nearest of the references."""

    name = "nearest-grey"

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        judgements = []
        for pair in pairs:
            each = super().judge([PicturePair((reference,), pair.query) for reference in pair.references])
            judgements.append(min(each, key=lambda judgement: judgement.score or 0.0))
        return judgements


class HeldGrey(NearestGrey):
    """Judges only while its gate is open, which all of them share."""

    name = "held-grey"
    gate = threading.Event()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        assert self.gate.wait(60)
        return super().judge(pairs)


def _grey(image: Image.Image) -> float:
    return float(ImageStat.Stat(image.convert("L")).mean[0])


def grey_picture(path: Path, shade: int, side: int = 32) -> Path:
    """A picture of this grey value; the noise, drawn from its path, makes each file another one."""
    rng = np.random.default_rng(list(str(path).encode()))
    pixels = shade + rng.integers(-3, 4, (side, side, 1))
    pixels[:, : side // 2] += 12  # something to see, since a picture of one colour is refused
    pixels[:, side // 2 :] -= 12
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(pixels, (side, side, 3)).clip(0, 255).astype(np.uint8)).save(path)
    return path


def grey_pictures(folder: Path, shades: Sequence[int]) -> list[Path]:
    return [grey_picture(folder / f"{number:03}.png", shade) for number, shade in enumerate(shades)]


def grey_station(folder: Path, normals: int = 20, **options: object) -> tuple[Path, Station]:
    """A station `folder/station`, whose normals are 100 to 100 + `normals` and whose reference is 100."""
    references = grey_pictures(folder / "good", [100])
    shades = grey_pictures(folder / "normal", [100 + number for number in range(normals)])
    out = folder / "station"
    given: dict[str, object] = {"max_false_alarms": 0.1, "judge": "pixel-difference", **options}
    return out, create_station(out, references, shades, **given)  # type: ignore[arg-type]
