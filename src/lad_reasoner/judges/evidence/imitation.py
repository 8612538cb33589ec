"""Shows a reference as the query was taken: as dark or light, as soft, as noisy.

    imitation = imitate(measurement, working, changes, (look_of_reference, look_of_query))
    matcher.compare(working, imitation, measurement)

A picture that is darker or out of focus differs everywhere from a reference that is not, a defect in one place only.
Compared with the imitation, the defect remains. The reference is changed and not the query, since a blurred picture
cannot be sharpened, nor a clipped one unclipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from lad_reasoner.judges.evidence.matching import Imitation
from lad_reasoner.judges.evidence.measurement import Measurement
from lad_reasoner.judges.evidence.whole_picture import Look, WholeChange, measure_gain, measure_sharpness

LIKEWISE = {"darker": "as dark", "lighter": "as light", "blurred": "as soft", "noisy": "as noisy"}  # what is imitated
RADII = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # pixels at working size, standard deviations of a Gaussian


def imitate(
    measurement: Measurement, query: Image.Image, changes: Sequence[WholeChange], looks: tuple[Look, Look]
) -> Imitation | None:
    """The view that the query explains best with the query's changes; None if none of them can be imitated.

    `query` is the picture at working size, `looks` are those of the reference and of the query.
    """
    kinds = tuple(change.kind for change in changes if change.kind in LIKEWISE)
    view = measurement.view
    if "darker" in kinds or "lighter" in kinds:
        _, gain, _ = measure_gain(measurement, query)
        view = view.point([round(min(255.0, gain * level)) for level in range(256)] * 3)
    if "blurred" in kinds:
        view = _soften(view, measure_sharpness(query))
    if "noisy" in kinds:
        view = _add_noise(view, *looks)
    return Imitation(measurement.reference, measurement.degrees, view, kinds) if kinds else None


def _soften(view: Image.Image, sharpness: float) -> Image.Image:
    """The view blurred by the radius that brings it nearest to this sharpness."""
    blurred = [view, *(view.filter(ImageFilter.GaussianBlur(radius)) for radius in RADII)]
    return min(blurred, key=lambda image: abs(measure_sharpness(image) - sharpness))


def _add_noise(view: Image.Image, reference: Look, query: Look) -> Image.Image:
    """The view with the noise that the query has and the reference has not; it arises at the query's own size."""
    # Looks measure the mean of three channels, whose noise is independent.
    deviation = (3 * max(0.0, query.noise**2 - reference.noise**2)) ** 0.5
    rng = np.random.default_rng(1)
    noise = rng.normal(0, deviation, (query.height, query.width)).astype(np.float32)
    channels = []
    for channel in view.split():
        grain = Image.fromarray(rng.permutation(noise)).resize(view.size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        pixels = np.asarray(channel, dtype=np.float32) + np.asarray(grain)
        channels.append(Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)))
    return Image.merge(view.mode, channels)
