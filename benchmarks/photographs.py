"""The evidence judge on real photographs: verdicts, ranking, and where it looks.

    python benchmarks/photographs.py ../shared/data/real

For each data set and number of references: AUROC of the score, balanced accuracy, TPR and TNR of the verdict, each a
mean over five draws of the references, with a 95 % interval from a bootstrap over the queries. Where a class has a
single good picture there is no second one to judge: only TPR can be given. Pixel AUROC and the pointing game
need masks.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher

DRAWS = 5


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
    aliens = pictures(root / "toy_aliens/good")
    sets = {"toy_aliens": [Category("aliens", aliens, aliens, pictures(root / "toy_aliens/logical"))]}
    for name, folder in (
        ("mvtec_ad_bottle", "mvtec_ad_bottle/bottle"),
        ("hazelnut", "mvtec_ad_256/hazelnut"),
        ("transistor", "mvtec_ad_256/transistor"),
    ):
        train, test = pictures(root / folder / "train/good"), pictures(root / folder / "test/good")
        good = test if name == "mvtec_ad_bottle" else train + test
        sets[name] = [Category(name, train, good, _bad(root / folder))]
    for name in ("mvtec_loco_small", "mvtec_ad_small", "visa_small"):
        sets[name] = []
        for folder in sorted(path for path in (root / name).iterdir() if path.is_dir()):
            test = pictures(folder / "test/good")
            pool = pictures(folder / "train/good") or test
            sets[name].append(Category(folder.name, pool, test, _bad(folder)))
    return sets


def _bad(folder: Path) -> list[Path]:
    return [path for path in pictures(folder, "test/*/*") if path.parent.name != "good"]


def scores(category: Category, references: Sequence[Path], backbone: Backbone) -> tuple[list[float], list[float]]:
    """Scores of the good and of the bad queries."""
    matcher = Matcher([_read(path) for path in references], backbone)

    def score(path: Path) -> float:
        return matcher.spread.score(matcher.compare(matcher.fit(_read(path))).statistic)

    return [score(path) for path in category.good if path not in references], [score(path) for path in category.bad]


def _read(path: Path) -> Picture:
    return read_picture(path)


def draw(category: Category, count: int, seed: int) -> list[Path]:
    return random.Random(f"{category.name}/{seed}").sample(category.pool, count)


def auroc(bad: Sequence[float], good: Sequence[float]) -> float:
    high, low = np.asarray(bad)[:, None], np.asarray(good)[None]
    return float(np.mean((high > low) + 0.5 * (high == low)))


def summarise(good: Sequence[float], bad: Sequence[float]) -> dict[str, float]:
    tpr = float(np.mean(np.asarray(bad) >= 0.5))
    if not good:
        return {"TPR": tpr}
    tnr = float(np.mean(np.asarray(good) < 0.5))
    return {"AUROC": auroc(bad, good), "balanced accuracy": (tpr + tnr) / 2, "TPR": tpr, "TNR": tnr}


def evaluate(categories: Sequence[Category], count: int, backbone: Backbone) -> dict[str, tuple[float, float, float]]:
    """Measure -> (mean over the draws, lower, upper end of the 95 % interval); categories are pooled."""
    runs = []
    for seed in range(DRAWS):
        good: list[float] = []
        bad: list[float] = []
        for category in categories:
            if len(category.pool) >= count:
                more_good, more_bad = scores(category, draw(category, count, seed), backbone)
                good, bad = good + more_good, bad + more_bad
        runs.append((np.asarray(good), np.asarray(bad)))
        if all(len(category.pool) == count for category in categories):
            break  # there is one draw only
    rng = np.random.default_rng(0)
    values = [summarise(list(good), list(bad)) for good, bad in runs]
    samples = []
    for _ in range(500):
        drawn = []
        for good, bad in runs:
            drawn.append(summarise(list(_resample(good, rng)), list(_resample(bad, rng))))
        samples.append({key: np.mean([value[key] for value in drawn]) for key in drawn[0]})
    return {
        key: (
            float(np.mean([value[key] for value in values])),
            *(float(end) for end in np.quantile([sample[key] for sample in samples], (0.025, 0.975))),
        )
        for key in values[0]
    }  # type: ignore[return-value]


def _resample(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.choice(values, len(values)) if len(values) else values


def localise(category: Category, reference: Path, backbone: Backbone) -> tuple[float, float]:
    """Pixel AUROC over all queries, and the share of anomalous ones whose map has its maximum in the mask."""
    matcher = Matcher([_read(reference)], backbone)
    values, labels, hits = [], [], []
    for path in category.good + category.bad:
        picture = _read(path)
        heat = matcher.compare(matcher.fit(picture)).anomaly_map(picture.width, picture.height)
        mask = np.zeros(heat.shape, bool)
        if path in category.bad:
            truth = path.parents[2] / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            mask = np.asarray(Image.open(truth).convert("L")) > 0
            hits.append(bool(mask.flat[int(heat.argmax())]))
        values.append(heat[::2, ::2].ravel())
        labels.append(mask[::2, ::2].ravel())
    ranks, label = rankdata(np.concatenate(values)), np.concatenate(labels)
    positive = int(label.sum())
    area = (ranks[label].sum() - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
    return float(area), float(np.mean(hits))


def main(root: Path) -> None:
    backbone = load_backbone()
    sets = load_sets(root)
    for name, categories in sets.items():
        for count in (1, 4) if len(categories[0].pool) >= 5 else (1, 3) if len(categories[0].pool) >= 3 else (1,):
            result = evaluate(categories, count, backbone)
            n = f"{sum(len(c.good) for c in categories)} good, {sum(len(c.bad) for c in categories)} bad"
            cells = "  ".join(f"{key} {mean:.3f} [{low:.3f}, {high:.3f}]" for key, (mean, low, high) in result.items())
            print(f"{name} ({n}), {count} reference{'' if count == 1 else 's'}: {cells}", flush=True)
    (bottle,) = sets["mvtec_ad_bottle"]
    found = [localise(bottle, draw(bottle, 1, seed)[0], backbone) for seed in range(DRAWS)]
    area, pointing = np.mean(found, axis=0)
    print(f"mvtec_ad_bottle, 1 reference: pixel AUROC {area:.3f}  pointing game {pointing:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
