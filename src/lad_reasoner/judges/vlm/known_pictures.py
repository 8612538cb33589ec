"""Do pictures look like those that a checkpoint was made for? Measured on the pictures, not on their files.

    known = load_known("renders")                    # the name in a checkpoint's config.json (key `known_pictures`)
    known.distance(picture)                          # 1.5: above `known.limit`, so it is another kind of picture

Each picture is the mean and the spread of its features over the patches of the built-in backbone; the distance is that
to the nearest of the pictures in the file, in standard deviations a feature. `benchmarks/known_pictures.py` writes the
file and measures the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture

FOLDER = Path(__file__).parents[2] / "weights/known_pictures"
SIDE = 256  # pixels: every picture is stretched to this square, so that its size does not matter


@dataclass(frozen=True, eq=False)
class KnownPictures:
    """Pictures that a checkpoint was made for, and the distance from which on others are of another kind."""

    features: Tensor  # (pictures, features)
    deviation: Tensor  # (features,), standard deviation over these pictures
    limit: float

    def distance(self, picture: Picture) -> float:
        """To the nearest of the known pictures."""
        differences = (describe_picture(picture.image) - self.features) / self.deviation
        return float((differences**2).mean(1).min().sqrt())

    def note(self, pictures: Sequence[Picture]) -> str:
        """A sentence if any of the pictures is of another kind, else nothing."""
        distances = [self.distance(picture) for picture in pictures]
        unknown = [distance for distance in distances if distance > self.limit]
        if not unknown:
            return ""
        which = "the reference looks" if len(pictures) == 1 else f"{len(unknown)} of {len(pictures)} references look"
        return (
            f"{which} like no picture that this model was made for (distance {max(unknown):.2f}, limit "
            f"{self.limit:.2f}): do not trust its verdicts; --model evidence is for photographs"
        )


@cache
def load_known(name: str) -> KnownPictures:
    """The file of this name. InputError if there is none."""
    path = FOLDER / f"{name}.safetensors"
    if not name.isidentifier() or not path.is_file():
        raise InputError(
            f"config.json: known_pictures {name!r} is not one that comes with this package; remove the key"
        )
    with safe_open(path, "pt") as file:
        features = file.get_tensor("features").float()
        deviation = file.get_tensor("deviation").float()
        return KnownPictures(features, deviation, float((file.metadata() or {})["limit"]))


@cache
def _backbone() -> object:
    from lad_reasoner.judges.evidence.efficientnet import EfficientNetLite0

    return EfficientNetLite0()


def describe_picture(image: Image.Image) -> Tensor:
    """Mean and standard deviation over the patches of each channel of the built-in backbone, tensor (features,)."""
    features = _backbone().features(image, (SIDE, SIDE))  # type: ignore[attr-defined]
    patches = torch.from_numpy(features).flatten(0, 1)
    return torch.cat([patches.mean(0), patches.std(0)])
