"""Is a query fit to be judged? A look at the picture itself and at the references, before any judge sees it.

    why_unfit(pair)     # "the picture is blurred: its edges have 6 % of the references' sharpness"; empty if it is fit

A query that shows nothing, is over- or underexposed, blurred, of another shape, or has nothing in common with the
references cannot be taken for good. The limits are lenient: they stop what no judge can judge, not what is unlike the
references. `benchmarks/quality.py` measures them on photographs: share of pictures that are stopped wrongly, and
shares of damaged ones that are stopped.

Whether two pictures show the same product at all is asked of the network of the `evidence` judge, here for all judges:
the mean of its features over the picture is compared, so that place, size and number of parts hardly count.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache, lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.packaged import open_network

GRAPH = Path(__file__).parent / "weights/efficientnet-lite0.onnx"
EMBEDDED = 192  # pixels: enough to tell products apart, and a fifth of the time of what the judge looks at
SMALLEST = 160  # pixels of the long side: thumbnails and drawings are too small to tell more than that they are blank
SIDE = 512  # pixels of the long side at which sharpness is measured
EDGES = 99.5  # percentile of the Laplacian: the sharpest edges, however much of the picture is plain
LEAST_SHARPNESS = 0.25  # of the least sharp reference
PLAIN = 4.0  # grey levels: references without edges do not show how sharp the camera is
MOST_CLIPPED = 0.5  # share of pixels that are black or white, above that of the references
ASPECT = 3.0  # factor between the query's width / height and the nearest reference's
ACROSS, LIKE_ASPECT = 1.25, 1.1  # such a factor as the query lies, and once it is turned by a quarter
LEAST_COLOURS = 0.25  # overlap of the colour histograms, and
LEAST_LAYOUT = 0.3  # correlation of the pictures at 16 x 16 pixels: below both there is nothing in common
# Where neither colours nor layout are much alike, the network decides: below this the products are not the same.
LIKE_COLOURS, LIKE_LAYOUT, LEAST_LIKENESS = 0.6, 0.7, 0.6
EMPTY = 4.0  # grey levels at 16 x 16 pixels: an empty place, where the product is missing, is for the judge
BLACK, WHITE = 2, 253  # grey levels of clipped pixels
LOOKED_AT = 16  # references: more of one product do not change the limits
CACHED = 8  # sets of references

_loading = threading.Lock()


@dataclass(frozen=True, eq=False)
class _Look:
    """What is compared between a query and references."""

    sharpness: float  # grey levels
    clipped: float  # share of pixels
    aspect: float  # width / height
    colours: NDArray[np.float64]  # (512,), adds up to 1
    layout: NDArray[np.float64]  # (256,), unit vector
    contrast: float  # grey levels, between the parts of the layout


def why_unfit(pair: PicturePair) -> str:
    """Why the query cannot be judged, in one line; empty if it can be."""
    blank = pair.query.blank
    if blank and not any(reference.blank for reference in pair.references[:LOOKED_AT]):
        return blank
    if min(max(picture.width, picture.height) for picture in (pair.query, *pair.references)) < SMALLEST:
        return ""
    query, references = _look(pair.query), _look_at_all(pair.references)
    clipped = query.clipped - max(reference.clipped for reference in references)
    if clipped > MOST_CLIPPED:
        return f"the picture is over- or underexposed: {100 * clipped:.0f} % more of it is black or white"
    factor = min(max(query.aspect / other.aspect, other.aspect / query.aspect) for other in references)
    if factor > ASPECT:
        return (
            f"the picture has another shape than the references: width / height {query.aspect:.2f}, "
            f"not {references[0].aspect:.2f}"
        )
    colours = max(float(np.minimum(query.colours, other.colours).sum()) for other in references)
    layout = max(float(query.layout @ other.layout) for other in references)
    if colours < LEAST_COLOURS and layout < LEAST_LAYOUT:
        return "the picture has nothing in common with the references: neither colours nor layout"
    if query.contrast <= EMPTY:
        return ""
    if colours < LIKE_COLOURS and layout < LIKE_LAYOUT:
        seen = _embed(pair.query.image)
        if max(float(seen @ other) for other in _embed_all(pair.references)) < LEAST_LIKENESS:
            return "the picture has nothing in common with the references: another product or scene"
    sharpest = min(reference.sharpness for reference in references)
    if sharpest > PLAIN and query.sharpness < LEAST_SHARPNESS * sharpest:
        share = 100 * query.sharpness / sharpest
        return f"the picture is blurred: its edges have {share:.0f} % of the references' sharpness"
    return ""


def lies_across(pair: PicturePair) -> bool:
    """Is the query landscape beside portrait references, or the other way round? Judges stretch it, or see it lying.

    A telephone's picture lies so where its orientation tag was lost. It is judged, since a product may lie anyhow.
    """
    aspect = pair.query.width / pair.query.height
    others = [reference.width / reference.height for reference in pair.references[:LOOKED_AT]]
    as_it_lies = min((max(aspect / other, other / aspect) for other in others), default=1.0)
    turned = min((max(aspect * other, 1 / (aspect * other)) for other in others), default=1.0)
    return as_it_lies > ACROSS and turned < LIKE_ASPECT


@lru_cache(CACHED)
def _look_at_all(references: tuple[Picture, ...]) -> tuple[_Look, ...]:
    return tuple(map(_look, _some(references)))


@lru_cache(CACHED)
def _embed_all(references: tuple[Picture, ...]) -> tuple[NDArray[np.float32], ...]:
    return tuple(_embed(reference.image) for reference in _some(references))


def _some(references: tuple[Picture, ...]) -> tuple[Picture, ...]:
    """At most LOOKED_AT of them, evenly spread."""
    step = max(1, len(references) // LOOKED_AT)
    return references[::step][:LOOKED_AT]


def _embed(image: Image.Image) -> NDArray[np.float32]:
    """The picture as one unit vector (152,); two good products have a cosine of 0.95, two different ones 0.3."""
    with _loading:
        session = _network()
    pixels = np.asarray(image.convert("RGB").resize((EMBEDDED, EMBEDDED), Image.Resampling.BICUBIC), dtype=np.float32)
    (features,) = session.run(None, {"pixels": pixels[None]})  # (1, 12, 12, 152)
    mean: NDArray[np.float32] = features[0].mean(axis=(0, 1))
    return mean / max(1e-6, float(np.linalg.norm(mean)))


@cache
def _network() -> Any:
    return open_network(GRAPH)


def _look(picture: Picture) -> _Look:
    image = picture.image
    scale = min(1.0, SIDE / max(image.size))
    width, height = (max(4, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    in_grey = small.convert("L")
    grey = np.asarray(in_grey).astype(np.int16)  # (height, width)
    inner = grey[1:-1, 1:-1]
    above, below = grey[:-2, 1:-1], grey[2:, 1:-1]
    left, right = grey[1:-1, :-2], grey[1:-1, 2:]
    laplacian = np.abs(4 * inner - above - below - left - right)
    colours = np.asarray(small)
    lowest, highest = (reduce(pick, np.moveaxis(colours, -1, 0)) for pick in (np.minimum, np.maximum))
    clipped = (highest <= BLACK) | (lowest >= WHITE)
    layout = np.asarray(in_grey.resize((16, 16), Image.Resampling.BOX), dtype=np.float64).ravel()
    layout -= layout.mean()
    return _Look(
        sharpness=_percentile(laplacian, EDGES),
        clipped=float(clipped.mean()),
        aspect=picture.width / picture.height,
        colours=_histogram(small.resize((64, 64), Image.Resampling.BOX)),
        layout=layout / max(1e-6, float(np.linalg.norm(layout))),
        contrast=float(layout.std()),
    )


def _percentile(values: NDArray[np.int16], percent: float) -> float:
    """As `np.percentile`, of small whole numbers from 0: to count them takes a fraction of the time of sorting."""
    upto = np.bincount(values.ravel()).cumsum()
    rank = percent / 100 * (values.size - 1)
    before, after = int(rank), min(int(rank) + 1, values.size - 1)
    low, high = np.searchsorted(upto, (before, after), side="right").tolist()
    return float(low + (rank - before) * (high - low))


def _histogram(image: Image.Image) -> NDArray[np.float64]:
    """(512,), eight steps a channel, smoothed: a shift of light by half a step must not empty the overlap."""
    steps = np.asarray(image).reshape(-1, 3) // 32  # (pixels, 3)
    counts = np.bincount(steps @ np.array([64, 8, 1]), minlength=512).reshape(8, 8, 8)
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if at == axis else (0, 0) for at in range(3)])
        below, here, above = (np.take(padded, range(start, start + 8), axis) for start in range(3))
        counts = 0.25 * below + 0.5 * here + 0.25 * above
    shares: NDArray[np.float64] = counts.ravel() / counts.sum()
    return shares
