"""Does the limit of a station keep its promise? Promised and real false alarms, and what calibrated verdicts lose.

    python benchmarks/coverage.py [FOLDER] [--scores FILE] [--products pushpins] [--model evidence] [--references 4]

FOLDER holds real photographs as `photographs.py` takes them; without it MiniLOCO alone is measured. Every good and bad
picture is judged once, against --references (four); the scores are kept in --scores. Then the good ones are split 200
times at random into normals, which make the limit, and unseen ones. A line for each product and number of normals:

- promised: the largest share of false alarms; expected: what the normals' number makes of it, (allowed + 1) / (n + 1);
- real: the mean share of unseen good pictures above the limit over the splits, with the 95 % interval of that mean;
- inside: the share of splits whose false alarms lie in the 95 % interval that `station show` gives;
- verdict, oracle, regret: balanced accuracy of the calibrated verdict, of the best single threshold on the same unseen
  pictures, and what the first loses to the second;
- at the rate: what it loses to the best threshold that calls no larger share of these unseen good pictures anomalous
  than was promised: the loss that is due to the small number of normals alone;
- advised, its rate, its real, its regret: the same for the promise that `station create --bad` advises with ten bad
  pictures (half of fewer than twenty), which are then left out: its balanced accuracy, the rate that it promises, its
  real false alarms, its loss;
- a person: the regret if a person judges rightly what lies in an unsure zone of a further 10 % of good pictures.

    python benchmarks/coverage.py FOLDER --folds 5 [--splits 5] [--products pushpins] [--sets transistor]

compares a station whose 20 normals only make its limit (apart) with one that compares with them, too, and scores each
of them without its fold (folds: `station create --folds`). Split by split: AUROC, real false alarms at 5 %, balanced
accuracy and regret.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from photographs import Values, auroc, draw, load_sets, oracle
from scipy.stats import betabinom

from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judge, PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.miniloco import EVALUATION, draw_picture
from lad_reasoner.service.conformal import allowed_above, balanced_rate, conformal_limit, least_normals

REFERENCES, SPLITS = 4, 200
RENDERED, RENDERED_BAD = 100, 40  # pictures of a product of MiniLOCO
MOST_BAD = 60  # of a real product
LEAST_UNSEEN = 8
SHOWN_BAD, UNSURE = 10, 0.1  # bad pictures that the advice is made from; the unsure share of good ones
PROMISES = ((20, 0.05), (19, 0.05), (39, 0.05), (20, 0.1), (49, 0.02))  # normals, largest share of false alarms
LOSSES = ("regret", "at the rate", "its regret", "a person")

NORMALS, FEW = 20, 26  # with --folds: normals, and at most so many unseen good and bad pictures

Scores = dict[str, list[float]]  # "good" and "bad"
Loads = Sequence[Callable[[], Picture]]
Pictures = tuple[Sequence[Picture], Loads, Loads]  # references, and what reads the good and the bad pictures


def judged(judge: Judge, references: Sequence[Picture], queries: Iterator[Picture]) -> list[float]:
    scores = []
    while pairs := [PicturePair(tuple(references), query) for query in islice(queries, judge.batch_size)]:
        for judgement in judge.judge(pairs):
            assert judgement.score is not None
            scores.append(judgement.score)
    return scores


def rendered(product: str, references: int = REFERENCES) -> Pictures:
    def shot(split: str, kind: str, index: int) -> Picture:
        drawn = draw_picture(product, split, kind, index)  # type: ignore[arg-type]
        return Picture(f"{split}/{kind}/{index}", drawn.image, drawn.image.width, drawn.image.height)

    shown = [shot("train", "good", index) for index in range(references)]
    good = [partial(shot, "test", "good", index) for index in range(RENDERED)]
    return shown, good, [partial(shot, "test", "logical", index) for index in range(RENDERED_BAD)]


def photographs(root: Path, references: int = REFERENCES) -> Iterator[tuple[str, Pictures]]:
    """Of the data sets that are one product."""
    for name, categories in load_sets(root).items():
        if len(categories) > 1:
            continue
        (category,) = categories
        paths = draw(category, references, 0)
        # Good pictures that can be had, whether the set calls them training or test pictures.
        good = sorted({*category.good, *category.pool} - set(paths))
        loads = [[partial(read_picture, path) for path in group] for group in (good, category.bad[:MOST_BAD])]
        yield name, ([read_picture(path) for path in paths], loads[0], loads[1])


def score(pictures: Pictures, judge: Judge) -> Scores:
    references, *groups = pictures
    good, bad = (judged(judge, references, (load() for load in group)) for group in groups)
    return {"good": good, "bad": bad}


def compare_folds(name: str, pictures: Pictures, judge: Judge, folds: int, splits: int) -> list[dict[str, float]]:
    """A line for each split: the station whose normals only make its limit, and the one that compares with them."""
    references, good, bad = pictures
    few_bad = bad[:: max(1, len(bad) // FEW)][:FEW]
    results = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(good)).tolist()
        normals, unseen = ([good[at]() for at in part] for part in (order[:NORMALS], order[NORMALS : NORMALS + FEW]))
        defects = [load() for load in few_bad]
        apart = [np.array(judged(judge, references, iter(group))) for group in (normals, unseen, defects)]
        held_out = np.empty(NORMALS)
        for fold in range(folds):
            others = [normal for index, normal in enumerate(normals) if index % folds != fold]
            held_out[fold::folds] = judged(judge, [*references, *others], iter(normals[fold::folds]))
        shared = [np.array(judged(judge, [*references, *normals], iter(group))) for group in (unseen, defects)]
        result: dict[str, float] = {}
        for kind, (known, new, wrong) in (("apart", apart), ("folds", [held_out, *shared])):
            limit = conformal_limit(list(known), 0.05)
            real = float((new > limit).mean())
            balanced = (float((wrong > limit).mean()) + 1 - real) / 2
            result |= {f"{kind} AUROC": auroc(wrong, new), f"{kind} real": real, f"{kind} balanced": balanced}
            result[f"{kind} regret"] = oracle(wrong, new) - balanced
        result = {key: 100 * value for key, value in result.items()}
        print(f"{name:20s} {_cells(result)}  unseen {len(unseen)}", flush=True)
        results.append(result)
    return results


def _cells(measures: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.1f}" for key, value in measures.items())


def measure(good: Values, bad: Values, normals: int, rate: float) -> dict[str, float]:
    """Means over the splits, in percent."""
    rng = np.random.default_rng(0)
    above = allowed_above(normals, rate)
    unseen_count, shown_bad = len(good) - normals, min(SHOWN_BAD, len(bad) // 2)
    # How many unseen pictures may lie above the limit, in 95 % of all cases.
    low, high = betabinom(unseen_count, above + 1, normals - above).ppf([0.025, 0.975])
    real, inside, verdicts, oracles, bounded = [], [], [], [], []
    advised, advised_rates, advised_real, advised_regret, helped = [], [], [], [], []
    for _ in range(SPLITS):
        order = rng.permutation(len(good))
        known = list(good[order[:normals]])
        limit = conformal_limit(known, rate)
        unseen = good[order[normals:]]
        alarms = int((unseen > limit).sum())
        real.append(alarms / unseen_count)
        inside.append(low <= alarms <= high)
        verdicts.append((float((bad > limit).mean()) + 1 - real[-1]) / 2)
        oracles.append(oracle(bad, unseen))
        bounded.append(oracle_at(bad, unseen, rate))
        shown = rng.permutation(len(bad))
        given, others = bad[shown[:shown_bad]], bad[shown[shown_bad:]]
        advised_rates.append(balanced_rate(known, list(given)))
        limit_advised = conformal_limit(known, advised_rates[-1])
        advised_real.append(float((unseen > limit_advised).mean()))
        advised.append((float((others > limit_advised).mean()) + 1 - advised_real[-1]) / 2)
        advised_regret.append(oracle(others, unseen) - advised[-1])
        unsure_from = conformal_limit(known, rate + UNSURE)
        helped.append((float((bad > unsure_from).mean()) + 1 - real[-1]) / 2)
    error = 1.96 * float(np.std(real)) / SPLITS**0.5
    measures = {
        "promised": rate,
        "expected": (above + 1) / (normals + 1),
        "real": float(np.mean(real)),
        "+-": error,
        "inside": float(np.mean(inside)),
        "verdict": float(np.mean(verdicts)),
        "oracle": float(np.mean(oracles)),
    }
    measures["regret"] = measures["oracle"] - measures["verdict"]
    measures["at the rate"] = float(np.mean(bounded)) - measures["verdict"]
    measures["advised"] = float(np.mean(advised))
    measures["its rate"], measures["its real"] = float(np.mean(advised_rates)), float(np.mean(advised_real))
    measures["its regret"] = float(np.mean(advised_regret))
    measures["a person"] = measures["oracle"] - float(np.mean(helped))
    return {name: 100 * value for name, value in measures.items()}


def oracle_at(bad: Values, good: Values, rate: float) -> float:
    """Balanced accuracy of the best threshold with at most this share of good pictures above it."""
    thresholds = np.concatenate([good, bad])
    alarms, hits = (good[:, None] > thresholds).mean(0), (bad[:, None] > thresholds).mean(0)
    allowed = alarms <= rate
    return float(np.max((hits[allowed] + 1 - alarms[allowed]) / 2))


def main() -> None:
    parser = argparse.ArgumentParser(description="Promised and real false alarms of calibrated limits.")
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--scores", type=Path, default=Path("runs/coverage.json"))
    parser.add_argument("--products", nargs="*", help="of MiniLOCO; all of them, none with --sets")
    parser.add_argument("--model", default="evidence")
    parser.add_argument("--references", type=int, default=REFERENCES)
    parser.add_argument("--folds", type=int, help="compare stations with so many folds with those without")
    parser.add_argument("--splits", type=int, default=5, help="with --folds: of each product")
    parser.add_argument("--sets", nargs="*", help="with --folds: of the photographs")
    options = parser.parse_args()
    if options.products is None:
        options.products = [] if options.sets else sorted(EVALUATION)
    if options.folds:
        compare_all(options)
        return
    scores: dict[str, Scores] = json.loads(options.scores.read_text()) if options.scores.exists() else {}
    for name, values in _missing(scores, options):
        scores[name] = values
        options.scores.parent.mkdir(parents=True, exist_ok=True)
        options.scores.write_text(json.dumps(scores))
        print(f"judged {name}: {len(values['good'])} good, {len(values['bad'])} bad", flush=True)
    losses: dict[tuple[int, float], dict[str, list[float]]] = {}
    for name, values in scores.items():
        good, bad = np.array(values["good"]), np.array(values["bad"])
        for normals, rate in PROMISES:
            if len(good) - normals < LEAST_UNSEEN or normals < least_normals(rate):
                continue
            measures = measure(good, bad, normals, rate)
            for loss in LOSSES:
                losses.setdefault((normals, rate), {}).setdefault(loss, []).append(measures[loss])
            print(f"{name:20s} {normals} normals  {_cells(measures)}")
    for (normals, rate), each in losses.items():
        means = [f"{loss}, mean {np.mean(values):.1f}, largest {max(values):.1f}" for loss, values in each.items()]
        print(f"{normals} normals, {100 * rate:g} %: {'; '.join(means)}")


def compare_all(options: argparse.Namespace) -> None:
    judge, results = load_judge(options.model), []
    for name, pictures in _products(options):
        rendered_one = name.startswith("MiniLOCO")
        if len(pictures[1]) < NORMALS + LEAST_UNSEEN or not (rendered_one or name in (options.sets or [name])):
            continue
        results += compare_folds(name, pictures, judge, options.folds, options.splits)
    means = {key: float(np.mean([result[key] for result in results])) for key in results[0]}
    print(f"mean of {len(results)} splits  {_cells(means)}")


def _missing(scores: dict[str, Scores], options: argparse.Namespace) -> Iterator[tuple[str, Scores]]:
    judge = load_judge(options.model)
    for name, pictures in _products(options):
        if name not in scores:
            yield name, score(pictures, judge)


def _products(options: argparse.Namespace) -> Iterator[tuple[str, Pictures]]:
    for product in options.products:
        yield f"MiniLOCO {product}", rendered(product, options.references)
    if options.root is not None:
        yield from photographs(options.root, options.references)


if __name__ == "__main__":
    main()
