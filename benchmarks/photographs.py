"""The evidence judge on real photographs: ranking, verdicts, what the limit loses, and where it looks.

    python benchmarks/photographs.py FOLDER [--draws 2] [--most 40] [--sets bottle hazelnut]

A line for each data set and number of references, means over the draws of the references with 95 % intervals
(bootstrap over the queries):

- AUROC of the score; balanced accuracy, TPR and TNR of the verdict (score 0.5);
- oracle: balanced accuracy of the best single threshold on the same pictures; regret: what the verdict loses to it.

Then the share of good pictures that are called anomalous, unchanged and after changes that do no harm (four
references). Where a class has a single good picture, categories are pooled. `--most` draws that many good and bad
queries of larger categories. Pixel AUROC and the pointing game need masks.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lad_reasoner.data.masks import GroundTruth, read_mask
from lad_reasoner.evaluation.localisation import PixelSums, count_pixels
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.service import upkeep

DRAWS = 5  # of the references
MOST = 1000  # good and bad queries of a category
COUNTS = (1, 4, 10)  # references
CHANGED = 100  # good pictures of a set that are changed, at most


Values = NDArray[np.float64]
Estimate = tuple[float, float, float]  # mean, and the ends of its 95 % interval
Scores = list[Values]  # of the good and of the bad queries


@dataclass(frozen=True)
class Category:
    """Pictures of one product. References are drawn from `pool`; all other good ones are queries."""

    name: str
    pool: list[Path]
    good: list[Path]
    bad: list[Path]


def pictures(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in {".png", ".jpg"})


def load_sets(root: Path) -> dict[str, list[Category]]:
    """Data set -> its categories."""
    sets = {}
    for name, normal, bad in (
        ("toy_aliens", "good", "logical"),
        ("screw_block", "good", "bad"),
        ("metal_nut", "good", "bad"),
    ):
        good = pictures(root / name / normal)
        sets[name] = [Category(name, good, good, pictures(root / name / bad))]
    for name, place in (
        ("bottle", "mvtec_ad_bottle/bottle"),
        ("hazelnut", "mvtec_ad_256/hazelnut"),
        ("transistor", "mvtec_ad_256/transistor"),
    ):
        train, test = pictures(root / place / "train/good"), pictures(root / place / "test/good")
        good = test if name == "bottle" else train + test
        sets[name] = [Category(name, train, good, _bad(root / place))]
    for name in ("mvtec_loco_small", "mvtec_ad_small", "visa_small"):
        sets[name] = []
        for folder in sorted(path for path in (root / name).iterdir() if path.is_dir()):
            test = pictures(folder / "test/good")
            pool = pictures(folder / "train/good") or test
            sets[name].append(Category(folder.name, pool, test, _bad(folder)))
    return sets


def _bad(folder: Path) -> list[Path]:
    return [path for path in pictures(folder, "test/*/*") if path.parent.name != "good"]


def scores(category: Category, paths: Sequence[Path], judge: Evidence, most: int) -> Scores:
    """Of the good and of the bad queries, at most `most` each; `paths` are the references."""
    references = [read_picture(path) for path in paths]
    good = [path for path in category.good if path not in paths]
    queries = [limited(good, most), limited(category.bad, most)]
    return [np.array([score(judge, references, read_picture(path)) for path in paths]) for paths in queries]


def score(judge: Evidence, references: Sequence[Picture], query: Picture) -> float:
    value = judge.judge([PicturePair(tuple(references), query)])[0].score
    assert value is not None
    return value


def limited(paths: Sequence[Path], most: int) -> list[Path]:
    return sorted(random.Random(most).sample(list(paths), min(most, len(paths))))


def draw(category: Category, count: int, seed: int) -> list[Path]:
    return random.Random(f"{category.name}/{seed}").sample(category.pool, count)


def auroc(bad: Values, good: Values) -> float:
    high, low = bad[:, None], good[None]
    return float(np.mean((high > low) + 0.5 * (high == low)))


def oracle(bad: Values, good: Values) -> float:
    """Balanced accuracy of the best single threshold."""
    thresholds = np.append(np.concatenate([good, bad]), np.inf)
    tpr, tnr = (bad[:, None] >= thresholds).mean(0), (good[:, None] < thresholds).mean(0)
    return float(np.max(tpr + tnr)) / 2


def summarise(good: Values, bad: Values) -> dict[str, float]:
    tpr = float(np.mean(bad >= 0.5))
    if not len(good):
        return {"TPR": tpr}
    tnr = float(np.mean(good < 0.5))
    best, balanced = oracle(bad, good), (tpr + tnr) / 2
    measures = {"AUROC": auroc(bad, good), "verdict": balanced, "oracle": best, "regret": best - balanced}
    return {**measures, "TPR": tpr, "TNR": tnr}


def evaluate(
    categories: Sequence[Category], count: int, judge: Evidence, draws: int = DRAWS, most: int = MOST
) -> dict[str, Estimate]:
    """Measure -> its mean over the draws with a 95 % interval; categories are pooled. No good query: TPR alone."""
    large = [category for category in categories if len(category.pool) >= count]
    runs = []
    for seed in range(draws):
        pooled = [scores(category, draw(category, count, seed), judge, most) for category in large]
        runs.append([np.concatenate(values) for values in zip(*pooled, strict=True)])
        if all(len(category.pool) == count for category in categories):
            break  # there is one draw only
    means = _mean_over_draws(runs)
    rng = np.random.default_rng(0)
    samples = [_mean_over_draws([_resample_all(run, rng) for run in runs]) for _ in range(500)]
    estimates = {}
    for key, mean in means.items():
        low, high = np.quantile([sample[key] for sample in samples], (0.025, 0.975))
        estimates[key] = (mean, float(low), float(high))
    return estimates


def _mean_over_draws(runs: Sequence[Scores]) -> dict[str, float]:
    summaries = [summarise(good, bad) for good, bad in runs]
    return {key: float(np.mean([summary[key] for summary in summaries])) for key in summaries[0]}


def _resample_all(run: Scores, rng: np.random.Generator) -> Scores:
    return [rng.choice(values, len(values)) if len(values) else values for values in run]


def harmless(category: Category, judge: Evidence) -> dict[str, float]:
    """Change -> share of good pictures that are called anomalous after it, with four references."""
    paths = draw(category, 4, 0)
    references = [read_picture(path) for path in paths]
    good = [read_picture(path) for path in limited([path for path in category.good if path not in paths], CHANGED)]
    shares = {}
    for name, change in CHANGES.items():
        changed = [read_picture(change(picture.image)) for picture in good]
        shares[name] = float(np.mean([score(judge, references, picture) >= 0.5 for picture in changed]))
    return shares


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{name: upkeep.CHANGES[name] for name in ("none", "JPEG 75", "light +20 %", "light -20 %", "noise 8")},
    "blur 1": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


def localise(category: Category, reference: Path, backbone: Backbone) -> tuple[float, float]:
    """Pixel AUROC over all queries, and the share of anomalous ones whose map has its maximum in the mask."""
    matcher, pixels = Matcher([read_picture(reference)], backbone), PixelSums()
    for path in category.good + category.bad:
        picture = read_picture(path)
        heat = matcher.compare(matcher.fit(picture)).anomaly_map(picture.width, picture.height)
        mask = np.zeros(heat.shape, bool)
        if path in category.bad:
            truth = path.parents[2] / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            mask = read_mask([truth])
        pixels.add(count_pixels(heat, GroundTruth(mask)))
    measured = pixels.estimates()
    assert measured.pixel_auroc.value is not None
    assert measured.pointing.value is not None
    return measured.pixel_auroc.value, measured.pointing.value


def _percent(estimate: Estimate) -> str:
    mean, low, high = (100 * value for value in estimate)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="The evidence judge on real photographs.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--most", type=int, default=MOST)
    parser.add_argument("--sets", nargs="*")
    options = parser.parse_args()
    judge = Evidence()
    sets = load_sets(options.root)
    names = options.sets or list(sets)
    regrets: dict[int, list[float]] = {count: [] for count in COUNTS}
    for name in names:
        largest = max(len(category.pool) for category in sets[name])
        for count in sorted({min(count, largest) for count in COUNTS}):
            result = evaluate(sets[name], count, judge, options.draws, options.most)
            cells = "  ".join(f"{key} {_percent(estimate)}" for key, estimate in result.items())
            print(f"{name:17s} k = {count:2d}  {cells}", flush=True)
            if "regret" in result and count in regrets:
                regrets[count].append(100 * result["regret"][0])
    for count, values in regrets.items():
        if values:
            print(f"regret, mean of {len(values)} sets, k = {count}: {np.mean(values):.1f}, largest {max(values):.1f}")
    for name in names:
        if len(sets[name]) == 1 and len(sets[name][0].pool) > 4:
            cells = "  ".join(f"{key} {100 * value:.0f}" for key, value in harmless(sets[name][0], judge).items())
            print(f"{name:17s} good pictures called anomalous, %: {cells}", flush=True)
    if "bottle" in names:
        (bottle,) = sets["bottle"]
        found = [localise(bottle, draw(bottle, 1, seed)[0], judge.backbone) for seed in range(options.draws)]
        area, pointing = np.mean(found, axis=0)
        print(f"bottle, 1 reference: pixel AUROC {area:.3f}  pointing game {pointing:.3f}")


if __name__ == "__main__":
    main()
